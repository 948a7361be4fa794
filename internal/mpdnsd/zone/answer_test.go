package zone

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/testdata/zones"
)

// name is a name in presentation form as the zone takes it.
func name(t testing.TB, s string) dnswire.Name {
	t.Helper()
	n, err := dnswire.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// shared is one of the zone files in testdata/zones.
func shared(t testing.TB, file string) *Zone {
	t.Helper()
	z, err := LoadFS(zones.FS, file, "")
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// brief writes records as "owner TYPE rdata", one after another.
func brief(rrs []dns.RR) string {
	var out []string
	for _, rr := range rrs {
		f := strings.SplitN(rr.String(), "\t", 5) // owner, TTL, class, type, rdata
		out = append(out, f[0]+" "+f[3]+" "+f[4])
	}
	return strings.Join(out, "; ")
}

const testSOA = "test.example. SOA ns1.test.example. hostmaster.test.example. 7 7200 600 1209600 300"

func TestAnswer(t *testing.T) {
	z := shared(t, "test.example.zone")
	tests := []struct {
		name, qname, qtype string
		rcode              dnswire.RCode
		referral           bool
		answer, authority  string
		additional, target string
	}{
		{name: "positive", qname: "host.test.example", qtype: "A", answer: "host.test.example. A 198.18.1.93"},
		{name: "any case", qname: "UPPER.case.TEST.example", qtype: "A", answer: "upper.case.test.example. A 198.18.1.81"},
		{name: "dot in a label", qname: `odd\.label.test.example`, qtype: "A", answer: `odd\.label.test.example. A 198.18.1.80`},
		{name: "apex", qname: "test.example", qtype: "AAAA", answer: "test.example. AAAA 2001:db8:18::1"},
		{name: "nodata", qname: "host.test.example", qtype: "AAAA", authority: testSOA},
		{name: "nodata at the apex", qname: "test.example", qtype: "SRV", authority: testSOA},
		{name: "empty non-terminal", qname: "a.b.test.example", qtype: "A", authority: testSOA},
		{name: "empty non-terminal above", qname: "b.test.example", qtype: "A", authority: testSOA},
		{name: "no such name", qname: "nothing.test.example", qtype: "A", rcode: 3, authority: testSOA},
		{name: "no such name below a name", qname: "x.host.test.example", qtype: "A", rcode: 3, authority: testSOA},
		{
			name: "chain", qname: "c1.test.example", qtype: "A",
			answer: "c1.test.example. CNAME c2.test.example.; c2.test.example. CNAME c3.test.example.; c3.test.example. CNAME host.test.example.; host.test.example. A 198.18.1.93",
		},
		{
			name: "chain to nodata", qname: "c3.test.example", qtype: "AAAA",
			answer: "c3.test.example. CNAME host.test.example.", authority: testSOA,
		},
		{
			name: "chain to nothing", qname: "broken.test.example", qtype: "A", rcode: 3,
			answer: "broken.test.example. CNAME nowhere.test.example.", authority: testSOA,
		},
		{name: "alias asked for", qname: "c1.test.example", qtype: "CNAME", answer: "c1.test.example. CNAME c2.test.example."},
		{
			name: "chain out of the zone", qname: "away.test.example", qtype: "A",
			answer: "away.test.example. CNAME server.demo.example.", target: "server.demo.example.",
		},
		{name: "wildcard", qname: "x.star.test.example", qtype: "A", answer: "x.star.test.example. A 198.18.1.100"},
		{name: "wildcard, two labels", qname: "y.x.star.test.example", qtype: "A", answer: "y.x.star.test.example. A 198.18.1.100"},
		{name: "wildcard nodata", qname: "x.star.test.example", qtype: "AAAA", authority: testSOA},
		{name: "wildcard's own name", qname: "*.star.test.example", qtype: "MX", answer: "*.star.test.example. MX 10 mail.test.example."},
		{name: "wildcard does not match its parent", qname: "star.test.example", qtype: "A", authority: testSOA},
		{
			name: "wildcard alias", qname: "x.star-alias.test.example", qtype: "A",
			answer: "x.star-alias.test.example. CNAME host.test.example.; host.test.example. A 198.18.1.93",
		},
		{
			name: "alias to a wildcard", qname: "cname-wild.test.example", qtype: "A",
			answer: "cname-wild.test.example. CNAME x.star.test.example.; x.star.test.example. A 198.18.1.100",
		},
		{name: "existing name hides the wildcard", qname: "exact.star.test.example", qtype: "A", authority: testSOA},
		{name: "and so below it", qname: "no.exact.star.test.example", qtype: "A", rcode: 3, authority: testSOA},
		{
			name: "renamed", qname: "deep.a.old.test.example", qtype: "A",
			answer: "old.test.example. DNAME b.test.example.; deep.a.old.test.example. CNAME deep.a.b.test.example.; deep.a.b.test.example. A 198.18.1.90",
		},
		{name: "DNAME itself", qname: "old.test.example", qtype: "A", authority: testSOA},
		{
			name: "referral", qname: "www.child.test.example", qtype: "A", referral: true,
			authority:  "child.test.example. NS ns.child.test.example.; child.test.example. NS ns1.test.example.",
			additional: "ns.child.test.example. A 198.18.2.53; ns.child.test.example. AAAA 2001:db8:18:2::53; ns1.test.example. A 198.18.1.53",
		},
		{
			name: "referral at the cut", qname: "secure.test.example", qtype: "NS", referral: true,
			authority:  "secure.test.example. NS ns.secure.test.example.; secure.test.example. DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
			additional: "ns.secure.test.example. A 198.18.2.54",
		},
		{
			name: "glue is no authority", qname: "ns.secure.test.example", qtype: "A", referral: true,
			authority:  "secure.test.example. NS ns.secure.test.example.; secure.test.example. DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
			additional: "ns.secure.test.example. A 198.18.2.54",
		},
		{name: "DS is the parent's", qname: "secure.test.example", qtype: "DS", answer: "secure.test.example. DS 12345 13 2 0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"},
		{name: "no DS", qname: "child.test.example", qtype: "DS", authority: testSOA},
		{name: "included below another origin", qname: "from-include.included.test.example", qtype: "A", answer: "from-include.included.test.example. A 198.18.9.1"},
		{name: "unknown type", qname: "unknown.test.example", qtype: "TYPE65280", answer: `unknown.test.example. TYPE65280 \# 4 0a000001`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			qtype, err := dnswire.ParseType(tt.qtype)
			if err != nil {
				t.Fatal(err)
			}
			r := z.Answer(name(t, tt.qname), qtype)
			if r.RCode != tt.rcode || r.Authoritative == tt.referral || r.Target.String() != tt.target {
				t.Errorf("rcode %v, authoritative %v, target %v", r.RCode, r.Authoritative, r.Target)
			}
			for _, s := range []struct {
				section   string
				got, want string
			}{
				{"answer", brief(r.Answer), tt.answer},
				{"authority", brief(r.Authority), tt.authority},
				{"additional", brief(r.Additional), tt.additional},
			} {
				if s.got != s.want {
					t.Errorf("%s\n got %s\nwant %s", s.section, s.got, s.want)
				}
			}
		})
	}
}

// TestNegativeTTL checks that the SOA of a negative answer lives as long as
// its MINIMUM says, and the one that was asked for as long as its own TTL.
func TestNegativeTTL(t *testing.T) {
	z := shared(t, "test.example.zone")
	if ttl := z.Answer(name(t, "nothing.test.example"), dnswire.TypeA).Authority[0].Header().Ttl; ttl != 300 {
		t.Errorf("negative TTL %d, want 300", ttl)
	}
	if ttl := z.Answer(name(t, "test.example"), dnswire.TypeSOA).Answer[0].Header().Ttl; ttl != 3600 {
		t.Errorf("TTL of the SOA itself %d, want 3600", ttl)
	}
}

func TestLoopEnds(t *testing.T) {
	r := shared(t, "test.example.zone").Answer(name(t, "loop1.test.example"), dnswire.TypeA)
	if len(r.Answer) != maxChain || r.Target != "" {
		t.Errorf("%d records, target %v; want %d and none", len(r.Answer), r.Target, maxChain)
	}
}

func TestRenameTooLong(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", 60)+".", 3)
	z, err := parse(head + "old DNAME " + long + "example.\n")
	if err != nil {
		t.Fatal(err)
	}
	if r := z.Answer(name(t, long+"old.example"), dnswire.TypeA); r.RCode != dnswire.RCodeYXDomain {
		t.Errorf("rcode %v, want YXDOMAIN (RFC 6672 section 2.2)", r.RCode)
	}
}

func TestFind(t *testing.T) {
	parent := shared(t, "test.example.zone")
	child, err := parse("$ORIGIN child.test.example.\n" + head)
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewSet(parent, child)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		t    dnswire.Type
		want *Zone
	}{
		{"test.example", dnswire.TypeA, parent},
		{"a.b.test.example", dnswire.TypeA, parent},
		{"child.test.example", dnswire.TypeA, child},
		{"child.test.example", dnswire.TypeDS, parent},
		{"a.child.test.example", dnswire.TypeDS, child},
		{"test.example", dnswire.TypeDS, parent},
		{"example", dnswire.TypeA, nil},
		{"mytest.example", dnswire.TypeA, nil},
		{".", dnswire.TypeNS, nil},
	}
	for _, tt := range tests {
		if got := set.Find(name(t, tt.name), tt.t); got != tt.want {
			t.Errorf("%s %v: %v", tt.name, tt.t, got)
		}
	}
	if (Set{}).Find(name(t, "test.example"), dnswire.TypeA) != nil {
		t.Error("an empty set found a zone")
	}
	if _, err := NewSet(parent, parent); err == nil {
		t.Error("two zones of one origin were taken")
	}
	if all := set.All(); len(all) != 2 || all[0] != child {
		t.Errorf("All: %v", all)
	}
}

