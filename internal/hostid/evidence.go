package hostid

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// MaxEvidence is how many pieces of evidence are judged together. Those beyond
// are left out: a name that gives rise to more is hostile or broken.
const MaxEvidence = 4096

// Evidence is one reason to believe that addresses are, or are not, one host. It
// is about each pair of one address of A and one of B or, where B is empty, each
// pair within A.
type Evidence struct {
	Kind    Kind
	A, B    []netip.Addr
	Source  string    // who said it: "udp 192.0.2.53", "join", the name of a table
	Seen    time.Time // when; of what the transport shows, later overrules earlier
	Expires time.Time // it counts before this time only; the zero time is long ago
	Detail  string    // what was seen, where the kind alone does not say: a name
}

// Strength returns the log-odds that e adds, in hundredths of a nat: above zero
// for, below zero against. It is that of the kind.
func (e Evidence) Strength() Strength { return e.Kind.Strength() }

// String says e in a sentence for people.
func (e Evidence) String() string {
	text := joinAddrs(e.A)
	if len(e.B) > 0 {
		text += " and " + joinAddrs(e.B)
	}
	text += ": " + e.Kind.facts().says
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	return text
}

// shownAddrs is how many addresses a sentence names.
const shownAddrs = 4

// joinAddrs lists addresses, the first few by name.
func joinAddrs(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs[:min(len(addrs), shownAddrs)] {
		texts = append(texts, a.String())
	}
	if more := len(addrs) - shownAddrs; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}

// Strength is log-odds in hundredths of a nat: 460 is odds of 99 to 1. It is a
// whole number so that the order of adding does not matter.
type Strength int32

// String returns the log-odds in nats with the sign: "+4.60".
func (s Strength) String() string { return fmt.Sprintf("%+.2f", float64(s)/100) }
