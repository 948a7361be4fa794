package resolver_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestCaching: how long answers, absence and failures are kept. Each look-up is
// two questions, so two queries.
func TestCaching(t *testing.T) {
	tests := map[string]struct {
		script dnstest.Script
		kept   time.Duration // still cached after this
		gone   time.Duration // asked again after this
		each   int           // queries of a look-up that is not cached
	}{
		"answers, by the least TTL": {dual(), 99 * time.Second, 101 * time.Second, 1},
		"NXDOMAIN, by the SOA":      {dnstest.Always(dnstest.NXDomain()), 59 * time.Second, 61 * time.Second, 2},
		"NODATA, by the SOA":        {dnstest.Always(dnstest.NoData()), 59 * time.Second, 61 * time.Second, 2},
		"NXDOMAIN without an SOA":   {dnstest.Always(dnstest.Action{RCode: 3}), -1, 0, 2},
		"SERVFAIL, briefly":         {dnstest.Always(dnstest.Action{RCode: 2}), 4 * time.Second, 6 * time.Second, 2},
		"silence, briefly":          {drop, 4 * time.Second, 6 * time.Second, 2}, // over TCP
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, n := virtual(t, one+"options attempts:1\n", onServer(tc.script))
				r.WaitAll = true
				queries := func() int { return len(n.Server(serverAddr).Queries()) }
				_, first := r.Lookup(t.Context(), "www.example.")
				start, before := time.Now(), queries()
				if tc.kept >= 0 {
					time.Sleep(tc.kept)
					a, err := r.Lookup(t.Context(), "www.example.")
					if queries() != before || (err == nil) != (first == nil) {
						t.Errorf("after %v: asked again %d times, %v", tc.kept, queries()-before, err)
					}
					if err == nil && (!a.Families[0].Cached || a.Families[0].Proto != "cache" || a.Families[0].Age != tc.kept) {
						t.Errorf("family %+v, want it from the cache, %v old", a.Families[0], tc.kept)
					}
					if err == nil && a.TTL(time.Now()) != 100*time.Second-tc.kept {
						t.Errorf("TTL %v, want it counted down", a.TTL(time.Now()))
					}
				}
				time.Sleep(time.Until(start.Add(tc.gone)))
				_, _ = r.Lookup(t.Context(), "www.example.")
				if got := queries() - before; got != tc.each {
					t.Errorf("after %v: %d queries, want %d", tc.gone, got, tc.each)
				}
			})
		})
	}
}

func TestNoCache(t *testing.T) {
	r, n := virtual(t, one, onServer(dual()))
	r.CacheOctets = -1
	for range 2 {
		if _, err := r.Lookup(t.Context(), "www.example."); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(n.Server(serverAddr).Queries()); got != 4 {
		t.Errorf("%d queries, want 4", got)
	}
}

// TestGivingUpIsNotAFailure: what a caller had no patience for is asked again.
func TestGivingUpIsNotAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(q dnstest.Query) dnstest.Action {
			a := dual()(q)
			if q.Nth == 0 {
				a.Delay = 3 * time.Second
			}
			return a
		}
		r, _ := virtual(t, one, onServer(slow))
		ctx, cancel := contextWithTimeout(t, time.Millisecond)
		defer cancel()
		if _, err := r.Lookup(ctx, "www.example."); !errors.Is(err, resolver.ErrTimeout) {
			t.Fatalf("got %v", err)
		}
		if a, err := r.Lookup(t.Context(), "www.example."); err != nil || !same(set(a), wwwBoth) {
			t.Errorf("got %v, %v", set(a), err)
		}
	})
}
