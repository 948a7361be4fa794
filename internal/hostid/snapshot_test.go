package hostid_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// full is a memory with some of everything.
func full() *hostid.Memory {
	m := hostid.NewMemory(0)
	m.Record(name, node('a'), node('b'), hostid.Joined, start)
	m.Record(name, node('a'), node('c'), hostid.OtherHost, start.Add(time.Minute))
	m.Record(name, node('a'), node('b'), hostid.TimedOut, start.Add(2*time.Minute))
	m.Record("other.example:80", node('a'), netip.MustParseAddr("2001:db8::1"), hostid.Announced, start)
	m.Note(name, hostid.Sighting{At: start, Server: "udp 192.0.2.53", Addrs: list("ba")})
	m.Note(name, hostid.Sighting{At: start.Add(time.Minute), Server: "udp 192.0.2.53", Addrs: addrs("192.0.2.1 2001:db8::1")})
	return m
}

func TestSnapshotRestores(t *testing.T) {
	now := start.Add(3 * time.Minute)
	octets := full().Snapshot(now)
	m := hostid.NewMemory(0)
	if err := m.Restore(octets, now); err != nil {
		t.Fatal(err)
	}
	if again := m.Snapshot(now); !bytes.Equal(again, octets) {
		t.Errorf("a restored memory is another:\n%x\n%x", again, octets)
	}
	if got := show(m.Order(name, node('a'), list("bcd"), now)); got != "d?|b=c!" {
		t.Error(got)
	}
	if got := m.Sightings(name, now); len(got) != 2 || !slices.Equal(got[0].Addrs, list("ab")) || !got[0].At.Equal(start) {
		t.Errorf("%+v", got)
	}
}

func TestRestoreRejectsTheExpired(t *testing.T) {
	octets := full().Snapshot(start.Add(3 * time.Minute))
	for _, test := range []struct {
		after time.Duration
		pairs int
		seen  int
	}{
		{59 * time.Minute, 3, 2},
		{2 * time.Hour, 1, 2}, // only what was joined
		{23*time.Hour + 59*time.Minute, 1, 2},
		{24 * time.Hour, 0, 1},
		{25 * time.Hour, 0, 0},
		{-time.Hour, 0, 0}, // written by a clock that was ahead
	} {
		m := hostid.NewMemory(0)
		now := start.Add(test.after)
		if err := m.Restore(octets, now); err != nil {
			t.Fatal(err)
		}
		if n, seen := m.Len(), len(m.Sightings(name, now)); n != test.pairs || seen != test.seen {
			t.Errorf("after %v: %d pairs, %d sightings", test.after, n, seen)
		}
	}
}

// TestRestoreKeepsWhatIsKnown: what this memory has learned since goes before a
// snapshot.
func TestRestoreKeepsWhatIsKnown(t *testing.T) {
	now := start.Add(3 * time.Minute)
	m := hostid.NewMemory(0)
	m.Record(name, node('a'), node('b'), hostid.OtherHost, now)
	if err := m.Restore(full().Snapshot(now), now); err != nil {
		t.Fatal(err)
	}
	if got := show(m.Order(name, node('a'), list("b"), now)); got != "|b!" {
		t.Error(got)
	}
}

// TestDamageIsDetected: each octet changed, each length cut.
func TestDamageIsDetected(t *testing.T) {
	now := start.Add(3 * time.Minute)
	octets := full().Snapshot(now)
	for i := range octets {
		broken := slices.Clone(octets)
		broken[i] ^= 0x10
		for _, b := range [][]byte{broken, octets[:i]} {
			m := hostid.NewMemory(0)
			if err := m.Restore(b, now); !errors.Is(err, hostid.ErrDamaged) || m.Len() != 0 {
				t.Fatalf("octet %d: %v, %d pairs", i, err, m.Len())
			}
		}
	}
}

// sealed gives octets the checksum that they need.
func sealed(b []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(b), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// FuzzRestore: octets with a right checksum are restored or are damaged; what was
// restored is written and read again unchanged.
func FuzzRestore(f *testing.F) {
	now := start.Add(3 * time.Minute)
	for _, seed := range [][]byte{full().Snapshot(now), hostid.NewMemory(0).Snapshot(now)} {
		if err := hostid.NewMemory(0).Restore(seed, now); err != nil || len(seed) < 20 {
			f.Fatalf("a seed of %d octets: %v", len(seed), err)
		}
		f.Add(seed[:len(seed)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := hostid.NewMemory(8)
		err := m.Restore(sealed(b), now)
		if err != nil && (!errors.Is(err, hostid.ErrDamaged) || m.Len() > 0) {
			t.Fatalf("%v, %d pairs", err, m.Len())
		}
		if m.Len() > 8 {
			t.Fatalf("%d pairs", m.Len())
		}
		octets := m.Snapshot(now)
		again := hostid.NewMemory(8)
		if err := again.Restore(octets, now); err != nil || !bytes.Equal(again.Snapshot(now), octets) {
			t.Fatalf("%v: read again it is another", err)
		}
	})
}

// FuzzParsePrefixes: a table that is read finds its own prefixes.
func FuzzParsePrefixes(f *testing.F) {
	f.Add("192.0.2.0/24 cdn net source 2026-01-02\n# comment\n! anycast\n2001:db8::/32\n192.0.2.1\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := hostid.ParsePrefixes(strings.NewReader(text))
		if err != nil {
			return
		}
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(line, "#")
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0] == "!" {
				continue
			}
			p, err := netip.ParsePrefix(fields[0])
			if err == nil {
				if e, ok := table.Lookup(p.Addr()); !ok || !e.Prefix.Contains(p.Addr()) || e.Class == "" {
					t.Fatalf("%s is not found: %+v", p, e)
				}
			}
		}
	})
}

