package hostid_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

func TestPrefixTable(t *testing.T) {
	table, err := hostid.ParsePrefixes(strings.NewReader(`
# a table
192.0.2.0/24 cdn one https://one.example 2026-01-02
192.0.2.128/25 anycast two   # longer
198.51.100.7 cdn
! anycast three https://three.example/list 2026-03-04
2001:db8::/32
2001:db8:1::/48 cdn
`))
	if err != nil || table.Len() != 5 {
		t.Fatalf("%d entries, %v", table.Len(), err)
	}
	for addr, want := range map[string]hostid.PrefixEntry{
		"192.0.2.1":     {Class: hostid.CDN, Operator: "one", Source: "https://one.example", Date: "2026-01-02"},
		"192.0.2.200":   {Class: hostid.Anycast, Operator: "two"},
		"198.51.100.7":  {Class: hostid.CDN},
		"198.51.100.8":  {},
		"2001:db8::1":   {Class: hostid.Anycast, Operator: "three", Source: "https://three.example/list", Date: "2026-03-04"},
		"2001:db8:1::1": {Class: hostid.CDN, Operator: "three", Source: "https://three.example/list", Date: "2026-03-04"},
	} {
		got, ok := table.Lookup(netip.MustParseAddr(addr))
		want.Prefix = got.Prefix
		if got != want || ok != (want.Class != "") {
			t.Errorf("%s: %+v", addr, got)
		}
	}
	var none *hostid.Prefixes
	if _, ok := none.Lookup(netip.MustParseAddr("192.0.2.1")); ok || none.Len() != 0 {
		t.Error("a nil table has entries")
	}
}

func TestPrefixTableErrors(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.0/24":               "line 1: 192.0.2.0/24 has no class",
		"\n192.0.2.1/24 cdn":         "line 2: 192.0.2.1/24 has bits behind its length: is 192.0.2.0/24 meant?",
		"nonsense cdn":               `line 1: "nonsense" is no prefix`,
		"192.0.2.0/24 content":       `unknown class "content" (anycast, cdn)`,
		"192.0.2.0/24 cdn a b c d":   `"d" is one field too many`,
		"! anycast\n\n! other\n::/0": "line 3: unknown class",
		strings.Repeat("x", 70000):   "token too long",
	} {
		if _, err := hostid.ParsePrefixes(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// TestShippedTable: each entry of the shipped table says where it came from and
// when.
func TestShippedTable(t *testing.T) {
	f, err := os.Open("prefixes.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := hostid.ParsePrefixes(f)
	if err != nil || table.Len() < 40 {
		t.Fatalf("%d entries, %v", table.Len(), err)
	}
	for _, addr := range []string{"104.16.1.1", "2606:4700::1", "151.101.1.1", "2a04:4e42::1"} {
		e, ok := table.Lookup(netip.MustParseAddr(addr))
		if !ok || e.Operator == "" || !strings.HasPrefix(e.Source, "https://") || len(e.Date) != len("2026-01-02") {
			t.Errorf("%s: %+v", addr, e)
		}
	}
	for e := range table.All() {
		if e.Operator == "" || e.Source == "" || e.Date == "" {
			t.Errorf("%+v", e)
		}
	}
}
