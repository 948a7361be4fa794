package server

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
)

// fsOf is a file system of one file.
func fsOf(name, text string) fs.FS { return fstest.MapFS{name: {Data: []byte(text)}} }

// TestLocal asks for what no upstream server is asked for, and what is.
func TestLocal(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("printer. 60 IN MX 10 mail.example.", "www.example. 60 IN A 192.0.2.7"))
	source := forwarding(t, up)
	source.Hosts = hosts("192.0.2.88 printer printer.example\nfe80::1%lo printer\n2001:db8::89 six\n127.0.0.1 localhost\n10.1.2.3 inside\n192.0.2.1 localhost\n")
	tests := []localTest{
		{"printer", "A", 0, "printer. A 192.0.2.88", false},
		{"PRINTER.Example", "A", 0, "PRINTER.Example. A 192.0.2.88", false},
		{"printer", "AAAA", 0, "", false},
		{"printer", "MX", 0, "printer. MX 10 mail.example.", true},
		{"six", "AAAA", 0, "six. AAAA 2001:db8::89", false},
		{"six", "A", 0, "", false},
		{"88.2.0.192.in-addr.arpa", "PTR", 0, "88.2.0.192.in-addr.arpa. PTR printer.; 88.2.0.192.in-addr.arpa. PTR printer.example.", false},
		{"3.2.1.10.in-addr.arpa", "PTR", 0, "3.2.1.10.in-addr.arpa. PTR inside.", false},
		{"9.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR", 0, "9.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.", false},
		{"7.2.0.192.in-addr.arpa", "PTR", dns.RcodeNameError, "", false},
		{"7.2.18.198.in-addr.arpa", "PTR", dns.RcodeNameError, "", true},
		{"1.1.64.100.in-addr.arpa", "PTR", dns.RcodeNameError, "", false},
		{"1.1.63.100.in-addr.arpa", "PTR", dns.RcodeNameError, "", true},
		{"100.in-addr.arpa", "PTR", dns.RcodeNameError, "", true},
		{"064.100.in-addr.arpa", "PTR", dns.RcodeNameError, "", true},
		{"20.172.in-addr.arpa", "NS", 0, "", false},
		{"8.b.d.0.1.0.0.2.ip6.arpa", "PTR", 0, "", false},
		{"a.alt", "A", dns.RcodeNameError, "", false},
		{"nas.home.arpa", "A", dns.RcodeNameError, "", false},

		{"localhost", "A", 0, "localhost. A 127.0.0.1", false},
		{"localhost", "AAAA", 0, "localhost. AAAA ::1", false},
		{"a.localhost", "A", 0, "a.localhost. A 127.0.0.1", false},
		{"localhost", "MX", 0, "", false},
		{"1.0.0.127.in-addr.arpa", "PTR", 0, "1.0.0.127.in-addr.arpa. PTR localhost.", false},
		{"9.9.0.127.in-addr.arpa", "A", dns.RcodeNameError, "", false},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", "PTR", 0, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. PTR localhost.", false},
		{"a.invalid", "A", dns.RcodeNameError, "", false},
		{"invalid", "A", 0, "", false},
		{"a.test", "AAAA", dns.RcodeNameError, "", false},
		{"a.onion", "A", dns.RcodeNameError, "", false},
		{"1.1.168.192.in-addr.arpa", "PTR", dns.RcodeNameError, "", false},
		{"1.1.20.172.in-addr.arpa", "PTR", dns.RcodeNameError, "", false},
		{"1.1.32.172.in-addr.arpa", "PTR", dns.RcodeNameError, "", true},
		{"notinvalid", "A", dns.RcodeNameError, "", true},
		{"www.example", "A", 0, "www.example. A 192.0.2.7", true},
	}
	checkLocal(t, source, up, tests)
}

// localTest is a question, its answer, and whether that came from upstream.
type localTest struct {
	name, qtype string
	rcode       int
	want        string
	asked       bool
}

func checkLocal(t *testing.T, source *Source, up *dnstest.Server, tests []localTest) {
	t.Helper()
	s := start(t, source, options())
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.qtype, func(t *testing.T) {
			before := len(up.Queries())
			r := ask(t, s, question(tt.name, tt.qtype), overUDP)
			if r.Rcode != tt.rcode || answers(r) != tt.want {
				t.Errorf("%s %q\nwant %s %q", dns.RcodeToString[r.Rcode], answers(r), dns.RcodeToString[tt.rcode], tt.want)
			}
			if asked := len(up.Queries()) > before; asked != tt.asked {
				t.Errorf("upstream asked: %v", asked)
			}
		})
	}
}

