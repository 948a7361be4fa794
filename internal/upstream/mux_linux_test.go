package upstream_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// ports counts the different source ports of the last n queries.
func ports(s *dnstest.Server, n int) int {
	seen := map[uint16]bool{}
	all := s.Queries()
	for _, q := range all[len(all)-n:] {
		seen[q.From.Port()] = true
	}
	return len(seen)
}

// TestPortsOfKeptSockets: 200 questions in a row have 200 ports, when sockets
// are opened and when they are used again.
func TestPortsOfKeptSockets(t *testing.T) {
	const queries = 200
	s := dnstest.Start(t, dnstest.Always(oneA()))
	u := newServer(s.Addr(), upstream.Options{Keep: upstream.DefaultKeep})
	defer u.Close()
	q := question(t, "www.example", dnswire.TypeA)
	for i := range 1200 {
		if _, err := u.Exchange(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if (i+1)%queries == 0 {
			if n := ports(s, queries); n < queries*95/100 {
				t.Errorf("queries %d to %d came from %d ports", i+1-queries, i, n)
			}
		}
	}
	if n := ports(s, 1200); n >= 1200 {
		t.Errorf("%d ports for 1200 queries: no socket was used again", n)
	}
}

// TestKeptSocketsAtOnce: questions in flight never share a socket, more of them
// than are kept are asked all the same, and what stays open is bounded.
func TestKeptSocketsAtOnce(t *testing.T) {
	const keep, atOnce = 8, 40
	hold, arrived := make(chan struct{}), make(chan struct{}, atOnce)
	a := oneA()
	a.Hold = hold
	s := dnstest.Start(t, func(dnstest.Query) dnstest.Action {
		arrived <- struct{}{}
		return a
	})
	u := newServer(s.Addr(), upstream.Options{Keep: keep})
	q := question(t, "www.example", dnswire.TypeA)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			if _, err := u.Exchange(context.Background(), q); err != nil {
				t.Error(err)
			}
		})
	}
	for range atOnce {
		<-arrived
	}
	if n := ports(s, atOnce); n != atOnce {
		t.Errorf("%d ports for %d questions in flight", n, atOnce)
	}
	close(hold)
	wg.Wait()
	if n := upstream.Kept(u); n != keep {
		t.Errorf("%d sockets kept, want %d", n, keep)
	}
	u.Close()
	if n := upstream.Kept(u); n != 0 {
		t.Errorf("%d sockets kept after Close", n)
	}
}

// TestKeptSocketAfterFailure: a socket whose question got no reply is not used
// for another, which might get the late reply's octets.
func TestKeptSocketAfterFailure(t *testing.T) {
	s := dnstest.Start(t, dnstest.Always(dnstest.Action{Drop: true}))
	u := newServer(s.Addr(), upstream.Options{Keep: 4, Attempts: 1, Timeout: 20 * time.Millisecond})
	if _, err := u.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA)); err == nil {
		t.Fatal("want a time-out")
	}
	if n := upstream.Kept(u); n != 0 {
		t.Errorf("%d sockets kept", n)
	}
}

// TestForgeryBeforeTheQuestion: what waits in a kept socket before the question
// is sent cannot be its answer, so the socket is not used.
func TestForgeryBeforeTheQuestion(t *testing.T) {
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	s := dnstest.Serve(pc, nil, dnstest.Always(oneA()))
	defer s.Close()
	u := newServer(pc.LocalAddr().String(), upstream.Options{Keep: 1})
	defer u.Close()
	q := question(t, "www.example", dnswire.TypeA)
	if _, err := u.Exchange(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	first := s.Queries()[0].From
	if _, err := pc.WriteToUDPAddrPort([]byte("forged"), first); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Exchange(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if second := s.Queries()[1].From; second == first {
		t.Error("the socket with a forgery in its buffer was used")
	}
}

// BenchmarkKept is one question over loopback; the server's share is in it.
func BenchmarkKept(b *testing.B) {
	for name, keep := range map[string]int{"kept": upstream.DefaultKeep, "fresh": 0} {
		b.Run(name, func(b *testing.B) {
			to, stop := echo(b)
			defer stop()
			u := upstream.NewServer(to, upstream.Options{Keep: keep})
			defer u.Close()
			q := question(b, "www.example", dnswire.TypeA)
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := u.Exchange(ctx, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// echo is a server that only sets QR: as cheap as one can be.
func echo(tb testing.TB) (netip.AddrPort, func()) {
	tb.Helper()
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 512)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			dnswire.PatchFlags(buf[:n], 0, dnswire.FlagQR)
			_, _ = pc.WriteToUDPAddrPort(buf[:n], from)
		}
	})
	return pc.LocalAddr().(*net.UDPAddr).AddrPort(), func() { _ = pc.Close(); wg.Wait() }
}
