package mpaddr

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
)

// Field is one field of a record's octets, for showing them to people.
type Field struct {
	// Offset and Len say which octets of the record it is.
	Offset, Len int
	// Address is the number of the address it is part of, from 1, or 0 for
	// the header.
	Address int
	// Name is "length", "family", "count", "port", "address", "zero",
	// "flowinfo" or "scope_id".
	Name string
	// Value is the field as text: "47", "10 (AF_INET6)", "2001:db8::1",
	// "0x00012345"; the octets of zero in hexadecimal.
	Value string
}

// Fields returns the fields of b, a record in c's layout, in their order. When
// b does not parse it returns, with the error of [Codec.Parse], all fields that
// were read until then, the one in error included if its octets are there.
func (c Codec) Fields(b []byte) ([]Field, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	d := decoder{codec: c, b: b, fields: true}
	_, err = d.record()
	fields := make([]Field, len(d.marks))
	for i, m := range d.marks {
		octets := b[m.off : m.off+m.n]
		fields[i] = Field{Offset: m.off, Len: m.n, Address: m.element, Name: m.name, Value: c.render(octets, m.as)}
	}
	return fields, err
}

// mark is a Field whose value is still octets.
type mark struct {
	off, n  int
	element int
	name    string
	as      rendering
}

// rendering says how a field is shown.
type rendering uint8

const (
	asNumber rendering = iota
	asNativeNumber
	asFamily
	asNativeFamily
	asHex
	asAddress
	asOctets
)

// render returns the text of a field. c is complete.
func (c Codec) render(octets []byte, as rendering) string {
	switch as {
	case asNumber:
		return strconv.FormatUint(number(octets, binary.BigEndian), 10)
	case asNativeNumber:
		return strconv.FormatUint(number(octets, binary.NativeEndian), 10)
	case asFamily:
		return c.familyName(number(octets, binary.BigEndian))
	case asNativeFamily:
		return c.familyName(number(octets, binary.NativeEndian))
	case asHex:
		return "0x" + hex.EncodeToString(octets)
	case asAddress:
		ip, _ := netip.AddrFromSlice(octets)
		return ip.String()
	default:
		return hex.EncodeToString(octets)
	}
}

// number reads a field of 1, 2 or 4 octets.
func number(octets []byte, order binary.ByteOrder) uint64 {
	switch len(octets) {
	case 1:
		return uint64(octets[0])
	case 2:
		return uint64(order.Uint16(octets))
	default:
		return uint64(order.Uint32(octets))
	}
}

// familyName returns a family number with its name. c is complete.
func (c Codec) familyName(n uint64) string {
	switch n {
	case uint64(c.INET):
		return fmt.Sprintf("%d (AF_INET)", n)
	case uint64(c.INET6):
		return fmt.Sprintf("%d (AF_INET6)", n)
	case uint64(c.Multipath):
		return fmt.Sprintf("%d (AF_MULTIPATH)", n)
	default:
		return fmt.Sprintf("%d (unknown)", n)
	}
}
