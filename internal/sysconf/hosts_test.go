package sysconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// hostsText also seeds the fuzzer.
const hostsText = `# comment
127.0.0.1	localhost localhost.localdomain # local
::1		localhost ip6-localhost
192.0.2.1 Server.Example.COM. server
2001:db8::1 server.example.com
fe80::1%eth0 router
fe80::1%eth1 router
::ffff:192.0.2.7 mapped
192.0.2.1 server again
192.0.2.300 bad
192.0.2.8
192.0.2.9 a..b ok .
`

func TestHostsLookup(t *testing.T) {
	h := ParseHosts(strings.NewReader(hostsText))
	cases := []struct {
		name string
		want []string
	}{
		{"localhost", []string{"127.0.0.1", "::1"}},
		{"LOCALHOST.", []string{"127.0.0.1", "::1"}},
		{"server.example.com", []string{"192.0.2.1", "2001:db8::1"}},
		{"server", []string{"192.0.2.1"}},
		{"again", []string{"192.0.2.1"}},
		{"router", []string{"fe80::1%eth0", "fe80::1%eth1"}},
		{"mapped", []string{"192.0.2.7"}},
		{"ok", []string{"192.0.2.9"}},
		{"bad", nil},
		{"comment", nil},
		{"", nil},
		{".", nil},
	}
	for _, tc := range cases {
		if got := fmt.Sprint(h.Lookup(tc.name)); got != "["+strings.Join(tc.want, " ")+"]" {
			t.Errorf("Lookup(%q) = %s, want %v", tc.name, got, tc.want)
		}
	}
	wantWarnings := []string{
		`hosts:10: "192.0.2.300" is not an IP address: line ignored`,
		"hosts:11: 192.0.2.8 has no name: line ignored",
		`hosts:12: "a..b" is not a host name: ignored`,
		`hosts:12: "." is not a host name: ignored`,
	}
	if got := h.Warnings(); !slices.Equal(got, wantWarnings) {
		t.Errorf("warnings %q, want %q", got, wantWarnings)
	}
	if got := h.Len(); got != 9 {
		t.Errorf("%d names, want 9", got)
	}
}

func TestHostsLookupAddr(t *testing.T) {
	h := ParseHosts(strings.NewReader(hostsText))
	cases := []struct {
		addr string
		want []string
	}{
		{"127.0.0.1", []string{"localhost", "localhost.localdomain"}},
		{"192.0.2.1", []string{"Server.Example.COM", "server", "again"}},
		{"::ffff:192.0.2.1", []string{"Server.Example.COM", "server", "again"}},
		{"192.0.2.7", []string{"mapped"}},
		{"fe80::1%eth1", []string{"router"}},
		{"fe80::1%eth2", nil},
		{"fe80::1", nil},
		{"192.0.2.99", nil},
	}
	for _, tc := range cases {
		if got := h.LookupAddr(netip.MustParseAddr(tc.addr)); !slices.Equal(got, tc.want) {
			t.Errorf("LookupAddr(%s) = %q, want %q", tc.addr, got, tc.want)
		}
	}
}

func TestHostsForms(t *testing.T) {
	for name, text := range map[string]string{
		"no end of line":   "192.0.2.1 a",
		"CRLF":             "192.0.2.1 a\r\n",
		"byte order mark":  "\ufeff192.0.2.1 a\n",
		"spaces around":    "  192.0.2.1   a  \n",
		"comment touching": "192.0.2.1 a#b\n",
	} {
		h := ParseHosts(strings.NewReader(text))
		if got := h.Lookup("a"); len(got) != 1 || h.Warnings() != nil || h.Len() != 1 {
			t.Errorf("%s: %v, warnings %q", name, got, h.Warnings())
		}
	}
}

func TestHostsNilIsEmpty(t *testing.T) {
	var h *Hosts
	if h.Lookup("a") != nil || h.LookupAddr(netip.IPv6Loopback()) != nil || h.Len() != 0 || h.Warnings() != nil {
		t.Error("the nil Hosts is not empty")
	}
}

