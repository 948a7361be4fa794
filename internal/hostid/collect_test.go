package hostid_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

func addrs(texts string) (out []netip.Addr) {
	for s := range strings.FieldsSeq(texts) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// observe is an observation of addresses, each with "=canonical" and "/seconds"
// where it has them.
func observe(texts string) hostid.Observation {
	o := hostid.Observation{Name: "www.example.net"}
	for s := range strings.FieldsSeq(texts) {
		var a hostid.Address
		s, ttl, _ := strings.Cut(s, "/")
		if _, err := fmt.Sscan(ttl, &a.TTL); err == nil {
			a.TTL *= time.Second
		}
		s, a.Canonical, _ = strings.Cut(s, "=")
		a.Addr = netip.MustParseAddr(s)
		o.Addrs = append(o.Addrs, a)
	}
	return o
}

// said writes evidence without its shape kinds: "kind A" or "kind A|B".
func said(o hostid.Observation) []string {
	shapes := []hostid.Kind{hostid.OneFamily, hostid.OneOfEach, hostid.Several, hostid.Many, hostid.Neighbours}
	return saidBut(o, shapes...)
}

func saidBut(o hostid.Observation, but ...hostid.Kind) []string {
	var out []string
	for _, e := range o.Evidence(start) {
		if slices.Contains(but, e.Kind) {
			continue
		}
		text := fmt.Sprint(e.Kind)
		for _, a := range e.A {
			text += " " + a.String()
		}
		if len(e.B) > 0 {
			text += " |"
		}
		for _, a := range e.B {
			text += " " + a.String()
		}
		out = append(out, text)
	}
	return out
}

func TestCollectNames(t *testing.T) {
	const a, b, c = "192.0.2.1", "2001:db8::aa", "198.51.100.7"
	for _, test := range []struct {
		name string
		o    hostid.Observation
		want []string
	}{
		{"one name in two spellings", observe(a + "=H.example.net. " + b + "=h.EXAMPLE.net"), nil},
		{"two names", observe(a + "=h.example.net " + b + "=i.example.net"), []string{"other-canonical " + a + " | " + b}},
		{"another domain", observe(a + "=x.cdn.example " + b + "=x.cdn.example"), []string{"foreign-canonical " + a + " " + b}},
		{"short TTLs", observe(a + "/60 " + b + "/30"), []string{"short-ttl " + a + " " + b, "unequal-ttl " + a + " | " + b}},
		{"long TTLs", observe(a + "/7200 " + b + "/7200"), []string{"long-ttl " + a + " " + b}},
		{"two targets", services(a+" "+b+" "+c, "t1 "+a+" "+b, "t2 "+c), []string{"same-target " + a + " " + b, "other-target " + a + " " + b + " | " + c}},
		{"an address of two targets", services(a+" "+b+" "+c, "t1 "+a+" "+b, "t2 "+b+" "+c), []string{"same-target " + a + " " + b, "same-target " + b + " " + c, "other-target " + a + " | " + c}},
		{"one target twice", services(a+" "+b, "t1 "+a, "T1. "+b), nil},
		{"hints", services(a+" "+b, "h"+" "+a+" "+b), []string{"hints-together " + a + " " + b}},
		{"published", services(a+" "+b+" "+c, "p"+" "+a+" "+c), []string{"published " + a + " " + c}},
		{"hints that were not answered", services(a, "p "+a+" "+b), nil},
		{"many names", named(a+" "+b, a, 3), []string{"many-names " + a + " | " + b}},
		{"few names", named(a+" "+b, a, 2), nil},
	} {
		if got := said(test.o); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// services adds service records, "TARGET ADDRESS…", to an observation; "h" has
// hints and "p" publishes one host.
func services(texts string, list ...string) hostid.Observation {
	o := observe(texts)
	for _, s := range list {
		target, rest, _ := strings.Cut(s, " ")
		o.Services = append(o.Services, hostid.Service{Target: target, Addrs: addrs(rest), Hints: target == "h", OneHost: target == "p"})
	}
	return o
}

func named(texts, addr string, n int) hostid.Observation {
	o := observe(texts)
	o.Names = map[netip.Addr]int{netip.MustParseAddr(addr): n}
	return o
}

func TestCollectShapes(t *testing.T) {
	for texts, want := range map[string][]string{
		"192.0.2.1":                               nil,
		"192.0.2.1 2001:db8::f":                   {"one-of-each 192.0.2.1 2001:db8::f"},
		"192.0.2.1 198.51.100.2":                  {"one-family 192.0.2.1 198.51.100.2", "several 192.0.2.1 198.51.100.2"},
		"192.0.2.1 192.0.2.2":                     {"one-family 192.0.2.1 192.0.2.2", "several 192.0.2.1 192.0.2.2", "neighbours 192.0.2.1 192.0.2.2"},
		"::ffff:192.0.2.1 192.0.2.1":              nil,
		"192.0.2.1 198.51.100.2 10.1.1.1 1.1.1.1": {"one-family 192.0.2.1 198.51.100.2 10.1.1.1 1.1.1.1", "many 192.0.2.1 198.51.100.2 10.1.1.1 1.1.1.1"},
	} {
		if got := saidBut(observe(texts)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", texts, got, want)
		}
	}
}

func TestCollectPatterns(t *testing.T) {
	for _, test := range []struct{ four, six, want string }{
		{"192.0.2.10", "2001:db8::c000:20a", "embedded-octets"},
		{"192.0.2.10", "2001:db8::c000:20a:0:0", "embedded-octets"},
		{"192.0.2.10", "2001:db8::192:0:2:10", "embedded-decimal"},
		{"192.0.2.10", "2001:db8::10", "equal-end"},
		{"192.0.2.10", "2001:db8::a", "equal-end"},
		{"192.0.2.10", "2001:db8::b", ""},
		{"192.0.2.10", "64:ff9b::c000:20a", "synthesised"},
		{"192.0.2.10", "2002:c000:20a::1", "synthesised"},
		{"192.0.2.10", "2001:0:1:2:3:4:3fff:fdf5", "synthesised"},
		{"192.0.2.10", "64:ff9b::c000:20b", ""},
		{"192.0.2.10", "2001:db8:64:c0:0:20a::", ""}, // a NAT64 prefix that is not known
	} {
		o := observe(test.four + " " + test.six)
		want := []string(nil)
		if test.want != "" {
			want = []string{test.want + " " + test.four + " | " + test.six}
		}
		if got := said(o); !slices.Equal(got, want) {
			t.Errorf("%s and %s: %q, want %q", test.four, test.six, got, want)
		}
	}
}

// TestTranslated: the layouts of RFC 6052 section 2.4, for the network's own
// prefixes.
func TestTranslated(t *testing.T) {
	for prefix, addr := range map[string]string{
		"2001:db8::/32":         "2001:db8:c000:221::",
		"2001:db8:100::/40":     "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":     "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
	} {
		got, ok := hostid.Translated(netip.MustParseAddr(addr), []netip.Prefix{netip.MustParsePrefix(prefix)})
		if !ok || got != netip.MustParseAddr("192.0.2.33") {
			t.Errorf("%s in %s: %s %v", addr, prefix, got, ok)
		}
	}
	if a, ok := hostid.Translated(netip.MustParseAddr("2001:db8::1"), []netip.Prefix{netip.MustParsePrefix("2001:db8::/33")}); ok {
		t.Errorf("of a length that RFC 6052 does not know: %s", a)
	}
}

func TestCollectSequences(t *testing.T) {
	const four = "192.0.2.9 192.0.2.10 "
	paired := []string{
		"paired-sequence 192.0.2.9 | %s", "out-of-sequence 192.0.2.9 | %[2]s",
		"paired-sequence 192.0.2.10 | %[2]s", "out-of-sequence 192.0.2.10 | %[1]s",
	}
	for _, test := range []struct {
		six  string
		want bool
	}{
		{"2001:db8::109 2001:db8::110", true}, // spelled in decimal
		{"2001:db8::33 2001:db8::34", true},
		{"2001:db8::33 2001:db8::36", false},
		{"2001:db8::33 2001:db8:1::34", false},
		{"2001:db8::33", false},
	} {
		var got []string
		for _, s := range said(observe(four + test.six)) {
			if strings.Contains(s, "sequence") {
				got = append(got, s)
			}
		}
		var want []string
		if six := strings.Fields(test.six); test.want {
			for _, w := range paired {
				want = append(want, strings.Split(fmt.Sprintf(w, six[0], six[1]), "%!(EXTRA")[0])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", test.six, got, want)
		}
	}
}

func TestCollectReverse(t *testing.T) {
	const a, b = "192.0.2.10", "2001:db8::f"
	for _, test := range []struct{ one, two, want string }{
		{"h.example+", "H.example.+", "same-reverse-confirmed"},
		{"h.example+", "h.example", "same-reverse"},
		{"h-v4.example+", "h-v6.example+", "same-reverse"},
		{"ipv4.h.example", "ipv6.h.example", "same-reverse"},
		{"web1.example+", "web2.example+", "siblings"},
		{"web1.example web7.example+", "web7.example+", "same-reverse-confirmed"},
		{"a.example+", "b.example+", "other-reverse"},
		{"a.example+", "", ""},
		{"static-192-0-2-10.isp.example", "b.example", ""},
		{"10.2.0.192.isp.example", "b.example", ""},
		{"host192-000-002-010.example", "b.example", ""},
		{"c000020a.isp.example", "b.example", ""},
		{"a.example", "2001-0db8-0000-0000-0000-0000-0000-000f.isp.example", ""},
	} {
		o := observe(a + " " + b)
		for i, names := range []string{test.one, test.two} {
			for n := range strings.FieldsSeq(names) {
				name, confirmed := strings.CutSuffix(n, "+")
				o.Reverse = append(o.Reverse, hostid.Reverse{Addr: o.Addrs[i].Addr, Name: name, Confirmed: confirmed})
			}
		}
		want := []string(nil)
		if test.want != "" {
			want = []string{test.want + " " + a + " | " + b}
		}
		if got := said(o); !slices.Equal(got, want) {
			t.Errorf("%s, %s: %q, want %q", test.one, test.two, got, want)
		}
	}
}

func TestCollectRotation(t *testing.T) {
	const a, b, c, d, e = "192.0.2.1 ", "198.51.100.2 ", "203.0.113.3 ", "2001:db8::d ", "2001:db8:e::e "
	for _, test := range []struct {
		name string
		now  string
		past []string
		want string
	}{
		{"no past", a + b, nil, ""},
		{"the same in another order", a + b, []string{b + a, a + b}, ""},
		{"renumbered once", a + d, []string{b + d}, ""},
		{"came back", a, []string{a, b}, ""}, // one address has no pair
		{"a part that changes", a + b, []string{b + c, a + b, b + c}, "rotates"},
		{"always another", a + b, []string{b + c, a + c}, "rotates seen-apart"},
		{"together", a + d, []string{a + d, b + e, a + d, b + e}, "rotates seen-together"},
		{"one family is missing now and then", a + b + d, []string{a + b, d, a + b}, ""},
	} {
		o := observe(test.now)
		for _, p := range test.past {
			o.Past = append(o.Past, hostid.Sighting{At: start, Addrs: addrs(p)})
		}
		var kinds []string
		for _, s := range said(o) {
			kinds = append(kinds, strings.Fields(s)[0])
		}
		slices.Sort(kinds)
		if got := strings.Join(slices.Compact(kinds), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCollectPrefixes(t *testing.T) {
	table, err := hostid.ParsePrefixes(strings.NewReader("! cdn Net https://example.net/list 2026-01-02\n192.0.2.0/24\n2001:db8::/32 anycast\n"))
	if err != nil {
		t.Fatal(err)
	}
	o := observe("192.0.2.1 2001:db8::f 198.51.100.1")
	o.Prefixes = table
	want := []string{
		"anycast-prefix 2001:db8::f | 192.0.2.1 198.51.100.1", "cdn-prefix 192.0.2.1 | 2001:db8::f 198.51.100.1",
	}
	if got := said(o); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestKeysAndDenied(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, test := range []struct {
		one, two hostid.Identity
		want     string
	}{
		{hostid.Identity{SSH: true, Type: "ed25519", Print: "x"}, hostid.Identity{SSH: true, Type: "ed25519", Print: "x"}, "same-host-key"},
		{hostid.Identity{SSH: true, Type: "ed25519", Print: "x"}, hostid.Identity{SSH: true, Type: "ed25519", Print: "y"}, "other-host-key"},
		{hostid.Identity{SSH: true, Type: "ed25519", Print: "x"}, hostid.Identity{SSH: true, Type: "rsa", Print: "y"}, ""},
		{hostid.Identity{Type: "rsa", Print: "x"}, hostid.Identity{Type: "rsa", Print: "x"}, "same-certificate"},
		{hostid.Identity{Type: "rsa", Print: "x"}, hostid.Identity{Type: "rsa", Print: "y"}, "other-certificate"},
		{hostid.Identity{SSH: true, Type: "rsa", Print: "x"}, hostid.Identity{Type: "rsa", Print: "x"}, ""},
	} {
		test.one.Addr, test.two.Addr, test.one.Seen, test.two.Seen = a, b, start, start
		got := ""
		for _, e := range hostid.Identities([]hostid.Identity{test.one, test.two}, start) {
			got += e.Kind.String()
		}
		if got != test.want {
			t.Errorf("%+v, %+v: %s, want %s", test.one, test.two, got, test.want)
		}
	}
	if e := hostid.Denied(a, []netip.Addr{a, b}, start); len(e) != 1 || !slices.Equal(e[0].B, []netip.Addr{b}) {
		t.Errorf("%+v", e)
	}
	if e := hostid.Denied(a, []netip.Addr{a}, start); e != nil {
		t.Errorf("of one address: %+v", e)
	}
}

func TestKindsAreComplete(t *testing.T) {
	names := map[string]bool{}
	for _, k := range hostid.Kinds() {
		if k.String() == "" || names[k.String()] || k.From() == "" || k.Lifetime() <= 0 {
			t.Errorf("kind %d: %q, %q, %v", k, k, k.From(), k.Lifetime())
		}
		names[k.String()] = true
		if s := k.Strength(); s != 0 && (s > 0) != (k.Sign() > 0) || !k.Derived() && (k.Sign() == 0) != (s == 0) {
			t.Errorf("%s: strength %s, sign %d", k, s, k.Sign())
		}
	}
	if len(names) > 64 {
		t.Errorf("%d kinds do not fit the set of one pair", len(names))
	}
}

// TestDocumentedStrengths: docs/same-host.md has each kind with its strength.
func TestDocumentedStrengths(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "same-host.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		numbers := strings.Split(strings.TrimPrefix(strings.TrimSpace(cells[3]), "set: "), ", ")
		for i, kind := range strings.Split(strings.TrimSpace(cells[1]), ", ") {
			documented[strings.Trim(kind, "`")] = numbers[min(i, len(numbers)-1)]
		}
	}
	for _, k := range hostid.Kinds() {
		if want := fmt.Sprint(int(k.Strength())); documented[k.String()] != want {
			t.Errorf("docs/same-host.md says %q of %s, the table %s", documented[k.String()], k, want)
		}
	}
}
