package addrsel

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// explain says in words why c stands above next (nil for the last one): first
// what speaks for its source, then what decided. The rules are named in the
// order of what is said, so the last one named is the one that decided.
func explain(c, next *candidate, rule int) string {
	if !c.reachable {
		return "unreachable: no source address (RFC 6724 rule 1)"
	}
	var facts, rules []string
	say := func(number, fact string) {
		facts, rules = append(facts, fact), append(rules, number)
	}
	if c.sameScope && (rule >= RuleMatchingScope || rule == RuleNone) {
		say("2", "same scope")
	}
	if c.sameLabel && (rule >= RuleMatchingLabel || rule == RuleNone) {
		say("5", fmt.Sprintf("label %d", c.label))
	}
	fact := decision(c, next, rule)
	history := rule == RuleLowerRTT || rule == RuleUsedBefore
	if fact != "" {
		facts = append(facts, fact)
	}
	if fact != "" && !history {
		rules = append(rules, strconv.Itoa(rule))
	}
	why := "source " + c.dest.Source.Addr.String()
	if len(facts) > 0 {
		why += " " + strings.Join(facts, ", ")
	}
	return why + citation(rules, history)
}

// decision is what set c apart from next. Rules 2 and 5 are told by explain.
func decision(c, next *candidate, rule int) string {
	switch rule {
	case RuleUnusable:
		return "reachable, the next is not"
	case RuleDeprecated:
		return "not deprecated"
	case RuleHome:
		return "home address"
	case RulePrecedence:
		return fmt.Sprintf("precedence %d over %d", c.precedence, next.precedence)
	case RuleNativeTransport:
		return "native transport"
	case RuleSmallerScope:
		return fmt.Sprintf("scope %s under %s", c.scope, next.scope)
	case RuleLowerRTT:
		return rttDecision(c.dest.RTT, next.dest.RTT)
	case RuleUsedBefore:
		return "used before"
	case RuleLongestPrefix:
		return fmt.Sprintf("%d bits in common over %d", c.common, next.common)
	case RuleUnchanged:
		return "in the order answered"
	default:
		return ""
	}
}

func rttDecision(rtt, next time.Duration) string {
	if next <= 0 {
		return fmt.Sprintf("round-trip time %v, the next's unknown", rtt)
	}
	return fmt.Sprintf("round-trip time %v under %v", rtt, next)
}

// citation names the documents that the words before it come from.
func citation(rules []string, history bool) string {
	var cited []string
	switch len(rules) {
	case 0:
	case 1:
		cited = append(cited, "RFC 6724 rule "+rules[0])
	default:
		cited = append(cited, "RFC 6724 rules "+strings.Join(rules, ", "))
	}
	if history {
		cited = append(cited, "Happy Eyeballs")
	}
	if cited == nil {
		return ""
	}
	return " (" + strings.Join(cited, "; ") + ")"
}
