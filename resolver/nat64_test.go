package resolver_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

const ownPrefix = "2001:db8:64::/96"

// dns64 is a DNS64 server: www.example has no AAAA of its own, six.example has.
func dns64() dnstest.Script {
	return late(dnstest.Zone(
		"ipv4only.arpa. 100 IN AAAA 2001:db8:64::192.0.0.170",
		"ipv4only.arpa. 100 IN AAAA 2001:db8:64::192.0.0.171",
		"www.example. 60 IN A 192.0.2.1",
		"www.example. 60 IN AAAA 2001:db8:64::192.0.2.1",
		"both.example. 60 IN A 192.0.2.1",
		"both.example. 60 IN AAAA 2001:db8::1",
		"known.example. 60 IN A 192.0.2.1",
		"known.example. 60 IN AAAA 64:ff9b::192.0.2.1",
		"inward.example. 60 IN AAAA 64:ff9b::127.0.0.1",
	))
}

// onlySix is a resolver on a network with IPv6 and a DNS64.
func onlySix(t *testing.T) (*resolver.Resolver, *dnstest.Server) {
	t.Helper()
	r, n := virtual(t, one, onServer(dns64()))
	resolver.UseSources(r, sixWays)
	return r, n.Server(serverAddr)
}

const arpa = "ipv4only.arpa."

// TestNAT64TurnedBack: the synthesised address is not a second path, the look-up
// takes no longer for it, and the prefix is asked for once in its TTL.
func TestNAT64TurnedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := onlySix(t)
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), []string{"192.0.2.1"}) || took != rtt {
			t.Errorf("got %v, %v after %v", set(a), err, took)
		}
		if !strings.Contains(a.Reasons()[0], "source 2001:db8:ff::2") || !strings.HasSuffix(a.Reasons()[0], "; turned back from 2001:db8:64::c000:201") {
			t.Errorf("reason %q", a.Reasons()[0])
		}
		if len(a.Dropped) != 1 || a.Dropped[0].Addr.String() != "2001:db8:64::c000:201" || !strings.Contains(a.Dropped[0].Why, "made of 192.0.2.1") {
			t.Errorf("dropped %v", a.Dropped)
		}
		if got := a.Families[0].Addrs[0].String(); got != "2001:db8:64::c000:201" {
			t.Errorf("what came in the answer has become %s", got)
		}
		if a, _, err := timed(t, r, "both.example."); err != nil || !same(set(a), []string{"192.0.2.1", "2001:db8::1"}) || len(a.Dropped) != 0 {
			t.Errorf("got %v, %v", set(a), err)
		}
		if got := s.Count(arpa, ""); got != 1 {
			t.Errorf("the prefix was asked for %d times", got)
		}
		time.Sleep(101 * time.Second)
		if _, _, err := timed(t, r, "www.example."); err != nil || s.Count(arpa, "") != 2 {
			t.Errorf("after its TTL: %v, asked %d times", err, s.Count(arpa, ""))
		}
	})
}

// TestNAT64Prefixes: where the prefix comes from, and when no one is asked.
func TestNAT64Prefixes(t *testing.T) {
	turnedBack, kept := []string{"192.0.2.1"}, []string{"192.0.2.1", "2001:db8:64::c000:201"}
	tests := map[string]struct {
		change func(*resolver.Resolver)
		host   string
		want   []string
		asked  int
	}{
		"IPv4 at hand":       {func(r *resolver.Resolver) { resolver.UseSources(r, bothWays) }, "www.example.", kept, 0},
		"the setting to ask": {func(r *resolver.Resolver) { resolver.UseSources(r, bothWays); r.DiscoverNAT64 = true }, "www.example.", turnedBack, 1},
		"set": {func(r *resolver.Resolver) {
			r.NAT64 = []netip.Prefix{netip.MustParsePrefix("2001:db8:65::/96"), netip.MustParsePrefix(ownPrefix)}
		}, "www.example.", turnedBack, 0},
		"no way at all": {func(r *resolver.Resolver) {
			resolver.UseSources(r, func(netip.Addr) netip.Addr { return netip.Addr{} })
		}, "www.example.", kept, 0},
		"well known": {func(r *resolver.Resolver) { resolver.UseSources(r, bothWays) }, "known.example.", turnedBack, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := onlySix(t)
				tc.change(r)
				a, err := r.Lookup(t.Context(), tc.host)
				if err != nil || !same(set(a), tc.want) {
					t.Errorf("got %v, %v; want %v", set(a), err, tc.want)
				}
				if got := s.Count(arpa, ""); got != tc.asked {
					t.Errorf("asked %d times, want %d", got, tc.asked)
				}
			})
		})
	}
}

