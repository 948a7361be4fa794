package addrsel

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestDefaultPolicy(t *testing.T) {
	cases := []struct {
		addr              string
		precedence, label int
		scope             Scope
	}{
		{"::1", 50, 0, ScopeLinkLocal},
		{"2601:645:8002:a500:986f:1db8:c836:bd65", 40, 1, ScopeGlobal},
		{"127.0.0.1", 35, 4, ScopeLinkLocal},
		{"127.255.0.1", 35, 4, ScopeLinkLocal},
		{"169.254.13.78", 35, 4, ScopeLinkLocal},
		{"10.1.2.3", 35, 4, ScopeGlobal},
		{"192.168.1.1", 35, 4, ScopeGlobal},
		{"::ffff:192.0.2.1", 35, 4, ScopeGlobal},
		{"::ffff:169.254.1.1", 35, 4, ScopeLinkLocal},
		{"224.0.0.1", 35, 4, ScopeGlobal},
		{"2002::ab12", 30, 2, ScopeGlobal},
		{"2001::1", 5, 5, ScopeGlobal},
		{"2001:1::1", 40, 1, ScopeGlobal},
		{"fc00::1", 3, 13, ScopeGlobal},
		{"fdff::1", 3, 13, ScopeGlobal},
		{"::192.0.2.1", 1, 3, ScopeGlobal},
		{"::", 1, 3, ScopeGlobal},
		{"fec0::1", 1, 11, ScopeSiteLocal},
		{"feff::1", 1, 11, ScopeSiteLocal},
		{"3ffe::1", 1, 12, ScopeGlobal},
		{"fe80::1%eth0", 40, 1, ScopeLinkLocal},
		{"febf::1", 40, 1, ScopeLinkLocal},
		{"ff01::1", 40, 1, ScopeInterfaceLocal},
		{"ff02::1", 40, 1, ScopeLinkLocal},
		{"ff04::1", 40, 1, ScopeAdminLocal},
		{"ff05::1", 40, 1, ScopeSiteLocal},
		{"ff08::1", 40, 1, ScopeOrganizationLocal},
		{"ff0e::1", 40, 1, ScopeGlobal},
		{"ff33::1", 40, 1, 3},
	}
	for _, p := range []Policy{{}, DefaultPolicy()} {
		for _, tc := range cases {
			a := netip.MustParseAddr(tc.addr)
			if pr, l, s := p.Precedence(a), p.Label(a), p.Scope(a); pr != tc.precedence || l != tc.label || s != tc.scope {
				t.Errorf("%s: precedence %d, label %d, %s; want %d, %d, %s", a, pr, l, s, tc.precedence, tc.label, tc.scope)
			}
		}
	}
}

// lookup takes the first match, so the tables have to be longest prefix first.
func TestTablesAreSorted(t *testing.T) {
	p := DefaultPolicy()
	for name, table := range map[string]table{"labels": p.labels, "precedences": p.precedences, "scopes": p.scopes4} {
		if !slices.IsSortedFunc(table, func(a, b tableEntry) int { return b.prefix.Bits() - a.prefix.Bits() }) {
			t.Errorf("%s: %v", name, table)
		}
	}
}

func TestScopeString(t *testing.T) {
	for s, want := range map[Scope]string{
		ScopeInterfaceLocal: "interface-local", ScopeLinkLocal: "link-local", ScopeAdminLocal: "admin-local",
		ScopeSiteLocal: "site-local", ScopeOrganizationLocal: "organization-local", ScopeGlobal: "global", 3: "scope 3",
	} {
		if s.String() != want {
			t.Errorf("Scope(%d) is %q, want %q", int(s), s, want)
		}
	}
}

