package addrsel

import (
	"strconv"
	"time"
)

// whyRoom holds most explanations without growing, in octets.
const whyRoom = 160

// explain says in words why c stands above next (nil for the last one): first
// what speaks for its source, then what decided. The rules are named in the
// order of what is said, so the last one named is the one that decided. It is
// said of every address of every look-up, so it makes no string but its own.
func explain(c, next *candidate, rule int) string {
	if !c.reachable {
		return "unreachable: no source address (RFC 6724 rule 1)"
	}
	var room [whyRoom]byte
	var rules [3]int
	cited := rules[:0]
	b := c.dest.Source.Addr.AppendTo(append(room[:0], "source "...))
	facts := 0
	fact := func(text string) {
		if facts++; facts > 1 {
			b = append(b, ',')
		}
		b = append(append(b, ' '), text...)
	}
	if c.sameScope && (rule >= RuleMatchingScope || rule == RuleNone) {
		fact("same scope")
		cited = append(cited, RuleMatchingScope)
	}
	if c.sameLabel && (rule >= RuleMatchingLabel || rule == RuleNone) {
		fact("label ")
		b = strconv.AppendInt(b, int64(c.label), 10)
		cited = append(cited, RuleMatchingLabel)
	}
	history := rule == RuleLowerRTT || rule == RuleUsedBefore
	if rule != RuleNone && rule != RuleMatchingScope && rule != RuleMatchingLabel { // told already
		fact("")
		b = appendDecision(b, c, next, rule)
		if !history {
			cited = append(cited, rule)
		}
	}
	return string(appendCitation(b, cited, history))
}

// appendDecision says what set c apart from next.
func appendDecision(b []byte, c, next *candidate, rule int) []byte {
	switch rule {
	case RuleUnusable:
		return append(b, "reachable, the next is not"...)
	case RuleDeprecated:
		return append(b, "not deprecated"...)
	case RuleHome:
		return append(b, "home address"...)
	case RulePrecedence:
		return appendOver(append(b, "precedence "...), c.precedence, " over ", next.precedence)
	case RuleNativeTransport:
		return append(b, "native transport"...)
	case RuleSmallerScope:
		return append(b, "scope "+c.scope.String()+" under "+next.scope.String()...)
	case RuleLowerRTT:
		return append(b, "round-trip time "+c.dest.RTT.String()+rttOfNext(next.dest.RTT)...)
	case RuleUsedBefore:
		return append(b, "used before"...)
	case RuleLongestPrefix:
		return appendOver(b, c.common, " bits in common over ", next.common)
	default:
		return append(b, "in the order answered"...)
	}
}

func appendOver(b []byte, mine int, over string, next int) []byte {
	b = strconv.AppendInt(b, int64(mine), 10)
	return strconv.AppendInt(append(b, over...), int64(next), 10)
}

func rttOfNext(next time.Duration) string {
	if next <= 0 {
		return ", the next's unknown"
	}
	return " under " + next.String()
}

// appendCitation names the documents that the words before it come from.
func appendCitation(b []byte, rules []int, history bool) []byte {
	if len(rules) == 0 && !history {
		return b
	}
	b = append(b, " ("...)
	for i, rule := range rules {
		switch {
		case i > 0:
			b = append(b, ", "...)
		case len(rules) > 1:
			b = append(b, "RFC 6724 rules "...)
		default:
			b = append(b, "RFC 6724 rule "...)
		}
		b = strconv.AppendInt(b, int64(rule), 10)
	}
	if history && len(rules) > 0 {
		b = append(b, "; "...)
	}
	if history {
		b = append(b, "Happy Eyeballs"...)
	}
	return append(b, ')')
}
