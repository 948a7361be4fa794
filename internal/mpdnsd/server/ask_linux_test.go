package server

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// muxed is a server that asks over a Mux, and the listener of its clients.
func muxed(t *testing.T, to *dnstest.Server, o Options) (*Server, *Listener) {
	t.Helper()
	m, err := upstream.NewMux(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	u := upstream.NewServer(netip.MustParseAddrPort(to.Addr()), upstream.Options{Mux: m})
	t.Cleanup(u.Close)
	cache := dnscache.New(dnscache.Config{})
	s, l := listen(t, &Source{Cache: cache, Pair: true, Upstream: upstream.Coalesce(upstream.Cached(cache, time.Now,
		upstream.Failover([]upstream.Exchanger{u}, upstream.FailoverOptions{})))}, o)
	m.OnBatch(s.Flush)
	return s, l
}

// TestNoWorkerWaits: questions for upstream servers take no worker, over UDP and
// TCP, and all are answered.
func TestNoWorkerWaits(t *testing.T) {
	const clients, each = 20, 25
	to := dnstest.Start(t, dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN A 192.0.2.1"}}))
	o := options()
	o.TCPConnections, o.TCPPerClient = 2*clients*each, 2*clients*each
	s, l := muxed(t, to, o)
	var wg sync.WaitGroup
	for client := range clients {
		network := []string{"udp", "tcp"}[client%2]
		wg.Go(func() {
			for i := range each {
				r := exchange(t, l, network, question(fmt.Sprintf("n%d.c%d.example", i, client), "A"))
				if r == nil || r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1 {
					t.Errorf("%s: got %v", network, r)
				}
			}
		})
	}
	wg.Wait()
	if n := len(s.misses.room); n != 0 {
		t.Errorf("%d workers", n)
	}
}

// TestOutstandingWithoutWorkers: no more questions wait than may, the others are
// dropped, and a name that is known is answered all the same.
func TestOutstandingWithoutWorkers(t *testing.T) {
	const most = 8
	arrived := make(chan struct{}, 4*most)
	to := dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
		if q.Name == "known.example." {
			return dnstest.Action{Answer: []string{"@ 60 IN A 192.0.2.1"}}
		}
		arrived <- struct{}{}
		return dnstest.Action{Drop: true}
	})
	o := options()
	o.Outstanding = most
	s, l := muxed(t, to, o)
	known := question("known.example", "A")
	exchange(t, l, "udp", known)
	c := connectUDP(t, l.Addr())
	for i := range 2 * most {
		if _, err := c.Write(pack(t, question(fmt.Sprintf("n%d.example", i), "A"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write(pack(t, known)); err != nil { // after those before it
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(testTimeout))
	var r dns.Msg
	b := make([]byte, 1500)
	if n, err := c.Read(b); err != nil || r.Unpack(b[:n]) != nil || len(r.Answer) != 1 {
		t.Errorf("got %v, %v", &r, err)
	}
	if n := s.Stats().UDP.Dropped[DropBusy]; n != most {
		t.Errorf("%d dropped, want what is beyond %d", n, most)
	}
	for range most {
		await(t, arrived)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Shutdown(ctx) // nobody waits for the answers
}

// TestShutdownWithoutWorkers: what upstream servers have not answered gets SERVFAIL
// when the time for it is over.
func TestShutdownWithoutWorkers(t *testing.T) {
	arrived := make(chan struct{}, 1)
	to := dnstest.Start(t, func(dnstest.Query) dnstest.Action {
		arrived <- struct{}{}
		return dnstest.Action{Drop: true}
	})
	s, l := muxed(t, to, options())
	c := connectUDP(t, l.Addr())
	if _, err := c.Write(pack(t, question("www.example", "A"))); err != nil {
		t.Fatal(err)
	}
	await(t, arrived)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("no error")
	}
	_ = c.SetReadDeadline(time.Now().Add(testTimeout))
	b := make([]byte, 1500)
	n, err := c.Read(b)
	var r dns.Msg
	if err != nil || r.Unpack(b[:n]) != nil || r.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v, %v", &r, err)
	}
}

// TestPanicOnReply: a panic of what reads a reply costs one answer, whose client is told.
func TestPanicOnReply(t *testing.T) {
	to := dnstest.Start(t, dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN A 192.0.2.1"}}))
	s, l := muxed(t, to, options())
	source := *s.source.Load()
	source.Upstream = upstream.Map(source.Upstream, func(q upstream.Query, r upstream.Reply, err error) (upstream.Reply, error) {
		if q.Name.String() == "bad.example." && err == nil {
			panic("on purpose")
		}
		return r, err
	})
	s.SetSource(&source)
	for name, rcode := range map[string]int{"bad.example": dns.RcodeServerFailure, "good.example": dns.RcodeSuccess} {
		if r := exchange(t, l, "udp", question(name, "A")); r == nil || r.Rcode != rcode {
			t.Errorf("%s: got %v", name, r)
		}
	}
	if n := s.Stats().UDP.Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
}