func TestCommonPrefixLen(t *testing.T) {
	cases := []struct {
		s, d   string
		prefix int
		want   int
	}{
		{"fe80::1", "fe80::2", 0, 64},
		{"fe80::1%eth0", "fe80::1", 0, 64},
		{"fe81::1", "fe80::2", 0, 15},
		{"2001:db8:1::2", "2001:db8:1::1", 128, 64},
		{"2001:db8:1::2", "2001:db8:1::1", 48, 48},
		{"2001:db8:3f44::2", "2001:db8:3ffe::1", 64, 40},
		{"127.0.0.1", "fe80::1", 0, 0},
		{"1.2.3.4", "1.2.3.4", 0, 32},
		{"1.2.3.4", "::ffff:1.2.3.4", 0, 32},
		{"1.2.3.4", "1.2.3.4", 24, 24},
		{"1.2.255.255", "1.2.0.0", 0, 16},
		{"1.2.127.255", "1.2.0.0", 0, 17},
		{"1.2.3.255", "1.2.0.0", 0, 22},
		{"1.2.0.255", "1.2.0.0", 0, 24},
		{"129.0.0.1", "1.0.0.1", 0, 0},
	}
	for _, tc := range cases {
		if got := CommonPrefixLen(netip.MustParseAddr(tc.s), netip.MustParseAddr(tc.d), tc.prefix); got != tc.want {
			t.Errorf("CommonPrefixLen(%s/%d, %s) = %d, want %d", tc.s, tc.prefix, tc.d, got, tc.want)
		}
	}
	if got := CommonPrefixLen(netip.Addr{}, netip.Addr{}, 0); got != 0 {
		t.Errorf("of no addresses: %d", got)
	}
}

func TestParseGaiConf(t *testing.T) {
	// The tables of the C library, as its gai.conf shows them in comments.
	const conf = `# Configuration for getaddrinfo(3).
reload  yes
label ::1/128       0
label ::/0          1
label 2002::/16     2
label ::/96         3   # IPv4-compatible
label ::ffff:0:0/96 4
label fec0::/10     5
label fc00::/7      6
label 2001:0::/32   7
precedence  ::1/128       50
precedence  ::/0          40
	precedence  2002::/16     30
precedence ::/96          20
precedence ::ffff:0:0/96  10
scopev4 ::ffff:169.254.0.0/112  2
scopev4 127.0.0.0/8             2
scopev4 192.168.0.0/16          5
scopev4 ::ffff:0.0.0.0/96       14
label 2001:db8::1   99
label 2001:db8:ffff::/32  98
`
	p, err := ParseGaiConf(strings.NewReader(conf))
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		addr              string
		precedence, label int
		scope             Scope
	}{
		{"::1", 50, 0, ScopeLinkLocal},
		{"2600::1", 40, 1, ScopeGlobal},
		{"2001:db8::1", 40, 99, ScopeGlobal},
		{"2001:db8::2", 40, 98, ScopeGlobal}, // bits after the prefix do not count
		{"fd00::1", 40, 6, ScopeGlobal},
		{"192.168.1.1", 10, 4, ScopeSiteLocal},
		{"127.1.1.1", 10, 4, ScopeLinkLocal},
		{"169.254.1.1", 10, 4, ScopeLinkLocal},
		{"10.0.0.1", 10, 4, ScopeGlobal},
	}
	for _, tc := range cases {
		a := netip.MustParseAddr(tc.addr)
		if pr, l, s := p.Precedence(a), p.Label(a), p.Scope(a); pr != tc.precedence || l != tc.label || s != tc.scope {
			t.Errorf("%s: precedence %d, label %d, %s; want %d, %d, %s", a, pr, l, s, tc.precedence, tc.label, tc.scope)
		}
	}
}

// The first line of a kind replaces the default table of that kind only.
func TestParseGaiConfReplacesTables(t *testing.T) {
	p, err := ParseGaiConf(strings.NewReader("precedence ::ffff:0:0/96 100\nprecedence ::ffff:0:0/96 7\n"))
	if err != nil {
		t.Fatal(err)
	}
	v4, teredo := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001::1")
	if got := p.Precedence(v4); got != 100 {
		t.Errorf("IPv4 precedence %d, want the first line's 100", got)
	}
	if got := p.Precedence(teredo); got != 40 {
		t.Errorf("Teredo precedence %d, want that of ::/0, 40", got)
	}
	if got := p.Label(teredo); got != 5 {
		t.Errorf("Teredo label %d, want the default 5", got)
	}
}