// TestNAT64IsNoWayIn: what an address is made of is filtered like any other.
func TestNAT64IsNoWayIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := onlySix(t)
		if a, err := r.Lookup(t.Context(), "inward.example."); !errors.Is(err, resolver.ErrFiltered) || a.Record.Len() != 0 {
			t.Errorf("got %v, %v", set(a), err)
		}
	})
}

// TestNAT64NeverAnswered: the wait for the prefix is the Resolution Delay, and
// the failure is remembered for a while.
func TestNAT64NeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(onServer(dnstest.Overlay(dns64(), func(q dnstest.Query) bool { return q.Name == arpa }, drop)))
		t.Cleanup(n.Close)
		r := config(t, one, "")
		r.Dial = n.Dial
		resolver.UseSources(r, sixWays)
		if _, took, err := timed(t, r, "both.example."); err != nil || took != rtt+resolver.DefaultResolutionDelay {
			t.Errorf("took %v, %v", took, err)
		}
		time.Sleep(20 * time.Second)
		asked := n.Server(serverAddr).Count(arpa, "")
		if _, took, err := timed(t, r, "www.example."); err != nil || took != rtt || n.Server(serverAddr).Count(arpa, "") != asked {
			t.Errorf("second took %v, %v", took, err)
		}
	})
}

func TestSynthesize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := onlySix(t)
		tests := map[string]string{
			"192.0.2.33":        "2001:db8:64::c000:221",
			"::ffff:192.0.2.33": "2001:db8:64::c000:221",
			"10.0.0.1":          "2001:db8:64::a00:1",
			"127.0.0.1":         "",
			"224.0.0.1":         "",
			"2001:db8::1":       "",
		}
		for addr, want := range tests {
			got, ok := r.Synthesize(t.Context(), netip.MustParseAddr(addr))
			if ok != (want != "") || ok && got.String() != want {
				t.Errorf("%s became %v %v, want %q", addr, got, ok, want)
			}
		}
		if got := s.Count(arpa, ""); got != 1 {
			t.Errorf("the prefix was asked for %d times", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r, s := onlySix(t)
		resolver.UseSources(r, bothWays)
		if got, ok := r.Synthesize(t.Context(), netip.MustParseAddr("192.0.2.33")); ok || s.Count(arpa, "") != 0 {
			t.Errorf("with IPv4 at hand: %v", got)
		}
	})
}

// TestLookupNetIPThroughNAT64: addresses to connect to.
func TestLookupNetIPThroughNAT64(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := onlySix(t)
		for network, want := range map[string]string{"ip": "2001:db8:64::c000:201", "ip6": "2001:db8:64::c000:201", "ip4": "192.0.2.1"} {
			addrs, err := r.LookupNetIP(t.Context(), network, "www.example.")
			if err != nil || !slices.Equal(addrs, []netip.Addr{netip.MustParseAddr(want)}) {
				t.Errorf("%s: got %v, %v; want %s", network, addrs, err, want)
			}
		}
	})
}

func TestBadNAT64Setting(t *testing.T) {
	r := config(t, one, "")
	r.NAT64 = []netip.Prefix{netip.MustParsePrefix("2001:db8::/33")}
	if _, err := r.Lookup(t.Context(), "www.example."); !errors.Is(err, resolver.ErrBadPrefix) || !strings.Contains(err.Error(), "2001:db8::/33") {
		t.Errorf("got %v", err)
	}
}
