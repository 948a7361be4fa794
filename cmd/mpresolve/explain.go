package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/resolver"
)

// Bounds of what --explain prints; --json has all of it.
const (
	maxShownReasons = 8 // reasons of one block
	maxShownMatches = 6 // pairs of hosts in the heading of one block
)

// block is what is known of the pairs within one host, or between two: the pairs
// of which the same kinds of evidence speak, with the same verdict.
type block struct {
	within   bool
	between  [][2]int // the hosts, by their numbers from 1; of one host, twice the same
	addrs    [][2]int // the pairs, by the addresses' places from 1
	verdict  string
	inferred bool
	low      float64 // the least and the greatest confidence
	high     float64
	until    time.Time // the first expiry
	reasons  []reason
}

// reason is one kind of evidence in a block.
type reason struct {
	kind     string
	strength float64
	says     string    // of the first pair
	varies   bool      // the others say it of other names
	expires  time.Time // the first expiry
}

// writeExplanation prints why the hosts are those, block by block: within each
// host first, then host against host. Blocks that say the same are one.
func writeExplanation(w io.Writer, view lookupView, now time.Time, st style) {
	if len(view.Pairs) == 0 {
		fmt.Fprintf(w, "\n  explain  %s: there is no pair to compare\n", count(len(view.Addresses), "address", "addresses"))
		return
	}
	fmt.Fprintf(w, "\n  explain  %s of %s. Strengths are log-odds of being one host, from a prior of %v;\n           %v is same, %v different, between them unknown.\n",
		count(len(view.Pairs), "pair", "pairs"), count(len(view.Addresses), "address", "addresses"),
		hostid.Prior, hostid.Decisive, -hostid.Decisive)
	for _, b := range explain(view.places(), view.Pairs) {
		b.write(w, now, st)
	}
}

// place is where an address stands: its number in dial order and its host's.
type place struct{ addr, host int }

// places are those of the addresses, counted from 1.
func (v lookupView) places() map[string]place {
	places := make(map[string]place)
	for i, a := range v.Addresses {
		places[withoutPort(a.Address)] = place{addr: i + 1}
	}
	for i, h := range v.Hosts {
		for _, a := range h.Addresses {
			places[a] = place{places[a].addr, i + 1}
		}
	}
	return places
}

// explain gathers the pairs into blocks.
func explain(places map[string]place, pairs []resolver.Pair) []*block {
	blocks := make(map[string]*block)
	var order []*block
	for _, p := range pairs {
		x, y := places[p.A.String()], places[p.B.String()]
		key := blockKey(x.host == y.host, p)
		b := blocks[key]
		if b == nil {
			b = &block{within: x.host == y.host, verdict: p.Verdict, inferred: p.Inferred, low: math.Inf(1), high: math.Inf(-1)}
			blocks[key], order = b, append(order, b)
		}
		b.add(x, y, p)
	}
	slices.SortStableFunc(order, func(a, b *block) int {
		switch {
		case a.within && !b.within:
			return -1
		case b.within && !a.within:
			return 1
		}
		return slices.Compare(a.between[0][:], b.between[0][:])
	})
	return order
}

// blockKey is the same for pairs that one block explains, of whatever hosts.
func blockKey(within bool, p resolver.Pair) string {
	var key strings.Builder
	fmt.Fprintf(&key, "%v %s %v", within, p.Verdict, p.Inferred)
	for _, e := range p.Evidence {
		key.WriteString(" " + e.Kind)
	}
	return key.String()
}

// add takes a pair into the block.
func (b *block) add(x, y place, p resolver.Pair) {
	b.addrs = append(b.addrs, [2]int{x.addr, y.addr})
	if match := [2]int{min(x.host, y.host), max(x.host, y.host)}; !slices.Contains(b.between, match) {
		b.between = append(b.between, match)
	}
	b.low, b.high = min(b.low, p.Confidence), max(b.high, p.Confidence)
	b.until = sooner(b.until, p.Until)
	for _, e := range p.Evidence {
		if e.Strength == 0 { // says nothing; --json has it
			continue
		}
		i := slices.IndexFunc(b.reasons, func(r reason) bool { return r.kind == e.Kind })
		if i < 0 {
			i = len(b.reasons)
			b.reasons = append(b.reasons, reason{kind: e.Kind, strength: e.Strength, says: e.Says})
		}
		r := &b.reasons[i]
		r.varies = r.varies || r.says != e.Says
		r.expires = sooner(r.expires, e.Expires)
	}
}

// sooner is the earlier of two times of which either may not be set.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// write prints the block: a heading, then its reasons.
func (b *block) write(w io.Writer, now time.Time, st style) {
	heading := fmt.Sprintf("  %-9s  %s  (%s, confidence %s", b.verdict, b.title(), count(len(b.addrs), "pair", "pairs"), b.confidence())
	if b.inferred {
		heading += ", follows from other pairs"
	}
	if !b.until.IsZero() {
		heading += ", " + expiry(b.until, now)
	}
	heading += ")"
	colour := map[string]string{"same": st.good, "different": st.warn}[b.verdict]
	fmt.Fprintln(w, "\n"+st.paint(colour, heading))
	if len(b.reasons) == 0 {
		fmt.Fprintln(w, "             nothing is known of the two themselves")
	}
	for _, r := range b.reasons[:min(len(b.reasons), maxShownReasons)] {
		says := r.says
		if r.varies {
			says += " and so on"
		}
		fmt.Fprintf(w, "    %+7.2f  %-22s  %s  %s\n", r.strength, r.kind, says, expiry(r.expires, now))
	}
	if more := len(b.reasons) - maxShownReasons; more > 0 {
		fmt.Fprintf(w, "             %s (--json has them)\n", count(more, "weaker reason", "weaker reasons"))
	}
}

// title names the host and its pairs, or the hosts compared.
func (b *block) title() string {
	if b.within {
		what := "host"
		if len(b.between) > 1 {
			what = "hosts"
		}
		return fmt.Sprintf("within %s %s: %s", what, matches("%[1]d", b.between), matches("#%d-#%d", b.addrs))
	}
	return "hosts " + matches("%d-%d", b.between)
}

// matches lists pairs of numbers, the first few of them.
func matches(format string, pairs [][2]int) string {
	var texts []string
	for _, m := range pairs[:min(len(pairs), maxShownMatches)] {
		texts = append(texts, fmt.Sprintf(format, m[0], m[1]))
	}
	if more := len(pairs) - maxShownMatches; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, " ")
}

// confidence is the probability of one host, or its range.
func (b *block) confidence() string {
	low, high := probability(b.low), probability(b.high)
	if low == high {
		return low
	}
	return low + " to " + high
}

// probability never says that something is certain.
func probability(p float64) string {
	switch {
	case p > 0.999:
		return "over 0.999"
	case p < 0.001:
		return "under 0.001"
	}
	return fmt.Sprintf("%.3f", p)
}

// expiry says for how long something counts, in its largest unit.
func expiry(at, now time.Time) string {
	left := at.Sub(now).Round(time.Second)
	switch {
	case left <= 0:
		return "expired"
	case left >= time.Hour:
		return fmt.Sprintf("for %d h", int(left.Round(time.Hour).Hours()))
	case left >= time.Minute:
		return fmt.Sprintf("for %d min", int(left.Round(time.Minute).Minutes()))
	}
	return fmt.Sprintf("for %d s", int(left.Seconds()))
}
