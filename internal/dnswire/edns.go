package dnswire

import (
	"encoding/binary"
	"iter"
)

// OPT is the content of an OPT record to build (RFC 6891 section 6.1).
type OPT struct {
	RCode   RCode  // only its upper eight bits go into the record
	UDPSize uint16 // greatest message taken over UDP, in octets
	DO      bool
	Options []byte // in wire form, as AppendOption makes them; shorter than 64 KiB
}

// AddOPT appends an OPT record to the whole message msg and counts it. It belongs behind all other
// records but TSIG.
func AddOPT(msg []byte, o OPT) []byte {
	msg = appendOPT(msg, o)
	binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])+1)
	return msg
}

func appendOPT(dst []byte, o OPT) []byte {
	ttl := uint32(o.RCode>>4) << 24
	if o.DO {
		ttl |= flagDO
	}
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(TypeOPT))
	dst = binary.BigEndian.AppendUint16(dst, o.UDPSize)
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(o.Options)))
	return append(dst, o.Options...)
}

// Option is the code of an EDNS option.
type Option uint16

// EDNS options.
const (
	OptionNSID      Option = 3  // RFC 5001
	OptionSubnet    Option = 8  // RFC 7871
	OptionCookie    Option = 10 // RFC 7873
	OptionKeepalive Option = 11 // RFC 7828
	OptionPadding   Option = 12 // RFC 7830
	OptionEDE       Option = 15 // RFC 8914
)

// EDE is an extended error code (RFC 8914 section 4).
type EDE uint16

// Extended error codes.
const (
	EDEOther             EDE = 0
	EDEStaleAnswer       EDE = 3
	EDEForgedAnswer      EDE = 4
	EDEDNSSECBogus       EDE = 6
	EDECachedError       EDE = 13
	EDENotReady          EDE = 14
	EDEBlocked           EDE = 15
	EDEFiltered          EDE = 17
	EDEProhibited        EDE = 18
	EDEStaleNXDomain     EDE = 19
	EDENotAuthoritative  EDE = 20
	EDENotSupported      EDE = 21
	EDENoReachableServer EDE = 22
	EDENetworkError      EDE = 23
	EDEInvalidData       EDE = 24
	EDETooEarly          EDE = 26
	maxEDEText               = 255
	optionHeader             = 4
)

// AppendOption appends an EDNS option of less than 64 KiB in wire form.
func AppendOption(dst []byte, code Option, data []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(data)))
	return append(dst, data...)
}

// AppendEDE appends an extended error option with an explanation in UTF-8, which is cut after 255
// octets (RFC 8914 section 2).
func AppendEDE(dst []byte, code EDE, text string) []byte {
	text = text[:min(len(text), maxEDEText)]
	dst = binary.BigEndian.AppendUint16(dst, uint16(OptionEDE))
	dst = binary.BigEndian.AppendUint16(dst, uint16(2+len(text)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, text...)
}

// Options yields the options in raw, which is the rdata of an OPT record, up to the first that does
// not fit.
func Options(raw []byte) iter.Seq2[Option, []byte] {
	return func(yield func(Option, []byte) bool) {
		for {
			code, data, rest, ok := CutOption(raw)
			if !ok || !yield(code, data) {
				return
			}
			raw = rest
		}
	}
}

// FindOption returns the data of the first option of the given code.
func FindOption(raw []byte, code Option) (data []byte, ok bool) {
	for c, d := range Options(raw) {
		if c == code {
			return d, true
		}
	}
	return nil, false
}

// CutOption returns the first option in raw, the rdata of an OPT record or what CutOption left of it;
// false if there is none, or it does not fit. The parameters of SVCB and HTTPS records have the same
// layout (RFC 9460 section 2.2).
func CutOption(raw []byte) (code Option, data, rest []byte, ok bool) {
	if len(raw) < optionHeader {
		return 0, nil, nil, false
	}
	end := optionHeader + int(binary.BigEndian.Uint16(raw[2:]))
	if end > len(raw) {
		return 0, nil, nil, false
	}
	return Option(binary.BigEndian.Uint16(raw)), raw[optionHeader:end:end], raw[end:], true
}

// validOptions reports whether raw is a row of at most MaxOptions whole options.
func validOptions(raw []byte) bool {
	for range MaxOptions {
		if len(raw) == 0 {
			return true
		}
		var ok bool
		if _, _, raw, ok = CutOption(raw); !ok {
			return false
		}
	}
	return len(raw) == 0
}
