package server

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// records decodes the MULTIPATH records of r; each one's addresses are sorted,
// for their order is that of this machine's routes.
func records(t testing.TB, r *dns.Msg) []string {
	t.Helper()
	var out []string
	for _, rr := range r.Answer {
		u, ok := rr.(*dns.RFC3597)
		if !ok {
			continue
		}
		octets, err := hex.DecodeString(u.Rdata)
		if err != nil {
			t.Fatal(err)
		}
		set, err := mpaddr.Codec{}.Parse(octets)
		if err != nil {
			t.Fatalf("rdata %x: %v", octets, err)
		}
		var addrs []netip.Addr
		for _, e := range set.All() {
			if e.Port() != 0 {
				t.Errorf("port %d in the record", e.Port())
			}
			addrs = append(addrs, e.Addr())
		}
		slices.SortFunc(addrs, netip.Addr.Compare)
		out = append(out, fmt.Sprint(addrs))
	}
	return out
}

func TestMultipathOfZones(t *testing.T) {
	s := start(t, &Source{
		Zones: allZones(t), Special: true, Multipath: dnswire.TypeMultipath, Cache: dnscache.New(dnscache.Config{}),
		Hosts: hosts("192.0.2.88 printer\n2001:db8::88 printer\n"),
	}, options())
	const server = "[192.0.2.10 198.51.100.10 2001:db8:1::10 2001:db8:2::10]"
	tests := []struct {
		name   string
		rcode  int
		ttl    uint32
		want   []string
		chain  string
		ede    string
		negate bool // the answer carries the zone's SOA
	}{
		{name: "server.demo.example", ttl: 300, want: []string{server}},
		{name: "www.demo.example", ttl: 300, want: []string{server}, chain: "www.demo.example. CNAME web.demo.example.; web.demo.example. CNAME server.demo.example."},
		{name: "lb.demo.example", ttl: 300, want: []string{"[192.0.2.10 198.51.100.10 203.0.113.20 2001:db8:1::10 2001:db8:3::20]"}},
		{name: "v4only.demo.example", ttl: 300, want: []string{"[192.0.2.10 198.51.100.10]"}},
		{name: "v6only.demo.example", ttl: 300, want: []string{"[2001:db8:1::10 2001:db8:2::10]"}},
		{name: "any.wild.demo.example", ttl: 60, want: []string{"[192.0.2.10 2001:db8:1::10]"}},
		{name: "away.test.example", ttl: 300, want: []string{server}, chain: "away.test.example. CNAME server.demo.example."},
		{name: "xn--bcher-kva.test.example", ttl: 3600, want: []string{"[198.18.1.91 2001:db8:18::91]"}},
		{name: "nodata.demo.example", negate: true},
		{name: "nothing.demo.example", rcode: dns.RcodeNameError, negate: true},
		{name: "broken.test.example", rcode: dns.RcodeNameError, negate: true, chain: "broken.test.example. CNAME nowhere.test.example."},
		{name: "a.b.test.example", negate: true},
		{name: "printer", ttl: hostsTTL, want: []string{"[192.0.2.88 2001:db8::88]"}},
		{name: "x.invalid", rcode: dns.RcodeNameError, negate: true},
		{name: "nine.test.example", ttl: 3600, want: []string{"[2001:db8:18:6::1 2001:db8:18:6::2 2001:db8:18:6::3]"}},
		{
			name: "ten.test.example", rcode: dns.RcodeServerFailure,
			ede: "Other: 10 addresses of one host need 283 octets, and a MULTIPATH record holds 255: ask for A and AAAA",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ask(t, s, question(tt.name, "TYPE65400"), overUDP)
			if r.Rcode != tt.rcode || ede(r) != tt.ede {
				t.Errorf("%s, %q", dns.RcodeToString[r.Rcode], ede(r))
			}
			got := records(t, r)
			if tt.name == "nine.test.example" {
				if len(got) != 1 || strings.Count(got[0], " ") != 8 {
					t.Errorf("records %v: want nine addresses in one", got)
				}
				return
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("records %v, want %v", got, tt.want)
			}
			if negative := len(r.Ns) == 1 && r.Ns[0].Header().Rrtype == dns.TypeSOA; negative != tt.negate {
				t.Errorf("authority %v", r.Ns)
			}
			if chain := answers(&dns.Msg{Answer: r.Answer[:len(r.Answer)-len(tt.want)]}); chain != tt.chain {
				t.Errorf("chain %s\nwant  %s", chain, tt.chain)
			}
			for _, rr := range r.Answer {
				if tt.ttl > 0 && (rr.Header().Ttl > tt.ttl || rr.Header().Ttl+2 < tt.ttl) {
					t.Errorf("TTL %d, want %d", rr.Header().Ttl, tt.ttl)
				}
			}
		})
	}
}

