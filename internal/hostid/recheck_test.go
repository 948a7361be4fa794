package hostid_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// TestRecheck: a pair may be looked at again when the belief, the last look or the
// last join is old enough.
func TestRecheck(t *testing.T) {
	m := hostid.NewMemory(0)
	ask := func(minute int, pair string, want bool) {
		t.Helper()
		if got := m.Recheck(name, node(pair[0]), node(pair[1]), start.Add(time.Duration(minute)*time.Minute)); got != want {
			t.Errorf("%s after %d minutes: %v", pair, minute, got)
		}
	}
	ask(0, "ab", false)
	ask(30, "ac", false)
	ask(59, "ba", false)
	ask(60, "ba", true)
	ask(61, "ab", false)
	ask(89, "ac", false)
	m.Record(name, node('a'), node('c'), hostid.Refused, start.Add(80*time.Minute))
	ask(90, "ac", false)
	ask(140, "ac", true)
	ask(141, "ab", true)
	m.Forget(name)
	ask(300, "ab", false)
	if long := string(make([]byte, hostid.MaxName+1)); m.Recheck(long, node('a'), node('b'), start) || m.Recheck(long, node('a'), node('b'), start.Add(48*time.Hour)) {
		t.Error("a name that is not kept was due")
	}
}

// TestRecheckIsBounded: whoever asks, and however often, a pair is looked at once
// in RecheckAfter; beyond the capacity the times of others are forgotten, which
// only puts them off.
func TestRecheckIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := hostid.NewMemory(rapid.IntRange(1, 8).Draw(t, "capacity"))
		last, now := map[string]time.Time{}, start
		for range rapid.IntRange(0, 80).Draw(t, "calls") {
			now = now.Add(drawMinutes.Draw(t, "later"))
			a, b := drawNode.Draw(t, "first"), drawNode.Draw(t, "addr")
			if b.Less(a) {
				a, b = b, a
			}
			key := fmt.Sprint(a, b)
			if m.Recheck(name, a, b, now) {
				if before, ok := last[key]; !ok || now.Sub(before) < hostid.RecheckAfter || a == b {
					t.Fatalf("%s at %v, after %v", key, now, before)
				}
				last[key] = now
			} else if _, ok := last[key]; !ok {
				last[key] = now
			}
		}
	})
}
