package dnswire

import "encoding/binary"

// QueryError says why ParseQuery refuses a request and what the server owes the client. It is a
// plain number, so that returning one allocates nothing; compare it with == or errors.Is.
type QueryError uint8

// Reasons to refuse a request, each with what is owed.
const (
	// QueryTooShort: less than a header. Owed: silence.
	QueryTooShort QueryError = iota + 1
	// QueryIsResponse: QR is set; to answer could start a loop between servers. Owed: silence.
	QueryIsResponse
	// QueryBadOpcode: not a standard query, such as NOTIFY or UPDATE. Owed: NOTIMP.
	QueryBadOpcode
	// QueryBadCounts: not exactly one question (RFC 9619), or records where a query has none.
	// Owed: FORMERR.
	QueryBadCounts
	// QueryBadQuestion: a name that breaks its limits, is compressed or is cut off. Owed: FORMERR.
	QueryBadQuestion
	// QueryBadRecord: an additional record that is cut off, or more than MaxQueryExtras of them.
	// Owed: FORMERR.
	QueryBadRecord
	// QueryBadEDNS: several OPT records, one that is not at the root, options that do not fit, or
	// more than MaxOptions of them (RFC 6891 section 6.1.1). Owed: FORMERR.
	QueryBadEDNS
	// QueryTrailing: octets after the last record. Owed: FORMERR.
	QueryTrailing
	// QueryBadVersion: an EDNS version other than 0 (RFC 6891 section 6.1.3). Owed: BADVERS, with an
	// OPT record.
	QueryBadVersion
	// QueryBadClass: a class other than IN. Owed: REFUSED. The whole query is parsed, so a server
	// may answer CHAOS instead.
	QueryBadClass
)

// Error says what is wrong with the request.
func (e QueryError) Error() string {
	switch e {
	case QueryTooShort:
		return "query: shorter than its header"
	case QueryIsResponse:
		return "query: is a response"
	case QueryBadOpcode:
		return "query: opcode is not QUERY"
	case QueryBadCounts:
		return "query: not one question and nothing else"
	case QueryBadQuestion:
		return "query: malformed question"
	case QueryBadRecord:
		return "query: malformed additional record"
	case QueryBadEDNS:
		return "query: malformed OPT"
	case QueryTrailing:
		return "query: octets after the last record"
	case QueryBadVersion:
		return "query: EDNS version is not 0"
	case QueryBadClass:
		return "query: class is not IN"
	}
	return "query: unknown error"
}

// Drop reports whether the request must be left without an answer.
func (e QueryError) Drop() bool { return e <= QueryIsResponse }

// RCode returns the code to answer with, where Drop is false.
func (e QueryError) RCode() RCode {
	switch e {
	case QueryBadOpcode:
		return RCodeNotImplemented
	case QueryBadVersion:
		return RCodeBadVersion
	case QueryBadClass:
		return RCodeRefused
	}
	return RCodeFormatError
}

// Query is a parsed request. Its slices are parts of the packet and live as long as it does.
type Query struct {
	Header Header
	Name   []byte // wire form as in the packet, its case kept; nil where no question was read
	QEnd   int    // offset of the first octet after the question; 0 where no question was read
	Type   Type
	Class  Class
	EDNS   EDNS
}

// EDNS is what an OPT record says (RFC 6891 section 6.1).
type EDNS struct {
	Present  bool
	UDPSize  uint16 // as sent; see Query.UDPLimit
	Version  uint8
	DO       bool
	ExtRCode uint8  // upper eight bits of the response code
	Options  []byte // raw; see FindOption and Options
}

const flagDO = 1 << 15 // in the lower half of the OPT record's TTL (RFC 3225 section 3)

