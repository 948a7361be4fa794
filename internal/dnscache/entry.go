package dnscache

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// entry is one kept message inside a segment:
//
//	0  6  when it was stored, in milliseconds of Unix time
//	6  1  the flags of its key
//	7  1  state
//	8  3  how long it lives, in seconds
//	11 1  hits, at most 255
//	12 2  length of the message
//	14 2  number n of its records
//	16 2n offsets of their TTLs
//	…     the message, its id zero and its question's name in lower case
//
// and up to seven octets to a multiple of entryUnit. The question in the message is the key without
// its flags, so that the key is not stored again.
type entry []byte

const (
	entryHeader = 16
	entryUnit   = 8

	stateUses     = 0x03 // hits since it came in or was last spared, at most 3
	stateDead     = 0x04 // replaced or deleted; its octets wait for their segment's end
	stateNegative = 0x08
	stateFailure  = 0x10
	stateCut      = 0x20 // NXDOMAIN of the question's own name
	stateReported = 0x40 // a hit has said that a refresh is due
	stateNoStale  = 0x80 // it came as a stale answer, and is not to last longer than it says
)

// StaleTTL is the TTL, in seconds, of every record of a stale answer (RFC 8767 section 4).
const StaleTTL = 30

// When a refresh is due: near the end of a life that is not so short that this means each time, for
// an entry that was asked for again since it was stored.
const (
	refreshShare   = 10     // the last tenth of the life
	minRefreshLife = 10_000 // milliseconds
	refreshHits    = 2
)

// entrySize returns the octets that the planned entry takes.
func entrySize(p *plan) int {
	return (entryHeader + 2*p.records + p.length + entryUnit - 1) &^ (entryUnit - 1)
}

// fill writes the entry of msg.
func (e entry) fill(p *plan, key, msg []byte, now int64) {
	binary.BigEndian.PutUint64(e, uint64(now)<<16|uint64(key[len(key)-1])<<8|uint64(p.kind))
	binary.BigEndian.PutUint32(e[8:], p.life<<8)
	binary.BigEndian.PutUint16(e[12:], uint16(p.length))
	binary.BigEndian.PutUint16(e[14:], uint16(p.records))
	for i, off := range p.ttls[:p.records] {
		binary.BigEndian.PutUint16(e[entryHeader+2*i:], off)
	}
	kept := e.message()
	copy(kept, msg)
	dnswire.PatchID(kept, 0)
	copy(kept[dnswire.HeaderLen:], key[:len(key)-1])
	if p.length < len(msg) {
		cutAdditional(kept)
	}
	for _, off := range p.ttls[:p.records] {
		ttl := kept[off:]
		binary.BigEndian.PutUint32(ttl, p.bound(binary.BigEndian.Uint32(ttl)))
	}
}

// cutAdditional corrects the count of additional records after some were cut off.
func cutAdditional(msg []byte) {
	p := dnswire.NewParser(msg)
	n := p.Header().AR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.Section == dnswire.SectionAdditional {
			n--
		}
	}
	ar := msg[10:]
	binary.BigEndian.PutUint16(ar, binary.BigEndian.Uint16(ar)-n)
}

func (e entry) stored() int64   { return int64(binary.BigEndian.Uint64(e) >> 16) }
func (e entry) keyFlags() byte  { return e[6] }
func (e entry) state() byte     { return e[7] }
func (e entry) dead() bool      { return e[7]&stateDead != 0 }
func (e entry) kill()           { e[7] |= stateDead }
func (e entry) uses() byte      { return e[7] & stateUses }
func (e entry) setUses(n byte)  { e[7] = e[7]&^stateUses | n }
func (e entry) lifetime() int64 { return int64(binary.BigEndian.Uint32(e[8:])>>8) * 1000 }
func (e entry) hits() byte      { return e[11] }
func (e entry) records() int    { return int(binary.BigEndian.Uint16(e[14:])) }

// message returns the kept octets.
func (e entry) message() []byte {
	at := entryHeader + 2*e.records()
	return e[at : at+int(binary.BigEndian.Uint16(e[12:]))]
}

