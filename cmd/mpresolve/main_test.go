package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/af-multipath/mpresolve/internal/dnstest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mpresolve": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the command as a person would, against a scripted DNS server
// ($DNS), a dead one ($DEAD), and a greeting TCP server ($TCP).
func TestScripts(t *testing.T) {
	server := dnstest.Start(t, script())
	dead := dnstest.Start(t, dnstest.Always(dnstest.Action{Drop: true}))
	greeter := startGreeter(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DNS", server.Addr())
			env.Setenv("DEAD", dead.Addr())
			env.Setenv("TCP", greeter)
			env.Setenv("BOM", "")
			return nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// script is the DNS of the tests.
func script() dnstest.Script {
	zone := dnstest.Zone(append(poolRecords(),
		"_sip._tcp.example.net. 60 IN SRV 10 5 5060 sip1.example.net.", "_sip._tcp.example.net. 60 IN SRV 20 0 5060 sip2.example.net.",
		"sip1.example.net. 60 IN A 192.0.2.81", "sip1.example.net. 60 IN AAAA 2001:db8:8::1",
		"sip2.example.net. 60 IN A 198.51.100.82", "sip2.example.net. 60 IN AAAA 2001:db8:9::2",
		"_im._tcp.example.net. 60 IN SRV 1 0 5222 sip1.example.net.", "_im._tcp.example.net. 60 IN SRV 1 0 5223 sip2.example.net.",
		"_off._tcp.example.net. 60 IN SRV 0 0 0 .",
		"www.example.net. 300 IN CNAME lb.example.net.",
		"lb.example.net. 287 IN AAAA 2001:db8:1::10",
		"lb.example.net. 287 IN AAAA 2001:db8:2::10",
		"lb.example.net. 287 IN A 192.0.2.10",
		"lb.example.net. 287 IN A 198.51.100.10",
		"v4.example.net. 60 IN A 192.0.2.10",
		"text.example.net. 60 IN TXT \"only text\"",
		"mail.example.net. 60 IN MX 10 v4.example.net.",
		"mail.example.net. 60 IN A 192.0.2.25",
		"local.example.net. 60 IN A 127.0.0.1",
		"greeter.example.net. 60 IN A 192.0.2.10",
		"twin.example.net. 60 IN A 192.0.2.20",
		"twin.example.net. 60 IN AAAA 2001:db8::20",
		reverseName("192.0.2.20")+" 60 IN PTR twin.example.net.",
		reverseName("2001:db8::20")+" 60 IN PTR twin.example.net.",
	)...)
	failing := func(q dnstest.Query) bool {
		return strings.HasPrefix(strings.ToLower(q.Name), "half.") && q.Type == "AAAA"
	}
	half := dnstest.Overlay(zone, func(q dnstest.Query) bool { return q.Is("half.example.net", "A") },
		dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN A 192.0.2.11"}}))
	half = dnstest.Overlay(half, failing, dnstest.Always(dnstest.Action{RCode: 2}))
	return dnstest.Overlay(half, func(q dnstest.Query) bool { return strings.HasPrefix(q.Name, "broken.") },
		dnstest.Always(dnstest.Action{RCode: 2}))
}

// poolRecords are a name with twenty addresses: ten numbered hosts, each with one
// of both families.
func poolRecords() []string {
	var records []string
	for i := range 10 {
		host, four, six := fmt.Sprintf("web%d.example.net.", i), fmt.Sprintf("192.0.2.%d", 100+i), fmt.Sprintf("2001:db8::%d", 100+i)
		for _, owner := range []string{"pool.example.net.", host} {
			records = append(records, owner+" 60 IN A "+four, owner+" 60 IN AAAA "+six)
		}
		for _, addr := range []string{four, six} {
			records = append(records, reverseName(addr)+" 60 IN PTR "+host)
		}
	}
	return records
}

// reverseName is the name under which the PTR records of an address are (RFC 1035
// section 3.5, RFC 3596 section 2.5).
func reverseName(addr string) string {
	a := netip.MustParseAddr(addr)
	labels, zone := strings.Split(a.String(), "."), "in-addr.arpa."
	if a.Is6() {
		labels, zone = strings.Split(strings.ReplaceAll(a.StringExpanded(), ":", ""), ""), "ip6.arpa."
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".") + "." + zone
}

// startGreeter answers every connection with a line and then echoes.
func startGreeter(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lab := newDemoLab()
	lab.listeners = append(lab.listeners, listener)
	lab.serving.Go(func() { lab.accept(listener, greet("greeter")) })
	t.Cleanup(lab.close)
	return listener.Addr().String()
}

func TestParseTarget(t *testing.T) {
	tests := []struct {
		in   string
		want target
		ok   bool
	}{
		{"www.example.net", target{"www.example.net", 0}, true},
		{"www.example.net:443", target{"www.example.net", 443}, true},
		{"www.example.net:https", target{"www.example.net", 443}, true},
		{"192.0.2.1", target{"192.0.2.1", 0}, true},
		{"192.0.2.1:80", target{"192.0.2.1", 80}, true},
		{"2001:db8::1", target{"2001:db8::1", 0}, true},
		{"[2001:db8::1]", target{"2001:db8::1", 0}, true},
		{"[2001:db8::1]:80", target{"2001:db8::1", 80}, true},
		{"fe80::1%eth0", target{"fe80::1%eth0", 0}, true},
		{"www.example.net:nosuchservice", target{}, false},
		{"www.example.net:70000", target{}, false},
		{":80", target{}, false},
		{"a:b:c", target{}, false},
	}
	for _, tt := range tests {
		got, err := parseTarget(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseTarget(%q) = %v, %v; want %v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func TestParseHex(t *testing.T) {
	tests := []struct {
		in   string
		want string
		ok   bool
	}{
		{"03 27 00", "\x03\x27\x00", true},
		{"0x032700", "\x03\x27\x00", true},
		{"03:27:00\n", "\x03\x27\x00", true},
		{`\# 3 032700`, "\x03\x27\x00", true},
		{`\# 3 0327 00`, "\x03\x27\x00", true},
		{`\# 4 032700`, "", false},
		{`\# x 032700`, "", false},
		{"0327zz", "", false},
		{"032", "", false},
		{"", "", true},
	}
	for _, tt := range tests {
		got, err := parseHex(tt.in)
		if string(got) != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseHex(%q) = %x, %v", tt.in, got, err)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	if got := milliseconds(12345678 * time.Nanosecond); got != 12.35 {
		t.Errorf("milliseconds = %v, want 12.35", got)
	}
}
