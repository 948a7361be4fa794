package mpaddr

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Layout is one of the ways to arrange the fields of a record, which section
// 5.3 of the draft leaves open.
type Layout uint8

const (
	// LayoutDraft is section 3 as it is written, in network byte order. The
	// header is length(8), family(8), count(8); the length is that of the
	// whole record. An address is length(8), family(8), port(16) and then for
	// IPv4 address(32), zero(64), for IPv6 flowinfo(32), address(128),
	// scope_id(32): 16 and 28 octets, those of a BSD sockaddr_in and
	// sockaddr_in6. It holds at most 15 IPv4 or 9 IPv6 addresses.
	LayoutDraft Layout = iota
	// LayoutWide is LayoutDraft with a header of length(16), family(8),
	// count(8), as section 5.3 proposes for large sets. It holds 255
	// addresses.
	LayoutWide
	// LayoutLinux is what a Linux program would hold in memory: no lengths,
	// families, count and scope_id in native byte order. The header is
	// family(16), count(16); the addresses are struct sockaddr_in and
	// sockaddr_in6, each aligned to 4 octets. It holds 65535 addresses.
	LayoutLinux
)

// Family numbers of the portable form, the same on every platform, and those
// that differ where the octets are a platform's own. 39 is the AF_MULTIPATH
// of Darwin.
const (
	FamilyINET      uint16 = 2
	FamilyINET6     uint16 = 10
	FamilyMultipath uint16 = 39

	FamilyINET6Darwin  uint16 = 30
	FamilyINET6FreeBSD uint16 = 28
)

// Sizes in octets, and what the fields can tell.
const (
	sizeDraftHeader = 3
	sizeWideHeader  = 4
	sizeLinuxHeader = 4
	sizeIPv4        = 16
	sizeIPv6        = 28
	sizeZero        = 8 // sin_zero

	maxDraftLength = math.MaxUint8
	maxCount       = math.MaxUint8 // draft and wide
	maxLinuxCount  = math.MaxUint16
)

// String returns the layout's name: "draft", "wide" or "linux".
func (l Layout) String() string {
	switch l {
	case LayoutDraft:
		return "draft"
	case LayoutWide:
		return "wide"
	case LayoutLinux:
		return "linux"
	default:
		return fmt.Sprintf("Layout(%d)", uint8(l))
	}
}

// ParseLayout returns the layout that [Layout.String] gives the name of.
func ParseLayout(name string) (Layout, error) {
	for l := LayoutDraft; l <= LayoutLinux; l++ {
		if l.String() == name {
			return l, nil
		}
	}
	return 0, fmt.Errorf("layout %q: want draft, wide or linux: %w", name, ErrCodec)
}

// headerSize returns the octets before the first address.
func (l Layout) headerSize() int {
	switch l {
	case LayoutDraft:
		return sizeDraftHeader
	case LayoutWide:
		return sizeWideHeader
	default:
		return sizeLinuxHeader
	}
}

// Codec encodes and parses records. It is a plain value; the zero Codec is
// that of the wire: draft layout, portable family numbers.
//
// For octets of a platform's own, the numbers that differ are set, as in
// Codec{INET6: FamilyINET6Darwin}. Zero numbers stand for the portable ones.
type Codec struct {
	Layout Layout
	// INET, INET6 and Multipath are the numbers of AF_INET, AF_INET6 and
	// AF_MULTIPATH. They must differ, and fit into 8 bits except in the linux
	// layout.
	INET, INET6, Multipath uint16
}

// Append appends the record of a to dst and returns the longer slice. It
// allocates nothing when dst has room for [Codec.Size] more octets. On error,
// which wraps [ErrTooLong], [ErrZone] or [ErrCodec], it returns dst as it was.
func (c Codec) Append(dst []byte, a Addr) ([]byte, error) {
	c, err := c.complete()
	if err != nil {
		return dst, err
	}
	size := c.Size(a)
	if err := c.checkSize(a.Len(), size); err != nil {
		return dst, err
	}
	b := c.appendHeader(slices.Grow(dst, size), size, a.Len())
	for i, e := range a.endpoints() {
		if e.Addr().Is4() {
			b = c.appendIPv4(b, e)
			continue
		}
		scope, ok := e.ScopeID()
		if !ok {
			return dst, fmt.Errorf("encode %s: address %d, %s: zone %q: %w", c.what(), i+1, e, e.Zone(), ErrZone)
		}
		b = c.appendIPv6(b, e, scope)
	}
	return b, nil
}

