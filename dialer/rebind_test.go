package dialer

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// TestLeaveOut: what the sets do not want is given up, unless it is all.
func TestLeaveOut(t *testing.T) {
	a, b, c := ends{v4a, v6a}, ends{v4b, v6a}, ends{v4a, v6b}
	for _, tt := range []struct {
		name       string
		live, want []ends
		drop       []ends
		ok         bool
	}{
		{"nothing to do", []ends{a, b}, []ends{a, b}, nil, true},
		{"one of three", []ends{a, b, c}, []ends{b}, []ends{a, c}, true},
		{"all", []ends{a, b}, []ends{c}, nil, false},
		{"the last", []ends{a}, nil, nil, false},
		{"none there", nil, []ends{a}, nil, false},
	} {
		drop, ok := leaveOut(tt.live, func(e ends) bool { return slices.Contains(tt.want, e) })
		if !slices.Equal(drop, tt.drop) || ok != tt.ok {
			t.Errorf("%s: %v, %v", tt.name, drop, ok)
		}
	}
}

// TestLeaveOutProperties: one path is always left, and what is left is wanted.
func TestLeaveOutProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := []netip.AddrPort{v4a, v4b, v6a, v6b}
		var live []ends
		for range rapid.IntRange(0, 6).Draw(t, "paths") {
			live = append(live, ends{rapid.SampledFrom(pool).Draw(t, "local"), rapid.SampledFrom(pool).Draw(t, "remote")})
		}
		set := rapid.SliceOf(rapid.SampledFrom(pool)).Draw(t, "set")
		wants := func(e ends) bool { return slices.Contains(set, e.Remote) }
		drop, ok := leaveOut(live, wants)
		if ok != slices.ContainsFunc(live, wants) {
			t.Fatalf("ok %v", ok)
		}
		if !ok && len(drop) > 0 || ok && len(drop) >= len(live) {
			t.Fatalf("%v of %v dropped", drop, live)
		}
		if slices.ContainsFunc(drop, wants) {
			t.Fatalf("%v dropped, %v wanted", drop, set)
		}
	})
}

// TestReplace: the new paths are made before the old go, and a set that fails
// leaves everything as it was.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.pm.Script(v6b.Addr(), mptcptest.Script{Delay: 20 * time.Millisecond})
		b.pm.Script(v4b.Addr(), mptcptest.Script{Result: mptcptest.Refuse, Delay: 20 * time.Millisecond})
		b.settle(t, v6a, v4a)
		defer b.stop()
		to := func(list ...netip.AddrPort) error {
			return b.replace(t.Context(), func(s *subflows) error {
				s.remotes, s.replaced = list, true
				return nil
			})
		}
		remotes := func() (out []netip.AddrPort) {
			live, err := b.live()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range live {
				out = append(out, e.Remote)
			}
			return out
		}
		if err := to(v4b); !errors.Is(err, ErrNoPathLeft) || !slices.Equal(remotes(), []netip.AddrPort{v6a, v4a}) {
			t.Errorf("%v, %v", err, remotes())
		}
		if err := to(v4a, v6b, v4b); err != nil || !slices.Equal(remotes(), []netip.AddrPort{v4a, v6b}) {
			t.Errorf("%v, %v", err, remotes())
		}
		if err := to(v6a); err != nil || !slices.Equal(remotes(), []netip.AddrPort{v6a}) {
			t.Errorf("back to the first: %v, %v", err, remotes())
		}
	})
}
