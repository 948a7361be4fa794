package dnscache

import (
	"bytes"
	"iter"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Held is what the cache holds for one question.
type Held struct {
	Question dnswire.Question
	DO, CD   bool
	Info     // Expires less now is the TTL that remains
}

// All goes over what Get and GetStale would give at a time: the key, as of [dnswire.AppendKey], and
// what is known of it. A shard is locked for some hundred entries at a time and never while the
// caller has its turn, who may call any method. What comes or goes meanwhile may be left out or not;
// what stays is there once. The key is good until the next turn.
func (c *Cache) All(now time.Time) iter.Seq2[[]byte, Info] {
	return func(yield func([]byte, Info) bool) {
		var keys []byte
		var infos []Info
		for i := range c.shards {
			s := &c.shards[i]
			for r := range s.ranges() {
				keys, infos = s.list(keys[:0], infos[:0], r, millis(now))
				rest := keys
				for _, info := range infos {
					key := rest[:keyLen(rest)]
					rest = rest[len(key):]
					if !yield(key, info) {
						return
					}
				}
			}
		}
	}
}

// Lookup returns what is held for a name, of all types and flags. It reads the whole cache.
func (c *Cache) Lookup(name dnswire.Name, now time.Time) (held []Held) {
	for key, info := range c.All(now) {
		if string(key[:len(key)-5]) == string(name) {
			held = append(held, heldOf(key, info))
		}
	}
	return held
}

func heldOf(key []byte, info Info) Held {
	tail := key[len(key)-5:]
	h := Held{Info: info, Question: dnswire.Question{
		Name:  dnswire.Name(key[:len(key)-5]),
		Type:  dnswire.Type(uint16(tail[0])<<8 | uint16(tail[1])),
		Class: dnswire.Class(uint16(tail[2])<<8 | uint16(tail[3])),
	}}
	for _, flags := range [][2]bool{{false, true}, {true, false}, {true, true}} {
		var room [dnswire.MaxKeyLen]byte
		if bytes.Equal(h.Question.AppendKey(room[:0], flags[0], flags[1]), key) {
			h.DO, h.CD = flags[0], flags[1]
		}
	}
	return h
}

// FlushName forgets a name, of all types and flags, and returns how many entries there were.
func (c *Cache) FlushName(name dnswire.Name) int {
	return c.flush(func(n []byte) bool { return string(n) == string(name) })
}

// FlushZone forgets a name and all names below it, and returns how many entries there were. A shard
// is locked for some hundred entries at a time; what was there when FlushZone began is gone when it
// returns, unless it was put again.
func (c *Cache) FlushZone(zone dnswire.Name) int {
	return c.flush(func(n []byte) bool {
		for len(n) > len(zone) {
			n = n[1+int(n[0]):]
		}
		return string(n) == string(zone)
	})
}

// flush forgets the entries of the names that match says.
func (c *Cache) flush(match func(name []byte) bool) (n int) {
	for i := range c.shards {
		for r := range c.shards[i].ranges() {
			n += c.shards[i].flushRange(r, match)
		}
	}
	return n
}

// tagRange is the tags from the first to the last, both in it. An entry keeps its tag wherever it
// moves, so that going over all ranges misses none and meets none twice.
type tagRange struct{ first, last uint32 }

// rangeSlots is how many slots of the index a range has, about.
const rangeSlots = 512

// ranges cuts the tags of a shard into pieces.
func (s *shard) ranges() iter.Seq[tagRange] {
	s.mu.Lock()
	pieces := uint64(len(s.index.slots)/rangeSlots + 1)
	s.mu.Unlock()
	return func(yield func(tagRange) bool) {
		const tags = 1 << 32
		for i := range pieces {
			if !yield(tagRange{uint32(i * tags / pieces), uint32((i+1)*tags/pieces - 1)}) {
				return
			}
		}
	}
}

// in gives the entries of a range and their index words; mu is held. They lie between the home of the
// first tag and the first gap from the home of the last on.
func (s *shard) in(r tagRange) iter.Seq2[uint64, entry] {
	return func(yield func(uint64, entry) bool) {
		n := len(s.index.slots)
		if n == 0 {
			return
		}
		from, past := home(r.first, n), home(r.last, n)
		for i := from; i < from+n; i++ {
			word := s.index.slots[i%n]
			if word == 0 && i >= past {
				return
			}
			tag := uint32(word >> 32)
			if word != 0 && tag >= r.first && tag <= r.last && !yield(word, s.store.at(uint32(word))) {
				return
			}
		}
	}
}

// list appends the keys and what is known of the entries of a range.
func (s *shard) list(keys []byte, infos []Info, r tagRange, now int64) ([]byte, []Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.in(r) {
		if !e.held(now, s.maxStale) {
			continue
		}
		age := e.age(now)
		info := e.info(age)
		info.Stale = !e.fresh(age)
		keys = append(append(keys, e.question()...), e.keyFlags())
		infos = append(infos, info)
	}
	return keys, infos
}

// flushRange forgets the entries of a range whose names match.
func (s *shard) flushRange(r tagRange, match func([]byte) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var words []uint64
	for word, e := range s.in(r) {
		if q := e.question(); match(q[:len(q)-4]) {
			words = append(words, word)
		}
	}
	for _, word := range words {
		loc := uint32(word)
		s.drop(s.store.at(loc), s.index.slot(uint32(word>>32), loc))
	}
	return len(words)
}

// keyLen returns the length of the key at the start of b.
func keyLen(b []byte) int {
	off := 0
	for b[off] != 0 {
		off += 1 + int(b[off])
	}
	return off + minKeyLen
}
