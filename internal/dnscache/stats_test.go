package dnscache

import (
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// TestStatsOfAScript: a question is one hit or one miss, however many ways there
// are to look for its answer.
func TestStatsOfAScript(t *testing.T) {
	c := New(Config{MaxStale: time.Hour})
	www := question(t, "www.example.com", dnswire.TypeA)
	no := question(t, "no.example.com", dnswire.TypeA)
	key := www.AppendKey(nil, false, false)
	below := question(t, "a.no.example.com", dnswire.TypeA).AppendKey(nil, false, false)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	lookUp := func(key []byte, now time.Time) { // as the daemon does
		if _, _, ok := c.Get(nil, key, now); ok {
			return
		}
		if _, info, ok := c.GetStale(nil, key, now); ok && !info.Stale {
			return
		}
		c.GetCut(nil, key, now)
	}
	for _, step := range []struct {
		what         string
		do           func()
		hits, misses uint64
	}{
		{"nothing there", func() { lookUp(key, start) }, 0, 1},
		{"fetched", func() { c.Put(key, addA(reply(t, www, dnswire.RCodeSuccess), 60, 60), start) }, 0, 1},
		{"put while it was looked for", func() { c.GetStale(nil, key, start) }, 0, 1},
		{"there", func() { lookUp(key, at(time.Second)) }, 1, 1},
		{"expired", func() { lookUp(key, at(time.Minute)) }, 1, 2},
		{"beyond being stale", func() { lookUp(key, at(2*time.Hour)) }, 1, 3},
		{"a name that does not exist", func() {
			c.Put(no.AppendKey(nil, false, false), addSOA(reply(t, no, dnswire.RCodeNameError), authority, 60, 60), start)
		}, 1, 3},
		{"itself", func() { lookUp(no.AppendKey(nil, false, false), start) }, 2, 3},
		{"below it", func() { lookUp(below, start) }, 2, 4},
		{"below it, expired", func() { lookUp(below, at(time.Minute)) }, 2, 5},
		{"no key", func() { lookUp(nil, start) }, 2, 5},
	} {
		step.do()
		if got := c.Stats(); got.Hits != step.hits || got.Misses != step.misses {
			t.Errorf("%s: %d hits, %d misses; want %d, %d", step.what, got.Hits, got.Misses, step.hits, step.misses)
		}
	}
}