// TestForwardFirst: the special names of a zone with servers of its own are asked
// of them, those around it are not.
func TestForwardFirst(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("1.2.0.10.in-addr.arpa. 60 IN PTR host.corp.test.", "host.corp.test. 60 IN A 10.0.2.1",
		"localhost. 60 IN A 192.0.2.66", "printer.local. 60 IN A 10.0.2.2", "nas.home.arpa. 60 IN A 10.0.2.3"))
	source := forwarding(t, up)
	source.Hosts = hosts("10.0.2.9 inside\n")
	source.Forwards = names(t, "2.0.10.in-addr.arpa", "corp.test", "arpa", "localhost", "local", "home.arpa")
	tests := []localTest{
		{"1.2.0.10.in-addr.arpa", "PTR", 0, "1.2.0.10.in-addr.arpa. PTR host.corp.test.", true},
		{"8.2.0.10.in-addr.arpa", "PTR", dns.RcodeNameError, "", true},
		{"9.2.0.10.in-addr.arpa", "PTR", 0, "9.2.0.10.in-addr.arpa. PTR inside.", false},
		{"2.0.10.in-addr.arpa", "SOA", dns.RcodeNameError, "", true},
		{"2.0.10.in-addr.arpa", "DS", 0, "", false},
		{"0.10.in-addr.arpa", "NS", 0, "", false}, // it exists, for what is below it does (RFC 8020)
		{"3.0.10.in-addr.arpa", "PTR", dns.RcodeNameError, "", false},
		{"1.1.168.192.in-addr.arpa", "PTR", dns.RcodeNameError, "", false}, // arpa is too much to mean it
		{"1.0.0.127.in-addr.arpa", "PTR", 0, "1.0.0.127.in-addr.arpa. PTR localhost.", false},
		{"host.corp.test", "A", 0, "host.corp.test. A 10.0.2.1", true},
		{"host.test", "A", dns.RcodeNameError, "", false},
		{"localhost", "A", 0, "localhost. A 127.0.0.1", false},
		{"printer.local", "A", 0, "printer.local. A 10.0.2.2", true},
		{"nas.home.arpa", "A", 0, "nas.home.arpa. A 10.0.2.3", true},
	}
	checkLocal(t, source, up, tests)
}

func names(t *testing.T, all ...string) (parsed []dnswire.Name) {
	t.Helper()
	for _, s := range all {
		n, err := dnswire.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, n)
	}
	return parsed
}

// TestZoneFirst: a zone of one's own stands before the hosts file and the
// special names; special names can be off.
func TestZoneFirst(t *testing.T) {
	z, err := zone.LoadFS(fsOf("test.zone", "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nwww 60 A 192.0.2.1\n"), "test.zone", "")
	if err != nil {
		t.Fatal(err)
	}
	set, err := zone.NewSet(z)
	if err != nil {
		t.Fatal(err)
	}
	source := &Source{Zones: set, Special: true, Hosts: hosts("192.0.2.2 www.test"), Cache: dnscache.New(dnscache.Config{})}
	s := start(t, source, options())
	if got := answers(ask(t, s, question("www.test", "A"), overUDP)); got != "www.test. A 192.0.2.1" {
		t.Error(got)
	}
	up := dnstest.Start(t, dnstest.Zone("a.invalid. 60 IN A 192.0.2.3"))
	off := forwarding(t, up)
	off.Special = false
	s.SetSource(off)
	if got := answers(ask(t, s, question("a.invalid", "A"), overUDP)); got != "a.invalid. A 192.0.2.3" {
		t.Error(got)
	}
}

// TestAliasBeyondZones completes an answer whose alias leads out of the zone.
func TestAliasBeyondZones(t *testing.T) {
	const text = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nwww 60 CNAME www.example.\nloop 60 CNAME loop.b.\nbad 60 CNAME bad.example.\nlocal 60 CNAME printer.\n"
	var all []*zone.Zone
	for _, origin := range []string{"a", "b"} {
		z, err := zone.LoadFS(fsOf("x", text), "x", origin)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, z)
	}
	set, err := zone.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	up := dnstest.Start(t, dnstest.Zone("www.example. 60 IN CNAME host.example.", "host.example. 60 IN A 192.0.2.7"))
	source := forwarding(t, up)
	source.Zones, source.Hosts = set, hosts("192.0.2.88 printer")
	s := start(t, source, options())
	tests := []struct {
		name  string
		rcode int
		want  string
	}{
		{"www.a", 0, "www.a. CNAME www.example.; www.example. CNAME host.example.; host.example. A 192.0.2.7"},
		{"bad.a", dns.RcodeNameError, "bad.a. CNAME bad.example."},
		{"local.a", 0, "local.a. CNAME printer.; printer. A 192.0.2.88"},
	}
	for _, tt := range tests {
		r := ask(t, s, question(tt.name, "A"), overUDP)
		if r.Rcode != tt.rcode || answers(r) != tt.want || !r.Authoritative {
			t.Errorf("%s: %s %q, AA %v", tt.name, dns.RcodeToString[r.Rcode], answers(r), r.Authoritative)
		}
	}
	if r := ask(t, s, question("loop.a", "A"), overUDP); r == nil {
		t.Error("a loop through two zones has no answer")
	}
	if q := (dnswire.Question{}); source.isLocal(q) {
		t.Error("no name is local")
	}
}
