package resolver_test

import "testing"

// cachedAllocs is how many allocations a look-up of a name with an address in each
// family costs at most when the cache has both: the name on the wire, the two
// replies, the questions and the channel that they come by, the answer, and two of
// its record: eight; in a build with the race detector one or two more.
const cachedAllocs = 10

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
