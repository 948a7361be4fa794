package hostgraph

import (
	"encoding/xml"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// The measures of the picture, in user units (pixels at 100 %).
const (
	margin   = 16
	row      = 22 // height of an address, and width of a column of the table
	glyph    = 8  // width of a letter
	gap      = 10 // between two hosts
	tableTop = 52 // where the numbers of the columns stand
	small    = 16 // height of a line of reasons
	minWidth = 560
)

// maxLine is how many letters of a reason are shown.
const maxLine = 120

// picture is an SVG in the making.
type picture struct {
	b     strings.Builder
	j     hostid.Judgement
	hosts []host
	addrs []netip.Addr // in the order of the rows
	tops  []int        // of each row
	left  int          // where the table begins
}

// SVG returns the judgement as a picture, titled with name: one row for each
// address, framed by host; at the right what each two addresses are to each other
// ("=" same, "≠" different, "?" unknown, smaller where it follows from other
// pairs); beneath, for each host, the reasons. Colour says nothing that the signs
// do not say.
func SVG(name string, j hostid.Judgement) string {
	p := &picture{j: j}
	var left int
	if p.hosts, left = drawn(j); left > 0 {
		name += fmt.Sprintf(" (%d more hosts)", left)
	}
	p.lay()
	p.text(margin, margin+12, "t", name)
	p.text(margin, margin+29, "r", "= same  ≠ different  ? unknown; small: follows from other pairs")
	for i := range p.hosts {
		p.frame(i)
	}
	p.table()
	bottom := p.reasons(p.bottom() + margin)
	return p.wrap(bottom)
}

// lay places the rows.
func (p *picture) lay() {
	y, longest := margin+tableTop, 0
	for _, h := range p.hosts {
		y += gap
		longest = max(longest, len(h.title())+2)
		for _, a := range h.Addrs {
			p.addrs, p.tops = append(p.addrs, a), append(p.tops, y)
			longest = max(longest, len(a.String())+4)
			y += row
		}
		y += row // the title's
	}
	p.left = 2*margin + glyph*longest + margin
}

// bottom is where the rows end.
func (p *picture) bottom() int {
	if len(p.tops) == 0 {
		return margin + tableTop
	}
	return p.tops[len(p.tops)-1] + 2*row
}

// frame draws a host: its title and its addresses.
func (p *picture) frame(i int) {
	h, first := p.hosts[i], 0
	for _, earlier := range p.hosts[:i] {
		first += len(earlier.Addrs)
	}
	top := p.tops[first]
	fmt.Fprintf(&p.b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="4"/>`+"\n",
		h.Verdict, margin, top-2, p.left-2*margin, (len(h.Addrs)+1)*row)
	p.text(2*margin, top+14, "h", h.title())
	for k, a := range h.Addrs {
		p.text(2*margin, p.line(first+k), "a", fmt.Sprintf("%2d  %s", first+k+1, a))
	}
}

// line is the base line of a row, under the host's title.
func (p *picture) line(i int) int { return p.tops[i] + row + 14 }

// table draws the signs of the pairs.
func (p *picture) table() {
	for i, a := range p.addrs {
		x := p.left + i*row
		p.text(x+4, margin+tableTop, "n", fmt.Sprint(i+1))
		for k, b := range p.addrs {
			if i == k {
				continue
			}
			pair := p.j.Pair(a, b)
			class := pair.Verdict.String()
			if pair.Inferred {
				class += " i"
			}
			p.text(x+6, p.line(k), class, map[hostid.Verdict]string{hostid.Same: "=", hostid.Different: "≠", hostid.Unknown: "?"}[pair.Verdict])
		}
	}
}

// reasons writes why, from y on, and returns where it ends.
func (p *picture) reasons(y int) int {
	for _, h := range p.hosts {
		for _, e := range p.j.Reasons(h.place) {
			p.text(margin, y, "r", fmt.Sprintf("host %d  %s  %s", h.place+1, e.Strength(), clip(e.String())))
			y += small
		}
	}
	return y
}

// clip shortens a text to maxLine letters.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= maxLine {
		return s
	}
	return string([]rune(s)[:maxLine-1]) + "…"
}

// text writes one text.
func (p *picture) text(x, y int, class, s string) {
	fmt.Fprintf(&p.b, `<text class="%s" x="%d" y="%d">`, class, x, y)
	_ = xml.EscapeText(&p.b, []byte(strings.Map(printable, s))) // a Builder does not fail
	p.b.WriteString("</text>\n")
}

// style is the sheet of the picture.
const style = `text{font:13px monospace;fill:#222;white-space:pre}.t{font-size:15px;font-weight:bold}.h{font-weight:bold}` +
	`.n,.r{font-size:12px;fill:#555}rect{fill:#f7f7f7;stroke:#888}rect.same{stroke:#1b7837;stroke-width:2}` +
	`text.same{fill:#1b7837}text.different{fill:#b2182b}text.unknown{fill:#777}text.i{font-size:10px}`

// wrap returns the whole document.
func (p *picture) wrap(bottom int) string {
	width := max(minWidth, p.left+len(p.addrs)*row+margin)
	for _, h := range p.hosts {
		for _, e := range p.j.Reasons(h.place) {
			width = max(width, 2*margin+glyph*(20+utf8.RuneCountInString(clip(e.String()))))
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">`+"\n<style>%s</style>\n%s</svg>\n",
		width, bottom, width, bottom, style, p.b.String())
}
