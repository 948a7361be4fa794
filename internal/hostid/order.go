package hostid

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Choice is one address of [Memory.Order].
type Choice struct {
	Addr    netip.Addr
	Try     bool      // send a join; else it is too soon, or the host is another
	Verdict Verdict   // about Addr and the address the connection began with
	Odds    Strength  // log-odds of being one host
	Last    Outcome   // the pair's last outcome, however old; NotTried if none is kept
	Until   time.Time // when the verdict ends, or, where Try is false, the pause
	Why     string    // one clause: "joined 3m0s ago"
}

// Order judges addrs for a connection to name that began with first, by what is
// kept and by more evidence, as a look-up gives, and puts them in the order in
// which to join them: the same first, then the unknown, then those that failed
// before and may be tried again, each in the order given. After them, with Try
// false, those whose turn it is not: those believed different, until that
// expires, and those that failed lately. first itself, duplicates and invalid
// addresses are left out.
func (m *Memory) Order(name string, first netip.Addr, addrs []netip.Addr, now time.Time, more ...Evidence) []Choice {
	first = first.Unmap()
	nodes := distinct(append([]netip.Addr{first}, addrs...))
	evidence := append(m.Evidence(name, nodes, now), more...)
	j := Judge(nodes, evidence, now)
	choices := make([]Choice, 0, len(nodes))
	for _, a := range nodes {
		if a != first {
			choices = append(choices, choose(j.Pair(first, a), m.entry(name, first, a), now))
		}
	}
	slices.SortStableFunc(choices, func(a, b Choice) int { return cmp.Compare(a.rank(), b.rank()) })
	return choices
}

// entry returns what is kept of a pair; of one too long or invalid, nothing.
func (m *Memory) entry(name string, a, b netip.Addr) entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := newPair(name, a, b); ok {
		return m.look(k)
	}
	return entry{}
}

// choose makes the choice of a pair, whose B is the address to join, by its
// judgement and by what was kept.
func choose(p Pair, e entry, now time.Time) Choice {
	c := Choice{Addr: p.B, Try: true, Verdict: p.Verdict, Odds: p.Odds, Last: e.last, Until: p.Until, Why: p.why(e, now)}
	switch {
	case c.Verdict == Different:
		c.Try = false
	case e.last.Failed() && now.Before(e.resumes()): // what joined after the caller took now is no pause
		c.Try, c.Until = false, e.resumes()
	}
	return c
}

// why says in a clause what the verdict rests on, or what was seen last.
func (p Pair) why(e entry, now time.Time) string {
	switch {
	case p.Inferred && p.Verdict == Same:
		return "the same host by way of another address"
	case p.Inferred:
		return fmt.Sprintf("%s and %s are different hosts", p.By[0], p.By[1])
	case e.last != NotTried:
		return fmt.Sprintf("%s %s ago", e.last, max(now.Sub(e.settled), 0).Round(time.Second))
	case len(p.Evidence) > 0:
		return p.Evidence[0].Kind.facts().says
	}
	return "nothing is known"
}

// rank is the place among the choices.
func (c Choice) rank() int {
	switch {
	case !c.Try:
		return 3
	case c.Verdict == Same:
		return 0
	case c.Last.Failed():
		return 2
	}
	return 1
}
