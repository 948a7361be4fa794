package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// replyOf packs a reply to www.example. A; records are "section|record".
func replyOf(t testing.TB, compress bool, records ...string) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	m.Response, m.Compress = true, compress
	m.SetEdns0(1232, false)
	for _, line := range records {
		section, text, _ := strings.Cut(line, "|")
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		switch section {
		case "an":
			m.Answer = append(m.Answer, rr)
		case "ns":
			m.Ns = append(m.Ns, rr)
		default:
			m.Extra = append(m.Extra, rr)
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wwwA(t testing.TB) dnswire.Question {
	t.Helper()
	n, err := dnswire.ParseName("www.example")
	if err != nil {
		t.Fatal(err)
	}
	return dnswire.Question{Name: n, Type: dnswire.TypeA, Class: dnswire.ClassINET}
}

var (
	wwwAddr = "an|www.example. 60 IN A 192.0.2.1"
	toA     = "an|www.example. 60 IN CNAME a.cdn.test."
	aToB    = "an|a.cdn.test. 60 IN CNAME b.cdn.test."
	bAddr   = "an|b.cdn.test. 60 IN A 192.0.2.2"
	soa     = "ns|cdn.test. 60 IN SOA ns.cdn.test. h.cdn.test. 1 2 3 4 60"
	ns      = "ns|example. 60 IN NS ns.example."
	evil    = "an|bank.test. 60 IN A 198.51.100.66"
)

func TestScrub(t *testing.T) {
	tests := map[string]struct{ in, want []string }{
		"clean":                    {[]string{wwwAddr, ns}, []string{wwwAddr, ns}},
		"aliases":                  {[]string{toA, aToB, bAddr}, []string{toA, aToB, bAddr}},
		"aliases out of order":     {[]string{bAddr, aToB, toA}, []string{toA, aToB, bAddr}},
		"no data behind an alias":  {[]string{aToB, toA, soa}, []string{toA, aToB, soa}},
		"unrelated answer":         {[]string{evil, wwwAddr}, []string{wwwAddr}},
		"unrelated only":           {[]string{evil}, nil},
		"another type":             {[]string{wwwAddr, "an|www.example. 60 IN MX 1 m.example."}, []string{wwwAddr}},
		"another class":            {[]string{"an|www.example. 60 CH A 192.0.2.9", wwwAddr}, []string{wwwAddr}},
		"authority elsewhere":      {[]string{wwwAddr, "ns|bank.test. 60 IN NS ns.evil.test."}, []string{wwwAddr}},
		"authority with addresses": {[]string{wwwAddr, "ns|www.example. 60 IN A 198.51.100.66", ns}, []string{wwwAddr, ns}},
		"additional":               {[]string{wwwAddr, ns, "ar|bank.test. 60 IN A 198.51.100.66"}, []string{wwwAddr, ns}},
		"alias beside an answer":   {[]string{wwwAddr, toA, "an|a.cdn.test. 60 IN A 198.51.100.66"}, []string{wwwAddr}},
		"upper case":               {[]string{evil, "an|WWW.Example. 60 IN A 192.0.2.1"}, []string{wwwAddr}},
		"dname": {
			[]string{"an|www.example. 60 IN CNAME www.other.test.", "an|www.other.test. 60 IN A 192.0.2.1", "an|example. 60 IN DNAME other.test."},
			[]string{"an|example. 60 IN DNAME other.test.", "an|www.example. 60 IN CNAME www.other.test.", "an|www.other.test. 60 IN A 192.0.2.1"},
		},
	}
	for name, tc := range tests {
		for _, compress := range []bool{true, false} {
			t.Run(fmt.Sprint(name, compress), func(t *testing.T) {
				in := replyOf(t, compress, tc.in...)
				before := bytes.Clone(in)
				got, err := scrub(wwwA(t), in)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(in, before) {
					t.Error("the message given was changed")
				}
				if g, w := shown(t, got), shown(t, replyOf(t, false, tc.want...)); g != w {
					t.Errorf("got\n%s\nwant\n%s", g, w)
				}
			})
		}
	}
}

// shown is a message as text.
func shown(t testing.TB, b []byte) string {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	m.Id = 0
	return strings.ToLower(m.String())
}

func TestScrubRefusesEndlessAliases(t *testing.T) {
	var long []string
	from := "www.example."
	for i := range maxAliases + 1 {
		to := fmt.Sprintf("a%d.test.", i)
		long = append(long, fmt.Sprintf("an|%s 60 IN CNAME %s", from, to))
		from = to
	}
	tests := map[string][]string{
		"to itself": {"an|www.example. 60 IN CNAME www.example."},
		"back":      {toA, "an|a.cdn.test. 60 IN CNAME www.example."},
		"inner":     {toA, aToB, "an|b.cdn.test. 60 IN CNAME a.cdn.test."},
		"too many":  long,
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := scrub(wwwA(t), replyOf(t, true, in...)); !errors.Is(err, ErrMalformed) || !errors.Is(err, ErrAliasLoop) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestScrubAllocatesNothing(t *testing.T) {
	q, msg := wwwA(t), replyOf(t, true, wwwAddr, ns)
	if n := testing.AllocsPerRun(100, func() { _, _ = scrub(q, msg) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAccept: whatever comes, what is taken as the reply is well formed, answers
// the question, is the same when scrubbed again, and names nothing unrelated.
func FuzzAccept(f *testing.F) {
	for _, seed := range [][]string{{wwwAddr, ns}, {toA, aToB, bAddr}, {bAddr, aToB, toA, soa}, {evil, wwwAddr}, {toA, soa}} {
		f.Add(replyOf(f, true, seed...))
	}
	q := wwwA(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := message{query: Query{Question: q}}
		if len(b) >= 2 {
			m.id = uint16(b[0])<<8 | uint16(b[1])
		}
		if !m.isReply(b) {
			return
		}
		got, err := m.accept(b)
		if err != nil {
			return
		}
		if err := dnswire.Validate(got); err != nil {
			t.Fatalf("accepted a malformed reply: %v", err)
		}
		again, err := scrub(q, got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("scrubbed again: %v, %x; was %x", err, again, got)
		}
		p := dnswire.NewParser(got)
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			if rr.Section == dnswire.SectionAdditional && rr.Type != dnswire.TypeOPT {
				t.Fatalf("additional record of type %v", rr.Type)
			}
		}
	})
}
