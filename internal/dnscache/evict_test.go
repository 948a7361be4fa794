package dnscache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"pgregory.net/rapid"
)

// sample is the key and the reply of one name of many.
func sample(t testing.TB, i int) (key, msg []byte) {
	q := question(t, fmt.Sprintf("host%d.example.com", i), dnswire.TypeA)
	return q.AppendKey(nil, false, false), addA(reply(t, q, 0), 3600, 3600)
}

// ask looks number i up and puts it if it is not there.
func ask(t testing.TB, c *Cache, i int) (hit bool) {
	key, msg := sample(t, i)
	if _, _, hit = c.Get(nil, key, start); !hit {
		c.Put(key, msg, start)
	}
	return hit
}

func TestFillBeyondSize(t *testing.T) {
	const size, puts = 1 << 20, 30_000
	c := New(Config{MaxOctets: size})
	for i := range puts {
		key, msg := sample(t, i)
		if !c.Put(key, msg, start) {
			t.Fatal("not kept")
		}
		if st := c.Stats(); i%100 == 0 && st.Octets > size {
			t.Fatalf("after %d: %+v", i, st)
		}
	}
	st := c.Stats()
	if st.Entries < size/200 || st.Evictions+uint64(st.Entries) != puts {
		t.Errorf("%+v", st)
	}
	checkIntegrity(t, c)
}

// TestScanDoesNotPushOutWhatIsUsed asks for the same names again and again while thirty times as
// many pass by once.
func TestScanDoesNotPushOutWhatIsUsed(t *testing.T) {
	c := New(Config{MaxOctets: 1 << 20})
	const hot = 1000
	for range 3 {
		for i := range hot {
			ask(t, c, i)
		}
	}
	misses := 0
	for i := range 30 * hot {
		ask(t, c, hot+i)
		if i%20 == 0 && !ask(t, c, i/20%hot) {
			misses++
		}
	}
	if misses > hot/100 {
		t.Errorf("%d misses of names in use", misses)
	}
	checkIntegrity(t, c)
}

// TestZipfHitRate compares with least recently used of the same number of entries, on names asked
// with the frequencies of Zipf's law.
func TestZipfHitRate(t *testing.T) {
	const names, asks = 20_000, 60_000
	c := New(Config{MaxOctets: MinOctets})
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.01, 1, names-1)
	order := make([]int, asks)
	for i := range order {
		order[i] = int(zipf.Uint64())
	}
	hits := 0
	for _, i := range order {
		if ask(t, c, i) {
			hits++
		}
	}
	lru := lruHits(order, c.Stats().Entries)
	t.Logf("hits %.3f, with LRU %.3f, %d entries", float64(hits)/asks, float64(lru)/asks, c.Stats().Entries)
	if hits < lru {
		t.Errorf("%d hits of %d; LRU has %d", hits, asks, lru)
	}
	checkIntegrity(t, c)
}

// lruHits counts the hits of a cache of size entries that gives up what was not used for longest.
// An element of its queue counts only if it is its name's last.
func lruHits(order []int, size int) (hits int) {
	last := make(map[int]int)
	queue := make([]int, 0, len(order))
	head := 0
	for now, i := range order {
		if _, ok := last[i]; ok {
			hits++
		}
		last[i] = now
		queue = append(queue, i)
		for len(last) > size {
			if last[queue[head]] == head {
				delete(last, queue[head])
			}
			head++
		}
	}
	return hits
}

// TestEverythingUsed makes room where every entry has been used: the work is bounded, and nothing
// loops.
func TestEverythingUsed(t *testing.T) {
	c := New(Config{MaxOctets: MinOctets})
	for i := range 6000 {
		ask(t, c, i)
		for range 4 {
			ask(t, c, i)
		}
	}
	checkIntegrity(t, c)
}

func TestReplaceWithOtherSize(t *testing.T) {
	c := New(Config{MaxOctets: MinOctets})
	key, small := sample(t, 1)
	q := question(t, "host1.example.com", dnswire.TypeA)
	for i := range 1500 {
		msg := small
		if i%2 == 1 {
			msg = addTTL(reply(t, q, 0), 1+i%200, 300)
		}
		if !c.Put(key, msg, start) {
			t.Fatal("not kept")
		}
		got, _, ok := c.Get(nil, key, start)
		dnswire.PatchID(msg, 0)
		if !ok || !bytes.Equal(got, msg) {
			t.Fatalf("%d: %v %x", i, ok, got)
		}
	}
	if st := c.Stats(); st.Entries != 1 || st.Evictions != 0 {
		t.Errorf("%+v", st)
	}
	checkIntegrity(t, c)
}

func TestLargestEntries(t *testing.T) {
	c := New(Config{MaxOctets: MinOctets})
	for i := range 200 {
		q := question(t, fmt.Sprintf("host%d.example.com", i), dnswire.TypeA)
		msg := fillTo(reply(t, q, 0), MaxMessageLen)
		key := q.AppendKey(nil, false, false)
		if !c.Put(key, msg, start) {
			t.Fatal("not kept")
		}
		if got, _, ok := c.Get(nil, key, start); !ok || len(got) != len(msg) {
			t.Fatalf("%d: %v, %d octets", i, ok, len(got))
		}
	}
	checkIntegrity(t, c)
}

