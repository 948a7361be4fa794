package dialer

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// listenTargets returns the addresses of a set in text and their positions.
func listenTargets(set mpaddr.Addr) (want []netip.AddrPort, all []int) {
	for i, e := range set.All() {
		want, all = append(want, e.Target()), append(all, i)
	}
	return want, all
}

// listenText writes plans as "[::]:80 dual{0 1} 10.0.0.1:81{2}".
func listenText(plans []listenPlan) string {
	var parts []string
	for _, p := range plans {
		s := p.addr.String()
		if p.dual {
			s += " dual"
		}
		s += "{"
		for n, i := range p.entries {
			if n > 0 {
				s += " "
			}
			s += string(rune('0' + i))
		}
		parts = append(parts, s+"}")
	}
	return strings.Join(parts, " ")
}

func TestPlanListen(t *testing.T) {
	for _, test := range []struct{ name, set, plan, split string }{
		{"one address", "192.0.2.1:80", "192.0.2.1:80{0}", ""},
		{"two families", "192.0.2.1:80,[2001:db8::1]:80", "192.0.2.1:80{0} [2001:db8::1]:80{1}", ""},
		{"IPv6 wildcard is dual-stack", "[::]:80", "[::]:80 dual{0}", ""},
		{"IPv4 wildcard", "0.0.0.0:80", "0.0.0.0:80{0}", ""},
		{"both wildcards are one socket", "0.0.0.0:80,[::]:80", "[::]:80 dual{0 1}", "[::]:80{1} 0.0.0.0:80{0}"},
		{"wildcards of two ports", "0.0.0.0:80,[::]:81", "0.0.0.0:80{0} [::]:81 dual{1}", ""},
		{"wildcard covers its family", "192.0.2.1:80,[2001:db8::1]:80,0.0.0.0:80", "0.0.0.0:80{0 2} [2001:db8::1]:80{1}", "192.0.2.1:80{0}"},
		{"IPv6 wildcard covers both", "192.0.2.1:80,[2001:db8::1]:80,[::]:80", "[::]:80 dual{0 1 2}", "[::]:80{1 2} 192.0.2.1:80{0}"},
		{"IPv6 addresses alone", "[2001:db8::1]:80,[::]:80", "[::]:80 dual{0 1}", "[2001:db8::1]:80{0}"},
		{"IPv4-mapped", "[::ffff:192.0.2.1]:80,0.0.0.0:80", "0.0.0.0:80{0 1}", "192.0.2.1:80{0}"},
		{"duplicate", "[::ffff:192.0.2.1]:80,192.0.2.1:80", "192.0.2.1:80{0}", ""},
		{"port 0 is a port", "192.0.2.1:0,0.0.0.0:0,192.0.2.1:80", "0.0.0.0:0{0 1} 192.0.2.1:80{2}", "192.0.2.1:0{0}"},
		{"everything", "0.0.0.0:80,192.0.2.1:80,[::]:80", "[::]:80 dual{0 1 2}", "[::]:80{2} 0.0.0.0:80{0 1}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want, all := listenTargets(mpaddr.MustParse(test.set))
			plans := planListen(want, all)
			if got := listenText(plans); got != test.plan {
				t.Errorf("plan %q, want %q", got, test.plan)
			}
			var rest []listenPlan
			for _, p := range plans {
				rest = append(rest, p.split(want)...)
			}
			if got := listenText(rest); got != test.split {
				t.Errorf("split %q, want %q", got, test.split)
			}
		})
	}
}

// drawListenSet draws a set that is likely to have wildcards and shared ports.
func drawListenSet(t *rapid.T) mpaddr.Addr {
	hosts := rapid.SampledFrom([]string{"0.0.0.0", "192.0.2.1", "192.0.2.2", "::", "2001:db8::1", "fe80::1%2", "::ffff:192.0.2.1", "::ffff:0.0.0.0"})
	one := rapid.Custom(func(t *rapid.T) mpaddr.Endpoint {
		port := rapid.SampledFrom([]uint16{0, 80, 443}).Draw(t, "port")
		return mpaddr.EndpointFrom(netip.AddrPortFrom(netip.MustParseAddr(hosts.Draw(t, "host")), port))
	})
	return mpaddr.New(rapid.SliceOfN(one, 1, 12).Draw(t, "set")...)
}

