package hostgraph_test

import (
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostgraph"
	"github.com/af-multipath/mpresolve/internal/hostid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func addrs(texts string) (out []netip.Addr) {
	for s := range strings.FieldsSeq(texts) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func evidence(k hostid.Kind, a, b, detail string) hostid.Evidence {
	return hostid.Evidence{Kind: k, A: addrs(a), B: addrs(b), Seen: now, Expires: now.Add(time.Hour), Detail: detail}
}

// three is one proven host, one address apart and one of which nothing is known.
func three() hostid.Judgement {
	return hostid.Judge(addrs("192.0.2.1 2001:db8::1 192.0.2.2 2001:db8::9"), []hostid.Evidence{
		evidence(hostid.Join, "192.0.2.1 2001:db8::1", "", ""),
		evidence(hostid.OtherCanonical, "192.0.2.1", "192.0.2.2", `a"<b>&\`+"\n\x01"),
	}, now)
}

func TestDOT(t *testing.T) {
	const want = `graph hosts {
	label="www.example \"x\""; rankdir=LR; node [shape=box, fontname=monospace]
	subgraph cluster_0 {
		label="host 1: unknown, 0.67"
		"192.0.2.1"
		"2001:db8::1"
		"192.0.2.1" -- "2001:db8::1" [label="same +20.00"]
		"2001:db8::9"
		"192.0.2.1" -- "2001:db8::9" [label="unknown +0.71"]
	}
	subgraph cluster_1 {
		label="host 2"
		"192.0.2.2"
	}
	"2001:db8::9" -- "192.0.2.2" [style=dotted, label="unknown +0.71"]
}
`
	if got := hostgraph.DOT(`www.example "x"`, three()); got != want {
		t.Errorf("%s", got)
	}
	if got := hostgraph.DOT("none", hostid.Judgement{}); !strings.HasSuffix(got, "}\n") {
		t.Errorf("of nothing: %s", got)
	}
}

// texts reads an SVG and returns its texts; it fails where it is not well formed.
func texts(t *testing.T, svg string) (out []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	inside := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inside = token.Name.Local == "text"
		case xml.CharData:
			if inside {
				out = append(out, string(token))
			}
		case xml.EndElement:
			inside = false
		}
	}
}

func TestSVG(t *testing.T) {
	got := strings.Join(texts(t, hostgraph.SVG("www.<example>", three())), "\n")
	for _, want := range []string{
		"www.<example>", "host 1: unknown, 0.67", " 1  192.0.2.1", " 3  2001:db8::9", "host 2",
		`host 2  -12.00  192.0.2.1 and 192.0.2.2: reached through different canonical names (a"<b>&\??)`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n="); n != 3 { // and the legend
		t.Errorf("%d signs of sameness, want one pair in both places", n)
	}
	texts(t, hostgraph.SVG("none", hostid.Judgement{}))
}

// twenty is ten hosts of two addresses.
func twenty() hostid.Judgement {
	var list []netip.Addr
	var all []hostid.Evidence
	for i := range 10 {
		four, six := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
		all = append(all, hostid.Evidence{Kind: hostid.Join, A: []netip.Addr{four, six}, Seen: now, Expires: now.Add(time.Hour)})
		if i > 0 {
			all = append(all, hostid.Evidence{Kind: hostid.OtherTarget, A: []netip.Addr{four}, B: list, Seen: now, Expires: now.Add(time.Hour)})
		}
		list = append(list, four, six)
	}
	return hostid.Judge(list, all, now)
}

// TestTwentyAddresses: nothing stands outside the picture or on another thing.
func TestTwentyAddresses(t *testing.T) {
	svg := hostgraph.SVG("many.example", twenty())
	if path := os.Getenv("HOSTGRAPH_OUT"); path != "" {
		if err := os.WriteFile(path, []byte(svg), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var doc struct {
		Width  int `xml:"width,attr"`
		Height int `xml:"height,attr"`
		Texts  []struct {
			X    int    `xml:"x,attr"`
			Y    int    `xml:"y,attr"`
			Text string `xml:",chardata"`
		} `xml:"text"`
		Rects []struct {
			Y      int `xml:"y,attr"`
			Height int `xml:"height,attr"`
		} `xml:"rect"`
	}
	if err := xml.Unmarshal([]byte(svg), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Width > 1400 || doc.Height > 1200 || len(doc.Rects) != 10 {
		t.Errorf("%d by %d, %d hosts", doc.Width, doc.Height, len(doc.Rects))
	}
	seen := map[[2]int]string{}
	for _, s := range doc.Texts {
		at := [2]int{s.X, s.Y}
		if other, taken := seen[at]; taken || s.X < 0 || s.Y > doc.Height || s.X+8*len(s.Text) > doc.Width+16 {
			t.Errorf("%q at %v with %q in %d by %d", s.Text, at, other, doc.Width, doc.Height)
		}
		seen[at] = s.Text
	}
	for i, r := range doc.Rects[1:] {
		if r.Y < doc.Rects[i].Y+doc.Rects[i].Height {
			t.Errorf("host %d lies on another", i+2)
		}
	}
}

// TestManyAddresses: those beyond MaxAddrs are counted, not drawn.
func TestManyAddresses(t *testing.T) {
	var list []netip.Addr
	for i := range 300 {
		list = append(list, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	j := hostid.Judge(list, nil, now)
	for _, got := range []string{hostgraph.DOT("many", j), strings.Join(texts(t, hostgraph.SVG("many", j)), "\n")} {
		if !strings.Contains(got, "236 more addresses") || strings.Contains(got, "10.0.0.64") {
			t.Errorf("%.600s", got)
		}
	}
}
