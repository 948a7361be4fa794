package dnscache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// A saved cache is
//
//	8  magic and version
//	…  records
//	2  zero
//	8  the number of records
//	8  CRC-64 (ECMA) of all before it
//
// all big-endian, and nothing behind. A record is
//
//	2  length of the message, not zero
//	6  when it was stored, in milliseconds of Unix time
//	1  the flags of its key
//	1  its hits since it came in or was last spared, at most 3; savedMain; savedNoStale
//	…  the message
const (
	savedMagic   = "mpdnsC\x00\x01"
	savedHeader  = 10
	savedUses    = stateUses
	savedMain    = 0x10
	savedNoStale = stateNoStale
)

// ErrDamaged says that what is to be loaded is not a whole saved cache of this version.
var ErrDamaged = errors.New("not a whole saved cache of this version")

// Save writes what Get and GetStale would give, failures left out. A shard is locked for some hundred
// entries at a time and never while w is written to.
func (c *Cache) Save(w io.Writer, now time.Time) error {
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	buffered := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	_, _ = buffered.WriteString(savedMagic) // errors stick to the writer; Flush returns them
	var records uint64
	var buf []byte
	for i := range c.shards {
		s := &c.shards[i]
		for r := range s.ranges() {
			var n int
			buf, n = s.appendSaved(buf[:0], r, millis(now))
			records += uint64(n)
			if _, err := buffered.Write(buf); err != nil {
				return fmt.Errorf("save cache: %w", err)
			}
		}
	}
	_, _ = buffered.Write(binary.BigEndian.AppendUint64([]byte{0, 0}, records))
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	if _, err := w.Write(binary.BigEndian.AppendUint64(nil, sum.Sum64())); err != nil {
		return fmt.Errorf("save cache: %w", err)
	}
	return nil
}

// appendSaved appends the records of a range.
func (s *shard) appendSaved(dst []byte, r tagRange, now int64) (_ []byte, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for word, e := range s.in(r) {
		if e.state()&stateFailure != 0 || !e.held(now, s.maxStale) {
			continue
		}
		bits := e.state() & (savedUses | savedNoStale)
		if s.queueOf(uint32(word)) == &s.main {
			bits |= savedMain
		}
		msg := e.message()
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(msg)))
		dst = append(dst, e[:6]...)
		dst = append(dst, e.keyFlags(), bits)
		dst = append(dst, msg...)
		n++
	}
	return dst, n
}

// Load adds what was saved and returns how many entries it added. It reads r twice: what is damaged
// is ErrDamaged and changes nothing. Every message goes by the rules of Put and the settings of this
// cache, its age by the clock. Left out are those that are of no use any more, those from the future,
// and those whose question is in the cache already.
func (c *Cache) Load(r io.ReadSeeker, now time.Time) (n int, err error) {
	if err := readSaved(r, func(saved) {}); err != nil {
		return 0, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("load cache: %w", err)
	}
	err = readSaved(r, func(s saved) {
		if c.restore(s, now) {
			n++
		}
	})
	return n, err
}

// saved is a record.
type saved struct {
	stored      int64
	flags, bits byte
	msg         []byte
}

// readSaved reads a saved cache and calls each for its records, whose messages are good for the call.
// It needs the memory of one record, whatever it reads.
func readSaved(r io.Reader, each func(saved)) error {
	table := crc64.MakeTable(crc64.ECMA)
	in := &summed{r: bufio.NewReaderSize(r, 64<<10), table: table}
	var room [savedHeader + MaxMessageLen]byte
	if b := in.read(room[:len(savedMagic)]); in.err == nil && string(b) != savedMagic {
		return fmt.Errorf("load cache: %w: it begins with %q", ErrDamaged, b)
	}
	records := uint64(0)
	for {
		length := int(binary.BigEndian.Uint16(in.read(room[:2])))
		if in.err != nil || length == 0 {
			break
		}
		if length > MaxMessageLen {
			return fmt.Errorf("load cache: %w: a message of %d octets", ErrDamaged, length)
		}
		b := in.read(room[:savedHeader-2+length])
		if in.err != nil {
			break
		}
		records++
		each(saved{int64(binary.BigEndian.Uint64(b) >> 16), b[6], b[7], b[8:]})
	}
	return in.end(records, room[:8])
}

// end reads what follows the records.
func (in *summed) end(records uint64, room []byte) error {
	count := binary.BigEndian.Uint64(in.read(room))
	sum := in.sum
	want := binary.BigEndian.Uint64(in.read(room))
	switch {
	case errors.Is(in.err, io.EOF), errors.Is(in.err, io.ErrUnexpectedEOF):
		return fmt.Errorf("load cache: %w: it is cut off", ErrDamaged)
	case in.err != nil:
		return fmt.Errorf("load cache: %w", in.err)
	case count != records || sum != want:
		return fmt.Errorf("load cache: %w: its checksum is wrong", ErrDamaged)
	}
	if _, err := in.r.ReadByte(); err == nil {
		return fmt.Errorf("load cache: %w: something follows its end", ErrDamaged)
	}
	return nil
}

// summed reads and sums up. Its first error stays.
type summed struct {
	r     *bufio.Reader
	table *crc64.Table
	sum   uint64
	err   error
}

// read fills b; with zeros after an error.
func (in *summed) read(b []byte) []byte {
	if in.err == nil {
		_, in.err = io.ReadFull(in.r, b)
	}
	if in.err != nil {
		clear(b)
		return b
	}
	in.sum = crc64.Update(in.sum, in.table, b)
	return b
}

// restore puts a record into the cache.
func (c *Cache) restore(r saved, now time.Time) bool {
	p := dnswire.NewParser(r.msg)
	q, ok := p.Question()
	if !ok {
		return false
	}
	var room [dnswire.MaxKeyLen]byte
	key := q.AppendKey(room[:0], false, false)
	key[len(key)-1] = r.flags
	var plan plan
	if !plan.make(&c.config, key, r.msg) || plan.kind&stateFailure != 0 {
		return false
	}
	plan.kind |= r.bits & savedNoStale
	h := c.hash(key)
	return c.shard(h).restore(&plan, key, uint32(h), r, millis(now))
}

func (s *shard) restore(p *plan, key []byte, tag uint32, r saved, now int64) bool {
	age, life := now-r.stored, int64(p.life)*1000
	if p.kind&stateNoStale == 0 {
		life += s.maxStale
	}
	if age < 0 || age >= life {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, _ := s.find(key, tag); old != nil {
		return false
	}
	q := &s.small
	if r.bits&savedMain != 0 {
		q = &s.main
	}
	e := s.insert(q, entrySize(p), tag, now)
	e.fill(p, key, r.msg, r.stored)
	e.setUses(r.bits & savedUses)
	return true
}
