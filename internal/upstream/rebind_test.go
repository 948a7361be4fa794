package upstream_test

import (
	"context"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

func TestNoRebinding(t *testing.T) {
	lan, err := dnswire.ParseName("lan.example")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		name string
		data []string
		left int
	}{
		"public":       {"www.example", []string{"A 192.0.2.1", "A 198.51.100.1"}, 2},
		"one private":  {"www.example", []string{"A 192.168.0.1", "A 198.51.100.1"}, 1},
		"rfc 1918":     {"www.example", []string{"A 10.0.0.1", "A 172.16.0.1", "A 192.168.255.255"}, 0},
		"local":        {"www.example", []string{"A 127.0.0.1", "A 169.254.169.254", "A 0.0.0.0", "A 100.64.0.1"}, 0},
		"ipv6":         {"www.example", []string{"AAAA ::1", "AAAA fe80::1", "AAAA fd00::1", "AAAA ::", "AAAA 2001:db8::1"}, 1},
		"mapped":       {"www.example", []string{"AAAA ::ffff:10.0.0.1", "AAAA 64:ff9b::127.0.0.1"}, 0},
		"the edges":    {"www.example", []string{"A 9.255.255.255", "A 172.32.0.0", "A 100.128.0.0", "A 1.0.0.0"}, 4},
		"an exception": {"nas.lan.example", []string{"A 192.168.0.1"}, 1},
		"not below it": {"xlan.example", []string{"A 192.168.0.1"}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var a dnstest.Action
			for _, d := range tc.data {
				a.Answer = append(a.Answer, "@ 60 IN "+d)
			}
			typ := dnswire.TypeA
			if tc.data[0][:4] == "AAAA" {
				typ = dnswire.TypeAAAA
			}
			n := inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(a)})
			x := upstream.NoRebinding(newServer(serverAddr, upstream.Options{Dial: n.Dial}), []dnswire.Name{lan})
			r, err := x.Exchange(context.Background(), question(t, tc.name, typ))
			if err != nil {
				t.Fatal(err)
			}
			if got := answers(t, r); got != tc.left {
				t.Errorf("%d addresses left, want %d", got, tc.left)
			}
			if got := filtered(t, r.Msg); got != (tc.left == 0) {
				t.Errorf("filtered: %v", got)
			}
		})
	}
}

// filtered reports whether msg has the extended error Filtered.
func filtered(t *testing.T, msg []byte) bool {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	for _, o := range m.IsEdns0().Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok && e.InfoCode == dns.ExtendedErrorCodeFiltered {
			return true
		}
	}
	return false
}
