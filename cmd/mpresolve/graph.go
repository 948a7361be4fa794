package main

import (
	"encoding/xml"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// graph is names, the hosts that each stands for as far as is known, and the
// hosts' addresses, as a picture. Addresses have their place in the dial order.
type graph []graphName

type graphName struct {
	name  string
	hosts []graphHost
}

type graphHost struct {
	title     string // "host 1: likely"
	addresses []string
	why       []string
}

// newGraph takes from look-ups what is drawn.
func newGraph(views []lookupView) graph {
	var g graph
	for _, v := range views {
		order := make(map[string]int, len(v.Addresses))
		for i, a := range v.Addresses {
			order[withoutPort(a.Address)] = i + 1
		}
		n := graphName{name: v.Name}
		for i, h := range v.Hosts {
			host := graphHost{title: fmt.Sprintf("host %d: %s", i+1, h.Verdict), why: h.Why}
			for _, a := range h.Addresses {
				host.addresses = append(host.addresses, fmt.Sprintf("%d  %s", order[withoutPort(a)], a))
			}
			n.hosts = append(n.hosts, host)
		}
		g = append(g, n)
	}
	return g
}

// withoutPort is the address of what endpointText wrote.
func withoutPort(endpoint string) string {
	if ap, err := netip.ParseAddrPort(endpoint); err == nil {
		return ap.Addr().String()
	}
	return endpoint
}

// graphFormat is how a graph is written to a file, by the ending of its name.
func graphFormat(file string) (func(graph) string, error) {
	switch filepath.Ext(file) {
	case ".dot":
		return graph.dot, nil
	case ".svg":
		return graph.svg, nil
	}
	return nil, &exitError{
		code: exitUsage,
		err:  fmt.Errorf("--graph %q: unknown format", file),
		hint: "end the name in .svg for a picture or in .dot for Graphviz",
	}
}

// writeGraph writes what was found to a file.
func writeGraph(file string, format func(graph) string, views []lookupView) error {
	if err := os.WriteFile(file, []byte(format(newGraph(views))), 0o644); err != nil { //nolint:gosec // a picture for whoever looks
		return &exitError{code: exitFailed, err: fmt.Errorf("--graph: %w", err)}
	}
	return nil
}

// dot is the graph in the DOT language: a name, its hosts as clusters, the
// addresses in them.
func (g graph) dot() string {
	var b strings.Builder
	b.WriteString("digraph hosts {\n\trankdir=LR;\n\tcompound=true;\n\tnode [shape=box, fontname=monospace];\n")
	for i, n := range g {
		fmt.Fprintf(&b, "\tn%d [label=%s, shape=oval];\n", i, dotQuote(n.name))
		for j, h := range n.hosts {
			fmt.Fprintf(&b, "\tsubgraph cluster_%d_%d {\n\t\tlabel=%s;\n", i, j, dotQuote(h.title))
			fmt.Fprintf(&b, "\t\ttooltip=%s;\n", dotQuote(strings.Join(h.why, "\n")))
			for k, a := range h.addresses {
				fmt.Fprintf(&b, "\t\ta%d_%d_%d [label=%s];\n", i, j, k, dotQuote(a))
			}
			b.WriteString("\t}\n")
			if len(h.addresses) > 0 {
				fmt.Fprintf(&b, "\tn%d -> a%d_%d_0 [lhead=cluster_%d_%d];\n", i, i, j, i, j)
			}
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// dotQuote is a quoted string of the DOT language, in which line ends are \n.
func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", ` `, "\x00", ` `).Replace(s) + `"`
}

// The picture's measures, in pixels: monospace text of 13 is about 8 wide.
const (
	svgLine    = 18  // from one line of text to the next
	svgChar    = 8   // width of a character
	svgPad     = 12  // around text in a box
	svgGap     = 16  // between boxes
	svgReach   = 60  // from a name to its hosts
	svgColumns = 60  // characters of a host's box; longer lines are wrapped
	svgMaxName = 260 // the longest name drawn, in characters
)

// svg is the graph as a picture: each name at the left, its hosts beside it in a
// column, their addresses one a line, and why they are believed to be a host.
func (g graph) svg() string {
	left := 0
	for _, n := range g {
		left = max(left, min(utf8.RuneCountInString(n.name), svgMaxName))
	}
	p := svgPainter{left: 2*svgPad + left*svgChar, width: svgColumns*svgChar + 2*svgPad}
	for _, n := range g {
		p.name(n)
	}
	return p.document()
}

// svgPainter draws downwards.
type svgPainter struct {
	body  strings.Builder
	left  int // width of the names' column
	width int // of a host's box
	y     int // where the next box begins
}

func (p *svgPainter) document() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" font-family="monospace" font-size="13">
<style>rect{fill:#f6f6f6;stroke:#555}path{fill:none;stroke:#555}.title{font-weight:bold}.why{fill:#555}</style>
%[3]s</svg>
`, p.left+svgReach+p.width+svgGap, p.y+svgGap, p.body.String())
}

// name draws a name in the middle of its hosts, and a line to each.
func (p *svgPainter) name(n graphName) {
	top := p.y
	var middles []int
	for _, h := range n.hosts {
		p.y += svgGap
		from := p.y
		p.host(h)
		middles = append(middles, (from+p.y)/2)
	}
	if len(n.hosts) == 0 {
		p.y += svgGap + svgLine
	}
	at := (top + svgGap + p.y) / 2
	p.text(svgPad, at+svgLine/4, "title", shorten(n.name, svgMaxName))
	for _, m := range middles {
		bend := p.left + svgReach/2
		fmt.Fprintf(&p.body, "<path d=\"M%d %d C%d %d %d %d %d %d\"/>\n", p.left, at, bend, at, bend, m, p.left+svgReach, m)
	}
}

// host draws one box.
func (p *svgPainter) host(h graphHost) {
	why := wrapped(h.why, svgColumns)
	height := svgLine*(1+len(h.addresses)+len(why)) + svgPad
	x := p.left + svgReach
	fmt.Fprintf(&p.body, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", x, p.y, p.width, height)
	line := p.y
	write := func(class string, lines ...string) {
		for _, text := range lines {
			line += svgLine
			p.text(x+svgPad, line, class, text)
		}
	}
	write("title", h.title)
	write("address", h.addresses...)
	write("why", why...)
	p.y += height
}

func (p *svgPainter) text(x, y int, class, text string) {
	fmt.Fprintf(&p.body, "<text x=\"%d\" y=\"%d\" class=\"%s\" xml:space=\"preserve\">", x, y, class)
	_ = xml.EscapeText(&p.body, []byte(text)) // a builder does not fail
	p.body.WriteString("</text>\n")
}

// wrapped breaks sentences into lines of at most width characters, at spaces
// where there are some.
func wrapped(sentences []string, width int) []string {
	var lines []string
	for _, s := range sentences {
		line := ""
		for _, word := range strings.Fields(s) {
			for utf8.RuneCountInString(word) > width {
				runes := []rune(word)
				lines, word = append(lines, string(runes[:width])), string(runes[width:])
			}
			if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				lines, line = append(lines, line), ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		lines = append(lines, line)
	}
	return lines
}

// shorten cuts a text to n characters.
func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}
