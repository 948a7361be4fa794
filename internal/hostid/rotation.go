package hostid

import (
	"net/netip"
	"slices"
	"time"
)

// manySets is how many different sets within the memory's window say that a
// family rotates, even where none came back. A renumbering makes two.
const manySets = 3

// rotation compares past answers. Their order says nothing and is not kept.
func (v *observer) rotation() {
	past := append(slices.Clone(v.Past[:min(len(v.Past), MaxSightings)]), Sighting{At: v.now, Addrs: v.all()})
	four, six := v.families()
	for _, family := range [][]netip.Addr{four, six} {
		if rotates(past, family) {
			v.add(Rotates, family, nil, "")
			if others := without(v.all(), family); len(others) > 0 {
				v.add(Rotates, family, others, "")
			}
		}
	}
	if past = whole(past, four, six); len(past) >= manySets {
		v.company(past)
	}
}

// whole leaves out the answers in which a family is missing that is there now: it
// may not have been asked, or had no answer.
func whole(past []Sighting, four, six []netip.Addr) []Sighting {
	return slices.DeleteFunc(past, func(s Sighting) bool {
		return len(four) > 0 && !slices.ContainsFunc(s.Addrs, netip.Addr.Is4) ||
			len(six) > 0 && !slices.ContainsFunc(s.Addrs, netip.Addr.Is6)
	})
}

// rotates tells whether the set of a family, of which there are addresses now,
// changes and comes back, or is always another.
func rotates(past []Sighting, family []netip.Addr) bool {
	if len(family) == 0 {
		return false
	}
	var sets [][]netip.Addr
	returned := false
	for _, s := range past {
		set := slices.DeleteFunc(slices.Clone(s.Addrs), func(a netip.Addr) bool { return a.Is4() != family[0].Is4() })
		slices.SortFunc(set, netip.Addr.Compare)
		same := func(o []netip.Addr) bool { return slices.Equal(o, set) }
		switch i := slices.IndexFunc(sets, same); {
		case len(set) == 0: // not answered then
		case i < 0:
			sets = append(sets, set)
		case i < len(sets)-1:
			returned = true
		}
	}
	return returned || len(sets) >= manySets
}

// company looks at which addresses come and go together.
func (v *observer) company(past []Sighting) {
	present := make([][]bool, len(v.addrs))
	for i, a := range v.addrs {
		for _, s := range past {
			present[i] = append(present[i], has(s.Addrs, a.Addr))
		}
	}
	for i, a := range v.addrs {
		for k, b := range v.addrs[:i] {
			pair := func(kind Kind) { v.add(kind, []netip.Addr{b.Addr}, []netip.Addr{a.Addr}, "") }
			switch x, y := present[i], present[k]; {
			case slices.Equal(x, y) && changes(x) >= 2:
				pair(SeenTogether)
			case alone(x, y) && alone(y, x):
				pair(SeenApart)
			}
		}
	}
}

// changes counts how often an address came or went.
func changes(x []bool) (n int) {
	for i := 1; i < len(x); i++ {
		if x[i] != x[i-1] {
			n++
		}
	}
	return n
}

// alone tells whether x was there once without y.
func alone(x, y []bool) bool {
	for i := range x {
		if x[i] && !y[i] {
			return true
		}
	}
	return false
}

// Denied is the evidence of the C flag: the peer asks not to be joined at the
// address that the connection began with.
func Denied(first netip.Addr, others []netip.Addr, now time.Time) []Evidence {
	others = without(distinct(others), []netip.Addr{first.Unmap()})
	if len(others) == 0 {
		return nil
	}
	return []Evidence{{
		Kind: DeniedInitial, A: []netip.Addr{first.Unmap()}, B: others, Source: "handshake",
		Seen: now, Expires: now.Add(DeniedInitial.Lifetime()),
	}}
}
