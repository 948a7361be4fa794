package dnswire

import "encoding/binary"

// PatchID sets the id of msg, which has at least two octets.
func PatchID(msg []byte, id uint16) { binary.BigEndian.PutUint16(msg, id) }

// PatchFlags clears the flags off and then sets the flags on, such as FlagRA, in the header of msg.
func PatchFlags(msg []byte, off, on uint16) {
	flags := msg[2:HeaderLen]
	binary.BigEndian.PutUint16(flags, binary.BigEndian.Uint16(flags)&^off|on)
}

// PatchRCode sets the header's four bits of the response code of msg.
func PatchRCode(msg []byte, r RCode) { PatchFlags(msg, rcodeMask, uint16(r&rcodeMask)) }

// PatchQuestion gives the question of msg the letter case of name, the client's, which clients that
// mix the case as a nonce want back. It reports whether the names are equal but for case, and
// changes nothing if not.
func PatchQuestion(msg, name []byte) bool {
	if len(msg) < HeaderLen+len(name) {
		return false
	}
	own := msg[HeaderLen : HeaderLen+len(name)]
	if !equalFold(own, name) {
		return false
	}
	copy(own, name)
	return true
}

// PatchTTLs subtracts age, in seconds, from the TTL of every record but OPT, down to 0. It stops at
// what cannot be parsed and returns the reason.
func PatchTTLs(msg []byte, age uint32) error {
	p := NewParser(msg)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.Type != TypeOPT {
			PatchTTL(msg, rr.TTLOff, rr.TTL-min(age, rr.TTL))
		}
	}
	return p.Err()
}

// PatchTTL sets the TTL at offset off, an RR's TTLOff, in seconds.
func PatchTTL(msg []byte, off int, ttl uint32) { binary.BigEndian.PutUint32(msg[off:], ttl) }

// MinTTL returns the least TTL of msg, in seconds, OPT left out; false if no record has one or msg
// cannot be parsed.
func MinTTL(msg []byte) (ttl uint32, ok bool) {
	p := NewParser(msg)
	for rr, more := p.Next(); more; rr, more = p.Next() {
		if rr.Type != TypeOPT && (!ok || rr.TTL < ttl) {
			ttl, ok = rr.TTL, true
		}
	}
	return ttl, ok && p.Err() == nil
}

// FindOPT returns the OPT record of msg, and its content; false if there is none, or a broken one.
func FindOPT(msg []byte) (RR, EDNS, bool) {
	p := NewParser(msg)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.Type == TypeOPT && rr.Section == SectionAdditional {
			var e EDNS
			return rr, e, e.parse(msg, rr)
		}
	}
	return RR{}, EDNS{}, false
}

// FullRCode returns the twelve bits of the response code of msg, those of its OPT record included.
func FullRCode(msg []byte) RCode {
	h, err := ParseHeader(msg)
	if err != nil {
		return RCodeFormatError
	}
	_, e, _ := FindOPT(msg)
	return RCode(e.ExtRCode)<<4 | h.RCode()
}

// Truncate returns msg as it is if it has at most limit octets. Else it makes it, in place, its
// header with TC set, its question and its OPT record (RFC 2181 section 9, RFC 6891 section 7); an
// OPT that does not fit loses its options, and then itself. limit is at least MinUDPSize.
func Truncate(msg []byte, limit int) []byte {
	if len(msg) <= limit || len(msg) < HeaderLen {
		return msg
	}
	p := NewParser(msg)
	opt, _, hasOPT := FindOPT(msg)
	end := p.QuestionEnd()
	clear(msg[6:HeaderLen])
	if end == HeaderLen {
		clear(msg[4:6])
	}
	PatchFlags(msg, 0, FlagTC)
	if !hasOPT || end+optLen > limit {
		return msg[:end]
	}
	msg[11] = 1
	if end+optLen+opt.DataLen > limit {
		binary.BigEndian.PutUint16(msg[opt.DataOff-2:], 0)
		opt.DataLen = 0
	}
	return msg[:end+copy(msg[end:], msg[opt.NameOff:opt.DataOff+opt.DataLen])]
}
