package dialer

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/netmon"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// testNetwork has two uplinks, both with IPv6, one with IPv4, and a link without
// a default route.
func testNetwork() netmon.State {
	address := func(index int, addr string, prefix int, uplink bool) netmon.Address {
		return netmon.Address{
			Addr: netip.MustParseAddr(addr), Prefix: prefix, Index: index,
			Interface: []string{"", "eth0", "wlan0", "vpn0"}[index], DefaultRoute: uplink, Metric: uint32(index),
		}
	}
	return netmon.State{Addresses: []netmon.Address{
		address(1, "192.0.2.11", 24, true), address(1, "2001:db8:a::1", 64, true),
		address(2, "2001:db8:b::1", 64, true),
		address(3, "10.9.0.1", 24, false),
	}}
}

var (
	here1v4 = netip.MustParseAddr("192.0.2.11")
	here1   = netip.MustParseAddr("2001:db8:a::1")
	here2   = netip.MustParseAddr("2001:db8:b::1")
	hereVPN = netip.MustParseAddr("10.9.0.1")
)

// testPlan is a connection from here1 to v6a on the test network.
func testPlan(remotes ...netip.AddrPort) plan {
	p := plan{known: true, network: testNetwork(), first: held{local: here1, remote: v6a, up: true}}
	for _, r := range remotes {
		p.remotes = append(p.remotes, choice{remote: r})
	}
	return p
}

// pair writes the ends of a path.
func pair(local, remote netip.Addr) string { return local.String() + " " + remote.String() }

// planned writes a choice as a test expects it.
func planned(list []choice) (out []string) {
	for _, c := range list {
		text := c.remote.Addr().String()
		if c.from != (origin{}) {
			text = c.from.addr.String() + " " + text
		}
		if c.skip != nil {
			text = "not " + text
		}
		out = append(out, text)
	}
	return out
}