// What is returned is the caller's.
func TestHostsResultsAreCopies(t *testing.T) {
	h := ParseHosts(strings.NewReader("192.0.2.1 a\n"))
	h.Lookup("a")[0] = netip.Addr{}
	h.LookupAddr(netip.MustParseAddr("192.0.2.1"))[0] = ""
	if !h.Lookup("a")[0].IsValid() || h.LookupAddr(netip.MustParseAddr("192.0.2.1"))[0] != "a" {
		t.Error("changing a result changed the file")
	}
}

func TestHostsBounds(t *testing.T) {
	t.Run("addresses of a name", func(t *testing.T) {
		var b strings.Builder
		for i := range maxAddrsPerName + 2 {
			fmt.Fprintf(&b, "10.0.%d.%d many\n", i/256, i%256)
		}
		h := ParseHosts(strings.NewReader(b.String()))
		if n := len(h.Lookup("many")); n != maxAddrsPerName || len(h.Warnings()) != 2 {
			t.Errorf("%d addresses, warnings %q", n, h.Warnings())
		}
	})
	t.Run("names of an address", func(t *testing.T) {
		h := ParseHosts(strings.NewReader(blockList(maxNamesPerAddr + 2)))
		if n := len(h.LookupAddr(netip.IPv4Unspecified())); n != maxNamesPerAddr {
			t.Errorf("%d names", n)
		}
		if h.Len() != maxNamesPerAddr+2 || h.Warnings() != nil {
			t.Errorf("%d names can be looked up, warnings %q", h.Len(), h.Warnings())
		}
	})
	t.Run("file", func(t *testing.T) {
		line := strings.Repeat("# filling ", 99) + "\n"
		text := "192.0.2.1 first\n" + strings.Repeat(line, MaxHostsOctets/len(line)+1) + "192.0.2.2 last\n"
		h := ParseHosts(strings.NewReader(text))
		w := h.Warnings()
		if h.Lookup("first") == nil || h.Lookup("last") != nil || len(w) != 1 || !strings.Contains(w[0], "longer than 16777216 octets") {
			t.Errorf("first %v, last %v, warnings %q", h.Lookup("first"), h.Lookup("last"), w)
		}
	})
}

// A name that is not there costs no allocation.
func TestHostsLookupAllocs(t *testing.T) {
	h := ParseHosts(strings.NewReader(hostsText))
	if n := testing.AllocsPerRun(100, func() { h.Lookup("www.example.org.") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What one lookup gives, the other gives back; nothing is empty or twice.
func FuzzParseHosts(f *testing.F) {
	if n := ParseHosts(strings.NewReader(hostsText)).Len(); n != 9 {
		f.Fatalf("seed gives %d names", n)
	}
	f.Add(hostsText)
	f.Add("\ufeff::1%1 A.B a.b. \\065\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		h := ParseHosts(strings.NewReader(text))
		for name := range h.addrs {
			if !isHostName(name) || hostKey(name) != name {
				t.Errorf("name %q", name)
			}
			for i, a := range h.Lookup(name) {
				if !a.IsValid() || a.Is4In6() || slices.Contains(h.Lookup(name)[:i], a) {
					t.Errorf("%q: address %v", name, a)
				}
				same := func(n string) bool { return hostKey(n) == name }
				if back := h.LookupAddr(a); len(back) < maxNamesPerAddr && !slices.ContainsFunc(back, same) {
					t.Errorf("%q has %v, which has %q", name, a, back)
				}
			}
		}
	})
}

// blockList is a hosts file that gives one address to n names.
func blockList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "0.0.0.0 host%d.ads.example\n", i)
	}
	return b.String()
}

func BenchmarkParseHostsBlockList(b *testing.B) {
	text := blockList(100_000)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		ParseHosts(strings.NewReader(text))
	}
}

func BenchmarkHostsLookup(b *testing.B) {
	h := ParseHosts(strings.NewReader(blockList(100_000)))
	b.ReportAllocs()
	for b.Loop() {
		h.Lookup("www.example.org")
	}
}
