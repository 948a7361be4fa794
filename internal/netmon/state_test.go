package netmon

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// at is an address on the interface of an index, with a default route.
func at(index int, s string) Address {
	return Address{Addr: netip.MustParseAddr(s), Prefix: 24, Interface: "if", Index: index, DefaultRoute: true}
}

// with returns a changed.
func (a Address) with(change func(*Address)) Address {
	change(&a)
	return a
}

func deprecated(a *Address) { a.Deprecated = true }
func temporary(a *Address)  { a.Temporary = true }
func secondary(a *Address)  { a.Secondary = true }
func unrouted(a *Address)   { a.DefaultRoute, a.Metric = false, NoMetric }

func metric(m uint32) func(*Address) { return func(a *Address) { a.Metric = m } }

func TestDiff(t *testing.T) {
	a, b, c := at(1, "192.0.2.1"), at(1, "192.0.2.2"), at(2, "2001:db8::1")
	for name, test := range map[string]struct{ from, to, added, removed []Address }{
		"nothing":          {nil, nil, nil, nil},
		"from nothing":     {nil, []Address{a, b}, []Address{a, b}, nil},
		"to nothing":       {[]Address{a, b}, nil, nil, []Address{a, b}},
		"replaced":         {[]Address{a, c}, []Address{b, c}, []Address{b}, []Address{a}},
		"interface lost":   {[]Address{a, b, c}, []Address{c}, nil, []Address{a, b}},
		"only changed":     {[]Address{a, c}, []Address{a.with(deprecated), c.with(unrouted)}, nil, nil},
		"to other link":    {[]Address{a}, []Address{at(3, "192.0.2.1")}, []Address{at(3, "192.0.2.1")}, []Address{a}},
		"same on two":      {[]Address{a}, []Address{a, at(3, "192.0.2.1")}, []Address{at(3, "192.0.2.1")}, nil},
		"with its changes": {[]Address{b}, []Address{a.with(temporary)}, []Address{a.with(temporary)}, []Address{b}},
	} {
		t.Run(name, func(t *testing.T) {
			added, removed := State{Addresses: test.from}.Diff(State{Addresses: test.to})
			if !slices.Equal(added, test.added) || !slices.Equal(removed, test.removed) {
				t.Errorf("added %v, removed %v; want %v and %v", added, removed, test.added, test.removed)
			}
		})
	}
}

// drawState draws few different addresses, so that they meet.
func drawState(t *rapid.T, label string) State {
	addrs := []string{"192.0.2.1", "192.0.2.2", "10.0.0.1", "2001:db8::1", "2001:db8::2", "fd00::1"}
	draw := rapid.Custom(func(t *rapid.T) Address {
		a := at(rapid.IntRange(1, 3).Draw(t, "index"), rapid.SampledFrom(addrs).Draw(t, "addr"))
		a.Deprecated, a.Temporary = rapid.Bool().Draw(t, "deprecated"), rapid.Bool().Draw(t, "temporary")
		a.Secondary, a.DefaultRoute = rapid.Bool().Draw(t, "secondary"), rapid.Bool().Draw(t, "routed")
		a.Metric = rapid.Uint32Range(0, 3).Draw(t, "metric")
		return a
	})
	return State{Addresses: tidy(rapid.SliceOfN(draw, 0, 12).Draw(t, label))}
}

// TestDiffProperty: taking away what was removed and adding what was added
// gives the addresses of the next state.
func TestDiffProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := drawState(t, "from"), drawState(t, "to")
		added, removed := from.Diff(to)
		got := slices.DeleteFunc(slices.Clone(from.Addresses), func(a Address) bool {
			return slices.ContainsFunc(removed, a.same)
		})
		got = tidy(append(got, added...))
		if !slices.EqualFunc(got, to.Addresses, Address.same) {
			t.Fatalf("%v - %v + %v is not %v", from.Addresses, removed, added, to.Addresses)
		}
	})
}

