package dnscache

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

func key(t testing.TB, name string, typ dnswire.Type, do, cd bool) []byte {
	t.Helper()
	return question(t, name, typ).AppendKey(nil, do, cd)
}

// TestStaleIsBounded: what has expired is given by GetStale only, with a TTL of 30 s, until its limit,
// and giving it does not make it last longer.
func TestStaleIsBounded(t *testing.T) {
	c := New(Config{MaxStale: time.Hour})
	q := question(t, "www.example.com", dnswire.TypeA)
	k := q.AppendKey(nil, false, false)
	c.Put(k, addA(reply(t, q, 0), 60, 300), start)
	if _, info, ok := c.GetStale(nil, k, start.Add(59*time.Second)); !ok || info.Stale {
		t.Errorf("fresh: %v, %+v", ok, info)
	}
	for after := time.Minute; after < time.Minute+time.Hour; after += 10 * time.Minute {
		now := start.Add(after)
		if _, _, ok := c.Get(nil, k, now); ok {
			t.Fatalf("Get gives it after %v", after)
		}
		msg, info, ok := c.GetStale(nil, k, now)
		if ttl, _ := dnswire.MinTTL(msg); !ok || !info.Stale || ttl != StaleTTL || dnswire.Validate(msg) != nil {
			t.Fatalf("after %v: %v, %+v, TTL %d", after, ok, info, ttl)
		}
	}
	if _, _, ok := c.GetStale(nil, k, start.Add(time.Minute+time.Hour)); ok {
		t.Error("given beyond its limit")
	}
	if st := c.Stats(); st.Hits != 0 || st.Misses != 6 {
		t.Errorf("%+v", st)
	}
}

// TestStaleIsNotForAll: failures, what was stale where it came from, and a cache without the setting.
func TestStaleIsNotForAll(t *testing.T) {
	q := question(t, "www.example.com", dnswire.TypeA)
	k := q.AppendKey(nil, false, false)
	stale := func(code dnswire.EDE) []byte {
		return dnswire.AddOPT(addA(reply(t, q, 0), 60), dnswire.OPT{UDPSize: 1232, Options: dnswire.AppendEDE(nil, code, "")})
	}
	config := Config{MaxStale: time.Hour}
	for what, tt := range map[string]struct {
		config Config
		msg    []byte
		want   bool
	}{
		"answer":                    {config, addA(reply(t, q, 0), 60), true},
		"answer with another error": {config, stale(dnswire.EDEForgedAnswer), true},
		"NXDOMAIN":                  {config, addSOA(reply(t, q, dnswire.RCodeNameError), authority, 60, 60), true},
		"off":                       {Config{}, addA(reply(t, q, 0), 60), false},
		"failure":                   {config, reply(t, q, dnswire.RCodeServerFailure), false},
		"stale at its server":       {config, stale(dnswire.EDEStaleAnswer), false},
		"stale NXDOMAIN there":      {config, stale(dnswire.EDEStaleNXDomain), false},
	} {
		c := New(tt.config)
		if !c.Put(k, tt.msg, start) {
			t.Fatalf("%s: not kept", what)
		}
		if _, _, ok := c.GetStale(nil, k, start.Add(2*time.Minute)); ok != tt.want {
			t.Errorf("%s: given stale: %v", what, ok)
		}
	}
}

func TestFailureDoesNotReplaceStale(t *testing.T) {
	c := New(Config{MaxStale: time.Hour})
	q := question(t, "www.example.com", dnswire.TypeA)
	k := q.AppendKey(nil, false, false)
	c.Put(k, addA(reply(t, q, 0), 60), start)
	failure := reply(t, q, dnswire.RCodeServerFailure)
	if c.Put(k, failure, start.Add(2*time.Minute)) {
		t.Error("a failure pushed out what can be given as stale")
	}
	if !c.Put(k, failure, start.Add(2*time.Hour)) {
		t.Error("a failure is not kept where there is nothing to give")
	}
}

