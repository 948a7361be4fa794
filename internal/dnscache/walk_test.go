package dnscache

import (
	"bytes"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// TestWalk sees every entry once, as Get gives it, and counts as no use.
func TestWalk(t *testing.T) {
	c := New(Config{MaxOctets: 4 << 20})
	want := map[string][]byte{}
	for i := range 1000 {
		key, msg := sample(t, i)
		if !c.Put(key, msg, start) {
			t.Fatal("not kept")
		}
		dnswire.PatchID(msg, 0)
		want[string(key)] = msg
	}
	before := c.Stats()
	later := start.Add(time.Second)
	c.Walk(later, func(key, msg []byte, info Info) bool {
		if !bytes.Equal(want[string(key)], msg) || info.Age != time.Second || !info.Stored.Equal(start.Truncate(time.Millisecond)) {
			t.Errorf("%x: %x, %+v", key, msg, info)
		}
		delete(want, string(key))
		return true
	})
	if len(want) > 0 {
		t.Errorf("%d entries not seen", len(want))
	}
	n := 0
	c.Walk(later, func([]byte, []byte, Info) bool { n++; return n < 3 })
	if n != 3 {
		t.Errorf("%d calls after false was returned at the third", n)
	}
	if after := c.Stats(); after != before {
		t.Errorf("%+v, before the walks %+v", after, before)
	}
}
