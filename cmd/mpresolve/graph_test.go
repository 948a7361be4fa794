package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// twentyAddresses is a look-up with as many addresses as a picture must show.
func twentyAddresses() lookupView {
	v := lookupView{Name: "www.example.net", Port: 443}
	for host := range 4 {
		h := hostView{Verdict: "likely", Why: []string{strings.Repeat("A and AAAA share a name ", 8), "the last octets pair up"}}
		for i := range 5 {
			a := fmt.Sprintf("2001:db8:%d::%d", host, i+1)
			h.Addresses = append(h.Addresses, a)
			v.Addresses = append(v.Addresses, addressView{Address: "[" + a + "]:443"})
		}
		v.Hosts = append(v.Hosts, h)
	}
	return v
}

// svgElement is what the tests look at.
type svgElement struct {
	X      int    `xml:"x,attr"`
	Y      int    `xml:"y,attr"`
	Width  int    `xml:"width,attr"`
	Height int    `xml:"height,attr"`
	Class  string `xml:"class,attr"`
	Text   string `xml:",chardata"`
}

type svgPicture struct {
	Width  int          `xml:"width,attr"`
	Height int          `xml:"height,attr"`
	Boxes  []svgElement `xml:"rect"`
	Texts  []svgElement `xml:"text"`
}

// TestGraphReadable: no line of text lies on another, none leaves its box or the
// picture.
func TestGraphReadable(t *testing.T) {
	for _, views := range [][]lookupView{{twentyAddresses()}, {twentyAddresses(), {Name: "nothing.example"}, twentyAddresses()}, nil} {
		var p svgPicture
		if err := xml.Unmarshal([]byte(newGraph(views).svg()), &p); err != nil {
			t.Fatal(err)
		}
		addresses, below := 0, 0
		for _, text := range p.Texts {
			if text.Class == "address" {
				addresses++
			}
			if right := text.X + svgChar*utf8.RuneCountInString(text.Text); right > p.Width || text.Y > p.Height {
				t.Errorf("%+v leaves the picture of %d x %d", text, p.Width, p.Height)
			}
			if inBox := text.X > svgReach+svgPad; inBox && text.Y < below+svgLine {
				t.Errorf("%+v lies on the text above it", text)
			} else if inBox {
				below = text.Y
			}
		}
		hosts, want := 0, 0
		for _, v := range views {
			hosts, want = hosts+len(v.Hosts), want+len(v.Addresses)
		}
		if addresses != want || len(p.Boxes) != hosts {
			t.Errorf("%d addresses in %d boxes, want %d in %d", addresses, len(p.Boxes), want, hosts)
		}
		for i, box := range p.Boxes {
			if i > 0 && box.Y < p.Boxes[i-1].Y+p.Boxes[i-1].Height {
				t.Errorf("%+v overlaps the box above it", box)
			}
		}
	}
}

// FuzzGraph: whatever a name and a reason hold, the picture is well-formed XML
// and the DOT strings end where they should.
func FuzzGraph(f *testing.F) {
	for _, seed := range []string{"www.example.net", `a"b\c<d>&`, "\x00\xff\n\t", strings.Repeat("x", 300)} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, why string) {
		g := newGraph([]lookupView{{Name: name, Hosts: []hostView{{Addresses: []string{name}, Verdict: why, Why: []string{why}}}}})
		decoder := xml.NewDecoder(strings.NewReader(g.svg()))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		for line := range strings.Lines(g.dot()) {
			if quotes := strings.Count(strings.NewReplacer(`\\`, "", `\"`, "").Replace(line), `"`); quotes%2 != 0 {
				t.Errorf("a string does not end: %q", line)
			}
		}
	})
}
