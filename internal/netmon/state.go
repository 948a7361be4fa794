package netmon

import (
	"cmp"
	"net/netip"
	"slices"
)

// Family is an address family by its IP version number.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// familyOf returns the family of a valid address.
func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Address is one address of this machine that a subflow could come from. It is
// comparable; the address and the interface's index say which one it is.
type Address struct {
	// Addr is the address itself, without a zone.
	Addr netip.Addr
	// Prefix is the length of its on-link prefix, in bits.
	Prefix int
	// Interface is the name of its interface, which may change, and Index its
	// number, which does not.
	Interface string
	Index     int
	// DefaultRoute says that a default route of the address's family leaves
	// through the interface. Without one the address reaches what is on link or
	// has a route of its own.
	DefaultRoute bool
	// Metric is the lowest metric of these default routes, as far as they are in
	// the main table: the system prefers lower ones. It is [NoMetric] where none
	// is or where metrics are not known.
	Metric uint32
	// Deprecated addresses should not begin new communication (RFC 4862 section
	// 5.5.4). Temporary ones are made for privacy (RFC 8981). Both are known of
	// IPv6 addresses, on Linux.
	Deprecated, Temporary bool
	// Secondary says, of an IPv4 address on Linux, that an earlier one of the
	// same prefix is preferred.
	Secondary bool
}

// NoMetric is the metric of an interface without a default route in the main
// table.
const NoMetric uint32 = 1<<32 - 1

// same reports whether a and b are one address, whatever else of it changed.
func (a Address) same(b Address) bool { return a.Addr == b.Addr && a.Index == b.Index }

// compare orders by interface, family and address, then so that of two entries
// for one address the better comes first.
func (a Address) compare(b Address) int {
	return cmp.Or(
		cmp.Compare(a.Index, b.Index),
		a.Addr.Compare(b.Addr),
		before(!a.Secondary, !b.Secondary),
		cmp.Compare(a.Prefix, b.Prefix),
	)
}

// before orders what has a property before what has not.
func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// State is what is known of this machine's network at one time. It is shared
// by all who were given it: Addresses must not be modified.
type State struct {
	// Addresses are the usable addresses, each once per interface, ordered by
	// interface index and address, IPv4 first.
	Addresses []Address
	// DefaultIPv4 and DefaultIPv6 say that a default route of the family leaves
	// through an interface that is up and has a carrier.
	DefaultIPv4, DefaultIPv6 bool
}

// Equal reports whether s and o say the same.
func (s State) Equal(o State) bool {
	return s.DefaultIPv4 == o.DefaultIPv4 && s.DefaultIPv6 == o.DefaultIPv6 &&
		slices.Equal(s.Addresses, o.Addresses)
}

// Diff returns the addresses that next has and s has not, and those that s has
// and next has not, each in the order of its State. An address that only
// changed (its route, its deprecation, its interface's name) is in neither; one
// that moved to another interface is in both.
func (s State) Diff(next State) (added, removed []Address) {
	return missing(next.Addresses, s.Addresses), missing(s.Addresses, next.Addresses)
}

// missing returns what is in as and not in bs; both are ordered.
func missing(as, bs []Address) []Address {
	var out []Address
	for _, a := range as {
		for len(bs) > 0 && cmp.Or(cmp.Compare(bs[0].Index, a.Index), bs[0].Addr.Compare(a.Addr)) < 0 {
			bs = bs[1:]
		}
		if len(bs) == 0 || !bs[0].same(a) {
			out = append(out, a)
		}
	}
	return out
}

// Sources returns the addresses to make subflows from: the best of each
// interface in the family, the best interface first. A second address of one
// interface takes the same path through the network.
//
// Of one interface's addresses that one is chosen which is, in this order,
//   - not deprecated (RFC 6724 section 5 rule 3),
//   - not unique local, fc00::/7 (RFC 4193), as most peers are not: what rule 6
//     comes to when the destination is not known,
//   - temporary (rule 7: the default is for privacy, and a subflow of a
//     connection that this machine opened needs no lasting address),
//   - not secondary,
//   - the first in the order of the State.
//
// Of the interfaces those with a default route come first, then those whose
// address is not deprecated, then those of the lower metric, as the system
// itself prefers them, then those of the lower index. Interfaces without a
// default route are a caller's to use when the remote address is on their link
// ([Address.Prefix]); a packet to others would leave elsewhere, or not at all.
func (s State) Sources(family Family) []Address {
	best := map[int]Address{}
	for _, a := range s.Addresses {
		if familyOf(a.Addr) != family {
			continue
		}
		if other, ok := best[a.Index]; !ok || a.compareSource(other) < 0 {
			best[a.Index] = a
		}
	}
	out := make([]Address, 0, len(best))
	for _, a := range best {
		out = append(out, a)
	}
	slices.SortFunc(out, Address.compareUplink)
	return out
}

// compareSource orders the addresses of one interface as Sources says.
func (a Address) compareSource(b Address) int {
	return cmp.Or(
		before(!a.Deprecated, !b.Deprecated),
		before(!a.uniqueLocal(), !b.uniqueLocal()),
		before(a.Temporary, b.Temporary),
		before(!a.Secondary, !b.Secondary),
		a.compare(b),
	)
}

// compareUplink orders the chosen addresses of all interfaces as Sources says.
func (a Address) compareUplink(b Address) int {
	return cmp.Or(
		before(a.DefaultRoute, b.DefaultRoute),
		before(!a.Deprecated, !b.Deprecated),
		cmp.Compare(a.Metric, b.Metric),
		cmp.Compare(a.Index, b.Index),
	)
}

// uniqueLocal reports whether a is in fc00::/7 (RFC 4193).
func (a Address) uniqueLocal() bool { return a.Addr.Is6() && a.Addr.IsPrivate() }

// usableAddr reports whether packets with the source a can leave the link.
func usableAddr(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.Is4In6()
}

// tidy orders addresses for a State and leaves one entry for each.
func tidy(as []Address) []Address {
	slices.SortFunc(as, Address.compare)
	return slices.CompactFunc(as, Address.same)
}
