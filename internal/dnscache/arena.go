package dnscache

import "runtime"

// arena is the memory of one shard's segments, taken from the system and not
// from the heap: the garbage collector lets a heap grow to twice of what is in
// use, and for each octet that the cache holds another would be let go to waste.
// The system gives a page when it is first written to.
type arena struct {
	octets  []byte
	cleanup runtime.Cleanup
}

// newArena reserves n octets; nil where the system does not give them.
func newArena(n int) *arena {
	octets, err := mapMemory(n)
	if err != nil {
		return nil
	}
	a := &arena{octets: octets}
	a.cleanup = runtime.AddCleanup(a, unmapMemory, octets) // for caches that are dropped
	return a
}

// free gives the memory back at once. Nothing in it may be used any more.
func (a *arena) free() {
	if a != nil {
		a.cleanup.Stop()
		unmapMemory(a.octets)
	}
}
