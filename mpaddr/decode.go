package mpaddr

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
)

// Parse returns the set whose record b is, no more and no less. The error is a
// [*SyntaxError], or wraps [ErrCodec].
//
// The record is read from its beginning, and the first thing wrong is the
// error. A length or count that disagrees with the octets shows where the
// octets stop agreeing with it: the error has that offset.
func (c Codec) Parse(b []byte) (Addr, error) {
	c, err := c.complete()
	if err != nil {
		return Addr{}, err
	}
	d := decoder{codec: c, b: b}
	return d.record()
}

// decoder reads a record from its beginning to its end. After the first error
// its methods do nothing.
type decoder struct {
	codec   Codec
	b       []byte
	off     int  // what has been read
	limit   int  // where the record ends by its length, but within b
	length  int  // where the record ends by its length
	element int  // the address being read, from 1; 0 for the header
	fields  bool // whether marks are to be made
	marks   []mark
	err     *SyntaxError
}

// record reads everything.
func (d *decoder) record() (Addr, error) {
	count := d.header()
	if d.err != nil {
		return Addr{}, d.err
	}
	// Whatever the count says, no more room is made than the octets can fill.
	x := index{eps: make([]Endpoint, 0, min(count, (d.limit-d.off)/sizeIPv4))}
	for d.element = 1; d.err == nil && d.element <= count; d.element++ {
		d.next(&x, count)
	}
	d.end(count)
	if d.err != nil {
		return Addr{}, d.err
	}
	return own(x.eps), nil
}

// next reads an address into x.
func (d *decoder) next(x *index, count int) {
	if d.off == d.limit && d.limit == d.length {
		d.fail(d.off, ErrCount, "count is %d, the record ends after %d", count, d.element-1)
		return
	}
	start := d.off
	e := d.address()
	if d.err != nil {
		return
	}
	if first := x.add(e); first >= 0 {
		d.fail(start, ErrDuplicate, "address %d, %s, is that of address %d", d.element, e, first+1)
	}
}

// header reads what precedes the addresses, and returns their number.
func (d *decoder) header() (count int) {
	d.limit, d.length = len(d.b), len(d.b)
	switch d.codec.Layout {
	case LayoutDraft:
		d.length = int(d.uint8("length", asNumber))
		d.family(d.uint8("family", asFamily))
		count = int(d.uint8("count", asNumber))
	case LayoutWide:
		d.length = int(d.uint16("length", asNumber))
		d.family(d.uint8("family", asFamily))
		count = int(d.uint8("count", asNumber))
	default:
		d.family(d.nativeUint16("family", asNativeFamily))
		count = int(d.nativeUint16("count", asNativeNumber))
	}
	if size := d.codec.Layout.headerSize(); d.length < size {
		d.fail(0, ErrLength, "length is %d, the header alone has %d", d.length, size)
	}
	d.limit = min(d.length, len(d.b))
	return count
}

// family checks the family of the header, which has been read last.
func (d *decoder) family(number uint16) {
	if want := d.codec.Multipath; number != want {
		at := d.off - 1
		if d.codec.Layout == LayoutLinux {
			at = d.off - 2
		}
		d.fail(at, ErrFamily, "family of the record is %d, want %d (AF_MULTIPATH)", number, want)
	}
}

// address reads one of the addresses.
func (d *decoder) address() Endpoint {
	start, length := d.off, 0
	var family uint16
	familyAt := start
	if d.codec.Layout == LayoutLinux {
		family = d.nativeUint16("family", asNativeFamily)
	} else {
		length = int(d.uint8("length", asNumber))
		familyAt = d.off
		family = d.uint8("family", asFamily)
	}
	if d.err != nil {
		return Endpoint{}
	}
	switch family {
	case d.codec.INET:
		d.size(start, length, sizeIPv4, "AF_INET")
		return d.ipv4()
	case d.codec.INET6:
		d.size(start, length, sizeIPv6, "AF_INET6")
		return d.ipv6()
	case d.codec.Multipath:
		d.fail(familyAt, ErrNested, "family of address %d is %d (AF_MULTIPATH)", d.element, family)
	default:
		d.fail(familyAt, ErrFamily, "family of address %d is %d, want %d (AF_INET) or %d (AF_INET6)",
			d.element, family, d.codec.INET, d.codec.INET6)
	}
	return Endpoint{}
}