func TestSources(t *testing.T) {
	global, lasting := at(2, "2001:db8::1"), at(2, "2001:db8::2")
	for name, test := range map[string]struct {
		family Family
		in     []Address
		want   []Address
	}{
		"none":                {IPv4, nil, nil},
		"one family":          {IPv6, []Address{at(1, "192.0.2.1"), global}, []Address{global}},
		"one per interface":   {IPv4, []Address{at(1, "192.0.2.1"), at(1, "192.0.2.2"), at(2, "192.0.2.3")}, []Address{at(1, "192.0.2.1"), at(2, "192.0.2.3")}},
		"not deprecated":      {IPv6, []Address{global.with(deprecated), lasting}, []Address{lasting}},
		"temporary":           {IPv6, []Address{global, lasting.with(temporary)}, []Address{lasting.with(temporary)}},
		"deprecated before":   {IPv6, []Address{global, lasting.with(temporary).with(deprecated)}, []Address{global}},
		"not unique local":    {IPv6, []Address{at(2, "fd00::1").with(temporary), lasting}, []Address{lasting}},
		"not secondary":       {IPv4, []Address{at(1, "10.0.0.1").with(secondary), at(1, "10.0.0.2")}, []Address{at(1, "10.0.0.2")}},
		"route first":         {IPv4, []Address{at(1, "10.0.0.1").with(unrouted), at(2, "10.0.0.2")}, []Address{at(2, "10.0.0.2"), at(1, "10.0.0.1").with(unrouted)}},
		"then not deprecated": {IPv6, []Address{at(1, "2001:db8:1::1").with(deprecated), global.with(metric(9))}, []Address{global.with(metric(9)), at(1, "2001:db8:1::1").with(deprecated)}},
		"then metric":         {IPv4, []Address{at(1, "10.0.0.1").with(metric(600)), at(2, "10.0.0.2").with(metric(100))}, []Address{at(2, "10.0.0.2").with(metric(100)), at(1, "10.0.0.1").with(metric(600))}},
		"then index":          {IPv4, []Address{at(1, "10.0.0.2"), at(2, "10.0.0.1")}, []Address{at(1, "10.0.0.2"), at(2, "10.0.0.1")}},
	} {
		t.Run(name, func(t *testing.T) {
			got := State{Addresses: tidy(slices.Clone(test.in))}.Sources(test.family)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestSourcesProperty: each interface of the family once, routed ones first.
func TestSourcesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t, "state")
		family := rapid.SampledFrom([]Family{IPv4, IPv6}).Draw(t, "family")
		want := map[int]bool{}
		for _, a := range s.Addresses {
			if familyOf(a.Addr) == family {
				want[a.Index] = true
			}
		}
		sources := s.Sources(family)
		for _, a := range sources {
			if !want[a.Index] || !slices.Contains(s.Addresses, a) {
				t.Fatalf("%v of %v", sources, s.Addresses)
			}
			delete(want, a.Index)
		}
		if len(want) != 0 {
			t.Fatalf("interfaces %v are not in %v", want, sources)
		}
		if !slices.IsSortedFunc(sources, func(a, b Address) int { return before(a.DefaultRoute, b.DefaultRoute) }) {
			t.Fatalf("unrouted interface before a routed one: %v", sources)
		}
	})
}

func TestUsableAddr(t *testing.T) {
	for s, want := range map[string]bool{
		"192.0.2.1": true, "10.0.0.1": true, "100.64.0.1": true, "2001:db8::1": true, "fd00::1": true,
		"127.0.0.1": false, "169.254.1.1": false, "0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false,
		"::1": false, "fe80::1": false, "febf::1": false, "::": false, "ff02::1": false, "::ffff:192.0.2.1": false,
	} {
		if got := usableAddr(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestEqual(t *testing.T) {
	s := State{Addresses: []Address{at(1, "192.0.2.1")}, DefaultIPv4: true}
	for name, o := range map[string]State{
		"fewer":        {DefaultIPv4: true},
		"other route":  {Addresses: s.Addresses},
		"other family": {Addresses: s.Addresses, DefaultIPv4: true, DefaultIPv6: true},
		"changed":      {Addresses: []Address{s.Addresses[0].with(deprecated)}, DefaultIPv4: true},
	} {
		if s.Equal(o) || o.Equal(s) {
			t.Errorf("%s: equal", name)
		}
	}
	if !s.Equal(State{Addresses: slices.Clone(s.Addresses), DefaultIPv4: true}) {
		t.Error("a copy is not equal")
	}
}

// checkState fails for a state that breaks what State promises.
func checkState(t interface{ Fatalf(string, ...any) }, s State) {
	for i, a := range s.Addresses {
		if !usableAddr(a.Addr) {
			t.Fatalf("%v is not usable", a.Addr)
		}
		if i > 0 {
			p := s.Addresses[i-1]
			if cmp.Or(cmp.Compare(p.Index, a.Index), p.Addr.Compare(a.Addr)) >= 0 {
				t.Fatalf("not ordered, or twice: %v, %v", p, a)
			}
		}
		if a.DefaultRoute && (a.Addr.Is4() && !s.DefaultIPv4 || a.Addr.Is6() && !s.DefaultIPv6) {
			t.Fatalf("%v has a route that the state has not", a)
		}
	}
}
