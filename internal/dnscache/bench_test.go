package dnscache

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

func BenchmarkHit(b *testing.B) {
	c := New(Config{})
	key, msg := sample(b, 1)
	c.Put(key, msg, start)
	buf := make([]byte, 0, 1232)
	now := start.Add(5 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := c.Get(buf, key, now); !ok {
			b.Fatal("miss")
		}
	}
}

// BenchmarkAnswer goes the whole way of a hit, from the client's packet to the reply.
func BenchmarkAnswer(b *testing.B) {
	c := New(Config{})
	q := question(b, "www.example.com", dnswire.TypeA)
	c.Put(q.AppendKey(nil, false, false), addA(reply(b, q, 0), 300, 300), start)
	packet := dnswire.AppendQuery(nil, 1, q, dnswire.QueryOptions{RD: true, UDPSize: 1232})
	buf, keybuf := make([]byte, 0, 1232), make([]byte, 0, dnswire.MaxKeyLen)
	now := start.Add(5 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		if answer(c, buf, keybuf, packet, now) == nil {
			b.Fatal("no answer")
		}
	}
}

// BenchmarkHitOfMany hits names all over a cache that does not fit the processor's.
func BenchmarkHitOfMany(b *testing.B) {
	const names = 100_000
	c := New(Config{MaxOctets: 64 << 20})
	keys := make([][]byte, names)
	for i := range keys {
		key, msg := sample(b, i)
		keys[i] = key
		c.Put(key, msg, start)
	}
	buf := make([]byte, 0, 1232)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, _, ok := c.Get(buf, keys[i*7919%names], start); !ok {
			b.Fatal("miss")
		}
	}
}

func BenchmarkHitParallel(b *testing.B) {
	c := New(Config{})
	b.RunParallel(func(pb *testing.PB) {
		key, msg := sample(b, 1)
		c.Put(key, msg, start)
		buf := make([]byte, 0, 1232)
		for pb.Next() {
			c.Get(buf, key, start)
		}
	})
}

// BenchmarkHitParallelSpread is BenchmarkHitParallel with names of their own for each goroutine, as the
// names of a busy server are mostly in different shards; the other has all in one.
func BenchmarkHitParallelSpread(b *testing.B) {
	const names = 1024
	c := New(Config{})
	keys := make([][]byte, names)
	for i := range keys {
		key, msg := sample(b, i)
		keys[i] = key
		c.Put(key, msg, start)
	}
	var worker atomic.Uint32
	b.RunParallel(func(pb *testing.PB) {
		buf := make([]byte, 0, 512)
		for i := worker.Add(1) * 389; pb.Next(); i++ {
			c.Get(buf, keys[i%names], start)
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	c := New(Config{})
	key, _ := sample(b, 1)
	for b.Loop() {
		c.Get(nil, key, start)
	}
}

// BenchmarkReplace puts over an entry of the same size, as a refresh does.
func BenchmarkReplace(b *testing.B) {
	c := New(Config{})
	key, msg := sample(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		c.Put(key, msg, start)
	}
}

// BenchmarkPutNew puts ever new names into a full cache.
func BenchmarkPutNew(b *testing.B) {
	const names = 100_000
	keys, msgs := make([][]byte, names), make([][]byte, names)
	for i := range keys {
		keys[i], msgs[i] = sample(b, i)
	}
	c := New(Config{MaxOctets: 1 << 20})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Put(keys[i%names], msgs[i%names], start)
	}
}

// BenchmarkEntryOctets reports what an entry of two records costs, by the cache's own count and by
// the heap: names of about 17 octets, with A and AAAA, as many as the cache takes without giving up
// any.
func BenchmarkEntryOctets(b *testing.B) {
	const names = 1_000_000
	aaaa := string(make([]byte, 16))
	for b.Loop() {
		before := heap()
		c := New(Config{MaxOctets: 512 << 20})
		for i := range names {
			key, msg := sample(b, i)
			c.Put(key, msg, start)
			q := question(b, fmt.Sprintf("host%d.example.com", i), dnswire.TypeAAAA)
			msg = add(reply(b, q, 0), dnswire.SectionAnswer, dnswire.TypeAAAA, 300, aaaa)
			c.Put(q.AppendKey(nil, false, false), add(msg, dnswire.SectionAnswer, dnswire.TypeAAAA, 300, aaaa), start)
		}
		st := c.Stats()
		b.ReportMetric(float64(st.Octets)/float64(st.Entries), "octets/entry")
		b.ReportMetric(float64(heap()-before)/float64(st.Entries), "heap/entry")
		runtime.KeepAlive(c)
		b.ReportMetric(float64(st.Entries), "entries")
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