// size checks the length of an address, where the layout has one.
func (d *decoder) size(at, length, want int, family string) {
	if d.codec.Layout != LayoutLinux && length != want {
		d.fail(at, ErrLength, "length of address %d is %d, %s has %d", d.element, length, family, want)
	}
}

// ipv4 reads what follows the family in a sockaddr_in.
func (d *decoder) ipv4() Endpoint {
	port := d.uint16("port", asNumber)
	ip := d.take(4, "address", asAddress)
	zero := d.take(sizeZero, "zero", asOctets)
	if d.err != nil {
		return Endpoint{}
	}
	for i, octet := range zero {
		if octet != 0 {
			d.fail(d.off-sizeZero+i, ErrPadding, "octet %d of address %d's sin_zero is %#02x, want 0", i+1, d.element, octet)
			return Endpoint{}
		}
	}
	return EndpointFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip)), port))
}

// ipv6 reads what follows the family in a sockaddr_in6.
func (d *decoder) ipv6() Endpoint {
	port := d.uint16("port", asNumber)
	flow := d.uint32("flowinfo", asHex)
	octets := d.take(16, "address", asAddress)
	var scope uint32
	if d.codec.Layout == LayoutLinux {
		scope = d.nativeUint32("scope_id", asNativeNumber)
	} else {
		scope = d.uint32("scope_id", asNumber)
	}
	if d.err != nil {
		return Endpoint{}
	}
	ip := netip.AddrFrom16([16]byte(octets))
	if scope != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return EndpointFrom(netip.AddrPortFrom(ip, port)).WithFlowinfo(flow)
}

// end checks that nothing is left, and that the length was that of the octets.
func (d *decoder) end(count int) {
	switch {
	case d.off < d.limit && d.codec.Layout == LayoutLinux:
		d.fail(d.off, ErrTrailing, "%d octets after %d addresses", d.limit-d.off, count)
	case d.off < d.limit:
		d.fail(d.off, ErrCount, "count is %d, but %d octets of the record follow", count, d.limit-d.off)
	case d.length > len(d.b):
		d.fail(len(d.b), ErrTruncated, "length is %d, got %d octets", d.length, len(d.b))
	case d.length < len(d.b):
		d.fail(d.length, ErrTrailing, "length is %d, got %d octets", d.length, len(d.b))
	}
}

// take reads the n octets of a field. It returns nil after an error.
func (d *decoder) take(n int, name string, as rendering) []byte {
	if d.err != nil {
		return nil
	}
	if left := d.limit - d.off; left < n {
		// The octets that were given may go on where the record does not.
		reason := ErrTruncated
		if d.limit < len(d.b) {
			reason = ErrLength
		}
		d.fail(d.limit, reason, "%s needs %d octets, %d left", d.fieldName(name), n, left)
		return nil
	}
	if d.fields {
		d.marks = append(d.marks, mark{off: d.off, n: n, element: d.element, name: name, as: as})
	}
	p := d.b[d.off : d.off+n]
	d.off += n
	return p
}

func (d *decoder) uint8(name string, as rendering) uint16 {
	if p := d.take(1, name, as); p != nil {
		return uint16(p[0])
	}
	return 0
}

func (d *decoder) uint16(name string, as rendering) uint16 {
	if p := d.take(2, name, as); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) uint32(name string, as rendering) uint32 {
	if p := d.take(4, name, as); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) nativeUint16(name string, as rendering) uint16 {
	if p := d.take(2, name, as); p != nil {
		return binary.NativeEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) nativeUint32(name string, as rendering) uint32 {
	if p := d.take(4, name, as); p != nil {
		return binary.NativeEndian.Uint32(p)
	}
	return 0
}

// fail makes the first error that stays.
func (d *decoder) fail(at int, reason error, format string, args ...any) {
	if d.err == nil {
		d.err = &SyntaxError{What: d.codec.what(), Offset: at, Detail: fmt.Sprintf(format, args...), Err: reason}
	}
}

// fieldName names a field in errors.
func (d *decoder) fieldName(name string) string {
	if d.element == 0 {
		return name + " of the record"
	}
	return fmt.Sprintf("%s of address %d", name, d.element)
}
