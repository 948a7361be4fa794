package server

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestRequestChecks is what clients may not do, the same over UDP and TCP: a
// check that only one listener makes is a hole (CVE-2026-86003).
func TestRequestChecks(t *testing.T) {
	const dropped = -1
	tests := []struct {
		name  string
		alter func(m *dns.Msg)
		want  int // response code
	}{
		{"as it should be", func(*dns.Msg) {}, dns.RcodeSuccess},
		{"a response (QR=1)", func(m *dns.Msg) { m.Response = true }, dropped},
		{"a response with another opcode", func(m *dns.Msg) { m.Response = true; m.Opcode = dns.OpcodeNotify }, dropped},
		{"NOTIFY", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, dns.RcodeNotImplemented},
		{"UPDATE", func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, dns.RcodeNotImplemented},
		{"STATUS", func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }, dns.RcodeNotImplemented},
		{"two questions", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, dns.RcodeFormatError},
		{"no question", func(m *dns.Msg) { m.Question = nil }, dns.RcodeFormatError},
		{"class CHAOS", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeRefused},
		{"class ANY", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }, dns.RcodeRefused},
		{"AXFR", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }, dns.RcodeRefused},
		{"IXFR", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR }, dns.RcodeRefused},
		{"MAILA", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMAILA }, dns.RcodeRefused},
		{"TSIG as a type", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTSIG }, dns.RcodeRefused},
		{"OPT as a type", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeOPT }, dns.RcodeRefused},
		{"type 0", func(m *dns.Msg) { m.Question[0].Qtype = 0 }, dns.RcodeRefused},
		{"EDNS version 1", func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }, dns.RcodeBadVers},
		{"two OPT", func(m *dns.Msg) { m.Extra = append(m.Extra, m.Extra[0]) }, dns.RcodeFormatError},
		{"OPT not at the root", func(m *dns.Msg) { m.Extra[0].Header().Name = "a." }, dns.RcodeFormatError},
		{"a flood of EDNS options (CVE-2026-41292)", func(m *dns.Msg) {
			for range dnswire.MaxOptions + 1 {
				m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte{1}})
			}
		}, dns.RcodeFormatError},
		{"an answer in a question", func(m *dns.Msg) { m.Answer = []dns.RR{rr("a. 1 A 192.0.2.1")} }, dns.RcodeFormatError},
	}
	source := &Source{Zones: allZones(t), Cache: dnscache.New(dnscache.Config{})}
	s := start(t, source, options())
	for _, tt := range tests {
		for tr, proto := range map[transport]string{overUDP: "udp", overTCP: "tcp"} {
			t.Run(tt.name+" over "+proto, func(t *testing.T) {
				m := question("server.demo.example", "A")
				tt.alter(m)
				r := ask(t, s, m, tr)
				if r == nil {
					if tt.want != dropped {
						t.Fatal("no answer")
					}
					return
				}
				if r.Rcode != tt.want || r.Id != m.Id || !r.Response || r.Opcode != m.Opcode {
					t.Errorf("answer %v to id %d, want %s", r.MsgHdr, m.Id, dns.RcodeToString[tt.want])
				}
			})
		}
	}
}

// TestBrokenOctets is what no DNS library sends.
func TestBrokenOctets(t *testing.T) {
	good := pack(t, question("server.demo.example", "A"))
	tests := []struct {
		name   string
		packet []byte
		want   int // -1: no answer
	}{
		{"nothing", nil, -1},
		{"eleven octets", good[:11], -1},
		{"header only", good[:12], dns.RcodeFormatError},
		{"question cut off", good[:20], dns.RcodeFormatError},
		{"OPT cut off", good[:len(good)-1], dns.RcodeFormatError},
		{"octets behind", append(append([]byte(nil), good...), 1, 2, 3), dns.RcodeFormatError},
		{"pointer to itself", append(append([]byte(nil), good[:12]...), 0xc0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
		{"label of 64", append(append([]byte(nil), good[:12]...), 0x40, 0, 0, 1, 0, 1), dns.RcodeFormatError},
	}
	s := start(t, &Source{Zones: allZones(t), Cache: dnscache.New(dnscache.Config{})}, options())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := askRaw(t, s, tt.packet, overUDP)
			if got := rcodeOf(r); got != tt.want {
				t.Errorf("response code %d, want %d", got, tt.want)
			}
		})
	}
}

func rcodeOf(r *dns.Msg) int {
	if r == nil {
		return -1
	}
	return r.Rcode
}

// rr is a record in presentation form.
func rr(text string) dns.RR {
	r, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return r
}

// TestANY gives the record of RFC 8482 instead of all that is known.
func TestANY(t *testing.T) {
	s := start(t, &Source{Zones: allZones(t), Cache: dnscache.New(dnscache.Config{})}, options())
	r := ask(t, s, question("server.demo.example", "ANY"), overUDP)
	if got := answers(r); got != `server.demo.example. HINFO "RFC8482" ""` {
		t.Error(got)
	}
}

