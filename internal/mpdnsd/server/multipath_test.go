package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
	"github.com/af-multipath/mpresolve/internal/upstream"
	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
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
// the smallest TTL, and asks each family, and HTTPS, once.
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
	if n := len(up.Queries()); n != 3 {
		t.Errorf("%d upstream queries, want A, AAAA and HTTPS", n)
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

// Two hosts of two addresses each, as DNS alone cannot tell them.
var (
	twoHosts = []string{
		"www.example. 300 IN A 192.0.2.7", "www.example. 300 IN A 198.51.100.9",
		"www.example. 300 IN AAAA 2001:db8::a:1", "www.example. 300 IN AAAA 2001:db8:5::b:2",
	}
	oneRecord  = []string{"[192.0.2.7 198.51.100.9 2001:db8::a:1 2001:db8:5::b:2]"}
	twoRecords = []string{"[192.0.2.7 2001:db8::a:1]", "[198.51.100.9 2001:db8:5::b:2]"}
)

// sorted are the records of an answer.
func sorted(t testing.TB, r *dns.Msg) []string {
	all := records(t, r)
	slices.Sort(all)
	return all
}

// TestMultipathVerdicts: what joins have shown divides the record from the next
// answer that is made on, and one in the cache lasts for its TTL.
func TestMultipathVerdicts(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone(twoHosts...))
	source := forwarding(t, up)
	source.Verdicts = hostid.NewMemory(0)
	s := start(t, source, options())
	want := func(name string, want []string) {
		t.Helper()
		if got := sorted(t, ask(t, s, question(name, "TYPE65400"), overUDP)); !slices.Equal(got, want) {
			t.Errorf("records %q, want %q", got, want)
		}
	}
	want("www.example", oneRecord)
	record := func(first, addr string, o hostid.Outcome) {
		source.Verdicts.Record("www.example.", netip.MustParseAddr(first), netip.MustParseAddr(addr), o, time.Now())
	}
	record("192.0.2.7", "2001:db8::a:1", hostid.Joined)
	record("2001:db8:5::b:2", "198.51.100.9", hostid.LimitReached)
	record("192.0.2.7", "2001:db8:5::b:2", hostid.OtherHost)
	want("www.example", oneRecord) // for its TTL
	source.Cache.Flush()
	want("WWW.Example", twoRecords)
	if n := len(source.Verdicts.Sightings("www.example.", time.Now())); n != 1 {
		t.Errorf("%d answers noted", n)
	}
}

// TestMultipathRecall: what others know is asked for the name and addresses that
// the record is about, and counts at once.
func TestMultipathRecall(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone(twoHosts...))
	source := forwarding(t, up)
	source.Verdicts = hostid.NewMemory(0)
	source.Recall = func(_ context.Context, name string, addrs []netip.Addr) {
		if name != "www.example." || len(addrs) != 4 {
			t.Errorf("asked for %s, %v", name, addrs)
		}
		for _, v := range []struct {
			first, addr string
			outcome     hostid.Outcome
		}{
			{"192.0.2.7", "2001:db8::a:1", hostid.Joined},
			{"198.51.100.9", "2001:db8:5::b:2", hostid.Announced},
			{"192.0.2.7", "198.51.100.9", hostid.OtherHost},
		} {
			source.Verdicts.Record(name, netip.MustParseAddr(v.first), netip.MustParseAddr(v.addr), v.outcome, time.Now())
		}
	}
	s := start(t, source, options())
	if got := sorted(t, ask(t, s, question("Www.example", "TYPE65400"), overUDP)); !slices.Equal(got, twoRecords) {
		t.Errorf("records %q", got)
	}
}

// TestMultipathPublished: what an operator says in HTTPS records counts.
func TestMultipathPublished(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone(append(slices.Clone(twoHosts),
		"www.example. 300 IN HTTPS 1 h1.example. ipv4hint=192.0.2.7 ipv6hint=2001:db8::a:1 key65400",
		"www.example. 300 IN HTTPS 1 h2.example. ipv4hint=198.51.100.9 ipv6hint=2001:db8:5::b:2 key65400",
	)...))
	s := start(t, forwarding(t, up), options())
	if got := sorted(t, ask(t, s, question("www.example", "TYPE65400"), overUDP)); !slices.Equal(got, twoRecords) {
		t.Errorf("records %q", got)
	}
}

// TestMultipathSilentHTTPS: where HTTPS is not answered, it is waited for once.
// Then the record has what there is at once, and is not kept: the next question
// may know more.
func TestMultipathSilentHTTPS(t *testing.T) {
	const lateness = 200 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		zone := dnstest.Zone(append(slices.Clone(twoHosts), "other.example. 300 IN A 192.0.2.1",
			"www.example. 300 IN HTTPS 1 h1.example. ipv4hint=192.0.2.7 ipv6hint=2001:db8::a:1 key65400",
			"www.example. 300 IN HTTPS 1 h2.example. ipv4hint=198.51.100.9 ipv6hint=2001:db8:5::b:2 key65400",
		)...)
		cache := dnscache.New(dnscache.Config{MaxOctets: dnscache.MinOctets})
		late := upstream.ExchangerFunc(func(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
			if q.Type == dnswire.TypeHTTPS {
				time.Sleep(lateness)
			}
			return scripted(zone, q)
		})
		source := &Source{Cache: cache, Multipath: dnswire.TypeMultipath, Upstream: upstream.Coalesce(upstream.Cached(cache, time.Now, late))}
		s := start(t, source, options())
		took := func(name string, want time.Duration, records []string) {
			t.Helper()
			begun := time.Now()
			got := sorted(t, ask(t, s, question(name, "TYPE65400"), overUDP))
			if since := time.Since(begun); since != want || !slices.Equal(got, records) {
				t.Errorf("%s after %v: %q; want %q after %v", name, since, got, records, want)
			}
		}
		took("www.example", resolver.DefaultResolutionDelay, oneRecord)
		took("other.example", cacheDelay, []string{"[192.0.2.1]"})
		took("www.example", cacheDelay, oneRecord)
		time.Sleep(lateness)
		took("www.example", 0, twoRecords)
		cache.Flush()
		took("www.example", resolver.DefaultResolutionDelay, oneRecord)
	})
}

// scripted is a script's reply.
func scripted(script dnstest.Script, q upstream.Query) (upstream.Reply, error) {
	var m dns.Msg
	m.SetQuestion(q.Name.String(), uint16(q.Type))
	a := script(dnstest.Query{Name: q.Name.String(), Type: q.Type.String()})
	m.Response, m.Rcode = true, a.RCode
	for _, text := range a.Answer {
		m.Answer = append(m.Answer, rr(text))
	}
	msg, err := m.Pack()
	return upstream.Reply{Msg: msg}, err
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
