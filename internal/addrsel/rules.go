package addrsel

import (
	"cmp"
	"math"
	"time"
)

const (
	preferDA = -1
	preferDB = 1
)

// compare applies the rules before rule 9 to two destinations DA and DB. It
// returns a negative number if DA is preferred, a positive one if DB is, and
// the rule that said so; or zeros. It is a strict weak order, so sorting with it
// is well defined whatever the policy.
func compare(a, b *candidate) (order, rule int) {
	if order, rule = compareSources(a, b); order != 0 {
		return order, rule
	}
	if order, rule = comparePolicy(a, b); order != 0 {
		return order, rule
	}
	return compareHistory(a, b)
}

// compareSources is rules 1 to 5, which look at the sources of DA and DB.
func compareSources(a, b *candidate) (order, rule int) {
	// Rule 1: Avoid unusable destinations.
	// If DB is known to be unreachable or if Source(DB) is undefined, then
	// prefer DA.  Similarly, if DA is known to be unreachable or if
	// Source(DA) is undefined, then prefer DB.
	//
	// (If both are, the rules that need no source still apply.)
	if a.reachable != b.reachable {
		return preferIf(a.reachable), RuleUnusable
	}
	// Rule 2: Prefer matching scope.
	// If Scope(DA) = Scope(Source(DA)) and Scope(DB) <> Scope(Source(DB)),
	// then prefer DA.  Similarly, if Scope(DA) <> Scope(Source(DA)) and
	// Scope(DB) = Scope(Source(DB)), then prefer DB.
	if a.sameScope != b.sameScope {
		return preferIf(a.sameScope), RuleMatchingScope
	}
	// Rule 3: Avoid deprecated addresses.
	// If Source(DA) is deprecated and Source(DB) is not, then prefer DB.
	// Similarly, if Source(DA) is not deprecated and Source(DB) is
	// deprecated, then prefer DA.
	if a.dest.Source.Deprecated != b.dest.Source.Deprecated {
		return preferIf(b.dest.Source.Deprecated), RuleDeprecated
	}
	// Rule 4: Prefer home addresses.
	// If Source(DA) is simultaneously a home address and care-of address
	// and Source(DB) is not, then prefer DA.  Similarly, if Source(DB) is
	// simultaneously a home address and care-of address and Source(DA) is
	// not, then prefer DB.
	// If Source(DA) is just a home address and Source(DB) is just a care-of
	// address, then prefer DA.  Similarly, if Source(DA) is just a care-of
	// address and Source(DB) is just a home address, then prefer DB.
	if a.mobility != b.mobility {
		return cmp.Compare(b.mobility, a.mobility), RuleHome
	}
	// Rule 5: Prefer matching label.
	// If Label(Source(DA)) = Label(DA) and Label(Source(DB)) <> Label(DB),
	// then prefer DA.  Similarly, if Label(Source(DA)) <> Label(DA) and
	// Label(Source(DB)) = Label(DB), then prefer DB.
	if a.sameLabel != b.sameLabel {
		return preferIf(a.sameLabel), RuleMatchingLabel
	}
	return 0, RuleNone
}

// comparePolicy is rules 6 to 8.
func comparePolicy(a, b *candidate) (order, rule int) {
	// Rule 6: Prefer higher precedence.
	// If Precedence(DA) > Precedence(DB), then prefer DA.  Similarly, if
	// Precedence(DA) < Precedence(DB), then prefer DB.
	if a.precedence != b.precedence {
		return cmp.Compare(b.precedence, a.precedence), RulePrecedence
	}
	// Rule 7: Prefer native transport.
	// If DA is reached via an encapsulating transition mechanism (e.g.,
	// IPv6 in IPv4) and DB is not, then prefer DB.  Similarly, if DB is
	// reached via encapsulation and DA is not, then prefer DA.
	if a.dest.Source.Tunnel != b.dest.Source.Tunnel {
		return preferIf(b.dest.Source.Tunnel), RuleNativeTransport
	}
	// Rule 8: Prefer smaller scope.
	// If Scope(DA) < Scope(DB), then prefer DA.  Similarly, if Scope(DA) >
	// Scope(DB), then prefer DB.
	if a.scope != b.scope {
		return cmp.Compare(a.scope, b.scope), RuleSmallerScope
	}
	return 0, RuleNone
}

// compareHistory is the two rules of Happy Eyeballs (RFC 8305 section 4, kept in
// version 3) for a client that remembers what it has seen.
func compareHistory(a, b *candidate) (order, rule int) {
	// "… it SHOULD add a Destination Address Selection rule between rules 8
	// and 9 that prefers addresses with lower RTTs."
	//
	// (An unknown one counts as longer than any that is known.)
	if ra, rb := rttOrLongest(a.dest.RTT), rttOrLongest(b.dest.RTT); ra != rb {
		return cmp.Compare(ra, rb), RuleLowerRTT
	}
	// "… it SHOULD add another Destination Address Selection rule between the
	// RTT rule and rule 9, which prefers used addresses over unused ones."
	if a.dest.Used != b.dest.Used {
		return preferIf(a.dest.Used), RuleUsedBefore
	}
	return 0, RuleNone
}

func preferIf(preferA bool) int {
	if preferA {
		return preferDA
	}
	return preferDB
}

func rttOrLongest(rtt time.Duration) time.Duration {
	if rtt <= 0 {
		return math.MaxInt64
	}
	return rtt
}

// mobilityRank is rule 4 as a number, higher first. The RFC does not compare an
// address that is neither home nor care-of with the others; it is placed with
// the home addresses, because that is what an address of a host that does not
// move is.
func mobilityRank(s Source) int {
	const careOf, home, atHome = 0, 1, 2
	switch {
	case s.Home && s.CareOf:
		return atHome
	case s.CareOf:
		return careOf
	default:
		return home
	}
}