// TestSize: an answer fits what the client takes and the daemon sends, and
// where it does not, TC says so; over TCP it is whole.
func TestSize(t *testing.T) {
	s := start(t, &Source{Zones: allZones(t), Cache: dnscache.New(dnscache.Config{})}, options())
	tests := []struct {
		name, qname string
		edns        uint16 // 0: none
		tr          transport
		limit       int
		records     int // 0: truncated
	}{
		{"no EDNS, small", "server.demo.example", 0, overUDP, 512, 2},
		{"no EDNS, 60 records", "nearly.test.example", 0, overUDP, 512, 0},
		{"60 records", "nearly.test.example", 1232, overUDP, 1232, 60},
		{"60 records, less advertised", "nearly.test.example", 700, overUDP, 700, 0},
		{"tiny size is 512", "server.demo.example", 1, overUDP, 512, 2},
		{"100 records", "big.test.example", 1232, overUDP, 1232, 0},
		{"100 records, huge size advertised", "big.test.example", 65535, overUDP, 1232, 0},
		{"100 records over TCP", "big.test.example", 512, overTCP, 65535, 100},
		{"100 records over TCP without EDNS", "big.test.example", 0, overTCP, 65535, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := question(tt.qname, "A")
			m.Extra = nil
			if tt.edns > 0 {
				m.SetEdns0(tt.edns, true)
			}
			out := answerTo(s, nil, pack(t, m), tt.tr)
			var r dns.Msg
			if err := r.Unpack(out); err != nil {
				t.Fatal(err)
			}
			if len(out) > tt.limit || len(r.Answer) != tt.records || r.Truncated != (tt.records == 0) {
				t.Errorf("%d octets, %d records, TC %v", len(out), len(r.Answer), r.Truncated)
			}
			if o := r.IsEdns0(); (o != nil) != (tt.edns > 0) {
				t.Errorf("OPT record: %v", o)
			} else if o != nil && (!o.Do() || o.UDPSize() != 1232 || o.Version() != 0) {
				t.Errorf("OPT record: %v", o)
			}
		})
	}
}

// TestHit: the second answer comes from the cache, with the second client's
// id, spelling, flags and size.
func TestHit(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("www.example. 300 IN CNAME host.example.", "host.example. 300 IN A 192.0.2.7"))
	s := start(t, forwarding(t, up), options())
	first := ask(t, s, question("www.example", "A"), overUDP)
	if got := answers(first); got != "www.example. CNAME host.example.; host.example. A 192.0.2.7" {
		t.Fatal(got)
	}
	m := question("wWw.eXample", "A")
	m.Extra, m.RecursionDesired, m.CheckingDisabled = nil, false, false
	packet := pack(t, m)
	req := *newRequest(packet, overUDP)
	out, done := s.begin(make([]byte, 0, 1500), &req)
	if !done {
		t.Fatal("not in the cache")
	}
	var r dns.Msg
	if err := r.Unpack(out); err != nil {
		t.Fatal(err)
	}
	if r.Id != m.Id || r.Question[0].Name != "wWw.eXample." || r.RecursionDesired || !r.RecursionAvailable || r.Authoritative || r.IsEdns0() != nil {
		t.Errorf("%v", r.String())
	}
	if n := len(up.Queries()); n > 2 { // A, and AAAA to complete the pair
		t.Errorf("%d upstream queries", n)
	}
}

