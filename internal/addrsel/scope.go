package addrsel

import (
	"fmt"
	"math/bits"
	"net/netip"
)

// Scope is the reach of an address, in the values of the multicast scope field
// (RFC 4291 section 2.7) onto which RFC 6724 section 3.1 maps unicast scopes. A
// smaller number is a smaller scope.
type Scope int

// The scopes that RFC 6724 section 3.1 and RFC 4291 section 2.7 name.
const (
	ScopeInterfaceLocal    Scope = 0x1
	ScopeLinkLocal         Scope = 0x2
	ScopeAdminLocal        Scope = 0x4
	ScopeSiteLocal         Scope = 0x5
	ScopeOrganizationLocal Scope = 0x8
	ScopeGlobal            Scope = 0xe
)

// String returns the scope's name, such as "link-local", or its number.
func (s Scope) String() string {
	switch s {
	case ScopeInterfaceLocal:
		return "interface-local"
	case ScopeLinkLocal:
		return "link-local"
	case ScopeAdminLocal:
		return "admin-local"
	case ScopeSiteLocal:
		return "site-local"
	case ScopeOrganizationLocal:
		return "organization-local"
	case ScopeGlobal:
		return "global"
	default:
		return fmt.Sprintf("scope %d", int(s))
	}
}

// scope6 is the scope of an IPv6 address: RFC 6724 section 3.1, with the
// loopback address link-local (RFC 4007 section 4) and unique local addresses
// global (RFC 4193 section 3.3).
func scope6(a netip.Addr) Scope {
	b := a.As16()
	switch {
	case a.IsMulticast():
		return Scope(b[1] & 0x0f)
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		return ScopeLinkLocal
	case b[0] == 0xfe && b[1]&0xc0 == 0xc0: // fec0::/10
		return ScopeSiteLocal
	default:
		return ScopeGlobal
	}
}

// interfaceIDBits is the length of an IPv6 interface identifier (RFC 4291
// section 2.5.1), which a common prefix never reaches into.
const interfaceIDBits = 64

// CommonPrefixLen is RFC 6724 section 2.2: the number of leading bits that the
// source s and the destination d have in common, looking no further than the
// prefix of s, prefixBits long; 0 stands for an unknown length. For IPv6 the
// interface identifier never counts, even if the prefix is longer than 64 bits
// as a host address given by DHCPv6 is. Addresses of different families have
// nothing in common. IPv4-mapped addresses are IPv4; zones are ignored.
func CommonPrefixLen(s, d netip.Addr, prefixBits int) int {
	s, d = s.Unmap(), d.Unmap()
	if !s.IsValid() || s.BitLen() != d.BitLen() {
		return 0
	}
	limit := s.BitLen()
	if s.Is6() {
		limit -= interfaceIDBits
	}
	if prefixBits > 0 {
		limit = min(limit, prefixBits)
	}
	sb, db := s.As16(), d.As16()
	n := 0
	for i := 16 - s.BitLen()/8; i < 16; i++ {
		if x := sb[i] ^ db[i]; x != 0 {
			n += bits.LeadingZeros8(x)
			break
		}
		n += 8
	}
	return min(n, limit)
}