// TestRefreshIsDueOnce: the first hit of a used entry in the last tenth of its life says so.
func TestRefreshIsDueOnce(t *testing.T) {
	for what, tt := range map[string]struct {
		ttl  uint32
		hits int // before the last tenth
		want bool
	}{
		"used": {100, 1, true}, "not used": {100, 0, false}, "short life": {9, 5, false},
	} {
		c := New(Config{})
		q := question(t, "www.example.com", dnswire.TypeA)
		k := q.AppendKey(nil, false, false)
		for round := range 2 { // a new life says so again
			stored := start.Add(time.Duration(round) * time.Hour)
			c.Put(k, addA(reply(t, q, 0), tt.ttl), stored)
			for range tt.hits {
				if _, info, _ := c.Get(nil, k, stored); info.Refresh {
					t.Errorf("%s: due at once", what)
				}
			}
			late := stored.Add(time.Duration(tt.ttl)*time.Second - 500*time.Millisecond)
			_, first, ok := c.Get(nil, k, late)
			_, second, _ := c.Get(nil, k, late)
			if !ok || first.Refresh != tt.want || tt.want && second.Refresh {
				t.Errorf("%s: %v, then %v", what, first.Refresh, second.Refresh)
			}
		}
	}
}

// TestCut: an NXDOMAIN answers for other types of its name and for the names below it (RFC 8020), with
// the same flags only, and with no other denial.
func TestCut(t *testing.T) {
	q := question(t, "no.example.com", dnswire.TypeA)
	rdata := []byte("\x02ns\xc0\x0c\x01h\xc0\x0f" + string(bytes.Repeat([]byte{0, 0, 0, 9}, 5)))
	owner := []byte("\x07example\x03com\x00")
	denial := dnswire.AddRR(reply(t, q, dnswire.RCodeNameError), authority, owner, dnswire.TypeSOA, dnswire.ClassINET, 100, rdata)
	foreign := dnswire.AddRR(reply(t, q, dnswire.RCodeNameError), authority, []byte("\x03net\x00"), dnswire.TypeSOA, dnswire.ClassINET, 100, rdata)
	for what, tt := range map[string]struct {
		msg  []byte
		key  []byte
		want bool
	}{
		"another type":    {denial, key(t, "no.example.com", dnswire.TypeTXT, false, false), true},
		"below":           {denial, key(t, "a.no.example.com", dnswire.TypeAAAA, false, false), true},
		"far below":       {denial, key(t, "e.d.c.b.a.no.example.com", dnswire.TypeHTTPS, false, false), true},
		"out of reach":    {denial, key(t, "9.8.7.6.5.4.3.2.1.no.example.com", dnswire.TypeA, false, false), false},
		"beside":          {denial, key(t, "nono.example.com", dnswire.TypeA, false, false), false},
		"above":           {denial, key(t, "example.com", dnswire.TypeA, false, false), false},
		"with DO":         {denial, key(t, "a.no.example.com", dnswire.TypeA, true, false), false},
		"with CD":         {denial, key(t, "a.no.example.com", dnswire.TypeA, false, true), false},
		"root":            {denial, key(t, ".", dnswire.TypeA, false, false), false},
		"NODATA":          {addSOA(reply(t, q, 0), authority, 100, 100), key(t, "a.no.example.com", dnswire.TypeA, false, false), false},
		"through alias":   {addSOA(addCNAME(reply(t, q, 3), 50), authority, 100, 100), key(t, "a.no.example.com", dnswire.TypeA, false, false), false},
		"of another zone": {foreign, key(t, "a.no.example.com", dnswire.TypeA, false, false), false},
	} {
		c := New(Config{})
		if !c.Put(q.AppendKey(nil, false, false), tt.msg, start) {
			t.Fatalf("%s: not kept", what)
		}
		msg, _, ok := c.GetCut(nil, tt.key, start.Add(4*time.Second))
		if ok != tt.want {
			t.Errorf("%s: %v", what, ok)
		}
		if !ok {
			continue
		}
		ttl, _ := dnswire.MinTTL(msg)
		if err := dnswire.Validate(msg); err != nil || !dnswire.MatchKey(tt.key, msg) || ttl != 5 || dnswire.FullRCode(msg) != dnswire.RCodeNameError {
			t.Errorf("%s: %v, TTL %d: %x", what, err, ttl, msg)
		}
		if _, _, ok := c.GetCut(nil, tt.key, start.Add(9*time.Second)); ok {
			t.Errorf("%s: after its expiry", what)
		}
	}
	off := New(Config{NoCut: true})
	off.Put(q.AppendKey(nil, false, false), denial, start)
	if _, _, ok := off.GetCut(nil, key(t, "a.no.example.com", dnswire.TypeA, false, false), start); ok {
		t.Error("given where it is off")
	}
}

