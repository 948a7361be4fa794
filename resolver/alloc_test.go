//go:build !race

// With the race detector what is kept for use again is thrown away at random.

package resolver_test

import (
	"context"
	"net"
	"testing"
)

// cachedAllocs is how many allocations a look-up of a name with an address in each
// family costs at most when the cache has both: the name on the wire, the two
// replies, the questions and the channel that they come by, the answer, and two of
// its record.
const cachedAllocs = 8

// TestCachedAllocations holds that.
func TestCachedAllocations(t *testing.T) {
	r := config(t, "", "")
	r.Servers, r.WaitAll = []string{quick(t)}, true
	look := func() {
		if a, err := r.Lookup(t.Context(), "www.example.com."); err != nil || a.Record.Len() != 2 {
			t.Fatal(a, err)
		}
	}
	look() // over the network, which has goroutines
	if got := testing.AllocsPerRun(200, look); got > cachedAllocs {
		t.Errorf("%v allocations, want at most %d", got, cachedAllocs)
	}
}

// TestLookupAllocations: a look-up over the network costs at most a fifth of the
// allocations of net.Resolver's, with the same server and names that are new each time.
func TestLookupAllocations(t *testing.T) {
	const share, runs = 5, 500
	server, next := quick(t), newNames()
	std := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}}
	theirs := testing.AllocsPerRun(runs, func() {
		if addrs, err := std.LookupNetIP(t.Context(), "ip", next()); err != nil || len(addrs) != 2 {
			t.Fatal(addrs, err)
		}
	})
	r := config(t, "", "")
	r.Servers, r.CacheOctets, r.WaitAll = []string{server}, -1, true
	ours := testing.AllocsPerRun(runs, func() {
		if a, err := r.Lookup(t.Context(), next()); err != nil || a.Record.Len() != 2 {
			t.Fatal(a, err)
		}
	})
	if ours*share > theirs {
		t.Errorf("%v allocations, net.Resolver has %v: want a fifth at most", ours, theirs)
	}
}
