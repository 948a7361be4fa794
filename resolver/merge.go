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
	// Sources has the source address for each destination; one that is missing
	// is unreachable. Nil: nothing is known, and the order of the answers stays.
	Sources map[netip.Addr]Source
	Policy  Policy
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
	a := &Answer{Name: name, Canonical: name, Families: families}
	used, back := o.used(families)
	for _, f := range used {
		if len(f.Addrs) > 0 {
			a.Canonical = f.Canonical()
		}
	}
	a.Expires = expiry(used, o.Now)
	var keep []candidate
	keep, a.Dropped = filter(used, o)
	ranked := addrsel.Interleave(rank(keep, o), o.PreferredFamilyCount)
	addrs := make([]netip.Addr, len(ranked))
	a.Reasons = make([]string, len(ranked))
	for i, r := range ranked {
		addrs[i], a.Reasons[i] = r.Addr, r.Why
	}
	for _, t := range back {
		a.Dropped = append(a.Dropped, t.dropped())
		if i := slices.Index(addrs, t.to); i >= 0 {
			a.Reasons[i] += "; turned back from " + t.from.String()
		}
	}
	a.Record = mpaddr.FromAddrs(port, addrs...)
	a.judging = &judging{keep: keep, families: used, nat64: o.NAT64, now: o.Now}
	return a
}

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

// rank orders the addresses of each family.
func rank(keep []candidate, o MergeOptions) []addrsel.Ranked {
	if o.Sources == nil {
		return asAnswered(keep)
	}
	dests := make([]addrsel.Dest, len(keep))
	for i, c := range keep {
		dests[i] = addrsel.Dest{Addr: c.addr, Source: o.Sources[c.addr]}
		if o.History != nil {
			dests[i].RTT, dests[i].Used = o.History(c.addr)
		}
	}
	return addrsel.Sort(o.Policy, dests)
}

// asAnswered is the order where nothing is known of this host's own addresses.
func asAnswered(keep []candidate) []addrsel.Ranked {
	ranked := make([]addrsel.Ranked, 0, len(keep))
	for _, four := range []bool{false, true} {
		for _, c := range keep {
			if c.addr.Is4() == four {
				d := addrsel.Dest{Addr: c.addr, Source: Source{Addr: c.addr}}
				ranked = append(ranked, addrsel.Ranked{Dest: d, Why: "in the order of the answer"})
			}
		}
	}
	return ranked
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
	o := r.mergeOptions(ctx, families, false)
	o.History = history
	return Merge(name, port, families, o)
}

// mergeOptions is what this resolver knows for a merge of families.
func (r *Resolver) mergeOptions(ctx context.Context, families []FamilyResult, keepNAT64 bool) MergeOptions {
	now := time.Now()
	o := MergeOptions{
		Policy: r.addressPolicy(now), PreferredFamilyCount: r.PreferredFamilyCount, KeepLocal: r.KeepLocal,
		NAT64: r.knownNAT64(now), KeepNAT64: keepNAT64, Now: now,
	}
	used, _ := o.used(families)
	o.Sources = r.state.sources.find(ctx, used, now)
	r.throughNAT64(ctx, o.Sources, o.NAT64, now)
	return o
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
