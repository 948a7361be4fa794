package resolver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/addrsel"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// Source is the address this host would send from to reach a destination, and
// what the rules of RFC 6724 need to know of it.
type Source = addrsel.Source

// Policy is the policy table of RFC 6724 section 2.1; its zero value is the
// default one.
type Policy = addrsel.Policy

// MergeOptions are what a merge depends on besides the answers.
type MergeOptions struct {
	// Source is the source address for a destination, its Addr invalid where
	// there is no way. Nil: nothing is known, and the order of the answers stays.
	Source func(netip.Addr) Source
	Policy Policy
	// PreferredFamilyCount is as in Resolver.
	PreferredFamilyCount int
	// KeepLocal is as in Resolver.
	KeepLocal bool
	// NAT64 are the prefixes of the network's NAT64, besides the Well-Known one
	// (RFC 6052): addresses under them are turned back into the IPv4 addresses
	// that they were made of, and are then in Dropped.
	NAT64 []netip.Prefix
	// KeepNAT64 leaves such addresses as they are.
	KeepNAT64 bool
	// History tells how connections to an address went on this network: the
	// round-trip time, 0 if unknown, and whether one succeeded. Nil: none is
	// known.
	History func(netip.Addr) (rtt time.Duration, used bool)
	// Now is the time from which Answer.Expires is counted.
	Now time.Time
}

// Merge makes one answer of the results of several families: it leaves out the
// addresses that have no place in it, orders the rest by RFC 6724 and Happy
// Eyeballs v3, divides them by host, and takes the smallest TTL. It is a pure
// function: it asks no one and looks at nothing but its arguments.
func Merge(name string, port uint16, families []FamilyResult, o MergeOptions) *Answer {
	return merge(name, port, families, o, o.Source)
}

// merged is an answer and how it came about, which are made together.
type merged struct {
	answer  Answer
	judging judging
	dests   [usualAddrs / 2]addrsel.Dest // room for them
}

// merge is Merge with o.Source apart, which unlike o is not kept: so it may be a
// closure that costs nothing.
func merge(name string, port uint16, families []FamilyResult, o MergeOptions, source func(netip.Addr) Source) *Answer {
	m := new(merged)
	a, j := &m.answer, &m.judging
	a.judging = j
	used, back := o.used(families)
	a.Name, a.Canonical, a.Families = name, name, families
	for i := range used {
		if len(used[i].Addrs) > 0 {
			a.Canonical = used[i].Canonical()
		}
	}
	a.Expires = expiry(used, o.Now)
	var keepRoom [usualAddrs]candidate
	keep, dropped := filter(keepRoom[:0], used, o.KeepLocal, source)
	for _, t := range back {
		dropped = append(dropped, t.dropped())
	}
	a.Dropped = dropped
	j.families, j.nat64, j.now = used, o.NAT64, o.Now
	j.ranking = ranking{
		dests: destinations(m.dests[:0], keep, o.History, source), known: source != nil,
		policy: o.Policy, count: o.PreferredFamilyCount, back: back,
	}
	var room [usualAddrs]netip.Addr
	a.Record = mpaddr.FromAddrs(port, j.ranking.order(room[:0])...)
	return a
}

// usualAddrs is how many addresses most names have at most.
const usualAddrs = 8

// used are the results that count: with hints, and without what a NAT64 made.
func (o MergeOptions) used(families []FamilyResult) ([]FamilyResult, []turned) {
	used := withHints(families)
	if o.KeepNAT64 {
		return used, nil
	}
	return turnBack(used, o.NAT64)
}

// withHints adds the address hints of HTTPS records for a family that has not
// been answered yet; the answer, whatever it is, replaces them (Happy Eyeballs
// v3). Hints for another target than the name itself are not
// used.
func withHints(families []FamilyResult) []FamilyResult {
	used := families
	for _, f := range families {
		for _, s := range f.Services {
			if s.Priority == 0 || s.Target != f.Canonical() {
				continue
			}
			if v4 := f.hints(s, true); len(v4.Addrs) > 0 && !answered(families, "A") {
				used = append(slices.Clip(used), v4)
			}
			if v6 := f.hints(s, false); len(v6.Addrs) > 0 && !answered(families, "AAAA") {
				used = append(slices.Clip(used), v6)
			}
		}
	}
	return used
}

// hints are the addresses of one family in s, as if they were f's own.
func (f FamilyResult) hints(s Service, four bool) FamilyResult {
	f.Addrs, f.Services = nil, nil
	for _, a := range s.Hints {
		if a.Is4() == four {
			f.Addrs = append(f.Addrs, a)
		}
	}
	return f
}

// answered reports whether a family's answer has come, good or bad.
func answered(families []FamilyResult, typ string) bool {
	return slices.ContainsFunc(families, func(f FamilyResult) bool {
		return f.Type == typ && !errors.Is(f.Err, ErrPending)
	})
}

