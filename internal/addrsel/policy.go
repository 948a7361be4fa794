package addrsel

import (
	"cmp"
	"net/netip"
	"slices"
)

// Policy is what RFC 6724 section 2.1 calls the policy table: the label and the
// precedence of an address, by the longest prefix that matches it; and the
// scopes of IPv4 addresses (section 3.2), which an administrator may redefine
// too. Policies are immutable. The zero value stands for [DefaultPolicy].
type Policy struct {
	labels      table // IPv6 prefixes; IPv4 as ::ffff:0:0/96
	precedences table // the same
	scopes4     table // the same, of IPv4 addresses only
}

// table maps prefixes to values, longest prefix first, the last being ::/0.
type table []tableEntry

type tableEntry struct {
	prefix netip.Prefix
	value  int
}

// Values for addresses that an administrator's table does not cover: those of
// ::/0 in the default table, and global scope.
const (
	defaultLabel      = 1
	defaultPrecedence = 40
)

// DefaultPolicy returns the table of RFC 6724 section 2.1:
//
//	Prefix        Precedence Label
//	::1/128               50     0
//	::/0                  40     1
//	::ffff:0:0/96         35     4
//	2002::/16             30     2
//	2001::/32              5     5
//	fc00::/7               3    13
//	::/96                  1     3
//	fec0::/10              1    11
//	3ffe::/16              1    12
//
// with the IPv4 scopes of section 3.2: 169.254/16 and 127/8 are link-local and
// all others, private ones included, global.
func DefaultPolicy() Policy {
	return defaultPolicy
}

// defaultPolicy is never written to.
var defaultPolicy = Policy{labels: defaultLabels(), precedences: defaultPrecedences(), scopes4: defaultScopes4()}

// Label returns Label(a), RFC 6724 section 2.1.
func (p Policy) Label(a netip.Addr) int { return p.orDefault().labels.lookup(a) }

// Precedence returns Precedence(a), RFC 6724 section 2.1.
func (p Policy) Precedence(a netip.Addr) int { return p.orDefault().precedences.lookup(a) }

// Scope returns Scope(a), RFC 6724 sections 3.1 and 3.2.
func (p Policy) Scope(a netip.Addr) Scope {
	if a = a.Unmap(); a.Is6() {
		return scope6(a)
	}
	return Scope(p.orDefault().scopes4.lookup(a))
}

// orDefault completes each table that is absent.
func (p Policy) orDefault() Policy {
	if p.labels == nil {
		p.labels = defaultPolicy.labels
	}
	if p.precedences == nil {
		p.precedences = defaultPolicy.precedences
	}
	if p.scopes4 == nil {
		p.scopes4 = defaultPolicy.scopes4
	}
	return p
}

// lookup returns the value of the longest prefix that has a in it, 0 if none.
func (t table) lookup(a netip.Addr) int {
	if !a.IsValid() {
		return 0
	}
	a = netip.AddrFrom16(a.As16()) // no zone, IPv4 as mapped
	for _, e := range t {
		if e.prefix.Contains(a) {
			return e.value
		}
	}
	return 0
}

// newTable sorts entries for lookup and adds one for ::/0 if there is none. Of
// two entries for one prefix the first stays in effect.
func newTable(entries []tableEntry, fallback int) table {
	entries = append(slices.Clip(entries), tableEntry{netip.PrefixFrom(netip.IPv6Unspecified(), 0), fallback})
	slices.SortStableFunc(entries, func(a, b tableEntry) int {
		return cmp.Compare(b.prefix.Bits(), a.prefix.Bits())
	})
	return entries
}

func defaultLabels() table {
	return table{
		{prefix6(128, 15, 0x01), 0},           // ::1/128
		{prefix6(96, 10, 0xff, 0xff), 4},      // ::ffff:0:0/96, IPv4
		{prefix6(96, 0), 3},                   // ::/96, IPv4-compatible
		{prefix6(32, 0, 0x20, 0x01, 0, 0), 5}, // 2001::/32, Teredo
		{prefix6(16, 0, 0x20, 0x02), 2},       // 2002::/16, 6to4
		{prefix6(16, 0, 0x3f, 0xfe), 12},      // 3ffe::/16, 6bone
		{prefix6(10, 0, 0xfe, 0xc0), 11},      // fec0::/10, site-local
		{prefix6(7, 0, 0xfc), 13},             // fc00::/7, unique local
		{prefix6(0, 0), defaultLabel},         // ::/0
	}
}

func defaultPrecedences() table {
	return table{
		{prefix6(128, 15, 0x01), 50},
		{prefix6(96, 10, 0xff, 0xff), 35},
		{prefix6(96, 0), 1},
		{prefix6(32, 0, 0x20, 0x01, 0, 0), 5},
		{prefix6(16, 0, 0x20, 0x02), 30},
		{prefix6(16, 0, 0x3f, 0xfe), 1},
		{prefix6(10, 0, 0xfe, 0xc0), 1},
		{prefix6(7, 0, 0xfc), 3},
		{prefix6(0, 0), defaultPrecedence},
	}
}

func defaultScopes4() table {
	return table{
		{prefix6(112, 10, 0xff, 0xff, 169, 254), int(ScopeLinkLocal)},
		{prefix6(104, 10, 0xff, 0xff, 127), int(ScopeLinkLocal)},
		{prefix6(0, 0), int(ScopeGlobal)},
	}
}

// prefix6 returns the IPv6 prefix of the given length whose octets are zero but
// for those given, which start at offset at.
func prefix6(bits, at int, octets ...byte) netip.Prefix {
	var b [16]byte
	copy(b[at:], octets)
	return netip.PrefixFrom(netip.AddrFrom16(b), bits)
}