// TestPlanListenProperties: every address has exactly one socket, which covers
// it; no two sockets are in each other's way; no address is invented; the same
// set in another order gives the same sockets.
func TestPlanListenProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawListenSet(t)
		want, all := listenTargets(set)
		plans := planListen(want, all)
		served := make([]int, len(want))
		for n, p := range plans {
			if !slices.Contains(want, p.addr) {
				t.Errorf("%v was not asked for", p.addr)
			}
			for _, i := range p.entries {
				served[i]++
				if !p.covers(want[i]) {
					t.Errorf("%v does not cover %v", p.addr, want[i])
				}
			}
			for _, q := range plans[n+1:] {
				if p.overlaps(q.listenBind) {
					t.Errorf("%v and %v overlap", p.addr, q.addr)
				}
			}
		}
		for i, n := range served {
			if n != 1 {
				t.Errorf("%v is served by %d sockets", want[i], n)
			}
		}
		slices.Reverse(want)
		again := planListen(want, all)
		same := func(a, b listenPlan) int { return strings.Compare(a.addr.String(), b.addr.String()) }
		slices.SortFunc(plans, same)
		slices.SortFunc(again, same)
		if !slices.EqualFunc(plans, again, func(a, b listenPlan) bool { return a.listenBind == b.listenBind }) {
			t.Errorf("in reverse: %v, want %v", again, plans)
		}
	})
}

// fakeListenSystem is a system in which some addresses are taken by others.
type fakeListenSystem struct {
	taken []listenBind
	open  []listenBind
	next  uint16
}

func (f *fakeListenSystem) listen(at listenBind) (*listenSocket, error) {
	if at.addr.Port() == 0 {
		f.next++
		at.addr = netip.AddrPortFrom(at.addr.Addr(), f.next)
	}
	for _, o := range append(slices.Clone(f.taken), f.open...) {
		if o.overlaps(at) {
			return nil, syscall.EADDRINUSE
		}
	}
	f.open = append(f.open, at)
	return &listenSocket{listenBind: at}, nil
}

// TestListenBinderProperties: whatever is taken by others, each address is bound
// or has an error; a bound one is covered by an open socket; and an address
// with explicit port that is free of others by itself is always bound.
func TestListenBinderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		taken, _ := listenTargets(drawListenSet(t))
		system := &fakeListenSystem{next: 1000}
		for _, ap := range taken {
			dual := rapid.Bool().Draw(t, "dual") && ap.Addr() == netip.IPv6Unspecified()
			system.taken = append(system.taken, listenBind{ap, dual})
		}
		set := drawListenSet(t).Filter(func(e mpaddr.Endpoint) bool { return e.Port() != 0 })
		b := &listenBinder{open: system.listen, probe: func(netip.Addr) error { return nil }}
		b.ask(set)
		_, all := listenTargets(set)
		b.bindAll(planListen(b.want, all))
		for i, r := range b.results {
			covered := slices.ContainsFunc(system.open, func(o listenBind) bool { return o.covers(b.want[i]) })
			if covered != (r.Err == nil) {
				t.Errorf("%v: %v, covered %v by %v", b.want[i], r, covered, system.open)
			}
			alone := listenBind{addr: b.want[i]}
			free := !slices.ContainsFunc(system.taken, alone.overlaps)
			if free && r.Err != nil && !b.want[i].Addr().IsUnspecified() {
				t.Errorf("%v is free, and %v", b.want[i], r)
			}
		}
		if len(b.sockets) != len(system.open) {
			t.Errorf("%d sockets kept, %d opened", len(b.sockets), len(system.open))
		}
	})
}

// TestListenPortForAll: addresses of port 0 get one port, which is free for all
// of them; after some tries the one without it is given up.
func TestListenPortForAll(t *testing.T) {
	for _, test := range []struct {
		name  string
		taken int // ports of the second address that others have
		bound int
		tries int
	}{{"free", 0, 2, 1}, {"third try", 2, 2, 3}, {"never", 1 << 10, 1, maxPortTries}} {
		t.Run(test.name, func(t *testing.T) {
			set := mpaddr.MustParse("192.0.2.1:0,192.0.2.2:0,192.0.2.3:80")
			system := &fakeListenSystem{next: 1000}
			for n := range test.taken {
				ap := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(1001+n))
				system.taken = append(system.taken, listenBind{addr: ap})
			}
			b := &listenBinder{probe: func(netip.Addr) error { return nil }}
			tries := 0
			b.open = func(at listenBind) (*listenSocket, error) {
				if at.addr.Port() == 0 {
					tries++
					system.open = nil // what an earlier try had is closed
				}
				return system.listen(at)
			}
			b.ask(set)
			_, all := listenTargets(set)
			plans := planListen(b.want, all)
			b.bindAll(plans)
			bound := 0
			for _, r := range b.results[:2] {
				if r.Err == nil {
					bound++
					if r.Bound.Port() != b.port || !r.ChosenPort {
						t.Errorf("%v, want port %d", r, b.port)
					}
				} else if !errors.Is(r.Err, syscall.EADDRINUSE) {
					t.Error(r)
				}
			}
			if bound != test.bound || tries != test.tries || b.results[2].Err != nil {
				t.Errorf("%d bound after %d tries, want %d after %d; %v", bound, tries, test.bound, test.tries, b.results[2])
			}
		})
	}
}