// Size returns the number of octets of a's record, whether or not the layout's
// length field can tell it.
func (c Codec) Size(a Addr) int {
	n := c.Layout.headerSize()
	for _, e := range a.endpoints() {
		if e.Addr().Is4() {
			n += sizeIPv4
		} else {
			n += sizeIPv6
		}
	}
	return n
}

// Detect returns c with the layout that b is in, going by where the header has
// c's AF_MULTIPATH number, and reports whether there is one. With the portable
// numbers no octets parse in two layouts; b may still not parse in the one
// detected.
func (c Codec) Detect(b []byte) (Codec, bool) {
	full, err := c.complete()
	switch {
	case err != nil || len(b) < sizeDraftHeader:
		return c, false
	case binary.NativeEndian.Uint16(b) == full.Multipath:
		c.Layout = LayoutLinux
	case uint16(b[1]) == full.Multipath:
		c.Layout = LayoutDraft
	case uint16(b[2]) == full.Multipath:
		c.Layout = LayoutWide
	default:
		return c, false
	}
	return c, true
}

// complete returns c with zero numbers replaced, if it is usable.
func (c Codec) complete() (Codec, error) {
	c.INET = cmp.Or(c.INET, FamilyINET)
	c.INET6 = cmp.Or(c.INET6, FamilyINET6)
	c.Multipath = cmp.Or(c.Multipath, FamilyMultipath)
	switch {
	case c.Layout > LayoutLinux:
		return c, fmt.Errorf("AF_MULTIPATH codec: no such layout as %v: %w", c.Layout, ErrCodec)
	case c.INET == c.INET6 || c.INET == c.Multipath || c.INET6 == c.Multipath:
		return c, fmt.Errorf("AF_MULTIPATH codec: family numbers %d, %d, %d are not all different: %w",
			c.INET, c.INET6, c.Multipath, ErrCodec)
	case c.Layout != LayoutLinux && max(c.INET, c.INET6, c.Multipath) > math.MaxUint8:
		return c, fmt.Errorf("AF_MULTIPATH codec: family numbers %d, %d, %d do not fit into 8 bits: %w",
			c.INET, c.INET6, c.Multipath, ErrCodec)
	}
	return c, nil
}

// what names a record of c in errors.
func (c Codec) what() string { return "AF_MULTIPATH record (" + c.Layout.String() + " layout)" }

// checkSize reports whether the header can tell count and size. A wide record
// of the most addresses is far below what 16 bits of length hold.
func (c Codec) checkSize(count, size int) error {
	limit := maxCount
	if c.Layout == LayoutLinux {
		limit = maxLinuxCount
	}
	if count > limit {
		return fmt.Errorf("encode %s: %d addresses, the count field holds %d: %w", c.what(), count, limit, ErrTooLong)
	}
	if c.Layout == LayoutDraft && size > maxDraftLength {
		return fmt.Errorf("encode %s: %d addresses take %d octets, the length field holds %d: %w",
			c.what(), count, size, maxDraftLength, ErrTooLong)
	}
	return nil
}

func (c Codec) appendHeader(b []byte, size, count int) []byte {
	switch c.Layout {
	case LayoutDraft:
		return append(b, byte(size), byte(c.Multipath), byte(count))
	case LayoutWide:
		b = binary.BigEndian.AppendUint16(b, uint16(size))
		return append(b, byte(c.Multipath), byte(count))
	default:
		b = binary.NativeEndian.AppendUint16(b, c.Multipath)
		return binary.NativeEndian.AppendUint16(b, uint16(count))
	}
}

// appendFamily appends what precedes the port of an address.
func (c Codec) appendFamily(b []byte, size int, family uint16) []byte {
	if c.Layout == LayoutLinux {
		return binary.NativeEndian.AppendUint16(b, family)
	}
	return append(b, byte(size), byte(family))
}

func (c Codec) appendIPv4(b []byte, e Endpoint) []byte {
	ip := e.Addr().As4()
	b = c.appendFamily(b, sizeIPv4, c.INET)
	b = binary.BigEndian.AppendUint16(b, e.Port())
	b = append(b, ip[:]...)
	return append(b, make([]byte, sizeZero)...)
}

func (c Codec) appendIPv6(b []byte, e Endpoint, scope uint32) []byte {
	ip := e.Addr().As16()
	b = c.appendFamily(b, sizeIPv6, c.INET6)
	b = binary.BigEndian.AppendUint16(b, e.Port())
	b = binary.BigEndian.AppendUint32(b, e.Flowinfo())
	b = append(b, ip[:]...)
	if c.Layout == LayoutLinux {
		return binary.NativeEndian.AppendUint32(b, scope)
	}
	return binary.BigEndian.AppendUint32(b, scope)
}