// TestWalk: All, Lookup and the flushes see each entry once, and only those of the name.
func TestWalk(t *testing.T) {
	c := New(Config{MaxOctets: 8 << 20, MaxStale: time.Hour})
	const names = 5000
	for i := range names {
		k, msg := sample(t, i)
		c.Put(k, msg, start)
	}
	q := question(t, "HOST7.example.com", dnswire.TypeHTTPS)
	c.Put(q.AppendKey(nil, true, true), add(reply(t, q, 0), dnswire.SectionAnswer, dnswire.TypeHTTPS, 60, "\x00\x01\x00"), start)
	seen := map[string]int{}
	for k := range c.All(start) {
		seen[string(k)]++
	}
	if len(seen) != names+1 {
		t.Fatalf("%d keys, want %d", len(seen), names+1)
	}
	for k, n := range seen {
		if n != 1 {
			t.Fatalf("%x: %d times", k, n)
		}
	}
	held := c.Lookup(q.Name, start.Add(2*time.Minute))
	if len(held) != 2 {
		t.Fatalf("%+v", held)
	}
	for _, h := range held {
		https := h.Question == q
		if h.DO != https || h.CD != https || h.Stale != https || h.Age != 2*time.Minute {
			t.Errorf("%+v", h)
		}
	}
	if n := c.FlushName(q.Name); n != 2 || c.Stats().Entries != names-1 {
		t.Errorf("FlushName %d, %+v", n, c.Stats())
	}
	zone := question(t, "host8.example.com", dnswire.TypeA).Name
	below := question(t, "a.b.host8.example.com", dnswire.TypeA)
	c.Put(below.AppendKey(nil, false, false), addA(reply(t, below, 0), 60), start)
	if n := c.FlushZone(zone); n != 2 || c.Stats().Entries != names-2 {
		t.Errorf("FlushZone %d, %+v", n, c.Stats())
	}
	checkIntegrity(t, c)
	if n := c.FlushZone(dnswire.Root); n != names-2 || c.Stats().Entries != 0 {
		t.Errorf("FlushZone of the root %d, %+v", n, c.Stats())
	}
	checkIntegrity(t, c)
}

// TestWalkWhilePutting puts and deletes between the turns of a walk, so that entries move and the table grows.
func TestWalkWhilePutting(t *testing.T) {
	c := New(Config{MaxOctets: MinOctets})
	for i := range 500 {
		k, msg := sample(t, i)
		c.Put(k, msg, start)
		c.Get(nil, k, start) // in use: it moves when room is made
	}
	next := 500
	for range c.All(start) {
		for range 20 {
			k, msg := sample(t, next)
			c.Put(k, msg, start)
			next++
		}
		if c.Delete(key(t, fmt.Sprintf("host%d.example.com", next%500), dnswire.TypeA, false, false)) {
			continue
		}
	}
	checkIntegrity(t, c)
}

func BenchmarkCut(b *testing.B) {
	c := New(Config{})
	q := question(b, "no.example.com", dnswire.TypeA)
	c.Put(q.AppendKey(nil, false, false), addSOA(reply(b, q, 3), authority, 1000, 1000), start)
	k := key(b, "a.b.no.example.com", dnswire.TypeAAAA, false, false)
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := c.GetCut(buf, k, start); !ok {
			b.Fatal("miss")
		}
	}
}