func TestPack(t *testing.T) {
	z := shared(t, "test.example.zone")
	q := dnswire.Question{Name: name(t, "big.test.example"), Type: dnswire.TypeA, Class: dnswire.ClassINET}
	octets, err := z.Answer(q.Name, q.Type).Pack(q)
	if err != nil {
		t.Fatal(err)
	}
	var m dns.Msg
	if err := m.Unpack(octets); err != nil || len(m.Answer) != 100 || !m.Authoritative || !m.Response {
		t.Fatalf("%v, %v", err, m.MsgHdr)
	}
	if want := 12 + len(q.Name) + 4 + 100*16; len(octets) != want {
		t.Errorf("%d octets, want %d: names not compressed", len(octets), want)
	}
	huge := Reply{}
	for range 300 {
		huge.Answer = append(huge.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: "big.test.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET},
			Txt: []string{strings.Repeat("x", 250)},
		})
	}
	if _, err := huge.Pack(q); !errors.Is(err, ErrTooLarge) {
		t.Errorf("75 kB answer: %v", err)
	}
}

// FuzzLoad reads zones from any text: no panic, bounded time, and what loads
// answers for its origin with its SOA.
func FuzzLoad(f *testing.F) {
	seeds := []string{head, head + "a CNAME b\n*.b A 192.0.2.1\n", head + "$GENERATE 1-3 a$ A 192.0.2.$\n", head + "old DNAME new\n", head + "$INCLUDE x\n", "$TTL 1\n" + head}
	for i, s := range seeds {
		if _, err := parse(s); err != nil && i != 4 {
			f.Fatalf("seed %d: %v", i, err)
		}
		f.Add(s)
	}
	manyRecords := regexp.MustCompile(`-\d{3}`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || manyRecords.MatchString(text) {
			return // a $GENERATE of 65,536 records is allowed, and slow to fuzz
		}
		z, err := parse(text)
		if err != nil {
			return
		}
		for owner, types := range z.RRsets() {
			for typ := range types {
				r := z.Answer(owner, typ)
				q := dnswire.Question{Name: owner, Type: typ, Class: dnswire.ClassINET}
				if _, err := r.Pack(q); err != nil && !errors.Is(err, ErrTooLarge) {
					t.Errorf("%v %v: %v", owner, typ, err)
				}
			}
		}
		if soa := z.Answer(z.Origin(), dnswire.TypeSOA); len(soa.Answer) != 1 {
			t.Errorf("SOA: %v", soa)
		}
	})
}