// TestHitDoesNotAllocate holds the packet path's promise.
func TestHitDoesNotAllocate(t *testing.T) {
	s := start(t, forwarding(t, dnstest.Start(t, dnstest.Zone("www.example. 300 IN A 192.0.2.7"))), options())
	packet := pack(t, question("www.example", "A"))
	answerTo(s, nil, packet, overUDP)
	out := make([]byte, 0, 1500)
	req, counts := new(request), new(counters)
	allocs := testing.AllocsPerRun(100, func() {
		*req = request{packet: packet, client: client, counts: counts}
		if _, done := s.begin(out, req); !done {
			t.Fatal("not in the cache")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a hit", allocs)
	}
}

// TestFailures says why there is no answer (RFC 8914), and never keeps silent.
func TestFailures(t *testing.T) {
	tests := []struct {
		name   string
		source func(t *testing.T) *Source
		rcode  int
		ede    string
	}{
		{"no server", func(t *testing.T) *Source { return forwarding(t) }, dns.RcodeServerFailure, "No Reachable Authority: no upstream server is configured"},
		{"silent server", func(t *testing.T) *Source {
			silent := dnstest.Start(t, dnstest.Always(dnstest.Action{Drop: true}))
			source := forwarding(t)
			source.Upstream = upstream.NewServer(silent.AddrPort(), upstream.Options{Timeout: 100 * time.Millisecond, Attempts: 1})
			return source
		}, dns.RcodeServerFailure, "No Reachable Authority: no upstream server answered in time"},
		{"SERVFAIL", func(t *testing.T) *Source {
			return forwarding(t, dnstest.Start(t, dnstest.Always(dnstest.Action{RCode: dns.RcodeServerFailure})))
		}, dns.RcodeServerFailure, "Other: * answered SERVFAIL"},
		{"REFUSED", func(t *testing.T) *Source {
			return forwarding(t, dnstest.Start(t, dnstest.Always(dnstest.Action{RCode: dns.RcodeRefused})))
		}, dns.RcodeRefused, "Other: * answered REFUSED"},
		{"extended code", func(t *testing.T) *Source {
			return forwarding(t, dnstest.Start(t, dnstest.Always(dnstest.Action{RCode: dns.RcodeBadCookie})))
		}, dns.RcodeServerFailure, "*"},
		{"panic", func(*testing.T) *Source {
			return &Source{Cache: dnscache.New(dnscache.Config{}), Upstream: upstream.ExchangerFunc(func(context.Context, upstream.Query) (upstream.Reply, error) {
				panic("as a test")
			})}
		}, dns.RcodeServerFailure, "Other: internal error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.source(t), options())
			r := ask(t, s, question("www.example", "TXT"), overUDP)
			if got := rcodeOf(r); got != tt.rcode || !matches(tt.ede, ede(r)) {
				t.Errorf("%s, %q; want %s, %q", dns.RcodeToString[got], ede(r), dns.RcodeToString[tt.rcode], tt.ede)
			}
		})
	}
}

// matches compares with a text in which one * stands for anything.
func matches(want, got string) bool {
	before, after, any := strings.Cut(want, "*")
	if !any {
		return want == got
	}
	return strings.HasPrefix(got, before) && strings.HasSuffix(got, after)
}

// TestNoRecursion: without RD, what is local or cached is answered, and
// nothing is asked.
func TestNoRecursion(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("www.example. 300 IN A 192.0.2.7"))
	source := forwarding(t, up)
	source.Zones = allZones(t)
	s := start(t, source, options())
	for _, tt := range []struct {
		name, qtype string
		want        int
	}{
		{"www.example", "A", dns.RcodeRefused},
		{"www.example", "TYPE65400", dns.RcodeRefused},
		{"server.demo.example", "A", dns.RcodeSuccess},
		{"server.demo.example", "TYPE65400", dns.RcodeSuccess},
		{"localhost", "A", dns.RcodeSuccess},
	} {
		m := question(tt.name, tt.qtype)
		m.RecursionDesired = false
		if got := rcodeOf(ask(t, s, m, overUDP)); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.name, tt.qtype, dns.RcodeToString[got], dns.RcodeToString[tt.want])
		}
	}
	if n := len(up.Queries()); n != 0 {
		t.Errorf("%d upstream queries", n)
	}
}

// TestCDIsApart: an answer fetched with checking disabled is not given to
// those who want checking (AdGuardHome#4942), nor one with DNSSEC records to
// those who asked for none.
func TestCDIsApart(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("www.example. 300 IN TXT text"))
	s := start(t, forwarding(t, up), options())
	for _, cd := range []bool{false, true} {
		for _, do := range []bool{false, true} {
			for range 2 {
				m := question("www.example", "TXT")
				m.CheckingDisabled = cd
				m.IsEdns0().SetDo(do)
				if r := ask(t, s, m, overUDP); r.CheckingDisabled != cd || len(r.Answer) != 1 {
					t.Errorf("CD %v, DO %v: %v", cd, do, r)
				}
			}
		}
	}
	if n := len(up.Queries()); n != 4 {
		t.Errorf("%d upstream queries, want 4", n)
	}
}

// TestPair: asking for one family fetches the other, once, behind the
// client's back.
func TestPair(t *testing.T) {
	both := make(chan struct{}, 10)
	script := dnstest.Zone("www.example. 300 IN A 192.0.2.7", "www.example. 300 IN AAAA 2001:db8::7")
	up := dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
		both <- struct{}{}
		return script(q)
	})
	source := forwarding(t, up)
	source.Pair = true
	s := start(t, source, options())
	ask(t, s, question("www.example", "A"), overUDP)
	for range 2 {
		await(t, both) // the second is the other family's
	}
	for range 3 { // from the cache, or of the query in flight
		if r := ask(t, s, question("www.example", "AAAA"), overUDP); len(r.Answer) != 1 {
			t.Fatal(r)
		}
	}
	if n := len(up.Queries()); n != 2 {
		t.Errorf("%d upstream queries, want 2", n)
	}
	ask(t, s, question("localhost", "A"), overUDP)
	ask(t, s, question("www.example", "TXT"), overUDP)
	if n := len(up.Queries()); n != 3 {
		t.Errorf("%d upstream queries, want 3: a pair was fetched for what has none", n)
	}
}