func TestSightings(t *testing.T) {
	m := hostid.NewMemory(0)
	for i := range 20 {
		at := start.Add(time.Duration(i) * time.Minute)
		m.Note(name, hostid.Sighting{At: at, Addrs: list(string(rune('a' + i)))})
		m.Note(name, hostid.Sighting{At: at, Addrs: list(string(rune('a' + i)))}) // once more, the same
	}
	got := m.Sightings(name, start.Add(20*time.Minute))
	if len(got) != hostid.MaxSightings || got[0].Addrs[0] != node('m') {
		t.Errorf("%+v", got)
	}
	if got := m.Sightings(name, start.Add(hostid.SightingLifetime+15*time.Minute)); len(got) != 4 {
		t.Errorf("%d after a day", len(got))
	}
	m.Forget(name)
	if got := m.Sightings(name, start); got != nil {
		t.Errorf("after Forget: %+v", got)
	}
}

func TestNames(t *testing.T) {
	m := hostid.NewMemory(0)
	for _, n := range []string{"a.one.example:443", "b.one.example", "www.two.example", "three.example.", "localhost"} {
		m.Note(n, hostid.Sighting{At: start, Addrs: list("a")})
	}
	if got := m.Names(list("ab"), start); got[node('a')] != 4 || got[node('b')] != 0 {
		t.Errorf("%v", got)
	}
}

// TestNotesAreBounded: names and addresses beyond the bounds.
func TestNotesAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := hostid.NewMemory(1)
		var many []netip.Addr
		for i := range 2 * hostid.MaxAddrs {
			many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		}
		n := rapid.IntRange(1, 2*hostid.MaxNoted).Draw(t, "names")
		for i := range n {
			m.Note(fmt.Sprint(i), hostid.Sighting{At: start, Addrs: many})
		}
		kept := 0
		for i := range n {
			for _, s := range m.Sightings(fmt.Sprint(i), start) {
				kept++
				if len(s.Addrs) != hostid.MaxAddrs {
					t.Fatalf("%d addresses", len(s.Addrs))
				}
			}
		}
		if kept != min(n, hostid.MaxNoted) || len(m.Sightings(fmt.Sprint(n-1), start)) != 1 {
			t.Fatalf("%d of %d names", kept, n)
		}
	})
}

// TestAnnounced: it proves sameness for its time, ends a pause, and does not
// shorten a join's proof.
func TestAnnounced(t *testing.T) {
	m := hostid.NewMemory(0)
	m.Record(name, node('a'), node('b'), hostid.OtherHost, start)
	m.Record(name, node('a'), node('b'), hostid.Announced, start.Add(time.Minute))
	m.Record(name, node('a'), node('c'), hostid.Joined, start)
	m.Record(name, node('a'), node('c'), hostid.Announced, start.Add(time.Minute))
	if got := show(m.Order(name, node('a'), list("bc"), start.Add(2*time.Minute))); got != "b=c=" {
		t.Error(got)
	}
	if got := show(m.Order(name, node('a'), list("bc"), start.Add(2*time.Hour))); got != "c=b?" {
		t.Error(got)
	}
}

// TestOrderWithDNS: what a look-up says orders the joins, and those believed
// different are not joined until that expires.
func TestOrderWithDNS(t *testing.T) {
	m := hostid.NewMemory(0)
	evidence := []hostid.Evidence{about(hostid.OtherCanonical, "a|b", 0), about(hostid.Published, "ad", 0)}
	if got := show(m.Order(name, node('a'), list("bcd"), start, evidence...)); got != "d=c?|b!" {
		t.Error(got)
	}
	if got := show(m.Order(name, node('a'), list("bcd"), start.Add(time.Hour), evidence...)); got != "b?c?d?" {
		t.Errorf("expired: %s", got)
	}
	m.Record(name, node('a'), node('b'), hostid.Joined, start)
	m.Record(name, node('a'), node('d'), hostid.OtherHost, start)
	if got := show(m.Order(name, node('a'), list("bcd"), start, evidence...)); got != "b=c?|d!" {
		t.Errorf("proof: %s", got)
	}
}
