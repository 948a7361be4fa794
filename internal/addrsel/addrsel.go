package addrsel

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// The rules that can decide between two destinations, as found in
// [Ranked].Rule. One to ten are the numbers of RFC 6724 section 6; the two rules
// that Happy Eyeballs v3 adds stand between 8 and 9 and have no number there.
const (
	RuleNone            = 0  // nothing follows to be compared with
	RuleUnusable        = 1  // avoid unusable destinations
	RuleMatchingScope   = 2  // prefer matching scope
	RuleDeprecated      = 3  // avoid deprecated addresses
	RuleHome            = 4  // prefer home addresses
	RuleMatchingLabel   = 5  // prefer matching label
	RulePrecedence      = 6  // prefer higher precedence
	RuleNativeTransport = 7  // prefer native transport
	RuleSmallerScope    = 8  // prefer smaller scope
	RuleLongestPrefix   = 9  // use longest matching prefix (IPv6 only)
	RuleUnchanged       = 10 // leave the order unchanged
	RuleLowerRTT        = 81 // Happy Eyeballs: lower known round-trip time
	RuleUsedBefore      = 82 // Happy Eyeballs: used before
)

// Source is the address this host would send from to reach a destination, with
// what the rules need to know of it. The zero value, whose Addr is invalid,
// means that there is none: the destination is unreachable.
type Source struct {
	Addr       netip.Addr // with its zone where it is link-local
	Prefix     int        // length of the prefix on its interface in bits, 0 if unknown
	Deprecated bool       // past its preferred lifetime (RFC 4862 section 5.5.4)
	Home       bool       // a Mobile IPv6 home address (RFC 6275)
	CareOf     bool       // a Mobile IPv6 care-of address
	Temporary  bool       // a privacy address (RFC 8981); no rule of section 6 looks at it
	Tunnel     bool       // leaves through an encapsulating transition mechanism, e.g. 6to4
	Interface  int        // index of the interface that has it, 0 if unknown
}

// Dest is one destination to be ordered.
type Dest struct {
	Addr   netip.Addr
	Source Source        // zero: unreachable
	RTT    time.Duration // round-trip time seen earlier, 0 if unknown
	Used   bool          // a connection to it succeeded before, on this network
}

// Ranked is a destination in its place.
type Ranked struct {
	Dest
	Rule int    // the rule that put it above the next: one of the Rule constants
	Why  string // the same in words, for people
}

// Sort returns dests in the order in which they should be tried, best first, by
// RFC 6724 section 6 under policy. Destinations that no rule tells apart keep
// the order they came in. The zero Policy is the default one. IPv4-mapped IPv6
// addresses are judged as IPv4 and returned as they were given.
//
// Rule 9 is applied to IPv6 only: on IPv4 it would undo the rotation of a
// server's answers. It therefore orders the IPv6 destinations of a tie among
// the places that they hold, and leaves the IPv4 ones where they are.
func Sort(policy Policy, dests []Dest) []Ranked {
	cs := sorted(make([]candidate, 0, len(dests)), policy, dests)
	out := make([]Ranked, len(cs))
	for i := range cs {
		var next *candidate
		if i+1 < len(cs) {
			next = &cs[i+1]
		}
		rule := deciding(&cs[i], next)
		out[i] = Ranked{Dest: cs[i].dest, Rule: rule, Why: explain(&cs[i], next, rule)}
	}
	return out
}

// Order appends to dst the addresses of dests in the order that [Interleave] of
// [Sort] gives. It does not say why, and so costs no memory for the few addresses
// that most names have.
func Order(dst []netip.Addr, policy Policy, dests []Dest, preferredFamilyCount int) []netip.Addr {
	var room [usual]candidate
	var ranks, mixed [usual]Ranked
	ranked := ranks[:0]
	for _, c := range sorted(room[:0], policy, dests) {
		ranked = append(ranked, Ranked{Dest: c.dest})
	}
	for _, r := range interleaveAll(mixed[:0], ranked, preferredFamilyCount) {
		dst = append(dst, r.Addr)
	}
	return dst
}

// sorted appends dests to cs, which is empty, in the order of the rules.
func sorted(cs []candidate, policy Policy, dests []Dest) []candidate {
	policy = policy.orDefault()
	for _, d := range dests {
		cs = append(cs, newCandidate(policy, d))
	}
	slices.SortStableFunc(cs, func(a, b candidate) int {
		order, _ := compare(&a, &b)
		return order
	})
	sortTiesByPrefix(cs)
	return cs
}

// candidate is a destination with all that the rules compare looked up once.
type candidate struct {
	dest       Dest
	is6        bool // IPv6 and not IPv4-mapped
	reachable  bool
	scope      Scope
	sameScope  bool // Scope(D) = Scope(Source(D))
	label      int
	sameLabel  bool // Label(D) = Label(Source(D))
	precedence int
	mobility   int
	common     int // CommonPrefixLen(Source(D), D)
}

func newCandidate(policy Policy, d Dest) candidate {
	c := candidate{
		dest:       d,
		is6:        d.Addr.Is6() && !d.Addr.Is4In6(),
		reachable:  d.Source.Addr.IsValid(),
		scope:      policy.Scope(d.Addr),
		label:      policy.Label(d.Addr),
		precedence: policy.Precedence(d.Addr),
		mobility:   mobilityRank(d.Source),
	}
	if c.reachable {
		c.sameScope = c.scope == policy.Scope(d.Source.Addr)
		c.sameLabel = c.label == policy.Label(d.Source.Addr)
		c.common = CommonPrefixLen(d.Source.Addr, d.Addr, d.Source.Prefix)
	}
	return c
}

// sortTiesByPrefix applies rule 9 inside each run of candidates that the rules
// before it left equal.
func sortTiesByPrefix(cs []candidate) {
	for len(cs) > 0 {
		n := 1
		for n < len(cs) {
			if order, _ := compare(&cs[0], &cs[n]); order != 0 {
				break
			}
			n++
		}
		sortByPrefix(cs[:n])
		cs = cs[n:]
	}
}

// sortByPrefix is rule 9:
//
//	Rule 9: Use longest matching prefix.
//	When DA and DB belong to the same address family (both are IPv6 or
//	both are IPv4): If CommonPrefixLen(Source(DA), DA) >
//	CommonPrefixLen(Source(DB), DB), then prefer DA.  Similarly, if
//	CommonPrefixLen(Source(DA), DA) < CommonPrefixLen(Source(DB), DB),
//	then prefer DB.
//
// The pairs of mixed families that it does not compare would make it circular
// as a comparison (a above b, b before an IPv4 address, that before a), so the
// IPv6 candidates are sorted among the places that they hold.
func sortByPrefix(tie []candidate) {
	var places []int
	for i := range tie {
		if tie[i].is6 {
			places = append(places, i)
		}
	}
	if len(places) < 2 {
		return
	}
	six := make([]candidate, len(places))
	for i, p := range places {
		six[i] = tie[p]
	}
	slices.SortStableFunc(six, func(a, b candidate) int {
		return cmp.Compare(b.common, a.common)
	})
	for i, p := range places {
		tie[p] = six[i]
	}
}

// deciding returns the rule that puts c above next, its successor in the order.
func deciding(c, next *candidate) int {
	if next == nil {
		return RuleNone
	}
	if order, rule := compare(c, next); order != 0 {
		return rule
	}
	if c.is6 && next.is6 && c.common != next.common {
		return RuleLongestPrefix
	}
	// Rule 10: Otherwise, leave the order unchanged.
	// If DA preceded DB in the original list, prefer DA.  Otherwise, prefer
	// DB.
	return RuleUnchanged
}
