package dnswire_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/miekg/dns"
)

var label63 = strings.Repeat("a", 63)

func TestParseName(t *testing.T) {
	long := strings.Repeat(label63+".", 3)
	for _, tt := range []struct {
		in, wire, out string
		err           error
	}{
		{in: ".", wire: "\x00", out: "."},
		{in: "com", wire: "\x03com\x00", out: "com."},
		{in: "WWW.Example.COM.", wire: "\x03www\x07example\x03com\x00", out: "www.example.com."},
		{in: `a\.b.c`, wire: "\x03a.b\x01c\x00", out: `a\.b.c.`},
		{in: `\000\255\065`, wire: "\x03\x00\xffa\x00", out: `\000\255a.`},
		{in: `_dns.\@x`, wire: "\x04_dns\x02@x\x00", out: `_dns.\@x.`},
		{in: "h\xc3\xa9", wire: "\x03h\xc3\xa9\x00", out: `h\195\169.`},
		{in: "a b", wire: "\x03a b\x00", out: `a\032b.`},
		{in: label63, wire: "\x3f" + label63 + "\x00", out: label63 + "."},
		{in: long + label63[:61], wire: strings.Repeat("\x3f"+label63, 3) + "\x3d" + label63[:61] + "\x00", out: long + label63[:61] + "."},
		{in: long + label63[:62], err: dnswire.ErrNameTooLong},
		{in: label63 + "a", err: dnswire.ErrLabelTooLong},
		{in: "", err: dnswire.ErrEmptyName},
		{in: "..", err: dnswire.ErrEmptyLabel},
		{in: "a..b", err: dnswire.ErrEmptyLabel},
		{in: ".a", err: dnswire.ErrEmptyLabel},
		{in: "a..", err: dnswire.ErrEmptyLabel},
		{in: `a\`, err: dnswire.ErrBadEscape},
		{in: `a\25`, err: dnswire.ErrBadEscape},
		{in: `a\2x5`, err: dnswire.ErrBadEscape},
		{in: `a\256`, err: dnswire.ErrBadEscape},
	} {
		n, err := dnswire.ParseName(tt.in)
		if string(n) != tt.wire || !errors.Is(err, tt.err) {
			t.Errorf("ParseName(%.80q) = %q, %v; want %q, %v", tt.in, n, err, tt.wire, tt.err)
		}
		if n.String() != tt.out {
			t.Errorf("ParseName(%.80q).String() = %q; want %q", tt.in, n.String(), tt.out)
		}
	}
}

func TestParseNameSaysWhere(t *testing.T) {
	_, err := dnswire.ParseName("www..org")
	if want := `name "www..org": label 2: empty label`; err == nil || err.Error() != want {
		t.Errorf("error %v; want %s", err, want)
	}
}

func TestNameParts(t *testing.T) {
	n := name(t, `a.b\.c.org`)
	if got := slices.Collect(n.Labels()); !slices.Equal(got, []string{"a", "b.c", "org"}) || n.NumLabels() != 3 {
		t.Errorf("labels %q, %d", got, n.NumLabels())
	}
	for range n.Labels() {
		break
	}
	if p := n.Parent(); p != name(t, `b\.c.org`) || name(t, "org").Parent() != dnswire.Root || dnswire.Root.Parent() != "" {
		t.Errorf("parent %q", p)
	}
	if dnswire.Root.NumLabels() != 0 || dnswire.Name("").String() != "" {
		t.Error("root or no name")
	}
}

func TestIsSubdomainOf(t *testing.T) {
	for _, tt := range []struct {
		name, zone string
		want       bool
	}{
		{"www.example.org", "example.org", true},
		{"example.org", "example.org", true},
		{"example.org", ".", true},
		{"badexample.org", "example.org", false},
		{"org", "example.org", false},
		{`a\.example.org`, "example.org", false},
	} {
		if got := name(t, tt.name).IsSubdomainOf(name(t, tt.zone)); got != tt.want {
			t.Errorf("%s below %s: %v", tt.name, tt.zone, got)
		}
	}
	if name(t, "org").IsSubdomainOf("") {
		t.Error("below no name")
	}
}

func TestTypeText(t *testing.T) {
	for s, want := range map[string]dnswire.Type{"A": 1, "aaaa": 28, "HTTPS": 65, "TYPE65400": 65400, "type1": 1} {
		if got, err := dnswire.ParseType(s); err != nil || got != want {
			t.Errorf("ParseType(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "NOPE", "TYPE", "TYPE65536", "TYPE-1", "65400"} {
		if got, err := dnswire.ParseType(s); err == nil {
			t.Errorf("ParseType(%q) = %v", s, got)
		}
	}
	for n := range 1 << 16 {
		typ := dnswire.Type(n)
		if got, err := dnswire.ParseType(typ.String()); err != nil || got != typ {
			t.Fatalf("type %d: %q reads as %d, %v", n, typ, got, err)
		}
		if want := dns.TypeToString[uint16(n)]; !strings.HasPrefix(typ.String(), "TYPE") && typ.String() != want {
			t.Errorf("type %d is %q; want %q", n, typ, want)
		}
	}
}

func TestCodeText(t *testing.T) {
	for code := range 24 {
		got := dnswire.RCode(code).String()
		if want := dns.RcodeToString[code]; got != want && !strings.HasPrefix(got, "RCODE") && code != 16 {
			t.Errorf("rcode %d is %q; want %q", code, got, want)
		}
		got = dnswire.Opcode(code).String()
		if want := dns.OpcodeToString[code]; got != want && !strings.HasPrefix(got, "OPCODE") {
			t.Errorf("opcode %d is %q; want %q", code, got, want)
		}
	}
	for class, want := range map[dnswire.Class]string{1: "IN", 3: "CH", 254: "NONE", 255: "ANY", 42: "CLASS42"} {
		if class.String() != want {
			t.Errorf("class %d is %q", class, class)
		}
	}
	if s := ask(t, "a.org", dnswire.TypeAAAA).String(); s != "a.org. IN AAAA" {
		t.Errorf("question is %q", s)
	}
}

// FuzzParseName checks that what parses is within the limits, reads back from its text, and has the
// octets that the reference implementation gives it.
func FuzzParseName(f *testing.F) {
	for _, s := range []string{".", "www.Example.com", `a\.b\007.c`, "h\xc3\xa9.", "a b", label63, `x\\y.`, "a..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := dnswire.ParseName(s)
		if err != nil {
			if n != "" {
				t.Fatalf("name %q with error %v", n, err)
			}
			return
		}
		if len(n) > dnswire.MaxNameLen {
			t.Fatalf("%d octets", len(n))
		}
		if again, err := dnswire.ParseName(n.String()); err != nil || again != n {
			t.Fatalf("%q reads back as %q, %v", n.String(), again, err)
		}
		expanded, next, err := dnswire.ExpandName([]byte(n), 0)
		if err != nil || expanded != n || next != len(n) {
			t.Fatalf("ExpandName = %q, %d, %v", expanded, next, err)
		}
		buf := make([]byte, 300)
		end, err := dns.PackDomainName(n.String(), buf, 0, nil, false)
		if err != nil || string(buf[:end]) != string(n) {
			t.Fatalf("reference has %q, %v; want %q", buf[:end], err, n)
		}
	})
}
