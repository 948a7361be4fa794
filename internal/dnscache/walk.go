package dnscache

import (
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Walk calls f with every entry, in no order, until f returns false: its key, its
// message with the TTLs that it was kept with, and what is known of it. Expired
// entries that are still there are among them, their Expires in the past. What is
// put or deleted meanwhile may be missed.
//
// f is called with a shard's lock held: it must be quick, keep neither slice and
// not call the cache. A walk is no use of an entry: it counts as no hit.
func (c *Cache) Walk(now time.Time, f func(key, msg []byte, info Info) bool) {
	for i := range c.shards {
		if !c.shards[i].walk(millis(now), f) {
			return
		}
	}
}

func (s *shard) walk(now int64, f func(key, msg []byte, info Info) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var room [dnswire.MaxKeyLen]byte
	for _, slot := range s.index.slots {
		if slot == 0 {
			continue
		}
		e := s.store.at(uint32(slot))
		key := append(append(room[:0], e.question()...), e.keyFlags())
		if !f(key, e.message(), e.info(max(0, now-e.stored()))) {
			return false
		}
	}
	return true
}