func TestParseGaiConfErrors(t *testing.T) {
	cases := []struct{ name, conf, want string }{
		{"keyword", "# x\nlable ::/0 1", `gai.conf line 2: unknown keyword "lable"`},
		{"value missing", "label ::/0", "gai.conf line 1: label needs a prefix and a value"},
		{"value negative", "label ::/0 -1", `gai.conf line 1: label value "-1" is not a number from 0 to 2147483647`},
		{"value too large", "precedence ::/0 2147483648", `gai.conf line 1: precedence value "2147483648" is not a number from 0 to 2147483647`},
		{"IPv4 label", "label 10.0.0.0/8 1", `gai.conf line 1: "10.0.0.0/8" is not an IPv6 prefix`},
		{"zone", "label fe80::%eth0/10 1", `gai.conf line 1: "fe80::%eth0/10" is not a prefix`},
		{"length", "label ::/129 1", `gai.conf line 1: prefix length of "::/129" is not a number from 0 to 128`},
		{"IPv4 length", "scopev4 10.0.0.0/33 2", `gai.conf line 1: prefix length of "10.0.0.0/33" is not a number from 0 to 32`},
		{"IPv6 scope", "scopev4 fe80::/10 2", `gai.conf line 1: "fe80::/10" is not an IPv4 prefix`},
		{"mapped too short", "scopev4 ::ffff:10.0.0.0/95 2", `gai.conf line 1: "::ffff:10.0.0.0/95" is not an IPv4 prefix`},
		{"too long", "label ::/0 1\n" + strings.Repeat("#", maxGaiConfOctets), "gai.conf line 2: longer than 65536 octets: the rest is not read"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p, err := ParseGaiConf(strings.NewReader(tc.conf))
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
			if got := p.Label(netip.MustParseAddr("2600::1")); got != 1 {
				t.Errorf("the policy is not usable: label %d", got)
			}
		})
	}
	_, err := ParseGaiConf(strings.NewReader(strings.Repeat("x\n", 1000)))
	if err == nil || strings.Count(err.Error(), "\n")+1 != maxGaiConfErrors {
		t.Errorf("errors are not bounded: %v", err)
	}
}

// Whatever the file, the policy has an answer for every address, and what the
// file says of the default route of a kind is what an unlisted address gets.
func FuzzParseGaiConf(f *testing.F) {
	seeds := []string{
		"label ::1/128 0\nprecedence ::ffff:0:0/96 100\nscopev4 10.0.0.0/8 5\n",
		"label ::/0 7\n", "scopev4 ::ffff:169.254.0.0/112 2\r\n", "reload yes\n#\n\n", "precedence fe80::/10",
	}
	for _, s := range seeds {
		if _, err := ParseGaiConf(strings.NewReader(s)); (err != nil) != (s == "precedence fe80::/10") {
			f.Fatalf("seed %q: %v", s, err)
		}
		f.Add(s)
	}
	addrs := []netip.Addr{
		{}, netip.IPv6Loopback(), netip.IPv6Unspecified(), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"),
	}
	f.Fuzz(func(t *testing.T, conf string) {
		p, err := ParseGaiConf(strings.NewReader(conf))
		if err != nil && !strings.HasPrefix(err.Error(), "gai.conf line ") {
			t.Errorf("error does not name the line: %v", err)
		}
		for _, tb := range []table{p.labels, p.precedences, p.scopes4} {
			if len(tb) == 0 || tb[len(tb)-1].prefix.Bits() != 0 {
				t.Fatalf("table does not end in ::/0: %v", tb)
			}
		}
		for _, a := range addrs {
			if p.Label(a) < 0 || p.Precedence(a) < 0 || p.Scope(a) < 0 {
				t.Errorf("%s: negative value", a)
			}
		}
		if again, _ := ParseGaiConf(strings.NewReader(unparse(p))); !samePolicy(p, again) {
			t.Errorf("written out and read again:\n%s", unparse(p))
		}
	})
}

// unparse writes p as a gai.conf file.
func unparse(p Policy) string {
	var b strings.Builder
	for _, e := range p.labels {
		b.WriteString("label " + e.prefix.String() + " " + strconv.Itoa(e.value) + "\n")
	}
	for _, e := range p.precedences {
		b.WriteString("precedence " + e.prefix.String() + " " + strconv.Itoa(e.value) + "\n")
	}
	for _, e := range p.scopes4 {
		if e.prefix.Bits() > 0 {
			b.WriteString("scopev4 " + e.prefix.String() + " " + strconv.Itoa(e.value) + "\n")
		}
	}
	return b.String()
}

// samePolicy compares the tables without the entries that others hide.
func samePolicy(a, b Policy) bool {
	effective := func(t table) map[netip.Prefix]int {
		m := map[netip.Prefix]int{}
		for _, e := range t {
			if _, ok := m[e.prefix]; !ok {
				m[e.prefix] = e.value
			}
		}
		return m
	}
	same := func(a, b table) bool {
		x, y := effective(a), effective(b)
		for p, v := range x {
			if w, ok := y[p]; !ok || v != w {
				return false
			}
		}
		return len(x) == len(y)
	}
	return same(a.labels, b.labels) && same(a.precedences, b.precedences) && same(a.scopes4, b.scopes4)
}
