package sysconf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// conf is a ResolvConf with the defaults, changed by f.
func conf(f func(*ResolvConf)) *ResolvConf {
	c := &ResolvConf{
		Servers: servers("127.0.0.1:53", "[::1]:53"), Ndots: 1, Timeout: 5 * time.Second, Attempts: 2,
	}
	if f != nil {
		f(c)
	}
	return c
}

func servers(ss ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range ss {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

type resolvCase struct {
	name, text string
	want       *ResolvConf
}

// resolvCases also seed the fuzzer.
func resolvCases() []resolvCase {
	return []resolvCase{
		{"empty", "", conf(nil)},
		{"comments only", "# a\n; nameserver 192.0.2.1\n\n   \n#nameserver 192.0.2.1\n", conf(nil)},
		{"usual", "nameserver 192.0.2.53\nsearch example.com. corp.example.com\noptions ndots:2\n", conf(func(c *ResolvConf) {
			c.Servers, c.Ndots = servers("192.0.2.53:53"), 2
			c.Search = []string{"example.com", "corp.example.com"}
		})},
		{"IPv6, zone, mapped, CRLF, tab", "nameserver\t2001:db8::53\r\nnameserver fe80::1%eth0\r\nnameserver ::ffff:192.0.2.1\r\n", conf(func(c *ResolvConf) {
			c.Servers = servers("[2001:db8::53]:53", "[fe80::1%eth0]:53", "192.0.2.1:53")
		})},
		{"more than three servers", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", conf(func(c *ResolvConf) {
			c.Servers = servers("192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53", "192.0.2.4:53")
		})},
		{"comment after a server", "nameserver 192.0.2.1#x\nnameserver 192.0.2.2 ; y\nsearch a.example # b.example\n", conf(func(c *ResolvConf) {
			c.Servers = servers("192.0.2.1:53", "192.0.2.2:53")
			c.Search = []string{"a.example"}
		})},
		{"OpenBSD's port", "nameserver [192.0.2.1]:5353\nnameserver [2001:db8::1]:5353\n", conf(func(c *ResolvConf) {
			c.Servers = servers("192.0.2.1:5353", "[2001:db8::1]:5353")
		})},
		{"the last of domain and search counts", "search a.example b.example\ndomain c.example d.example\n", conf(func(c *ResolvConf) {
			c.Search = []string{"c.example"}
		})},
		{"the root alone", "search .\n", conf(func(c *ResolvConf) { c.Search = []string{"."} })},
		{"every option", "options rotate single-request single-request-reopen use-vc edns0 trust-ad no-aaaa no-tld-query no-reload\noptions timeout:3 attempts:4 ndots:0\n", conf(func(c *ResolvConf) {
			c.Rotate, c.SingleRequest, c.SingleRequestReopen, c.UseTCP, c.EDNS0 = true, true, true, true, true
			c.TrustAD, c.NoAAAA, c.NoTLDQuery, c.NoReload = true, true, true, true
			c.Timeout, c.Attempts, c.Ndots = 3*time.Second, 4, 0
		})},
		{"the BSDs' words for TCP", "options usevc\n", conf(func(c *ResolvConf) { c.UseTCP = true })},
		{"unknown things are kept", "lookup file bind\noptions inet6 debug foo:7\nsortlist 130.155.160.0/255.255.240.0\n", conf(func(c *ResolvConf) {
			c.Unknown = []string{"lookup file bind", "inet6", "debug", "foo:7", "sortlist 130.155.160.0/255.255.240.0"}
		})},
		{"bounds above", "options ndots:16 timeout:31 attempts:6\n", conf(func(c *ResolvConf) {
			c.Ndots, c.Timeout, c.Attempts = 15, 30*time.Second, 5
			c.Warnings = []string{
				`resolv.conf:1: option "ndots:16" is outside 0 to 15: taken as 15`,
				`resolv.conf:1: option "timeout:31" is outside 1 to 30: taken as 30`,
				`resolv.conf:1: option "attempts:6" is outside 1 to 5: taken as 5`,
			}
		})},
		{"bounds below", "\noptions ndots:-1 timeout:0 attempts:0\n", conf(func(c *ResolvConf) {
			c.Ndots, c.Timeout, c.Attempts = 0, time.Second, 1
			c.Warnings = []string{
				`resolv.conf:2: option "ndots:-1" is outside 0 to 15: taken as 0`,
				`resolv.conf:2: option "timeout:0" is outside 1 to 30: taken as 1`,
				`resolv.conf:2: option "attempts:0" is outside 1 to 5: taken as 1`,
			}
		})},
		{"numbers that are none", "options ndots:x timeout: attempts:99999999999 ndots\n", conf(func(c *ResolvConf) {
			c.Warnings = []string{
				`resolv.conf:1: option "ndots:x": "x" is not a number: ignored`,
				`resolv.conf:1: option "timeout:": "" is not a number: ignored`,
				`resolv.conf:1: option "attempts:99999999999": "99999999999" is not a number: ignored`,
				`resolv.conf:1: option ndots needs a number, as in ndots:2: ignored`,
			}
		})},
		{"servers that are none", "nameserver\nnameserver ns.example\nnameserver 192.0.2.1:53\nnameserver [::1]:0\nnameserver 10.1\nnameserver 192.0.2.9\nnameserver 192.0.2.9\n", conf(func(c *ResolvConf) {
			c.Servers = servers("192.0.2.9:53")
			c.Warnings = []string{
				"resolv.conf:1: nameserver without an address: ignored",
				`resolv.conf:2: nameserver "ns.example" is not an IP address: ignored`,
				`resolv.conf:3: nameserver "192.0.2.1:53" is not an IP address: ignored`,
				`resolv.conf:4: nameserver "[::1]:0" is not an IP address: ignored`,
				`resolv.conf:5: nameserver "10.1" is not an IP address: ignored`,
				"resolv.conf:7: nameserver 192.0.2.9 is given twice",
			}
		})},
		{"indented", " nameserver 192.0.2.1\n", conf(func(c *ResolvConf) {
			c.Warnings = []string{"resolv.conf:1: nameserver does not start its line: ignored, as the C library does"}
		})},
		{"domains that are none", "search a..example ok.example\ndomain\n", conf(func(c *ResolvConf) {
			c.Search = []string{"ok.example"}
			c.Warnings = []string{
				`resolv.conf:1: search domain "a..example": empty label: ignored`,
				"resolv.conf:2: domain without a domain: ignored",
			}
		})},
	}
}