// TestMultipathForwarded merges what an upstream server says, keeps it with
// the smallest TTL, and asks each family once.
func TestMultipathForwarded(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone(
		"www.example. 300 IN A 192.0.2.7", "www.example. 200 IN AAAA 2001:db8::7",
	))
	s := start(t, forwarding(t, up), options())
	for range 3 {
		r := ask(t, s, question("www.example", "TYPE65400"), overUDP)
		if got := records(t, r); !slices.Equal(got, []string{"[192.0.2.7 2001:db8::7]"}) {
			t.Fatalf("records %v in %v", got, r)
		}
		if ttl := r.Answer[0].Header().Ttl; ttl > 200 || ttl < 198 {
			t.Errorf("TTL %d, want 200", ttl)
		}
		if r.Authoritative {
			t.Error("authoritative")
		}
	}
	if n := len(up.Queries()); n != 2 {
		t.Errorf("%d upstream queries, want 2", n)
	}
}

// TestMultipathSeveralHosts gives one record for each host where the families
// lead to different canonical names.
func TestMultipathSeveralHosts(t *testing.T) {
	a, b := dnstest.Zone("www.example. 300 IN CNAME a.example.", "a.example. 300 IN A 192.0.2.7"),
		dnstest.Zone("www.example. 300 IN CNAME b.example.", "b.example. 300 IN AAAA 2001:db8::7")
	up := dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
		if q.Type == "A" {
			return a(q)
		}
		return b(q)
	})
	s := start(t, forwarding(t, up), options())
	r := ask(t, s, question("www.example", "TYPE65400"), overUDP)
	got := records(t, r)
	slices.Sort(got)
	if !slices.Equal(got, []string{"[192.0.2.7]", "[2001:db8::7]"}) || len(r.Answer) != 2 {
		t.Errorf("answer %v", r.Answer)
	}
}

// TestMultipathPartial: a family whose servers fail does not take the other
// away; the answer says so, and does not live long.
func TestMultipathPartial(t *testing.T) {
	good := dnstest.Zone("www.example. 300 IN A 192.0.2.7")
	up := dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
		if q.Type == "AAAA" {
			return dnstest.Action{RCode: dns.RcodeServerFailure}
		}
		return good(q)
	})
	s := start(t, forwarding(t, up), options())
	r := ask(t, s, question("www.example", "TYPE65400"), overUDP)
	if got := records(t, r); !slices.Equal(got, []string{"[192.0.2.7]"}) {
		t.Fatalf("records %v in %v", got, r)
	}
	if ttl := r.Answer[0].Header().Ttl; ttl != 5 || !strings.Contains(ede(r), "AAAA") {
		t.Errorf("TTL %d, extended error %q", ttl, ede(r))
	}
}

// TestMultipathType is another number, and none.
func TestMultipathType(t *testing.T) {
	for _, typ := range []dnswire.Type{0, 65401} {
		s := start(t, &Source{Zones: allZones(t), Multipath: typ, Cache: dnscache.New(dnscache.Config{})}, options())
		if r := ask(t, s, question("server.demo.example", "TYPE65401"), overUDP); (len(r.Answer) == 1) != (typ != 0) {
			t.Errorf("type %v: %v", typ, r.Answer)
		}
		if r := ask(t, s, question("server.demo.example", "TYPE65400"), overUDP); len(r.Answer) != 0 || r.Rcode != 0 {
			t.Errorf("type %v, TYPE65400 asked: %v", typ, r)
		}
	}
}

// TestMultipathOdd asks for names that are not host names.
func TestMultipathOdd(t *testing.T) {
	z, err := zone.LoadFS(fsOf("192.0.2.1.zone", "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\n"), "192.0.2.1.zone", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	set, err := zone.NewSet(append(allZones(t).All(), z)...)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, &Source{Zones: set, Multipath: dnswire.TypeMultipath, Cache: dnscache.New(dnscache.Config{})}, options())
	for name, want := range map[string]int{
		"192.0.2.1":                               dns.RcodeSuccess, // a name like any other, without addresses
		`odd\.label.test.example`:                 dns.RcodeServerFailure,
		"_sip._tcp.test.example":                  dns.RcodeSuccess,
		strings.Repeat("x", 63) + ".test.example": dns.RcodeNameError,
	} {
		r := ask(t, s, question(name, "TYPE65400"), overUDP)
		if r.Rcode != want || len(r.Answer) > 0 {
			t.Errorf("%s: %v, want %s", name, r, dns.RcodeToString[want])
		}
	}
}

func BenchmarkMultipathZone(b *testing.B) {
	source := &Source{Zones: allZones(b), Multipath: dnswire.TypeMultipath, Cache: dnscache.New(dnscache.Config{})}
	s := start(b, source, options())
	packet := pack(b, question("server.demo.example", "TYPE65400"))
	b.ReportAllocs()
	for b.Loop() {
		source.Cache.Flush()
		answerTo(s, nil, packet, overUDP)
	}
}
