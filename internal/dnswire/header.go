package dnswire

import (
	"encoding/binary"
	"errors"
)

// ErrTooShort says that a message ends before its header does.
var ErrTooShort = errors.New("dns message shorter than its header")

// Flags of the header's second word (RFC 1035 section 4.1.1, RFC 4035 section 3.2).
const (
	FlagQR uint16 = 1 << 15 // a response
	FlagAA uint16 = 1 << 10 // authoritative answer
	FlagTC uint16 = 1 << 9  // truncated
	FlagRD uint16 = 1 << 8  // recursion desired
	FlagRA uint16 = 1 << 7  // recursion available
	FlagAD uint16 = 1 << 5  // authentic data
	FlagCD uint16 = 1 << 4  // checking disabled

	opcodeShift = 11
	opcodeMask  = 0xf << opcodeShift
	rcodeMask   = 0xf
)

// Header is the fixed part of a message: its id, flags and counts of questions, answer, authority
// and additional records (RFC 1035 section 4.1.1).
type Header struct {
	ID             uint16
	Flags          uint16
	QD, AN, NS, AR uint16
}

// ParseHeader reads the first twelve octets of msg, or returns ErrTooShort.
func ParseHeader(msg []byte) (Header, error) {
	if len(msg) < HeaderLen {
		return Header{}, ErrTooShort
	}
	_ = msg[11]
	return Header{
		ID:    binary.BigEndian.Uint16(msg),
		Flags: binary.BigEndian.Uint16(msg[2:]),
		QD:    binary.BigEndian.Uint16(msg[4:]),
		AN:    binary.BigEndian.Uint16(msg[6:]),
		NS:    binary.BigEndian.Uint16(msg[8:]),
		AR:    binary.BigEndian.Uint16(msg[10:]),
	}, nil
}

// QR reports whether the message is a response.
func (h Header) QR() bool { return h.Flags&FlagQR != 0 }

// Opcode returns the kind of request.
func (h Header) Opcode() Opcode { return Opcode(h.Flags & opcodeMask >> opcodeShift) }

// AA reports whether the answer is authoritative.
func (h Header) AA() bool { return h.Flags&FlagAA != 0 }

// TC reports whether the message is truncated.
func (h Header) TC() bool { return h.Flags&FlagTC != 0 }

// RD reports whether recursion is desired.
func (h Header) RD() bool { return h.Flags&FlagRD != 0 }

// RA reports whether recursion is available.
func (h Header) RA() bool { return h.Flags&FlagRA != 0 }

// AD reports whether the data is said to be authentic (RFC 4035 section 3.2.3).
func (h Header) AD() bool { return h.Flags&FlagAD != 0 }

// CD reports whether checking is disabled (RFC 4035 section 3.2.2).
func (h Header) CD() bool { return h.Flags&FlagCD != 0 }

// RCode returns the header's four bits of the response code; the other eight are in an OPT record.
func (h Header) RCode() RCode { return RCode(h.Flags & rcodeMask) }

// append appends the twelve octets of h.
func (h Header) append(dst []byte) []byte {
	for _, v := range [...]uint16{h.ID, h.Flags, h.QD, h.AN, h.NS, h.AR} {
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	return dst
}
