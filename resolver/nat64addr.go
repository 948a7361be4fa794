package resolver

import (
	"fmt"
	"net/netip"
	"slices"
)

// nat64Lengths are the lengths that a NAT64 prefix may have, in bits (RFC 6052
// section 2.2), longest first, which is the order in which they are common.
var nat64Lengths = [...]int{96, 64, 56, 48, 40, 32}

// wellKnownNAT64 is the Well-Known Prefix (RFC 6052 section 2.1). It is used for
// translation and nothing else, and never for addresses that are not global
// (section 3.1).
var wellKnownNAT64 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x00, 0x64, 0xff, 0x9b}), 96)

// zeroOctet is the place of bits 64 to 71 of an IPv4-embedded address, which
// are zero (RFC 6052 section 2.2).
const zeroOctet = 8

// checkNAT64 says what is wrong with a NAT64 prefix, or nil.
func checkNAT64(p netip.Prefix) error {
	switch {
	case !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6():
		return fmt.Errorf("%v is not an IPv6 prefix", p)
	case p.Masked() != p:
		return fmt.Errorf("%v has bits set after its length", p)
	case p.Addr().As16()[zeroOctet] != 0:
		return fmt.Errorf("%v has bits 64 to 71 set (RFC 6052 section 2.2)", p)
	}
	if slices.Contains(nat64Lengths[:], p.Bits()) {
		return nil
	}
	return fmt.Errorf("%v: a NAT64 prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052 section 2.2)", p)
}

// embed returns the IPv6 address that stands for an IPv4 address under a prefix
// that passes checkNAT64 (RFC 6052 section 2.2).
func embed(p netip.Prefix, v4 netip.Addr) netip.Addr {
	b := p.Addr().As16()
	at := p.Bits() / 8
	for _, octet := range v4.As4() {
		if at == zeroOctet {
			at++
		}
		b[at] = octet
		at++
	}
	return netip.AddrFrom16(b)
}

// extract returns the IPv4 address in an IPv4-embedded IPv6 address under a
// prefix that passes checkNAT64; false if a is none. The suffix is not looked
// at, as RFC 6052 section 2.2 asks.
func extract(p netip.Prefix, a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	if !p.Contains(a) || b[zeroOctet] != 0 {
		return netip.Addr{}, false
	}
	var v4 [4]byte
	at := p.Bits() / 8
	for i := range v4 {
		if at == zeroOctet {
			at++
		}
		v4[i] = b[at]
		at++
	}
	return netip.AddrFrom4(v4), true
}

// mayEmbed reports whether an IPv4 address may be reached through a NAT64 with
// this prefix: not those that mean something on one host or link only, and under
// the Well-Known Prefix no private ones (RFC 6052 section 3.1).
func mayEmbed(p netip.Prefix, v4 netip.Addr) bool {
	return v4.Is4() && misplaced(v4) == "" && (p != wellKnownNAT64 || !isPrivate(v4))
}

// The addresses of ipv4only.arpa (RFC 7050 section 8.1), by which a synthesised
// address is recognised.
var wellKnownIPv4Only = [...]netip.Addr{
	netip.AddrFrom4([4]byte{192, 0, 0, 170}),
	netip.AddrFrom4([4]byte{192, 0, 0, 171}),
}

// prefixesIn finds the NAT64 prefixes in the AAAA records of ipv4only.arpa, in
// their order (RFC 7050 section 3). An address that can be read in several ways,
// because the prefix looks like the address embedded, counts only for those that
// both well-known addresses confirm.
func prefixesIn(aaaa []netip.Addr) []netip.Prefix {
	var found []netip.Prefix
	for _, a := range aaaa {
		readings := readingsOf(a)
		for _, p := range readings {
			if (len(readings) == 1 || confirmed(p, aaaa)) && !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
	}
	return found
}

// readingsOf are the prefixes under which a has one of the well-known addresses
// and nothing after it.
func readingsOf(a netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	if !a.Is6() || a.Is4In6() {
		return nil
	}
	for _, n := range nat64Lengths {
		p, err := a.WithZone("").Prefix(n)
		if err != nil || checkNAT64(p) != nil {
			continue
		}
		for _, v4 := range wellKnownIPv4Only {
			if embed(p, v4) == a {
				out = append(out, p)
			}
		}
	}
	return out
}

// confirmed reports whether both well-known addresses are among aaaa under p.
func confirmed(p netip.Prefix, aaaa []netip.Addr) bool {
	for _, v4 := range wellKnownIPv4Only {
		if !slices.Contains(aaaa, embed(p, v4)) {
			return false
		}
	}
	return true
}