// size returns the octets that the entry takes in its segment.
func (e entry) size() int {
	end := entryHeader + 2*e.records() + int(binary.BigEndian.Uint16(e[12:]))
	return (end + entryUnit - 1) &^ (entryUnit - 1)
}

// touch counts a hit.
func (e entry) touch() {
	if e[7]&stateUses < stateUses {
		e[7]++
	}
	if e[11] < math.MaxUint8 {
		e[11]++
	}
}

// due reports, once in the entry's life, whether it is time to fetch it anew.
func (e entry) due(age int64) bool {
	life := e.lifetime()
	if age < life-life/refreshShare || life < minRefreshLife || e.hits() < refreshHits || e[7]&(stateReported|stateFailure) != 0 {
		return false
	}
	e[7] |= stateReported
	return true
}

// clockSlack is how far, in milliseconds, an entry may lie in the future: callers read their clocks
// before they come here. Farther, the clock was set back, and the entry's age is not known.
const clockSlack = 1000

// age returns the milliseconds since the entry was stored; less than 0 if that is not known.
func (e entry) age(now int64) int64 {
	age := now - e.stored()
	if age < 0 && age >= -clockSlack {
		return 0
	}
	return age
}

func (e entry) fresh(age int64) bool { return age >= 0 && age < e.lifetime() }

// stale reports whether the entry has expired, but not by maxStale milliseconds, and may be given as
// stale.
func (e entry) stale(age, maxStale int64) bool {
	past := age - e.lifetime()
	return past >= 0 && past < maxStale && e[7]&(stateFailure|stateNoStale) == 0
}

// held reports whether the entry can still be given to someone.
func (e entry) held(now, maxStale int64) bool {
	age := e.age(now)
	return e.fresh(age) || e.stale(age, maxStale)
}

// matches reports whether key is the entry's.
func (e entry) matches(key []byte) bool {
	last := len(key) - 1
	msg := e.message()
	return len(msg) >= dnswire.HeaderLen+last && e.keyFlags() == key[last] &&
		bytes.Equal(msg[dnswire.HeaderLen:dnswire.HeaderLen+last], key[:last])
}

// question returns the key without its flags.
func (e entry) question() []byte {
	msg := e.message()
	off := dnswire.HeaderLen
	for msg[off] != 0 {
		off += 1 + int(msg[off])
	}
	return msg[dnswire.HeaderLen : off+5]
}

// appendTo appends the message with age, in seconds, subtracted from its TTLs.
func (e entry) appendTo(dst []byte, age uint32) []byte {
	at := len(dst)
	dst = append(dst, e.message()...)
	if age == 0 {
		return dst
	}
	msg := dst[at:]
	offsets := e[entryHeader : entryHeader+2*e.records()]
	for ; len(offsets) >= 2; offsets = offsets[2:] {
		ttl := msg[binary.BigEndian.Uint16(offsets):]
		old := binary.BigEndian.Uint32(ttl)
		binary.BigEndian.PutUint32(ttl, old-min(age, old))
	}
	return dst
}

// appendStale appends the message with StaleTTL in all its records.
func (e entry) appendStale(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, e.message()...)
	offsets := e[entryHeader : entryHeader+2*e.records()]
	for ; len(offsets) >= 2; offsets = offsets[2:] {
		binary.BigEndian.PutUint32(dst[at+int(binary.BigEndian.Uint16(offsets)):], StaleTTL)
	}
	return dst
}

// info describes the entry at the given age in milliseconds.
func (e entry) info(age int64) Info {
	stored := e.stored()
	return Info{
		Stored:   time.UnixMilli(stored),
		Expires:  time.UnixMilli(stored + e.lifetime()),
		Age:      time.Duration(age) * time.Millisecond,
		RCode:    dnswire.RCode(e.message()[3] & 0xf),
		Negative: e[7]&stateNegative != 0,
		Failure:  e[7]&stateFailure != 0,
		Hits:     e[11],
	}
}
