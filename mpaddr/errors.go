package mpaddr

import (
	"errors"
	"fmt"
)

// Reasons for which octets are no AF_MULTIPATH record. They are found with
// [errors.Is] in the [*SyntaxError] that [Codec.Parse] returns.
var (
	// ErrTruncated: the octets end before the record does.
	ErrTruncated = errors.New("truncated")
	// ErrLength: a length field disagrees with what it is the length of.
	ErrLength = errors.New("wrong length")
	// ErrCount: the number of addresses disagrees with the addresses.
	ErrCount = errors.New("wrong count")
	// ErrFamily: a family number other than those of the codec.
	ErrFamily = errors.New("unknown address family")
	// ErrNested: an AF_MULTIPATH address within another.
	ErrNested = errors.New("nested AF_MULTIPATH")
	// ErrPadding: an octet that has to be zero is not.
	ErrPadding = errors.New("non-zero padding")
	// ErrDuplicate: a target for the second time.
	ErrDuplicate = errors.New("duplicate address")
	// ErrTrailing: octets after the end of the record.
	ErrTrailing = errors.New("trailing octets")
)

// ErrText is the reason for which text is no address or set, found in the
// [*SyntaxError] that [Parse] and [ParseEndpoint] return.
var ErrText = errors.New("malformed text")

// Reasons for which [Codec.Append] cannot encode a set.
var (
	// ErrTooLong: more addresses than the layout's length or count field can
	// tell. The draft layout holds 15 IPv4 or 9 IPv6 addresses.
	ErrTooLong = errors.New("too many addresses for the layout")
	// ErrZone: a zone is a name, or a number above 32 bits, where the octets
	// need a scope id.
	ErrZone = errors.New("zone is not a scope id")
	// ErrCodec: the codec itself is unusable: an unknown layout, family
	// numbers that do not fit into the layout or that are equal.
	ErrCodec = errors.New("unusable codec")
)

// SyntaxError says what is wrong with octets or text, and where.
type SyntaxError struct {
	// What names what was to be parsed, as "AF_MULTIPATH record (draft layout)".
	What string
	// Offset is that of the octet, from 0, at which the input is wrong. It is
	// the input's length, or that of the record, when something is missing
	// there.
	Offset int
	// Detail says in words what was found and what would be right.
	Detail string
	// Err is the reason, one of the package's Err values.
	Err error
}

// Error returns the description, with the offset.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("parse %s: offset %d: %v: %s", e.What, e.Offset, e.Err, e.Detail)
}

// Unwrap returns the reason, so that [errors.Is] finds it.
func (e *SyntaxError) Unwrap() error { return e.Err }
