package dnswire_test

import (
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/miekg/dns"
)

// name parses a name of a test.
func name(t testing.TB, s string) dnswire.Name {
	t.Helper()
	n, err := dnswire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// ask makes a question of class IN.
func ask(t testing.TB, s string, typ dnswire.Type) dnswire.Question {
	t.Helper()
	return dnswire.Question{Name: name(t, s), Type: typ, Class: dnswire.ClassINET}
}

// query makes a request of id 0x1234 in octets.
func query(t testing.TB, s string, typ dnswire.Type, o dnswire.QueryOptions) []byte {
	t.Helper()
	return dnswire.AppendQuery(nil, 0x1234, ask(t, s, typ), o)
}

// parsed parses a request that must be good.
func parsed(t testing.TB, msg []byte) dnswire.Query {
	t.Helper()
	q, err := dnswire.ParseQuery(msg)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// unpack reads msg with the reference implementation.
func unpack(t testing.TB, msg []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("miekg/dns: %v\n%x", err, msg)
	}
	return m
}

// pack writes a response to "www.Example.com. IN A" of records in presentation form: answer, "--",
// authority, "--", additional. It compresses, and keeps the case of the names.
func pack(t testing.TB, rcode int, records ...string) []byte {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("www.Example.com.", dns.TypeA)
	m.Id = 0x1234
	m.Response, m.RecursionAvailable, m.Rcode, m.Compress = true, true, rcode, true
	sections := []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra}
	for _, s := range records {
		if s == "--" {
			sections = sections[1:]
			continue
		}
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		*sections[0] = append(*sections[0], rr)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// bigReply is a response with every section, compression and an OPT.
func bigReply(t testing.TB) []byte {
	t.Helper()
	msg := pack(t, dns.RcodeSuccess,
		"www.Example.com. 300 IN CNAME web.example.net.", "web.example.net. 60 IN A 192.0.2.1",
		"web.example.net. 120 IN A 192.0.2.2", `web.example.net. 90 IN TXT "a" "b"`,
		"web.example.net. 3000 IN MX 10 mx.example.net.", "_s._tcp.example.net. 77 IN SRV 1 2 3 web.example.net.",
		"--", "example.net. 900 IN SOA ns.example.net. root.example.net. 1 2 3 4 30",
		"example.net. 900 IN NS ns.example.net.",
		"--", "ns.example.net. 45 IN AAAA 2001:db8::53")
	return dnswire.AddOPT(msg, dnswire.OPT{UDPSize: 1232, DO: true, Options: dnswire.AppendEDE(nil, dnswire.EDEOther, "why")})
}

// records collects what the parser gives, and its error.
func records(msg []byte) ([]dnswire.RR, error) {
	var rrs []dnswire.RR
	p := dnswire.NewParser(msg)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		rrs = append(rrs, rr)
	}
	return rrs, p.Err()
}

// wantNoAllocs fails if f allocates.
func wantNoAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}