// TestManyClientsOneQuery: what many ask at once is asked upstream once, so
// that a forger has one query to guess at (CVE-2023-30464).
func TestManyClientsOneQuery(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("www.example. 300 IN TXT text"))
	s := start(t, forwarding(t, up), options())
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if r := ask(t, s, question("www.example", "TXT"), overUDP); len(r.Answer) != 1 {
				t.Errorf("answer %v", r)
			}
		})
	}
	wg.Wait()
	if n := len(up.Queries()); n != 1 {
		t.Errorf("%d upstream queries, want 1", n)
	}
}

// TestADIsNotPassedOn: nothing was validated here.
func TestADIsNotPassedOn(t *testing.T) {
	s := start(t, forwarding(t, dnstest.Start(t, dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN TXT x"}, AD: true, AA: true}))), options())
	for range 2 {
		if r := ask(t, s, question("www.example", "TXT"), overUDP); r.AuthenticatedData || r.Authoritative {
			t.Errorf("flags %v", r.MsgHdr)
		}
	}
}

// FuzzAnswer is the whole way of any packet: an answer parses, echoes id and
// question, fits the limit, and is never given to a response.
func FuzzAnswer(f *testing.F) {
	up := upstream.ExchangerFunc(func(_ context.Context, q upstream.Query) (upstream.Reply, error) {
		m := new(dns.Msg)
		m.SetQuestion(q.Name.String(), uint16(q.Type))
		m.Response = true
		m.Answer = []dns.RR{rr("a. 60 IN TXT " + strings.Repeat("x", 200))}
		msg, err := m.Pack()
		return upstream.Reply{Msg: msg, Proto: "udp"}, err
	})
	cache := dnscache.New(dnscache.Config{MaxOctets: dnscache.MinOctets})
	source := &Source{
		Zones: allZones(f), Special: true, Multipath: dnswire.TypeMultipath, Cache: cache,
		Upstream: upstream.Coalesce(upstream.Cached(cache, time.Now, up)), Pair: true,
	}
	s := start(f, source, options())
	seeds := []*dns.Msg{
		question("server.demo.example", "A"), question("lb.demo.example", "TYPE65400"), question("big.test.example", "TXT"),
		question("nothing.test.example", "MX"), question("www.example", "AAAA"), question(".", "NS"), question("x.invalid", "ANY"),
	}
	for i, m := range seeds {
		if r := ask(f, s, m, overUDP); r == nil {
			f.Fatalf("seed %d has no answer", i)
		}
		f.Add(pack(f, m), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		tr, limit := overUDP, 1232
		if tcp {
			tr, limit = overTCP, dnswire.MaxMessageLen
		}
		out := answerTo(s, nil, packet, tr)
		if len(out) == 0 {
			return
		}
		if packet[2]&0x80 != 0 {
			t.Fatalf("answer %x to a response", out)
		}
		if len(out) > limit || out[0] != packet[0] || out[1] != packet[1] || out[2]&0x80 == 0 {
			t.Fatalf("answer %x", out)
		}
		var r, m dns.Msg
		if err := r.Unpack(out); err != nil {
			t.Fatalf("answer %x: %v", out, err)
		}
		if m.Unpack(packet) == nil && len(m.Question) == 1 && r.Rcode != dns.RcodeFormatError && r.Rcode != dns.RcodeNotImplemented {
			if len(r.Question) != 1 || r.Question[0] != m.Question[0] {
				t.Fatalf("question %v, answered %v", m.Question, r.Question)
			}
		}
	})
}

func BenchmarkHit(b *testing.B) {
	s := start(b, forwarding(b, dnstest.Start(b, dnstest.Zone("www.example. 300 IN A 192.0.2.7"))), options())
	packet := pack(b, question("www.example", "A"))
	answerTo(s, nil, packet, overUDP)
	out := make([]byte, 0, 1500)
	req, counts := new(request), new(counters)
	b.ReportAllocs()
	for b.Loop() {
		*req = request{packet: packet, client: client, counts: counts}
		if _, done := s.begin(out, req); !done {
			b.Fatal("not in the cache")
		}
	}
}

func BenchmarkZone(b *testing.B) {
	s := start(b, &Source{Zones: allZones(b), Cache: dnscache.New(dnscache.Config{})}, options())
	packet := pack(b, question("server.demo.example", "AAAA"))
	out := make([]byte, 0, 1500)
	b.ReportAllocs()
	for b.Loop() {
		answerTo(s, out, packet, overUDP)
	}
}
