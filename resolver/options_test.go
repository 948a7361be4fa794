package resolver_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestSingleRequest: with the option, AAAA is asked first and A after its
// answer.
func TestSingleRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, n := virtual(t, one+"options single-request\n", onServer(late(dual())))
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwBoth) || took != 2*rtt {
			t.Errorf("got %v, %v after %v; want two round trips", set(a), err, took)
		}
		if len(n.Dials()) != 2 {
			t.Errorf("sockets %v", n.Dials())
		}
	})
}

// TestServerOptions: what resolv.conf says about servers reaches them.
func TestServerOptions(t *testing.T) {
	tests := map[string]struct {
		options string
		check   func(t *testing.T, n *dnstest.Net, a *resolver.Answer)
	}{
		"use-vc": {"use-vc", func(t *testing.T, n *dnstest.Net, a *resolver.Answer) {
			if q := n.Server(serverAddr).Queries()[0]; q.Proto != "tcp" || a.Families[0].Proto != "tcp" {
				t.Errorf("asked over %s", q.Proto)
			}
		}},
		"trust-ad": {"trust-ad", func(t *testing.T, n *dnstest.Net, a *resolver.Answer) {
			if q := n.Server(serverAddr).Queries()[0]; !q.AD || !a.Families[0].Authenticated {
				t.Errorf("AD asked %v, believed %v; want both", q.AD, a.Families[0].Authenticated)
			}
		}},
		"no trust-ad": {"ndots:1", func(t *testing.T, n *dnstest.Net, a *resolver.Answer) {
			if q := n.Server(serverAddr).Queries()[0]; q.AD || a.Families[0].Authenticated {
				t.Errorf("AD asked %v, believed %v; want neither", q.AD, a.Families[0].Authenticated)
			}
		}},
		"no-aaaa": {"no-aaaa", func(t *testing.T, n *dnstest.Net, a *resolver.Answer) {
			if len(a.Families) != 1 || n.Server(serverAddr).Count("", "AAAA") != 0 {
				t.Errorf("asked for AAAA: %+v", a.Families)
			}
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			script := func(q dnstest.Query) dnstest.Action {
				a := dual()(q)
				a.AD = true
				return a
			}
			r, n := virtual(t, two+"options "+tc.options+"\n", map[string]dnstest.Script{serverAddr: script, otherAddr: script})
			a, err := r.Lookup(t.Context(), "www.example.")
			if err != nil {
				t.Fatal(err)
			}
			tc.check(t, n, a)
		})
	}
}

// TestRotate: with the option each look-up begins with the next server.
func TestRotate(t *testing.T) {
	r, n := virtual(t, two+"options rotate\n", map[string]dnstest.Script{serverAddr: dual(), otherAddr: dual()})
	for _, name := range []string{"four.example.", "www.example.", "six.example.", "alias.example."} {
		if _, err := r.Lookup(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range []string{serverAddr, otherAddr} {
		if s := n.Server(addr); s.Count("", "A") != 2 || s.Count("", "AAAA") != 2 {
			t.Errorf("%s was asked %+v, want two look-ups of four", addr, s.Queries())
		}
	}
}

func TestTimeoutAndAttempts(t *testing.T) {
	tests := map[string]struct {
		options  string
		timeout  time.Duration
		attempts int
		took     time.Duration
	}{
		"resolv.conf":    {"timeout:2 attempts:3", 0, 0, 6 * time.Second},
		"resolver's own": {"timeout:2 attempts:3", time.Second, 1, time.Second},
		"defaults":       {"ndots:1", 0, 0, 10 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := virtual(t, one+"options "+tc.options+"\n", onServer(drop))
				r.Timeout, r.Attempts = tc.timeout, tc.attempts
				_, took, err := timed(t, r, "www.example.")
				if !errors.Is(err, resolver.ErrTimeout) || took != tc.took {
					t.Errorf("got %v after %v, want a time-out after %v", err, took, tc.took)
				}
			})
		})
	}
}
