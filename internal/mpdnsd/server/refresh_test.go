package server

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestRefresh: a name in use that is about to expire is fetched anew, both families of it, once and
// without holding up the answer; a merged record is fetched by what it is made of.
func TestRefresh(t *testing.T) {
	for _, tt := range []struct {
		qtype string
		pair  bool
		want  []dnswire.Type
	}{
		{"A", true, []dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA}},
		{"A", false, []dnswire.Type{dnswire.TypeA}},
		{"TXT", true, []dnswire.Type{dnswire.TypeTXT}},
		{"TYPE65400", false, []dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA}},
	} {
		up := dnstest.Start(t, dnstest.Zone("www.example. 300 IN A 192.0.2.7", "www.example. 300 IN AAAA 2001:db8::7", "www.example. 300 IN TXT x"))
		source := forwarding(t, up)
		var asked []dnswire.Type
		source.Pair = tt.pair
		source.Refresh = func(q upstream.Query) bool {
			asked = append(asked, q.Type)
			return true
		}
		var ahead atomic.Int64
		o := options()
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		s := start(t, source, o)
		ask := func() {
			t.Helper()
			if r := ask(t, s, question("www.example", tt.qtype), overUDP); r == nil || len(r.Answer) != 1 {
				t.Fatalf("%s: %v", tt.qtype, r)
			}
		}
		for range 5 { // so that it is in use
			ask()
		}
		if len(asked) > 0 {
			t.Errorf("%s: %v asked anew at once", tt.qtype, asked)
		}
		ahead.Store(int64(290 * time.Second))
		for range 5 {
			ask()
		}
		if !slices.Equal(asked, tt.want) {
			t.Errorf("%s: %v asked anew, want %v", tt.qtype, asked, tt.want)
		}
	}
}

// TestStale: what upstream gives after its expiry goes out with its reason (RFC 8767, RFC 8914), and
// is counted.
func TestStale(t *testing.T) {
	source := forwarding(t)
	source.Upstream = upstream.ExchangerFunc(func(_ context.Context, q upstream.Query) (upstream.Reply, error) {
		m := new(dns.Msg)
		m.SetQuestion(q.Name.String(), uint16(q.Type))
		m.Response, m.Answer = true, []dns.RR{rr("www.example. 30 IN A 192.0.2.7")}
		msg, err := m.Pack()
		msg = dnswire.AddOPT(msg, dnswire.OPT{Options: dnswire.AppendEDE(nil, dnswire.EDEStaleAnswer, "")})
		return upstream.Reply{Msg: msg, Proto: "stale"}, err
	})
	s := start(t, source, options())
	req := newRequest(pack(t, question("www.example", "A")), overUDP)
	var r dns.Msg
	if err := r.Unpack(s.answer(t.Context(), nil, req)); err != nil {
		t.Fatal(err)
	}
	if n := req.counts.stale.Load(); len(r.Answer) != 1 || ede(&r) != "Stale Answer:" || n != 1 {
		t.Errorf("%d counted, answer %v", n, r.String())
	}
}
