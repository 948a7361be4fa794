// Package hostgraph draws a judgement of which addresses are one host: as text
// for Graphviz and as an SVG picture. It is pure: a judgement in, text out. What
// comes from the network (names in reasons) is escaped.
package hostgraph

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// MaxAddrs is how many addresses are drawn; of those beyond only the number is
// given.
const MaxAddrs = hostid.MaxAddrs

// host is a host with as many of its addresses as are drawn.
type host struct {
	hostid.Host
	place int // among Judgement.Hosts
	more  int // addresses that are not drawn
}

// drawn returns the hosts with at most MaxAddrs addresses altogether, and how
// many hosts are left out.
func drawn(j hostid.Judgement) (out []host, left int) {
	room := MaxAddrs
	for i, h := range j.Hosts() {
		n := min(len(h.Addrs), room)
		if n == 0 {
			left++
			continue
		}
		more := len(h.Addrs) - n
		h.Addrs = h.Addrs[:n]
		out = append(out, host{h, i, more})
		room -= n
	}
	return out, left
}

// title says what a host is: "host 2: same, 0.99".
func (h host) title() string {
	text := fmt.Sprintf("host %d: %s", h.place+1, h.Verdict)
	switch {
	case len(h.Addrs)+h.more == 1:
		text = fmt.Sprintf("host %d", h.place+1)
	case h.Proven:
		text += ", proven"
	default:
		text += fmt.Sprintf(", %.2f", h.Confidence)
	}
	if h.more > 0 {
		text += fmt.Sprintf(", %d more addresses", h.more)
	}
	return text
}

// DOT returns the judgement for Graphviz, titled with name: a box for each host,
// in it a line from each address to the earlier one that it most likely is the
// same as, with the verdict and the log-odds; a dotted line between two hosts of
// which it is not known that they differ.
func DOT(name string, j hostid.Judgement) string {
	var b strings.Builder
	hosts, left := drawn(j)
	if left > 0 {
		name += fmt.Sprintf(" (%d more hosts)", left)
	}
	fmt.Fprintf(&b, "graph hosts {\n\tlabel=%s; rankdir=LR; node [shape=box, fontname=monospace]\n", quote(name))
	for _, h := range hosts {
		fmt.Fprintf(&b, "\tsubgraph cluster_%d {\n\t\tlabel=%s\n", h.place, quote(h.title()))
		for i, a := range h.Addrs {
			fmt.Fprintf(&b, "\t\t%s\n", quote(a.String()))
			if i > 0 {
				p := likeliest(j, a, h.Addrs[:i])
				fmt.Fprintf(&b, "\t\t%s -- %s [label=%s]\n", quote(p.A.String()), quote(a.String()), quote(p.Verdict.String()+" "+p.Odds.String()))
			}
		}
		b.WriteString("\t}\n")
	}
	for i := range hosts {
		if i > 0 {
			dotUnknown(&b, j, hosts[i], hosts[:i])
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// likeliest returns the pair of one of others and a with the highest log-odds.
func likeliest(j hostid.Judgement, a netip.Addr, others []netip.Addr) hostid.Pair {
	best := j.Pair(others[0], a)
	for _, o := range others[1:] {
		if p := j.Pair(o, a); p.Odds > best.Odds {
			best = p
		}
	}
	return best
}

// dotUnknown draws the line from h to the likeliest earlier host that may be the
// same.
func dotUnknown(b *strings.Builder, j hostid.Judgement, h host, others []host) {
	var earlier []netip.Addr
	for _, o := range others {
		earlier = append(earlier, o.Addrs...)
	}
	if p := likeliest(j, h.Addrs[0], earlier); p.Verdict == hostid.Unknown {
		fmt.Fprintf(b, "\t%s -- %s [style=dotted, label=%s]\n", quote(p.A.String()), quote(p.B.String()), quote("unknown "+p.Odds.String()))
	}
}

// quote returns a text as a DOT string on one line.
func quote(s string) string {
	s = strings.Map(printable, s)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// printable replaces what could break a line or a format.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == 0xfffd || r == 0xfffe || r == 0xffff {
		return '?'
	}
	return r
}
