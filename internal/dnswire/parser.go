package dnswire

import (
	"encoding/binary"
	"errors"
)

// Reasons for which a message is refused by Parser and Validate.
var (
	ErrQuestions = errors.New("dns message with more than one question")
	ErrQuestion  = errors.New("dns message whose question is cut off")
	ErrRecord    = errors.New("dns record runs past the end of the message")
	ErrRData     = errors.New("rdata that does not fit its type")
	ErrTrailing  = errors.New("octets after the last dns record")
)

// Section is a part of a message that holds records.
type Section uint8

// Sections, in their order on the wire.
const (
	SectionAnswer Section = iota
	SectionAuthority
	SectionAdditional
	sectionEnd
)

// String returns the section's name in lower case.
func (s Section) String() string {
	return [...]string{"answer", "authority", "additional", "none"}[min(s, sectionEnd)]
}

// RR is a resource record where it lies in its message: numbers and offsets, no copies.
type RR struct {
	Section Section
	NameOff int // of the owner; AppendName and ExpandName read it
	Type    Type
	Class   Class
	TTL     uint32 // seconds; with the top bit set it reads 0 (RFC 2181 section 8). Raw for OPT
	TTLOff  int
	DataOff int
	DataLen int
}

// Data returns the record's rdata, a part of msg.
func (r RR) Data(msg []byte) []byte {
	end := r.DataOff + r.DataLen
	return msg[r.DataOff:end:end]
}

// Parser walks the records of a message of at most one question. It allocates nothing, and its
// work is bounded by the length of the message, whatever the counts say. Use:
//
//	p := dnswire.NewParser(msg)
//	for rr, ok := p.Next(); ok; rr, ok = p.Next() { … }
//	if err := p.Err(); err != nil { … }
type Parser struct {
	msg     []byte
	header  Header
	off     int
	qend    int
	section Section
	left    uint16 // records left in the section
	err     error
}

// NewParser reads the header and skips the question. An error shows in Err, after a first Next
// that gives nothing.
func NewParser(msg []byte) Parser {
	p := Parser{msg: msg, off: HeaderLen, qend: HeaderLen}
	if p.header, p.err = ParseHeader(msg); p.err != nil {
		return p
	}
	p.left = p.header.AN
	switch p.header.QD {
	case 0:
	case 1:
		p.skipQuestion()
	default:
		p.err = ErrQuestions
	}
	return p
}

func (p *Parser) skipQuestion() {
	end := questionNameEnd(p.msg)
	if end == 0 || end+questionLen > len(p.msg) {
		p.err = ErrQuestion
		return
	}
	p.off = end + questionLen
	p.qend = p.off
}

// Header returns the message's header.
func (p *Parser) Header() Header { return p.header }

// QuestionEnd returns the offset after the question; HeaderLen where there is none.
func (p *Parser) QuestionEnd() int { return p.qend }

// Question returns the canonical question; false where there is none. It allocates the name.
func (p *Parser) Question() (Question, bool) {
	if p.qend == HeaderLen {
		return Question{}, false
	}
	name, end, err := ExpandName(p.msg, HeaderLen)
	if err != nil {
		return Question{}, false
	}
	return Question{
		Name:  name,
		Type:  Type(binary.BigEndian.Uint16(p.msg[end:])),
		Class: Class(binary.BigEndian.Uint16(p.msg[end+2:])),
	}, true
}

// Next returns the next record; false at the end or at an error, which Err then gives.
func (p *Parser) Next() (RR, bool) {
	if p.err != nil {
		return RR{}, false
	}
	for p.left == 0 {
		if !p.nextSection() {
			return RR{}, false
		}
	}
	rr, end, err := parseRecord(p.msg, p.off)
	if err != nil {
		p.err = err
		return RR{}, false
	}
	rr.Section = p.section
	p.off = end
	p.left--
	return rr, true
}

// nextSection goes on to the section after the one that is used up; false after the last.
func (p *Parser) nextSection() bool {
	switch p.section {
	case SectionAnswer:
		p.left = p.header.NS
	case SectionAuthority:
		p.left = p.header.AR
	default:
		if p.off != len(p.msg) {
			p.err = ErrTrailing
		}
		p.section = sectionEnd
		return false
	}
	p.section++
	return true
}

// Err returns what stopped Next before the end of the message, or nil. After the last record it is
// ErrTrailing if octets follow.
func (p *Parser) Err() error { return p.err }

// Offset returns the offset after the last record that Next returned.
func (p *Parser) Offset() int { return p.off }

// parseRecord reads the record at off and returns the offset after it.
func parseRecord(msg []byte, off int) (rr RR, end int, err error) {
	at, err := SkipName(msg, off)
	if err != nil {
		return rr, 0, err
	}
	if at+recordLen > len(msg) {
		return rr, 0, ErrRecord
	}
	fixed := msg[at : at+recordLen]
	rr = RR{
		NameOff: off,
		Type:    Type(binary.BigEndian.Uint16(fixed)),
		Class:   Class(binary.BigEndian.Uint16(fixed[2:])),
		TTL:     binary.BigEndian.Uint32(fixed[4:]),
		TTLOff:  at + 4,
		DataOff: at + recordLen,
		DataLen: int(binary.BigEndian.Uint16(fixed[8:])),
	}
	if rr.Type != TypeOPT {
		rr.TTL = saneTTL(rr.TTL)
	}
	end = rr.DataOff + rr.DataLen
	if end > len(msg) {
		return rr, 0, ErrRecord
	}
	return rr, end, nil
}

// saneTTL turns a TTL with the top bit set into 0 (RFC 2181 section 8).
func saneTTL(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		return 0
	}
	return ttl
}
