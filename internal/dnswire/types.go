package dnswire

import (
	"fmt"
	"strconv"
	"strings"
)

// Type is a record type or query type (RFC 1035 section 3.2.2).
type Type uint16

// Record types that the project handles by name. TypeMultipath is the private-use type of the
// AF_MULTIPATH record.
const (
	TypeA         Type = 1
	TypeNS        Type = 2
	TypeCNAME     Type = 5
	TypeSOA       Type = 6
	TypeNULL      Type = 10
	TypePTR       Type = 12
	TypeHINFO     Type = 13
	TypeMX        Type = 15
	TypeTXT       Type = 16
	TypeAAAA      Type = 28
	TypeSRV       Type = 33
	TypeNAPTR     Type = 35
	TypeDNAME     Type = 39
	TypeOPT       Type = 41
	TypeDS        Type = 43
	TypeSSHFP     Type = 44
	TypeRRSIG     Type = 46
	TypeNSEC      Type = 47
	TypeDNSKEY    Type = 48
	TypeNSEC3     Type = 50
	TypeTLSA      Type = 52
	TypeSVCB      Type = 64
	TypeHTTPS     Type = 65
	TypeTKEY      Type = 249
	TypeTSIG      Type = 250
	TypeIXFR      Type = 251
	TypeAXFR      Type = 252
	TypeMAILB     Type = 253
	TypeMAILA     Type = 254
	TypeANY       Type = 255
	TypeCAA       Type = 257
	TypeMultipath Type = 65400
)

// typeNames are the mnemonics of the types above. It is never written to.
var typeNames = map[Type]string{
	TypeA: "A", TypeAAAA: "AAAA", TypeCNAME: "CNAME", TypeHTTPS: "HTTPS",
	TypeNS: "NS", TypeSOA: "SOA", TypeNULL: "NULL", TypePTR: "PTR", TypeHINFO: "HINFO",
	TypeMX: "MX", TypeTXT: "TXT", TypeSRV: "SRV", TypeNAPTR: "NAPTR", TypeDNAME: "DNAME",
	TypeOPT: "OPT", TypeDS: "DS", TypeSSHFP: "SSHFP", TypeRRSIG: "RRSIG", TypeNSEC: "NSEC",
	TypeDNSKEY: "DNSKEY", TypeNSEC3: "NSEC3", TypeTLSA: "TLSA", TypeSVCB: "SVCB",
	TypeTKEY: "TKEY", TypeTSIG: "TSIG", TypeIXFR: "IXFR", TypeAXFR: "AXFR",
	TypeMAILB: "MAILB", TypeMAILA: "MAILA", TypeANY: "ANY", TypeCAA: "CAA",
}

// String returns the mnemonic of t, or the form TYPE65400 for one without (RFC 3597 section 5).
func (t Type) String() string {
	if s := typeNames[t]; s != "" {
		return s
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// IsMeta reports whether t may be asked for or sent but is no data that can be cached: OPT, and the
// range of Q-types and meta-types, 128 to 255 (RFC 6895 section 3.1), and 0. ANY is among them.
func (t Type) IsMeta() bool {
	return t == 0 || t == TypeOPT || t >= 128 && t <= 255
}

// ParseType reads a mnemonic in either case, or the form TYPE65400 (RFC 3597 section 5).
func ParseType(s string) (Type, error) {
	upper := strings.ToUpper(s)
	for t, name := range typeNames {
		if name == upper {
			return t, nil
		}
	}
	digits, ok := strings.CutPrefix(upper, "TYPE")
	if n, err := strconv.ParseUint(digits, 10, 16); ok && err == nil {
		return Type(n), nil
	}
	return 0, fmt.Errorf("record type %q: unknown, and not of the form TYPE123", s)
}

// Class is a record class (RFC 1035 section 3.2.4).
type Class uint16

// Classes.
const (
	ClassINET  Class = 1
	ClassCHAOS Class = 3
	ClassNONE  Class = 254
	ClassANY   Class = 255
)

// String returns the mnemonic of c, or the form CLASS42 (RFC 3597 section 5).
func (c Class) String() string {
	switch c {
	case ClassINET:
		return "IN"
	case ClassCHAOS:
		return "CH"
	case ClassNONE:
		return "NONE"
	case ClassANY:
		return "ANY"
	}
	return "CLASS" + strconv.Itoa(int(c))
}

// Opcode is the kind of a request, four bits of the header (RFC 1035 section 4.1.1).
type Opcode uint8

// Opcodes. Only OpcodeQuery is answered here.
const (
	OpcodeQuery  Opcode = 0
	OpcodeStatus Opcode = 2
	OpcodeNotify Opcode = 4
	OpcodeUpdate Opcode = 5
)

// String returns the mnemonic of o, or the form OPCODE6.
func (o Opcode) String() string {
	switch o {
	case OpcodeQuery:
		return "QUERY"
	case OpcodeStatus:
		return "STATUS"
	case OpcodeNotify:
		return "NOTIFY"
	case OpcodeUpdate:
		return "UPDATE"
	}
	return "OPCODE" + strconv.Itoa(int(o))
}

// RCode is a response code of twelve bits: the header's four and, above them, the eight of an OPT
// record (RFC 6891 section 6.1.3).
type RCode uint16

// Response codes (RFC 1035 section 4.1.1, RFC 2136, RFC 6891, RFC 7873).
const (
	RCodeSuccess        RCode = 0
	RCodeFormatError    RCode = 1
	RCodeServerFailure  RCode = 2
	RCodeNameError      RCode = 3
	RCodeNotImplemented RCode = 4
	RCodeRefused        RCode = 5
	RCodeYXDomain       RCode = 6
	RCodeNotAuth        RCode = 9
	RCodeBadVersion     RCode = 16
	RCodeBadCookie      RCode = 23
)

// String returns the mnemonic of r, such as NXDOMAIN, or the form RCODE11.
func (r RCode) String() string {
	switch r {
	case RCodeSuccess:
		return "NOERROR"
	case RCodeFormatError:
		return "FORMERR"
	case RCodeServerFailure:
		return "SERVFAIL"
	case RCodeNameError:
		return "NXDOMAIN"
	case RCodeNotImplemented:
		return "NOTIMP"
	case RCodeRefused:
		return "REFUSED"
	case RCodeYXDomain:
		return "YXDOMAIN"
	case RCodeNotAuth:
		return "NOTAUTH"
	case RCodeBadVersion:
		return "BADVERS"
	case RCodeBadCookie:
		return "BADCOOKIE"
	}
	return "RCODE" + strconv.Itoa(int(r))
}