func TestPlan(t *testing.T) {
	inVPN := netip.MustParseAddrPort("10.9.0.7:443")
	tests := []struct {
		name   string
		change func(p *plan)
		remote []netip.AddrPort
		want   []string
	}{
		{"the unused uplink first", nil, []netip.AddrPort{v6b}, []string{pair(here2, v6b.Addr())}},
		{"one uplink of the family", nil, []netip.AddrPort{v4a}, []string{pair(here1v4, v4a.Addr())}},
		{"on link of an interface without a default route", nil, []netip.AddrPort{inVPN}, []string{pair(hereVPN, inVPN.Addr())}},
		{"a more specific route leads elsewhere", func(p *plan) {
			p.routedFrom = func(netip.Addr) netip.Addr { return hereVPN }
		}, []netip.AddrPort{v4a}, []string{v4a.Addr().String()}},
		{"routing's choice is an uplink", func(p *plan) {
			p.routedFrom = func(netip.Addr) netip.Addr { return here1v4 }
		}, []netip.AddrPort{v4a}, []string{pair(here1v4, v4a.Addr())}},
		{"network not known", func(p *plan) { p.known = false }, []netip.AddrPort{v6b}, []string{v6b.Addr().String()}},
		{"a path stays where it is", func(p *plan) {
			p.have = []held{{from: origin{here2, 2}, remote: v4b}, {from: origin{here2, 2}, remote: v6b, local: here2}}
		}, []netip.AddrPort{v6b}, []string{pair(here2, v6b.Addr())}},
		{"a path moves to an uplink without any", func(p *plan) {
			p.have = []held{{from: origin{here1, 1}, remote: v6b, local: here1}}
		}, []netip.AddrPort{v6b}, []string{pair(here2, v6b.Addr())}},
		{"its address is gone", func(p *plan) {
			p.have = []held{{from: origin{hereVPN, 3}, remote: v6b}}
		}, []netip.AddrPort{v6b}, []string{pair(here2, v6b.Addr())}},
		{
			"the first path is gone", func(p *plan) { p.first.up = false },
			[]netip.AddrPort{v6b},
			[]string{pair(here1, v6b.Addr()), pair(here2, v6a.Addr())},
		},
		{"restricted to an address", func(p *plan) {
			p.local = newLocalRule(mpaddr.FromAddrs(0, here1), nil)
		}, []netip.AddrPort{v6b, v4a}, []string{pair(here1, v6b.Addr()), "not " + v4a.Addr().String()}},
		{"restricted to a wildcard", func(p *plan) {
			p.local = newLocalRule(mpaddr.FromAddrs(0, netip.IPv4Unspecified()), nil)
		}, []netip.AddrPort{v6b, v4a}, []string{"not " + v6b.Addr().String(), pair(here1v4, v4a.Addr())}},
		{"restricted to an interface", func(p *plan) {
			p.local = newLocalRule(mpaddr.Addr{}, []string{"wlan0"})
		}, []netip.AddrPort{v6b}, []string{pair(here2, v6b.Addr())}},
		{"one per local, one remote", func(p *plan) { p.policy = OnePerLocal }, nil, []string{pair(here2, v6a.Addr())}},
		{
			"one per local, another remote", func(p *plan) { p.policy = OnePerLocal },
			[]netip.AddrPort{v6b, v4a},
			[]string{pair(here2, v6b.Addr()), "not " + v4a.Addr().String()},
		},
		{
			"full mesh", func(p *plan) { p.policy = FullMesh },
			[]netip.AddrPort{v6b},
			[]string{pair(here2, v6b.Addr()), pair(here1, v6b.Addr()), pair(here2, v6a.Addr())},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := testPlan(tt.remote...)
			if tt.change != nil {
				tt.change(&p)
			}
			got := planned(p.choices())
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPlanProperties: whatever there is, no path is planned twice, families fit,
// addresses that are not there or not allowed are not used, and making a plan
// again with its own result changes nothing.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := []netip.AddrPort{v6b, v4a, v4b}
		p := testPlan(rapid.SliceOfDistinct(rapid.SampledFrom(pool), rapid.ID).Draw(t, "remotes")...)
		p.policy = PathPolicy(rapid.IntRange(0, 2).Draw(t, "policy"))
		p.first.up = rapid.Bool().Draw(t, "first up")
		p.network.Addresses = slices.DeleteFunc(p.network.Addresses, func(netmon.Address) bool { return rapid.IntRange(0, 3).Draw(t, "gone") == 0 })
		if rapid.Bool().Draw(t, "restricted") {
			p.local = newLocalRule(mpaddr.FromAddrs(0, rapid.SampledFrom([]netip.Addr{here1, here2, here1v4}).Draw(t, "local")), nil)
		}
		first := p.choices()
		checkPlan(t, p, first)
		for _, c := range first {
			p.have = append(p.have, held{from: c.from, local: c.from.addr, remote: c.remote, up: c.skip == nil})
		}
		if again := p.choices(); !slices.Equal(planned(again), planned(first)) {
			t.Fatalf("%q, then %q", planned(first), planned(again))
		}
	})
}

func checkPlan(t *rapid.T, p plan, list []choice) {
	seen := map[string]bool{}
	for _, c := range list {
		key := pair(c.from.addr, c.remote.Addr())
		switch {
		case seen[key]:
			t.Fatalf("%s is planned twice", key)
		case c.skip != nil:
		case c.from == (origin{}) && p.local.restricts():
			t.Fatalf("%s: routing may not choose", key)
		case c.from == (origin{}):
		case c.from.addr.Is4() != c.remote.Addr().Is4():
			t.Fatalf("%s: families", key)
		case p.indexOf(c.from.addr) == 0:
			t.Fatalf("%s: not an address of this machine", key)
		case !p.local.allowsAddr(p.network, c.from.addr):
			t.Fatalf("%s: not allowed", key)
		}
		seen[key] = true
	}
}

// TestNeverDropsTheLast: a path that is not wanted any more stays while it is
// the last one.
func TestNeverDropsTheLast(t *testing.T) {
	for _, firstUp := range []bool{true, false} {
		n := &join{remote: v4a, state: joinActive}
		j := joiner{port: 443, max: 8, established: true, joins: []*join{n}}
		j.want(wanted{firstUp: firstUp, reason: errSourceGone})
		if dropped := errors.Is(n.err, errSourceGone); dropped != firstUp || j.spared == firstUp {
			t.Errorf("first path up %v: dropped %v, spared %v", firstUp, dropped, j.spared)
		}
	}
}
