package sysconf

import (
	"slices"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	name251 := strings.Join([]string{label63, label63, label63, strings.Repeat("b", 59)}, ".")
	search := []string{"example.com", "corp.example"}
	cases := []struct {
		name   string
		ndots  int
		search []string
		in     string
		want   []string
	}{
		{"no dot: search first", 1, search, "www", []string{"www.example.com.", "www.corp.example.", "www."}},
		{"dots enough: as it is first", 1, search, "www.sub", []string{"www.sub.", "www.sub.example.com.", "www.sub.corp.example."}},
		{"ndots:0", 0, search, "www", []string{"www.", "www.example.com.", "www.corp.example."}},
		{"ndots:5", 5, search, "a.b.c.d", []string{"a.b.c.d.example.com.", "a.b.c.d.corp.example.", "a.b.c.d."}},
		{"trailing dot: only itself", 5, search, "www.", []string{"www."}},
		{"no search list", 1, nil, "www", []string{"www."}},
		{"RFC 1535: no parents of the domain", 1, []string{"a.b.example"}, "x", []string{"x.a.b.example.", "x."}},
		{"the root in the list", 1, []string{".", "example.com"}, "www", []string{"www.", "www.example.com."}},
		{"twice in the list", 1, []string{"example.com", "EXAMPLE.com"}, "www", []string{"www.example.com.", "www."}},
		{"an escaped dot is none", 1, []string{"example.com"}, `a\.b`, []string{`a\.b.example.com.`, `a\.b.`}},
		{"nor does it end the name", 1, nil, `a\.`, []string{`a\..`}},
		{"the root", 1, search, ".", []string{"."}},
		{"too long with the domain", 1, search, name251, []string{name251 + "."}},
		{"empty", 1, search, "", nil},
		{"empty label", 1, search, "a..b", nil},
		{"leading dot", 1, search, ".a", nil},
		{"two trailing dots", 1, search, "a..", nil},
		{"label of 63", 0, nil, label63, []string{label63 + "."}},
		{"label of 64", 1, search, label63 + "a", nil},
		{"name of 255", 1, nil, name251 + "bb", []string{name251 + "bb."}},
		{"the same, rooted", 1, nil, name251 + "bb.", []string{name251 + "bb."}},
		{"name of 256", 1, nil, name251 + "bbb", nil},
		{"escapes count as one", 1, nil, strings.Repeat(`\065`, 63), []string{strings.Repeat(`\065`, 63) + "."}},
		{"escapes count as one, 64", 1, nil, strings.Repeat(`\065`, 64), nil},
		{"broken escape at the end", 1, nil, `a\`, nil},
		{"broken escape", 1, nil, `a\12`, nil},
		{"escape above 255", 1, nil, `a\256`, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := &ResolvConf{Ndots: tc.ndots, Search: tc.search}
			if got := c.Names(tc.in); !slices.Equal(got, tc.want) {
				t.Errorf("Names(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestNamesNoTLDQuery(t *testing.T) {
	c := &ResolvConf{Ndots: 1, Search: []string{"example.com"}, NoTLDQuery: true}
	if got, want := c.Names("www"), []string{"www.example.com."}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := c.Names("a.b"), []string{"a.b.", "a.b.example.com."}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// checkNames checks what Names promises, for any input.
func checkNames(t *testing.T, c *ResolvConf, name string) {
	t.Helper()
	names := c.Names(name)
	if (len(names) == 0) != (checkName(name) != nil) && !c.NoTLDQuery {
		t.Errorf("Names(%q) = %q, but the name's error is %v", name, names, checkName(name))
	}
	if len(names) > MaxSearch+1 {
		t.Errorf("%d names", len(names))
	}
	for i, n := range names {
		if _, rooted, err := scanName(n); err != nil || !rooted {
			t.Errorf("Names(%q) has %q: rooted %v, %v", name, n, rooted, err)
		}
		if !strings.HasPrefix(n, name) {
			t.Errorf("%q does not begin with %q", n, name)
		}
		if slices.Contains(names[:i], n) {
			t.Errorf("%q is there twice", n)
		}
	}
}

func BenchmarkNames(b *testing.B) {
	c := &ResolvConf{Ndots: 1, Search: []string{"example.com", "corp.example.com"}}
	b.ReportAllocs()
	for b.Loop() {
		c.Names("www")
	}
}
