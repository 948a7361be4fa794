package hostid

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
)

// patterns compares the numbers of the addresses.
func (v *observer) patterns() {
	four, six := v.families()
	six = slices.DeleteFunc(six, func(b netip.Addr) bool { return v.translation(b, four) })
	for _, a := range four {
		for _, b := range six {
			if k, ok := pattern(a, b); ok {
				v.add(k, []netip.Addr{a}, []netip.Addr{b}, "")
			}
		}
	}
	v.sequences(four, six)
	v.neighbours(four, 24)
	v.neighbours(six, 64)
}

// translation tells whether b is synthesised: its IPv4 part is the way to it. It
// is noted where the IPv4 address is one of the set.
func (v *observer) translation(b netip.Addr, four []netip.Addr) bool {
	a, ok := Translated(b, v.NAT64)
	if ok && slices.Contains(four, a) {
		v.add(Synthesised, []netip.Addr{a}, []netip.Addr{b}, "")
	}
	return ok
}

// Translated returns the IPv4 address by way of which a synthesised IPv6 address
// is reached: that of NAT64 (RFC 6052, 64:ff9b::/96 and the given prefixes), of
// 6to4 (RFC 3056) or, of Teredo (RFC 4380 section 4), that of the client's NAT.
func Translated(addr netip.Addr, nat64 []netip.Prefix) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case addr.Is4In6():
		return addr.Unmap(), true
	case bytes.HasPrefix(b[:], []byte{0x20, 0x02}):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case bytes.HasPrefix(b[:], []byte{0x20, 0x01, 0, 0}):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	case bytes.HasPrefix(b[:], []byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}):
		return netip.AddrFrom4([4]byte(b[12:])), true
	}
	for _, p := range nat64 {
		if p.Contains(addr) {
			return unmapRFC6052(b, p.Bits())
		}
	}
	return netip.Addr{}, false
}

// unmapRFC6052 takes the IPv4 address from behind a prefix of bits: octet 8 is
// left out (RFC 6052 section 2.2).
func unmapRFC6052(b [16]byte, bits int) (netip.Addr, bool) {
	switch bits {
	case 32, 40, 48, 56, 64, 96:
	default:
		return netip.Addr{}, false
	}
	rest := append(b[:8:8], b[9:]...)
	at := bits / 8
	if at > 8 {
		at-- // octet 8 is part of the prefix
	}
	return netip.AddrFrom4([4]byte(rest[at : at+4])), true
}

// pattern returns what the interface identifier of b has of a, the most telling.
func pattern(a, b netip.Addr) (Kind, bool) {
	four, six := a.As4(), b.As16()
	last := binary.BigEndian.Uint16(six[14:])
	switch {
	case bytes.Equal(six[12:], four[:]), bytes.Equal(six[8:12], four[:]):
		return EmbeddedOctets, true
	case spells(six, four):
		return EmbeddedDecimal, true
	case last == uint16(four[3]), strconv.FormatUint(uint64(last), 16) == strconv.Itoa(int(four[3])):
		return EqualEnd, true
	}
	return 0, false
}

// spells tells whether the last four groups, read as decimal, are the octets.
func spells(six [16]byte, four [4]byte) bool {
	for i, o := range four {
		group := binary.BigEndian.Uint16(six[8+2*i:])
		if strconv.FormatUint(uint64(group), 16) != strconv.Itoa(int(o)) {
			return false
		}
	}
	return true
}

// minSequence is how many addresses of each family make a sequence.
const minSequence = 2

// sequences looks for as many addresses of each family, sorted, that run in equal
// steps, in one /24 and one /64.
func (v *observer) sequences(four, six []netip.Addr) {
	if len(four) < minSequence || len(four) != len(six) {
		return
	}
	slices.SortFunc(four, netip.Addr.Compare)
	slices.SortFunc(six, netip.Addr.Compare)
	for i := 1; i < len(four); i++ {
		if !alike(four[i-1], four[i], six[i-1], six[i]) {
			return
		}
	}
	for i := range four {
		v.add(PairedSequence, four[i:i+1], six[i:i+1], "")
		if rest := slices.Delete(slices.Clone(six), i, i+1); len(rest) > 0 {
			v.add(OutOfSequence, four[i:i+1], rest, "")
		}
	}
}

// alike tells whether the step of two IPv4 addresses in one /24 is that of two
// IPv6 addresses in one /64, counted in hexadecimal or spelled in decimal.
func alike(a4, b4, a6, b6 netip.Addr) bool {
	x, y := a4.As4(), b4.As4()
	u, w := a6.As16(), b6.As16()
	if !bytes.Equal(x[:3], y[:3]) || !bytes.Equal(u[:14], w[:14]) {
		return false
	}
	step := int(y[3]) - int(x[3])
	ua, wb := int(u[14])<<8|int(u[15]), int(w[14])<<8|int(w[15])
	return step == wb-ua || step == decimal(wb)-decimal(ua)
}

// decimal returns the number that a group spells, -1 if it has letters.
func decimal(group int) int {
	n, err := strconv.Atoi(strconv.FormatInt(int64(group), 16))
	if err != nil {
		return -1
	}
	return n
}

// neighbours groups the addresses of a family by prefix.
func (v *observer) neighbours(addrs []netip.Addr, bits int) {
	groups := make(map[netip.Prefix][]netip.Addr)
	var order []netip.Prefix
	for _, a := range addrs {
		p, err := a.WithZone("").Prefix(bits)
		if err != nil {
			continue
		}
		if groups[p] == nil {
			order = append(order, p)
		}
		groups[p] = append(groups[p], a)
	}
	for _, p := range order {
		v.add(Neighbours, groups[p], nil, p.String())
	}
}
