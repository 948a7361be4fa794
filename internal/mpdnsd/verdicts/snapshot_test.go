package verdicts

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// told is a store without file and server that was told of hosts by users.
func told(t testing.TB, users ...uint32) *Store {
	t.Helper()
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Prove(name, at(first), second, hostid.Joined, now)
	for _, uid := range users {
		s.Hint(uid, name, first, third, hostid.OtherHost, now)
	}
	return s
}

// all is what a store keeps, by user; 1<<32 is what was proven.
func all(s *Store) map[uint64][]hostid.Remembered {
	out := map[uint64][]hostid.Remembered{1 << 32: s.Memory().Remembered("", now, 9)}
	for _, uid := range s.Users() {
		out[uint64(uid)] = s.Hints(uid).Remembered("", now, 9)
	}
	return out
}

// TestSnapshot: what is written is read, for the same users, at most MaxUsers; what
// has expired is not.
func TestSnapshot(t *testing.T) {
	s, again := told(t, 0, 1000, 1<<32-1), told(t)
	if err := again.restore(s.snapshot(now), now); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(all(s), all(again), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
	later := told(t)
	if err := later.restore(s.snapshot(now.Add(hostid.OtherHostLifetime)), now); err != nil || len(later.Users()) != 0 {
		t.Errorf("%v, users %v", err, later.Users())
	}
	for uid := range uint32(3 * MaxUsers) {
		s.Hint(uid, name, first, third, hostid.OtherHost, now)
	}
	if n := len(s.Users()); n != MaxUsers {
		t.Errorf("the hints of %d users are kept", n)
	}
	if err := again.restore(s.snapshot(now), now); err != nil {
		t.Error(err)
	}
}

// FuzzRestore: whatever a file holds, an error changes nothing, and what is read can be
// written and read again.
func FuzzRestore(f *testing.F) {
	seal := func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli())) }
	for _, users := range [][]uint32{nil, {7}, {7, 8}} {
		b := told(f, users...).snapshot(now)
		if err := told(f).restore(b, now); err != nil {
			f.Fatalf("seed: %v", err)
		}
		f.Add(b[:len(b)-crc32.Size])
	}
	f.Add([]byte(snapshotMagic + "\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.restore(seal(b), now); err != nil {
			if !errors.Is(err, hostid.ErrDamaged) || s.Memory().Len() > 0 || len(s.Users()) > 0 {
				t.Errorf("%v; %v", err, all(s))
			}
			return
		}
		if err := told(t).restore(s.snapshot(now), now); err != nil {
			t.Errorf("what was read cannot be read again: %v", err)
		}
	})
}
