package dnscache

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/atomicfile"
	"github.com/af-multipath/mpresolve/internal/dnswire"
)

func save(t testing.TB, c *Cache, now time.Time) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.Save(&b, now); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// varied is a cache with an answer, a stale one, absence with CD, one that was stale at its server, and
// a failure.
func varied(t testing.TB) *Cache {
	t.Helper()
	c := New(Config{MaxStale: time.Hour})
	put := func(name string, do, cd bool, msg func(q dnswire.Question) []byte) {
		q := question(t, name, dnswire.TypeA)
		if !c.Put(q.AppendKey(nil, do, cd), msg(q), start) {
			t.Fatal("not kept")
		}
	}
	put("long.example", true, false, func(q dnswire.Question) []byte { return addA(reply(t, q, 0), 1000, 2000) })
	put("short.example", false, false, func(q dnswire.Question) []byte { return addA(reply(t, q, 0), 60) })
	put("no.example", false, true, func(q dnswire.Question) []byte { return addSOA(reply(t, q, 3), authority, 900, 900) })
	put("old.example", false, false, func(q dnswire.Question) []byte {
		opt := dnswire.OPT{UDPSize: 1232, Options: dnswire.AppendEDE(nil, dnswire.EDEStaleAnswer, "")}
		return dnswire.AddOPT(addA(reply(t, q, 0), 30), opt)
	})
	put("bad.example", false, false, func(q dnswire.Question) []byte { return reply(t, q, 2) })
	return c
}

// TestSaveLoad: what is loaded is what was saved, aged by the clock, with its popularity; failures and
// what is past its use are left out.
func TestSaveLoad(t *testing.T) {
	c := varied(t)
	long := key(t, "long.example", dnswire.TypeA, true, false)
	c.Get(nil, long, start)
	octets := save(t, c, start)
	for _, after := range []time.Duration{0, 10 * time.Second, 2 * time.Minute, time.Hour, 61 * time.Minute, 2 * time.Hour} {
		now := start.Add(after)
		loaded := New(c.config)
		n, err := loaded.Load(bytes.NewReader(octets), now)
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for k, info := range c.All(now) {
			if info.Failure {
				continue
			}
			want++
			a, ai, aok := c.GetStale(nil, k, now)
			b, bi, bok := loaded.GetStale(nil, k, now)
			if !bytes.Equal(a, b) || aok != bok || ai.Stale != bi.Stale || !ai.Expires.Equal(bi.Expires) {
				t.Errorf("after %v: %x\n%v %+v\nbefore %v %+v", after, k, bok, bi, aok, ai)
			}
		}
		if n != want {
			t.Errorf("after %v: %d entries, want %d", after, n, want)
		}
		checkIntegrity(t, loaded)
	}
	loaded := New(c.config)
	_, _ = loaded.Load(bytes.NewReader(octets), start)
	h := loaded.hash(long)
	if e, _ := loaded.shard(h).find(long, uint32(h)); e.uses() != 1 {
		t.Errorf("%d uses", e.uses())
	}
	if n, err := loaded.Load(bytes.NewReader(octets), start); n != 0 || err != nil {
		t.Errorf("twice: %d, %v", n, err)
	}
	if n, err := New(c.config).Load(bytes.NewReader(octets), start.Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("from the future: %d, %v", n, err)
	}
	strict := New(Config{MaxTTL: 10 * time.Second, MaxNegativeTTL: 10 * time.Second})
	if n, err := strict.Load(bytes.NewReader(octets), start.Add(20*time.Second)); n != 0 || err != nil {
		t.Errorf("with lower limits: %d, %v", n, err)
	}
}

// TestLoadDamaged: every cut and every changed octet is an error that changes nothing.
func TestLoadDamaged(t *testing.T) {
	octets := save(t, varied(t), start)
	check := func(what string, at int, b []byte) {
		t.Helper()
		c := New(Config{})
		if n, err := c.Load(bytes.NewReader(b), start); n != 0 || !errors.Is(err, ErrDamaged) || c.Stats().Entries != 0 {
			t.Errorf("%s at %d: %d entries, %v", what, at, n, err)
		}
	}
	for i := range octets {
		check("cut", i, octets[:i])
		changed := bytes.Clone(octets)
		changed[i] ^= 0x10
		check("changed", i, changed)
	}
	check("longer", len(octets), append(bytes.Clone(octets), 0))
}

func TestLoadIntoSmaller(t *testing.T) {
	big := New(Config{MaxOctets: 4 << 20})
	for i := range 20_000 {
		k, msg := sample(t, i)
		big.Put(k, msg, start)
	}
	small := New(Config{MaxOctets: MinOctets})
	n, err := small.Load(bytes.NewReader(save(t, big, start)), start)
	if st := small.Stats(); err != nil || n != 20_000 || st.Octets > MinOctets || st.Entries == 0 {
		t.Errorf("%d, %v, %+v", n, err, st)
	}
	checkIntegrity(t, small)
}

func TestSaveFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	if _, err := New(Config{}).LoadFile(path, start); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	c := varied(t)
	for range 2 {
		if err := c.SaveFile(path, start); err != nil {
			t.Fatal(err)
		}
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("%v", files)
	}
	if n, err := New(c.config).LoadFile(path, start); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.LoadFile(path, start); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
	aside, err := atomicfile.SetAside(path)
	if _, again := c.LoadFile(path, start); err != nil || !errors.Is(again, fs.ErrNotExist) {
		t.Errorf("set aside as %s: %v, %v", aside, err, again)
	}
	if err := c.SaveFile(filepath.Join(path, "none", "cache"), start); err == nil {
		t.Error("saved where there is no folder")
	}
}

// FuzzLoad: whatever a file holds, an error changes nothing, and what is loaded is fit to be given.
func FuzzLoad(f *testing.F) {
	octets := save(f, varied(f), start)
	if n, err := New(Config{MaxStale: time.Hour}).Load(bytes.NewReader(octets), start); n != 4 || err != nil {
		f.Fatalf("seed: %d, %v", n, err)
	}
	f.Add(octets)
	f.Add(save(f, New(Config{}), start))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := New(Config{MaxOctets: MinOctets, MaxStale: time.Hour})
		n, err := c.Load(bytes.NewReader(b), start)
		if st := c.Stats(); st.Entries != n && st.Evictions == 0 || err != nil && n != 0 {
			t.Fatalf("%d loaded, %v, %+v", n, err, st)
		}
		for _, r := range records(b) { // behind the checksum, which no fuzzer meets
			c.restore(r, start)
		}
		for k := range c.All(start) {
			if msg, info, ok := c.GetStale(nil, k, start); !ok || dnswire.Validate(msg) != nil || info.Failure {
				t.Fatalf("%x: %v, %+v, %x", k, ok, info, msg)
			}
		}
		checkIntegrity(t, c)
	})
}

// records are those that a damaged file seems to hold.
func records(b []byte) (rs []saved) {
	_ = readSaved(bytes.NewReader(b), func(r saved) {
		r.msg = bytes.Clone(r.msg)
		rs = append(rs, r)
	})
	return rs
}

func BenchmarkSave(b *testing.B) {
	c := New(Config{MaxOctets: 64 << 20})
	for i := range 100_000 {
		k, msg := sample(b, i)
		c.Put(k, msg, start)
	}
	for b.Loop() {
		save(b, c, start)
	}
}