func TestParseResolvConf(t *testing.T) {
	for _, tc := range resolvCases() {
		t.Run(tc.name, func(t *testing.T) {
			got := ParseResolvConf(strings.NewReader(tc.text))
			if d := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseResolvConfBounds(t *testing.T) {
	t.Run("search", func(t *testing.T) {
		line := "search"
		for i := range MaxSearch + 1 {
			line += fmt.Sprintf(" d%d.example", i)
		}
		c := ParseResolvConf(strings.NewReader(line))
		want := []string{"resolv.conf:1: search has more than 32 domains: the rest are ignored"}
		if len(c.Search) != MaxSearch || !cmp.Equal(c.Warnings, want) {
			t.Errorf("%d domains, warnings %q", len(c.Search), c.Warnings)
		}
	})
	t.Run("warnings", func(t *testing.T) {
		c := ParseResolvConf(strings.NewReader(strings.Repeat("nameserver x\n", 100)))
		if len(c.Warnings) != MaxWarnings || c.Warnings[MaxWarnings-1] != "resolv.conf: more warnings left out" {
			t.Errorf("%d warnings, the last %q", len(c.Warnings), c.Warnings[len(c.Warnings)-1])
		}
	})
	t.Run("file", func(t *testing.T) {
		text := "nameserver 192.0.2.1\n" + strings.Repeat("# filling\n", MaxResolvConfOctets/10) + "nameserver 192.0.2.2\n"
		c := ParseResolvConf(strings.NewReader(text))
		if len(c.Servers) != 1 || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "longer than 262144 octets") {
			t.Errorf("servers %v, warnings %q", c.Servers, c.Warnings)
		}
	})
	t.Run("read error", func(t *testing.T) {
		r := io.MultiReader(strings.NewReader("nameserver 192.0.2.1\n"), iotest.ErrReader(errors.New("disk on fire")))
		c := ParseResolvConf(r)
		want := []string{"resolv.conf: read stopped after line 1: disk on fire"}
		if !cmp.Equal(c.Servers, servers("192.0.2.1:53"), cmpopts.EquateComparable(netip.AddrPort{})) || !cmp.Equal(c.Warnings, want) {
			t.Errorf("servers %v, warnings %q", c.Servers, c.Warnings)
		}
	})
}

// Whatever the file, the values are within their bounds, and every name of the
// search list can be asked for.
func FuzzParseResolvConf(f *testing.F) {
	for _, tc := range resolvCases() {
		if got := ParseResolvConf(strings.NewReader(tc.text)); len(got.Servers) != len(tc.want.Servers) {
			f.Fatalf("seed %s: servers %v", tc.name, got.Servers)
		}
		f.Add(tc.text, "www")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		c := ParseResolvConf(strings.NewReader(text))
		switch {
		case len(c.Servers) == 0, len(c.Search) > MaxSearch, len(c.Warnings) > MaxWarnings,
			c.Ndots < 0, c.Ndots > MaxNdots, c.Timeout < MinTimeout, c.Timeout > MaxTimeout,
			c.Attempts < MinAttempts, c.Attempts > MaxAttempts:
			t.Errorf("out of bounds: %+v", c)
		}
		for _, s := range c.Servers {
			if !s.IsValid() || s.Port() == 0 {
				t.Errorf("server %v", s)
			}
		}
		checkNames(t, c, name)
	})
}

func BenchmarkParseResolvConf(b *testing.B) {
	const text = "# made by hand\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.com corp.example.com\noptions ndots:2 edns0 trust-ad\n"
	b.ReportAllocs()
	for b.Loop() {
		ParseResolvConf(strings.NewReader(text))
	}
}
