package dnswire

import (
	"bytes"
	"encoding/binary"
)

// ReplyError says why CheckReply refuses a message as the reply to a query. It is a plain number;
// compare it with == or errors.Is.
type ReplyError uint8

// Reasons to refuse a reply. All of them may be forgery or an old reply, so the wait for the right
// one goes on; after ReplyNoQuestion a caller may decide otherwise.
const (
	ReplyTooShort    ReplyError = iota + 1 // less than a header
	ReplyNotResponse                       // QR is not set
	ReplyWrongID                           // another id
	ReplyWrongOpcode                       // an opcode other than QUERY
	ReplyBadCounts                         // more than one question
	// ReplyNoQuestion: an error code and nothing but the header, id matched. Old servers answer so
	// what they cannot read, such as EDNS.
	ReplyNoQuestion
	ReplyWrongQuestion // another name, type or class, or a malformed question
)

// Error says what does not match.
func (e ReplyError) Error() string {
	switch e {
	case ReplyTooShort:
		return "reply: shorter than its header"
	case ReplyNotResponse:
		return "reply: is no response"
	case ReplyWrongID:
		return "reply: wrong id"
	case ReplyWrongOpcode:
		return "reply: wrong opcode"
	case ReplyBadCounts:
		return "reply: several questions"
	case ReplyNoQuestion:
		return "reply: no question"
	case ReplyWrongQuestion:
		return "reply: wrong question"
	}
	return "reply: unknown error"
}

// CheckReply checks that msg is a response to q with the given id (RFC 5452 section 9.1): its header
// and its question, the name without regard to case. The records are not looked at; see Validate.
// A refusal is always a ReplyError. Where the query mixed its case as a nonce, compare
// ReplyName with the octets sent.
func CheckReply(q Question, id uint16, msg []byte) error {
	h, err := ParseHeader(msg)
	switch {
	case err != nil:
		return ReplyTooShort
	case !h.QR():
		return ReplyNotResponse
	case h.ID != id:
		return ReplyWrongID
	case h.Opcode() != OpcodeQuery:
		return ReplyWrongOpcode
	case h.QD > 1:
		return ReplyBadCounts
	case h.QD == 0 && h.RCode() != RCodeSuccess && h.AN == 0 && h.NS == 0:
		return ReplyNoQuestion
	case h.QD == 0 || !matchQuestion(q, msg):
		return ReplyWrongQuestion
	}
	return nil
}

// matchQuestion reports whether the question in msg is q.
func matchQuestion(q Question, msg []byte) bool {
	var key [MaxKeyLen]byte
	return MatchKey(q.AppendKey(key[:0], false, false), msg)
}

// MatchKey reports whether key is what AppendKey makes of the question in msg, with any flags.
func MatchKey(key, msg []byte) bool {
	end := questionNameEnd(msg)
	if end == 0 || end+questionLen > len(msg) || len(key) != end+questionLen-HeaderLen+1 {
		return false
	}
	for i, c := range msg[HeaderLen:end] {
		if lower(c) != key[i] {
			return false
		}
	}
	name := end - HeaderLen
	return bytes.Equal(msg[end:end+questionLen], key[name:name+questionLen])
}

// ReplyName returns the question's name as it stands in msg, a part of it; nil if there is none.
func ReplyName(msg []byte) []byte {
	end := questionNameEnd(msg)
	if end == 0 || len(msg) < HeaderLen || binary.BigEndian.Uint16(msg[4:]) == 0 {
		return nil
	}
	return msg[HeaderLen:end:end]
}

// Validate checks the whole message: every record, every name in full, the rdata of the types that
// RFC 1035, RFC 2782, RFC 3596 and RFC 6672 define, at most one OPT, nothing behind the last record.
// What passes is safe to keep and to hand to any client. It allocates nothing.
func Validate(msg []byte) error {
	p := NewParser(msg)
	var opt EDNS
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if err := checkName(msg, rr.NameOff); err != nil {
			return err
		}
		if err := checkRData(msg, rr); err != nil {
			return err
		}
		if rr.Type == TypeOPT && (rr.Section != SectionAdditional || !opt.parse(msg, rr)) {
			return ErrRData
		}
	}
	return p.Err()
}

// checkName checks a name in full, pointers followed.
func checkName(msg []byte, off int) error {
	var buf [MaxNameLen]byte
	_, _, err := AppendName(buf[:0], msg, off)
	return err
}

// checkRData checks rdata whose form is known.
func checkRData(msg []byte, rr RR) error {
	switch rr.Type {
	case TypeA:
		return wantLen(rr, 4)
	case TypeAAAA:
		return wantLen(rr, 16)
	case TypeNS, TypeCNAME, TypePTR, TypeDNAME:
		return checkNames(msg, rr, 0, 1, 0)
	case TypeMX:
		return checkNames(msg, rr, 2, 1, 0)
	case TypeSRV:
		return checkNames(msg, rr, 6, 1, 0)
	case TypeSOA:
		return checkNames(msg, rr, 0, 2, 20)
	case TypeTXT:
		return checkStrings(rr.Data(msg))
	}
	return nil
}

func wantLen(rr RR, n int) error {
	if rr.DataLen != n {
		return ErrRData
	}
	return nil
}

// checkNames checks rdata made of some octets, then names, then some octets.
func checkNames(msg []byte, rr RR, before, names, after int) error {
	off, end := rr.DataOff+before, rr.DataOff+rr.DataLen
	for range names {
		if off >= end {
			return ErrRData
		}
		if err := checkName(msg, off); err != nil {
			return err
		}
		off, _ = SkipName(msg, off)
	}
	if off+after != end {
		return ErrRData
	}
	return nil
}

// checkStrings checks a row of one or more character-strings (RFC 1035 section 3.3).
func checkStrings(data []byte) error {
	if len(data) == 0 {
		return ErrRData
	}
	for len(data) > 0 {
		n := 1 + int(data[0])
		if n > len(data) {
			return ErrRData
		}
		data = data[n:]
	}
	return nil
}

// NegativeTTL returns how long the absence that a SOA record of an authority section proves may be
// kept: the lesser of its TTL and its minimum field, in seconds (RFC 2308 section 5).
func NegativeTTL(msg []byte, soa RR) (uint32, bool) {
	if soa.Type != TypeSOA || checkRData(msg, soa) != nil {
		return 0, false
	}
	minimum := saneTTL(binary.BigEndian.Uint32(msg[soa.DataOff+soa.DataLen-4:]))
	return min(soa.TTL, minimum), true
}
