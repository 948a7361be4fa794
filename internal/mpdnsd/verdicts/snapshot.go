package verdicts

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// The file is parts, each a snapshot of one memory ([hostid.Memory.Snapshot]), numbers
// in network byte order:
//
//	magic     8 octets, the last the version
//	part      of what was proven: length 32, octets
//	count     32 bits, then so many users: uid 32, part
//	CRC-32C   of all before it
const snapshotMagic = "mpdnsdV\x01"

// castagnoli returns the table of the checksum.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// snapshot is all that is kept and has not expired at now.
func (s *Store) snapshot(now time.Time) []byte {
	b := appendPart([]byte(snapshotMagic), s.memory, now)
	users := s.Users()
	count := len(b)
	b = binary.BigEndian.AppendUint32(b, 0)
	n := uint32(0)
	for _, uid := range users {
		m := s.Hints(uid)
		if m == nil || len(m.Remembered("", now, 1)) == 0 {
			continue // forgotten meanwhile, or expired
		}
		n++
		b = appendPart(binary.BigEndian.AppendUint32(b, uid), m, now)
	}
	binary.BigEndian.PutUint32(b[count:], n)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func appendPart(b []byte, m *hostid.Memory, now time.Time) []byte {
	part := m.Snapshot(now)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...) //nolint:gosec // far below
}

// restore adds what a snapshot holds and what has not expired at now. The error is
// [hostid.ErrDamaged], and then nothing was added.
func (s *Store) restore(b []byte, now time.Time) error {
	body := len(b) - crc32.Size
	switch {
	case len(b) > hostid.MaxSnapshot, body < len(snapshotMagic), string(b[:len(snapshotMagic)]) != snapshotMagic:
		return fmt.Errorf("%w: %d octets without the mark of version %d", hostid.ErrDamaged, len(b), snapshotMagic[7])
	case binary.BigEndian.Uint32(b[body:]) != crc32.Checksum(b[:body], castagnoli()):
		return fmt.Errorf("%w: the checksum is wrong", hostid.ErrDamaged)
	}
	proven, hints, err := parseParts(b[len(snapshotMagic):body])
	if err != nil {
		return err
	}
	if err := hostid.NewMemory(0).Restore(proven, now); err != nil {
		return err
	}
	for _, part := range hints {
		if err := hostid.NewMemory(hintCapacity).Restore(part, now); err != nil {
			return err
		}
	}
	for uid, part := range hints {
		if err := s.ofUser(uid).Restore(part, now); err != nil {
			return err
		}
	}
	return s.memory.Restore(proven, now)
}

// parseParts takes the parts out of their frame.
func parseParts(b []byte) (proven []byte, hints map[uint32][]byte, err error) {
	frame := reader{b: b}
	proven = frame.part()
	hints = make(map[uint32][]byte)
	n := frame.number()
	for ; n > 0 && !frame.bad; n-- {
		uid := frame.number()
		hints[uid] = frame.part()
		frame.bad = frame.bad || len(hints) > MaxUsers
	}
	if frame.bad || len(frame.b) > 0 {
		return nil, nil, fmt.Errorf("%w: its parts do not fit", hostid.ErrDamaged)
	}
	return proven, hints, nil
}

// reader reads octets; what it reads after an error is zero.
type reader struct {
	b   []byte // what is left
	bad bool
}

func (r *reader) octets(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) number() uint32 {
	b := r.octets(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// part reads a length and so many octets.
func (r *reader) part() []byte {
	n := r.number()
	if n > hostid.MaxSnapshot {
		r.bad = true
	}
	return r.octets(int(n))
}
