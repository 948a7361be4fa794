package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/af-multipath/mpresolve/internal/dnscache"
)

// docsRow is a row of the reference: a key, its default and its bounds.
var docsRow = regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|([^|\n]*)\\|([^|\n]*)\\|.*\\|$")

// docsCode is a value in a cell.
var docsCode = regexp.MustCompile("`([^`]+)`")

// TestDocs holds the operator's page to the code: it has every key, the
// defaults are the defaults, and the bounds the bounds.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/mpdnsd.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := schema()
	for _, row := range docsRow.FindAllStringSubmatch(string(text), -1) {
		key, standard, bounds := row[1], row[2], row[3]
		if _, ok := missing[key]; !ok {
			t.Errorf("%s: no such key, or a second row", key)
		}
		delete(missing, key)
		checkDocsDefault(t, key, standard)
		checkDocsBounds(t, key, bounds)
	}
	for key := range missing {
		t.Errorf("%s has no row", key)
	}
}

// checkDocsDefault wants a configuration of the default alone to be the default.
func checkDocsDefault(t *testing.T, key, cell string) {
	t.Helper()
	code := docsCode.FindStringSubmatch(cell)
	if code == nil {
		return
	}
	got, err := Parse("docs", []byte(key+" = "+code[1]+"\n"))
	if err != nil {
		t.Errorf("default: %v", err)
	}
	c := &got.Cache.Config // its zeros mean the defaults
	*c = dnscache.Config{
		MaxOctets: cmp.Or(c.MaxOctets, dnscache.DefaultMaxOctets), MinTTL: c.MinTTL, MaxTTL: cmp.Or(c.MaxTTL, dnscache.DefaultMaxTTL),
		MaxNegativeTTL: cmp.Or(c.MaxNegativeTTL, dnscache.DefaultMaxNegativeTTL), FailureTTL: cmp.Or(c.FailureTTL, dnscache.DefaultFailureTTL),
		MaxStale: c.MaxStale, NoCut: c.NoCut,
	}
	want := Default()
	want.Cache.Config = dnscache.Config{
		MaxOctets: dnscache.DefaultMaxOctets, MaxTTL: dnscache.DefaultMaxTTL,
		MaxNegativeTTL: dnscache.DefaultMaxNegativeTTL, FailureTTL: dnscache.DefaultFailureTTL,
		MaxStale: dnscache.DefaultMaxStale,
	}
	if d := gocmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Errorf("%s: %s", key, d)
	}
}

// checkDocsBounds wants both ends of a range to be taken and what is beyond to
// be refused, and of a list of words each.
func checkDocsBounds(t *testing.T, key, cell string) {
	t.Helper()
	var values []string
	for _, code := range docsCode.FindAllStringSubmatch(cell, -1) {
		values = append(values, code[1])
	}
	for _, v := range values {
		if _, err := Parse("docs", []byte(key+" = "+v+"\n")); err != nil {
			t.Errorf("bound: %v", err)
		}
	}
	if !strings.Contains(cell, " to ") {
		return
	}
	for _, v := range []string{beyond(values[0], -1), beyond(values[1], 1)} {
		if _, err := Parse("docs", []byte(key+" = "+v+"\n")); v != "" && err == nil {
			t.Errorf("%s: %s is beyond the bounds documented, and is taken", key, v)
		}
	}
}

// beyond is a value that is one further, in the unit that it is written in.
func beyond(v string, step int) string {
	m := regexp.MustCompile(`^("?)([0-9]+)([a-zA-Z]*"?)$`).FindStringSubmatch(v)
	if m == nil {
		return ""
	}
	base := 10
	if m[1] != "" && m[3] == `"` { // permissions
		base = 8
	}
	n, err := strconv.ParseInt(m[2], base, 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s%s%s", m[1], strconv.FormatInt(n+int64(step), base), m[3])
}