// ParseQuery reads a request of one question, checking all of it, and allocates nothing. A refusal
// is always a QueryError; the Query then holds what was read before it, for the echo of the answer.
func ParseQuery(msg []byte) (Query, error) {
	var q Query
	h, err := ParseHeader(msg)
	if err != nil {
		return q, QueryTooShort
	}
	q.Header = h
	switch {
	case h.QR():
		return q, QueryIsResponse
	case h.Opcode() != OpcodeQuery:
		return q, QueryBadOpcode
	case h.QD != 1:
		return q, QueryBadCounts
	}
	if !q.parseQuestion(msg) {
		return q, QueryBadQuestion
	}
	if h.AN != 0 || h.NS != 0 {
		return q, QueryBadCounts
	}
	if err := q.parseExtras(msg); err != 0 {
		return q, err
	}
	if q.EDNS.Version != 0 {
		return q, QueryBadVersion
	}
	if q.Class != ClassINET {
		return q, QueryBadClass
	}
	return q, nil
}

// parseQuestion reads the one question, which has nothing before it to point to.
func (q *Query) parseQuestion(msg []byte) bool {
	end := questionNameEnd(msg)
	if end == 0 || end+questionLen > len(msg) {
		return false
	}
	q.Name = msg[HeaderLen:end:end]
	q.Type = Type(binary.BigEndian.Uint16(msg[end:]))
	q.Class = Class(binary.BigEndian.Uint16(msg[end+2:]))
	q.QEnd = end + questionLen
	return true
}

// questionNameEnd returns the offset after the name of the first question, or 0 if there is none.
// The name is never compressed: nothing is before it.
func questionNameEnd(msg []byte) int {
	off := HeaderLen
	limit := min(len(msg), off+MaxNameLen)
	for off < limit {
		c := int(msg[off])
		if c == 0 {
			return off + 1
		}
		if c > MaxLabelLen {
			return 0
		}
		off += 1 + c
	}
	return 0
}

// parseExtras reads the additional records, of which only OPT matters here, up to the last octet.
func (q *Query) parseExtras(msg []byte) QueryError {
	if q.Header.AR > MaxQueryExtras {
		return QueryBadRecord
	}
	off := q.QEnd
	for range q.Header.AR {
		rr, end, err := parseRecord(msg, off)
		if err != nil {
			return QueryBadRecord
		}
		if rr.Type == TypeOPT && !q.EDNS.parse(msg, rr) {
			return QueryBadEDNS
		}
		off = end
	}
	if off != len(msg) {
		return QueryTrailing
	}
	return 0
}

// parse reads an OPT record; false if it is a second one, not at the root, or badly filled.
func (e *EDNS) parse(msg []byte, rr RR) bool {
	options := msg[rr.DataOff : rr.DataOff+rr.DataLen : rr.DataOff+rr.DataLen]
	if e.Present || msg[rr.NameOff] != 0 || !validOptions(options) {
		return false
	}
	*e = EDNS{
		Present:  true,
		UDPSize:  uint16(rr.Class),
		Version:  uint8(rr.TTL >> 16),
		DO:       rr.TTL&flagDO != 0,
		ExtRCode: uint8(rr.TTL >> 24),
		Options:  options,
	}
	return true
}

// UDPLimit returns the longest answer, in octets, that the client takes over UDP and the server
// wants to send: the advertised size, at least 512 and at most limit; 512 without EDNS.
func (q *Query) UDPLimit(limit int) int {
	if !q.EDNS.Present {
		return MinUDPSize
	}
	return max(MinUDPSize, min(int(q.EDNS.UDPSize), limit))
}

// Question returns the canonical question. It allocates the name.
func (q *Query) Question() Question {
	var buf [MaxNameLen]byte
	name := append(buf[:0], q.Name...)
	lowerAll(name)
	return Question{Name: Name(name), Type: q.Type, Class: q.Class}
}

// AppendKey appends the cache key of q; see the function AppendKey.
func (q *Query) AppendKey(dst []byte) []byte {
	return AppendKey(dst, q.Name, q.Type, q.Class, q.EDNS.DO, q.Header.CD())
}
