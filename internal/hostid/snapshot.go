package hostid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"time"
)

// The snapshot: magic, pairs, histories, CRC-32C of all before it. Numbers are in
// network byte order; times are nanoseconds since 1970, 0 for none.
//
//	magic     8 octets, the last the version
//	count     32 bits, then so many pairs, the least recently used first:
//	          name, address, address, proof 8, port 16, proven 64, last 8, settled 64
//	count     32 bits, then so many histories, the least recently noted first:
//	          name, count 8, then so many sightings:
//	          at 64, server, count 8, then so many addresses
//	name, server  length 16, octets
//	address   length 8 (4 or 16), octets
const snapshotMagic = "mphosts\x02"

// MaxSnapshot is the longest snapshot that is read, in octets.
const MaxSnapshot = 64 << 20

// ErrDamaged says that octets are no snapshot of this version, or are damaged.
var ErrDamaged = errors.New("not an undamaged memory of hosts")

// castagnoli returns the table of the checksum.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Snapshot returns what is kept as octets for [Memory.Restore], without what has
// expired at now.
func (m *Memory) Snapshot(now time.Time) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := []byte(snapshotMagic)
	b, at := reserve(b)
	for _, e := range m.entries.oldest() {
		if e.worth(now) {
			b = e.append(b)
			bump(b, at)
		}
	}
	b, at = reserve(b)
	for name, kept := range m.noted.oldest() {
		h := history{name, current(kept.seen, now)}
		if h.worth(now) {
			b = h.append(b)
			bump(b, at)
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

// reserve appends a count of zero and returns its place.
func reserve(b []byte) ([]byte, int) { return append(b, 0, 0, 0, 0), len(b) }

// bump adds one to the count at a place.
func bump(b []byte, at int) {
	binary.BigEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:])+1)
}

// worth tells whether an entry is still of use at now. One of the future would
// live too long: the clock was wrong.
func (e *entry) worth(now time.Time) bool {
	future := e.settled.After(now) || e.proven.After(now)
	return !future && (now.Before(e.expires()) || now.Before(e.resumes())) && e.pair.a.Zone() == "" && e.pair.b.Zone() == ""
}

// worth tells whether a history is still of use at now.
func (h history) worth(now time.Time) bool {
	for _, s := range h.seen {
		if s.At.After(now) {
			return false
		}
		for _, a := range s.Addrs {
			if a.Zone() != "" {
				return false
			}
		}
	}
	return len(current(h.seen, now)) == len(h.seen) && len(h.seen) > 0
}

func (e *entry) append(b []byte) []byte {
	b = appendText(b, e.pair.name)
	b = appendAddr(appendAddr(b, e.pair.a), e.pair.b)
	b = binary.BigEndian.AppendUint16(append(b, byte(e.proof)), e.port)
	b = appendTime(b, e.proven)
	return appendTime(append(b, byte(e.last)), e.settled)
}

func (h history) append(b []byte) []byte {
	b = append(appendText(b, h.name), byte(len(h.seen)))
	for _, s := range h.seen {
		b = appendText(appendTime(b, s.At), s.Server)
		b = append(b, byte(len(s.Addrs)))
		for _, a := range s.Addrs {
			b = appendAddr(b, a)
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	return append(append(b, byte(a.BitLen()/8)), a.AsSlice()...)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

// Restore adds what a snapshot holds and what has not expired at now; what this
// memory knows already of a pair or name stays. An error is [ErrDamaged] with the
// offset, and nothing was added.
func (m *Memory) Restore(b []byte, now time.Time) error {
	entries, histories, err := parseSnapshot(b)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if m.entries.peek(e.pair) == nil && e.worth(now) {
			*m.take(e.pair) = e
		}
	}
	for _, h := range histories {
		h.seen = current(h.seen, now)
		if m.noted.peek(h.name) == nil && h.worth(now) {
			*m.history(h.name) = h
		}
	}
	return nil
}

// parseSnapshot reads a snapshot.
func parseSnapshot(b []byte) ([]entry, []history, error) {
	body := len(b) - crc32.Size
	switch {
	case len(b) > MaxSnapshot, body < len(snapshotMagic), string(b[:len(snapshotMagic)]) != snapshotMagic:
		return nil, nil, fmt.Errorf("%w: %d octets without the mark of version %d", ErrDamaged, len(b), snapshotMagic[7])
	case binary.BigEndian.Uint32(b[body:]) != crc32.Checksum(b[:body], castagnoli()):
		return nil, nil, fmt.Errorf("%w: the checksum is wrong", ErrDamaged)
	}
	d := decoder{b: b[:body], at: len(snapshotMagic)}
	var entries []entry
	for n := d.uint(4); n > 0 && !d.bad; n-- {
		entries = append(entries, d.entry())
	}
	var histories []history
	for n := d.uint(4); n > 0 && !d.bad; n-- {
		histories = append(histories, d.history())
	}
	if d.bad || d.at != body {
		return nil, nil, fmt.Errorf("%w: at octet %d", ErrDamaged, d.at)
	}
	return entries, histories, nil
}

// decoder reads octets; what it reads after an error is zero.
type decoder struct {
	b   []byte
	at  int // of what is read next or was wrong
	bad bool
}

func (d *decoder) octets(n int) []byte {
	if d.bad || n > len(d.b)-d.at {
		d.bad = true
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

// uint reads a number of n octets.
func (d *decoder) uint(n int) (v uint64) {
	for _, o := range d.octets(n) {
		v = v<<8 | uint64(o)
	}
	return v
}

// text reads a text of at most limit octets.
func (d *decoder) text(limit int) string {
	n := int(d.uint(2))
	d.bad = d.bad || n > limit
	return string(d.octets(n))
}

func (d *decoder) addr() netip.Addr {
	a, ok := netip.AddrFromSlice(d.octets(int(d.uint(1))))
	d.bad = d.bad || !ok || a.Is4In6()
	return a
}

func (d *decoder) time() time.Time {
	v := d.uint(8)
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(v)).UTC()
}

func (d *decoder) outcome() Outcome {
	o := Outcome(d.uint(1))
	d.bad = d.bad || o >= outcomes
	return o
}

func (d *decoder) entry() entry {
	var e entry
	e.pair.name = d.text(MaxName)
	e.pair.a, e.pair.b = d.addr(), d.addr()
	e.proof, e.port, e.proven = d.outcome(), uint16(d.uint(2)), d.time()
	e.last, e.settled = d.outcome(), d.time()
	proves := e.proof.Verdict() != Unknown
	d.bad = d.bad || !e.pair.a.Less(e.pair.b) || e.last == NotTried || e.settled.IsZero() ||
		proves == e.proven.IsZero() || !proves && e.proof != NotTried
	return e
}

func (d *decoder) history() history {
	h := history{name: d.text(MaxName)}
	n := int(d.uint(1))
	d.bad = d.bad || n == 0 || n > MaxSightings
	for ; n > 0 && !d.bad; n-- {
		h.seen = append(h.seen, d.sighting())
	}
	return h
}

func (d *decoder) sighting() Sighting {
	s := Sighting{At: d.time(), Server: d.text(maxServer)}
	n := int(d.uint(1))
	d.bad = d.bad || n == 0 || n > MaxAddrs
	for ; n > 0 && !d.bad; n-- {
		a := d.addr()
		d.bad = d.bad || len(s.Addrs) > 0 && !s.Addrs[len(s.Addrs)-1].Less(a)
		s.Addrs = append(s.Addrs, a)
	}
	return s
}