// destinations appends to dests the addresses to keep, with what their order
// depends on.
func destinations(dests []addrsel.Dest, keep []candidate, history func(netip.Addr) (time.Duration, bool), source func(netip.Addr) Source) []addrsel.Dest {
	for _, c := range keep {
		d := addrsel.Dest{Addr: c.addr, Source: Source{Addr: c.addr}} // with nothing known all are alike
		if source != nil {
			d.Source = source(c.addr)
		}
		if source != nil && history != nil {
			d.RTT, d.Used = history(c.addr)
		}
		dests = append(dests, d)
	}
	return dests
}

// ranking is how the order of an answer's addresses came about.
type ranking struct {
	dests  []addrsel.Dest // in the order of the answers
	known  bool           // this host's own addresses
	policy Policy
	count  int // the Preferred Address Family Count
	back   []turned
}

// order appends the addresses to dst, best first.
func (r *ranking) order(dst []netip.Addr) []netip.Addr {
	if r.known {
		return addrsel.Order(dst, r.policy, r.dests, r.count)
	}
	for _, x := range r.ranked() {
		dst = append(dst, x.Addr)
	}
	return dst
}

// ranked are the same with the reasons.
func (r *ranking) ranked() []addrsel.Ranked {
	if r.known {
		return addrsel.Interleave(addrsel.Sort(r.policy, r.dests), r.count)
	}
	ranked := make([]addrsel.Ranked, 0, len(r.dests))
	for _, four := range []bool{false, true} {
		for _, d := range r.dests {
			if d.Addr.Is4() == four {
				ranked = append(ranked, addrsel.Ranked{Dest: d, Why: "in the order of the answer"})
			}
		}
	}
	return addrsel.Interleave(ranked, r.count)
}

// Reasons says for each address of Record, in its order, why it stands there; nil
// for an answer that was not made by Merge. The words are found when they are
// asked for.
func (a *Answer) Reasons() []string {
	if a.judging == nil {
		return nil
	}
	r := &a.judging.ranking
	ranked := r.ranked()
	out := make([]string, len(ranked))
	for i, x := range ranked {
		out[i] = x.Why
		for _, t := range r.back {
			if t.to == x.Addr {
				out[i] += "; turned back from " + t.from.String()
			}
		}
	}
	return out
}

// expiry is when the first of the records used expires; zero if none does.
func expiry(families []FamilyResult, now time.Time) time.Time {
	least := Forever
	for _, f := range families {
		if len(f.Addrs) > 0 {
			least = min(least, f.TTL)
		}
	}
	if least == Forever {
		return time.Time{}
	}
	return now.Add(least)
}

// Merge is the function Merge with what this resolver knows: the source
// addresses of this host, gai.conf, its own settings, the NAT64 prefixes learned
// so far. history is MergeOptions.History, nil where none is known. No packet is
// sent.
func (r *Resolver) Merge(ctx context.Context, name string, port uint16, families []FamilyResult, history func(netip.Addr) (rtt time.Duration, used bool)) *Answer {
	return r.merge(ctx, name, port, families, MergeOptions{History: history})
}

// merge adds to o what this resolver knows.
func (r *Resolver) merge(ctx context.Context, name string, port uint16, families []FamilyResult, o MergeOptions) *Answer {
	now := time.Now()
	nat64 := r.knownNAT64(now)
	o.Policy, o.PreferredFamilyCount, o.KeepLocal = r.addressPolicy(now), r.PreferredFamilyCount, r.KeepLocal
	o.NAT64, o.Now = nat64, now
	return merge(name, port, families, o, func(a netip.Addr) Source { return r.source(ctx, a, nat64, now) })
}

// Err says why the answer has no address, as an [*Error]; nil if it has one.
func (a *Answer) Err() error {
	if e := a.failure(); e != nil {
		return e
	}
	return nil
}

// failure is Err with its type. The servers' word that the name does not exist
// counts for all families, and after that a family that could not be asked, so
// that ErrNotFound is only said when it is sure.
func (a *Answer) failure() *Error {
	if !a.Record.IsEmpty() {
		return nil
	}
	e := &Error{Op: opLookup, Name: a.Name, Kind: ErrNoData}
	if len(a.Dropped) > 0 {
		e.Kind = ErrFiltered
		e.Hint = a.Dropped[0].Addr.String() + ": " + a.Dropped[0].Why
		return e
	}
	var worst *Error
	for _, f := range a.Families {
		var fe *Error
		if errors.As(f.Err, &fe) && (worst == nil || fe.weight() > worst.weight()) {
			worst = fe
		}
	}
	if worst != nil {
		*e = *worst
		e.Name, e.Type = a.Name, ""
	}
	return e
}

// weight orders the failures of families: which of them speaks for the name.
func (e *Error) weight() int {
	switch {
	case errors.Is(e.Kind, ErrNoSuchName):
		return 3
	case errors.Is(e.Kind, ErrNoData):
		return 1
	case errors.Is(e.Kind, ErrPending):
		return 0
	}
	return 2
}
