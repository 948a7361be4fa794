package main

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/testdata/hosts"
)

// score counts the verdicts on pairs.
type score struct {
	pairs, same, different        int // in truth
	saidSame, rightSame           int
	saidDifferent, rightDifferent int
	bins                          [bins]bin
}

// bins is into how many parts the calibration is divided.
const bins = 10

// bin is the pairs of one range of probability.
type bin struct {
	pairs, same int
	sum         float64 // of the probabilities
}

// count takes in the verdict on one pair.
func (s *score) count(p hostid.Pair, same bool) {
	s.pairs++
	b := &s.bins[min(int(p.Odds.Probability()*bins), bins-1)]
	b.pairs++
	b.sum += p.Odds.Probability()
	if same {
		s.same++
		b.same++
	} else {
		s.different++
	}
	switch p.Verdict {
	case hostid.Same:
		s.saidSame++
		if same {
			s.rightSame++
		}
	case hostid.Different:
		s.saidDifferent++
		if !same {
			s.rightDifferent++
		}
	}
}

// ratio is a part of a whole, 1 of nothing.
func ratio(part, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return float64(part) / float64(whole)
}

func (s *score) precisionSame() float64      { return ratio(s.rightSame, s.saidSame) }
func (s *score) precisionDifferent() float64 { return ratio(s.rightDifferent, s.saidDifferent) }
func (s *score) recallSame() float64         { return ratio(s.rightSame, s.same) }
func (s *score) recallDifferent() float64    { return ratio(s.rightDifferent, s.different) }

// fromDNS scores the verdicts from DNS alone, of all and by deployment.
func fromDNS(cases []hosts.Case) (all score, by map[string]*score) {
	by = map[string]*score{}
	for _, c := range cases {
		if by[c.Kind] == nil {
			by[c.Kind] = &score{}
		}
		for _, p := range pairs(c) {
			same := c.Host[p.A] == c.Host[p.B]
			all.count(p, same)
			by[c.Kind].count(p, same)
		}
	}
	return all, by
}

// joinAll is what the transport shows when each address is joined to a connection
// to the first: other hosts refuse and speak Multipath TCP.
func joinAll(m *hostid.Memory, c hosts.Case, first netip.Addr, joined []netip.Addr, now time.Time) {
	for _, a := range joined {
		o := hostid.OtherHost
		if c.Host[a] == c.Host[first] {
			o = hostid.Joined
		}
		m.Record(c.Observation.Name, first, a, o, now)
	}
}

// fromTransport scores the verdicts that rest on joins: each address was joined to
// a connection to the first, and what DNS says is known too.
func fromTransport(cases []hosts.Case) score {
	var s score
	for _, c := range cases {
		m := hostid.NewMemory(0)
		addrs := c.Addrs()
		joinAll(m, c, addrs[0], addrs[1:], hosts.Now())
		evidence := append(c.Observation.Evidence(hosts.Now()), m.Evidence(c.Observation.Name, addrs, hosts.Now())...)
		j := hostid.Judge(addrs, evidence, hosts.Now())
		for _, a := range addrs[1:] {
			s.count(j.Pair(addrs[0], a), c.Host[a] == c.Host[addrs[0]])
		}
	}
	return s
}

// joins counts what dials to a corpus join.
type joins struct {
	dials  int
	sent   int // joins
	wasted int // of them to other hosts
	missed int // addresses of the same host that were not joined
}

// dial dials each name at one of its addresses; order says which of the others
// to join.
func (js *joins) dial(cases []hosts.Case, order func(c hosts.Case, first netip.Addr) []hostid.Choice) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range cases {
		addrs := c.Addrs()
		first := addrs[r.IntN(len(addrs))]
		js.dials++
		for _, choice := range order(c, first) {
			same := c.Host[choice.Addr] == c.Host[first]
			switch {
			case choice.Try && !same:
				js.sent++
				js.wasted++
			case choice.Try:
				js.sent++
			case same:
				js.missed++
			}
		}
	}
}

// dials measures the joins of a first dial without the engine (all are joined),
// with it, and of a second dial at the same address with its memory.
func dials(cases []hosts.Case) (without, first, second joins) {
	m := hostid.NewMemory(1 << 20)
	nothing := hostid.NewMemory(0)
	without.dial(cases, func(c hosts.Case, a netip.Addr) []hostid.Choice {
		return nothing.Order(c.Observation.Name, a, c.Addrs(), hosts.Now())
	})
	first.dial(cases, func(c hosts.Case, a netip.Addr) []hostid.Choice {
		choices := m.Order(c.Observation.Name, a, c.Addrs(), hosts.Now(), c.Observation.Evidence(hosts.Now())...)
		for _, choice := range choices {
			if choice.Try {
				joinAll(m, c, a, []netip.Addr{choice.Addr}, hosts.Now())
			}
		}
		return choices
	})
	second.dial(cases, func(c hosts.Case, a netip.Addr) []hostid.Choice {
		return m.Order(c.Observation.Name, a, c.Addrs(), hosts.Now(), c.Observation.Evidence(hosts.Now())...)
	})
	return without, first, second
}
