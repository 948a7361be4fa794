package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

// arrivals are the results of a stream as "TYPE kind@time".
func arrivals(ctx context.Context, r *resolver.Resolver, name string) []string {
	start := time.Now()
	var out []string
	for f, err := range r.Stream(ctx, name) {
		what := "found"
		var e *resolver.Error
		if errors.As(err, &e) {
			what = e.Kind.Error()
		}
		out = append(out, fmt.Sprintf("%s %s@%v", f.Type, what, time.Since(start)))
	}
	return out
}

func TestStream(t *testing.T) {
	delayed := func(script dnstest.Script, d time.Duration) dnstest.Script {
		return func(q dnstest.Query) dnstest.Action {
			a := script(q)
			a.Delay += d
			return a
		}
	}
	none := dnstest.Always(dnstest.NoData())
	tests := map[string]struct {
		a, aaaa dnstest.Script
		want    []string
	}{
		"each as it comes":          {delayed(dual(), 2*rtt), delayed(dual(), rtt), []string{"AAAA found@20ms", "A found@40ms"}},
		"A first":                   {delayed(dual(), rtt), delayed(dual(), time.Second), []string{"A found@20ms", "AAAA found@1s"}},
		"negative first is held":    {delayed(dual(), time.Second), none, []string{"AAAA no records of this type@1s", "A found@1s"}},
		"negative last":             {dual(), delayed(none, rtt), []string{"A found@0s", "AAAA no records of this type@20ms"}},
		"one family never answered": {dual(), drop, []string{"A found@0s", "AAAA timed out@10s"}},
		"nothing":                   {none, none, []string{"A no records of this type@0s", "AAAA no records of this type@0s"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := virtual(t, one, onServer(typed("A", tc.a, tc.aaaa)))
				got := arrivals(t.Context(), r, "www.example.")
				if name == "nothing" {
					slices.Sort(got)
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		})
	}
}

func TestStreamOfOneError(t *testing.T) {
	r, _ := virtual(t, one, onServer(drop))
	if got := arrivals(t.Context(), r, "a..b"); len(got) != 1 || !strings.HasPrefix(got[0], " bad name@") {
		t.Errorf("bad name: got %q", got)
	}
	if got := arrivals(t.Context(), r, "192.0.2.1"); len(got) != 1 {
		t.Errorf("literal: got %q", got)
	}
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(drop))
		ctx, cancel := contextWithTimeout(t, time.Second)
		defer cancel()
		if got := arrivals(ctx, r, "www.example."); !slices.Equal(got, []string{" timed out@1s"}) {
			t.Errorf("deadline: got %q", got)
		}
	})
}

// TestStreamBreak: leaving the loop cancels what is out, and waits for it:
// goleak and the bubble would tell.
func TestStreamBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("AAAA", drop, dual())))
		start := time.Now()
		for f := range r.Stream(t.Context(), "www.example.") {
			if f.Type != "A" {
				t.Errorf("first is %s", f.Type)
			}
			break
		}
		synctest.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// TestStreamSearches: results of names without addresses are not shown when
// another of the search list has some.
func TestStreamSearches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one+"search a.example b.example\n", onServer(dnstest.Zone(
			"host.a.example. 60 IN TXT nothing", "host.b.example. 60 IN A 192.0.2.1",
		)))
		var names []string
		for f := range r.Stream(t.Context(), "host") {
			names = append(names, f.Name)
		}
		if !slices.Equal(slices.Compact(names), []string{"host.b.example."}) {
			t.Errorf("results for %q", names)
		}
	})
}

func TestLookupNetIP(t *testing.T) {
	r, _ := over(t, dual())
	tests := map[string][]string{"ip": wwwBoth, "ip4": wwwFour, "ip6": wwwSix}
	for network, want := range tests {
		addrs, err := r.LookupNetIP(t.Context(), network, "www.example")
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if err != nil || !same(got, want) {
			t.Errorf("%s: got %v, %v; want %v", network, got, err, want)
		}
	}
	if _, err := r.LookupNetIP(t.Context(), "ip6", "192.0.2.1"); !errors.Is(err, resolver.ErrNotFound) {
		t.Errorf("IPv4 literal as ip6: %v", err)
	}
	var unknown net.UnknownNetworkError
	if _, err := r.LookupNetIP(t.Context(), "tcp", "www.example"); !errors.As(err, &unknown) {
		t.Errorf("network tcp: %v", err)
	}
}

// TestOnlyTheFamilyAsked: ip4 sends no AAAA.
func TestOnlyTheFamilyAsked(t *testing.T) {
	r, s := over(t, dual())
	if _, err := r.LookupNetIP(t.Context(), "ip4", "four.example"); err != nil {
		t.Fatal(err)
	}
	if n := s.Count("", "AAAA"); n != 0 {
		t.Errorf("%d AAAA queries", n)
	}
}