func TestFlushGivesMemoryBack(t *testing.T) {
	c := New(Config{MaxOctets: 2 << 20})
	for i := range 20_000 {
		ask(t, c, i)
	}
	before := c.Stats()
	c.Flush()
	st := c.Stats()
	if st.Entries != 0 || st.Octets != 0 || st.Misses != before.Misses {
		t.Errorf("%+v", st)
	}
	if ask(t, c, 1) || !ask(t, c, 1) {
		t.Error("not usable after Flush")
	}
	checkIntegrity(t, c)
}

// checkIntegrity checks that index, queues and segments of every shard agree.
func checkIntegrity(t testing.TB, c *Cache) {
	t.Helper()
	for i := range c.shards {
		s := &c.shards[i]
		live, segments := 0, 0
		for _, q := range []queue{s.small, s.main} {
			segments += len(q)
			for _, id := range q {
				live += liveEntries(t, s, id)
			}
		}
		if live != s.index.count || segments != s.store.fresh-len(s.store.released) {
			t.Errorf("shard %d: %d of %d entries, %d of %d-%d segments", i, live, s.index.count,
				segments, s.store.fresh, len(s.store.released))
		}
		if s.store.fresh > 0 && s.store.available() < reserve {
			t.Errorf("shard %d: the reserve is gone", i)
		}
	}
}

// liveEntries counts the entries of a segment that are not dead; the index must find each.
func liveEntries(t testing.TB, s *shard, id uint32) (live int) {
	seg := s.store.segments[id]
	for off := 0; off < seg.used; {
		e := entry(seg.buf[off:])
		if !e.dead() {
			live++
			tag := uint32(hashKey(s.seed, e.question(), e.keyFlags()))
			key := append(bytes.Clone(e.question()), e.keyFlags())
			if found, slot := s.find(key, tag); found == nil || uint32(s.index.slots[slot]) != location(id, off) {
				t.Errorf("entry %x is not in the index", key)
			}
		}
		off += e.size()
	}
	return live
}

// TestModel runs random operations on a small cache beside a map. What Get gives must be what was
// put last, aged; a miss is right if the entry expired, was deleted, or room was needed.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := New(Config{MaxOctets: MinOctets})
		model := map[int]modelEntry{}
		now := start
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				from, ttl := rapid.IntRange(0, 300).Draw(rt, "name"), rapid.Uint32Range(1, 100).Draw(rt, "ttl")
				records := rapid.IntRange(1, 300).Draw(rt, "records")
				for i := from; i < from+20; i++ {
					q := question(t, fmt.Sprintf("n%d", i), dnswire.TypeA)
					msg := addTTL(reply(t, q, 0), records, ttl)
					if !c.Put(q.AppendKey(nil, false, false), msg, now) {
						rt.Fatal("not kept")
					}
					model[i] = modelEntry{now, ttl, msg}
				}
			},
			"get": func(rt *rapid.T) {
				i := rapid.IntRange(0, 300).Draw(rt, "name")
				model[i].check(rt, c, question(t, fmt.Sprintf("n%d", i), dnswire.TypeA), now)
			},
			"delete": func(rt *rapid.T) {
				i := rapid.IntRange(0, 300).Draw(rt, "name")
				c.Delete(question(t, fmt.Sprintf("n%d", i), dnswire.TypeA).AppendKey(nil, false, false))
				delete(model, i)
			},
			"wait": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "ms")) * time.Millisecond)
			},
			"": func(rt *rapid.T) {
				if st := c.Stats(); st.Octets > MinOctets || st.Entries > len(model) {
					rt.Fatalf("%+v with %d in the model", st, len(model))
				}
				checkIntegrity(t, c)
			},
		})
	})
}

// addTTL adds n address records of one TTL.
func addTTL(msg []byte, n int, ttl uint32) []byte {
	ttls := make([]uint32, n)
	for i := range ttls {
		ttls[i] = ttl
	}
	return addA(msg, ttls...)
}

type modelEntry struct {
	put time.Time
	ttl uint32
	msg []byte
}

func (m modelEntry) check(rt *rapid.T, c *Cache, q dnswire.Question, now time.Time) {
	got, _, ok := c.Get(nil, q.AppendKey(nil, false, false), now)
	if !ok {
		if m.msg != nil && now.Sub(m.put) < time.Duration(m.ttl)*time.Second && c.Stats().Evictions == 0 {
			rt.Fatalf("%v is gone", q)
		}
		return
	}
	if m.msg == nil {
		rt.Fatalf("%v was never put, or deleted", q)
	}
	want := bytes.Clone(m.msg)
	dnswire.PatchID(want, 0)
	if err := dnswire.PatchTTLs(want, uint32(now.Sub(m.put)/time.Second)); err != nil {
		rt.Fatal(err)
	}
	if ttl, _ := dnswire.MinTTL(got); !bytes.Equal(got, want) || ttl == 0 {
		rt.Fatalf("%v: %x; want %x", q, got, want)
	}
}

// TestConcurrentUse is for the race detector: every method at once on few shards.
func TestConcurrentUse(t *testing.T) {
	c := New(Config{MaxOctets: 2 << 20})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 0))
			buf := make([]byte, 0, 512)
			for range 5000 {
				key, msg := sample(t, rng.IntN(30_000))
				switch rng.IntN(10) {
				case 0:
					c.Delete(key)
				case 1:
					c.Stats()
				case 2, 3, 4, 5:
					c.Put(key, msg, start)
				default:
					if got, _, ok := c.Get(buf, key, start); ok && !bytes.Equal(got[2:], msg[2:]) {
						t.Errorf("%x; want %x", got, msg)
					}
				}
			}
		})
	}
	wg.Go(c.Flush)
	wg.Wait()
	checkIntegrity(t, c)
}
