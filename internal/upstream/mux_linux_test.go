package upstream_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

func newMux(tb testing.TB) *upstream.Mux {
	tb.Helper()
	m, err := upstream.NewMux(1)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Close)
	return m
}

// begin is Begin, with a wait for what it leads to.
func begin(ctx context.Context, x upstream.Beginner, q upstream.Query) (upstream.Reply, error) {
	type outcome struct {
		reply upstream.Reply
		err   error
	}
	done := make(chan outcome, 2)
	if !x.Begin(ctx, q, func(r upstream.Reply, err error) { done <- outcome{r, err} }) {
		return upstream.Reply{}, errNotBegun
	}
	out := <-done
	return out.reply, out.err
}

var errNotBegun = errors.New("not begun")

// onMux is a group of one server on a Mux.
func onMux(tb testing.TB, addr string, o upstream.Options) (*upstream.Group, *upstream.Server) {
	tb.Helper()
	o.Mux = newMux(tb)
	s := newServer(addr, o)
	tb.Cleanup(s.Close)
	return upstream.Failover([]upstream.Exchanger{s}, upstream.FailoverOptions{}), s
}

// ports counts the different source ports of the last n queries.
func ports(s *dnstest.Server, n int) int {
	seen := map[uint16]bool{}
	all := s.Queries()
	for _, q := range all[len(all)-n:] {
		seen[q.From.Port()] = true
	}
	return len(seen)
}

// TestPortsOfMux: 200 questions in a row have 200 ports, when sockets are opened
// and when they are used again.
func TestPortsOfMux(t *testing.T) {
	const queries = 200
	s := dnstest.Start(t, dnstest.Always(oneA()))
	x, _ := onMux(t, s.Addr(), upstream.Options{})
	q := question(t, "www.example", dnswire.TypeA)
	for i := range 1200 {
		r, err := begin(t.Context(), x, q)
		if err != nil || answers(t, r) != 1 || r.Server != s.Addr() || r.Proto != "udp" || r.Tries != 1 || r.RTT <= 0 {
			t.Fatalf("got %+v, %v", r, err)
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

// TestPortsAtOnce: questions in flight never share a port, more of them than are
// kept are asked all the same, and what stays open is bounded.
func TestPortsAtOnce(t *testing.T) {
	const keep, atOnce = 8, 40
	hold, arrived := make(chan struct{}), make(chan struct{}, atOnce)
	a := oneA()
	a.Hold = hold
	s := dnstest.Start(t, func(dnstest.Query) dnstest.Action {
		arrived <- struct{}{}
		return a
	})
	x, u := onMux(t, s.Addr(), upstream.Options{})
	upstream.SetMaxPorts(u, keep)
	q := question(t, "www.example", dnswire.TypeA)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			if _, err := begin(t.Context(), x, q); err != nil {
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
	if idle, open := upstream.Ports(u); idle != keep || open != keep {
		t.Errorf("%d ports kept of %d open, want %d", idle, open, keep)
	}
	u.Close()
	if idle, open := upstream.Ports(u); idle != 0 || open != 0 {
		t.Errorf("%d ports kept of %d open after Close", idle, open)
	}
}

// TestDatagramToIdlePort: who sends to a port without a question has found it, so
// it is closed.
func TestDatagramToIdlePort(t *testing.T) {
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	s := dnstest.Serve(pc, nil, dnstest.Always(oneA()))
	defer s.Close()
	other := dnstest.Start(t, dnstest.Always(oneA()))
	m := newMux(t)
	u, v := newServer(s.Addr(), upstream.Options{Mux: m}), newServer(other.Addr(), upstream.Options{Mux: m})
	upstream.SetMaxPorts(u, 1)
	x := upstream.Failover([]upstream.Exchanger{u}, upstream.FailoverOptions{})
	after := upstream.Failover([]upstream.Exchanger{v}, upstream.FailoverOptions{})
	q := question(t, "www.example", dnswire.TypeA)
	if _, err := begin(t.Context(), x, q); err != nil {
		t.Fatal(err)
	}
	first := s.Queries()[0].From
	if _, err := pc.WriteToUDPAddrPort([]byte("forged"), first); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t.Context(), after, q); err != nil { // ports are read in the order in which something comes
		t.Fatal(err)
	}
	if idle, open := upstream.Ports(u); idle != 0 || open != 0 {
		t.Errorf("%d ports kept of %d open", idle, open)
	}
	if _, err := begin(t.Context(), x, q); err != nil {
		t.Fatal(err)
	}
	if second := s.Queries()[1].From; second == first {
		t.Error("the port that someone had found was used")
	}
}

// TestBeginIsExchange: whatever a server does, Begin comes to the same as Exchange.
func TestBeginIsExchange(t *testing.T) {
	for name, tt := range behaviours() {
		t.Run(name, func(t *testing.T) {
			q := question(t, "www.example", dnswire.TypeA)
			one, other := dnstest.Start(t, tt.script()), dnstest.Start(t, tt.script())
			x, _ := onMux(t, one.Addr(), tt.o)
			y, _ := onMux(t, other.Addr(), tt.o)
			want, wantErr := y.Exchange(t.Context(), q)
			got, err := begin(t.Context(), x, q)
			if (err == nil) != (wantErr == nil) || got.RCode() != want.RCode() || got.Proto != want.Proto {
				t.Fatalf("got %v over %s, %v; Exchange has %v over %s, %v", got.RCode(), got.Proto, err, want.RCode(), want.Proto, wantErr)
			}
			if err == nil && answers(t, got) != answers(t, want) {
				t.Errorf("%d records, Exchange has %d", answers(t, got), answers(t, want))
			}
		})
	}
}

// TestBeginGoesToTheNext: what one server does not answer, the next does.
func TestBeginGoesToTheNext(t *testing.T) {
	closed, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.LocalAddr().String()
	_ = closed.Close()
	good := dnstest.Start(t, dnstest.Always(oneA()))
	for name, first := range map[string]string{
		"nobody":  nobody,
		"failure": dnstest.Start(t, dnstest.Always(dnstest.Action{RCode: int(dnswire.RCodeServerFailure)})).Addr(),
		"silence": dnstest.Start(t, dnstest.Always(dnstest.Action{Drop: true})).Addr(),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMux(t)
			x := upstream.Failover([]upstream.Exchanger{
				newServer(first, upstream.Options{Mux: m, Attempts: 1}), newServer(good.Addr(), upstream.Options{Mux: m}),
			}, upstream.FailoverOptions{Hedge: 30 * time.Millisecond})
			r, err := begin(t.Context(), x, question(t, "www.example", dnswire.TypeA))
			if err != nil || r.Server != good.Addr() || answers(t, r) != 1 {
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

// late is a server that holds its first reply back, beside one that fails.
func late(t *testing.T) (x *upstream.Cache, release func()) {
	t.Helper()
	slow, release := slowFirst(t)
	bad := dnstest.Start(t, dnstest.Always(dnstest.Action{RCode: int(dnswire.RCodeServerFailure)}))
	o := upstream.Options{Mux: newMux(t), Attempts: 1, Timeout: 200 * time.Millisecond}
	x = upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, upstream.Failover([]upstream.Exchanger{
		newServer(slow.Addr(), o), newServer(bad.Addr(), o),
	}, upstream.FailoverOptions{Hedge: 30 * time.Millisecond}))
	t.Cleanup(x.Close)
	return x, release
}

// slowFirst is a server that answers one query, the first, when it is released.
func slowFirst(t *testing.T) (s *dnstest.Server, release func()) {
	t.Helper()
	hold := make(chan struct{})
	held := oneA()
	held.Hold = hold
	var n atomic.Int32
	s = dnstest.Start(t, func(dnstest.Query) dnstest.Action {
		if n.Add(1) == 1 {
			return held
		}
		return dnstest.Action{Drop: true}
	})
	return s, sync.OnceFunc(func() { close(hold) })
}

// TestLateReplyIsCached: a reply that comes when the client has been told of a
// failure answers the next.
func TestLateReplyIsCached(t *testing.T) {
	x, release := late(t)
	defer release()
	q := question(t, "www.example", dnswire.TypeA)
	if r, err := begin(t.Context(), x, q); err != nil || r.RCode() != dnswire.RCodeServerFailure {
		t.Fatalf("got %+v, %v; want a failure", r, err)
	}
	release()
	deadline := time.Now().Add(10 * second)
	for {
		if r, err := x.Recall(t.Context(), q); err == nil && r.RCode() == dnswire.RCodeSuccess {
			if answers(t, r) != 1 {
				t.Errorf("got %+v", r)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the late reply is not in the cache")
		}
		time.Sleep(time.Millisecond) // a look at what another goroutine does
	}
}

// TestLateReplyAnswers: a reply that comes while others are asked is the answer.
func TestLateReplyAnswers(t *testing.T) {
	slow, release := slowFirst(t)
	defer release()
	asked := make(chan struct{}, 1)
	silent := dnstest.Start(t, func(dnstest.Query) dnstest.Action {
		asked <- struct{}{}
		return dnstest.Action{Drop: true}
	})
	m := newMux(t)
	x := upstream.Failover([]upstream.Exchanger{
		newServer(slow.Addr(), upstream.Options{Mux: m}), newServer(silent.Addr(), upstream.Options{Mux: m}),
	}, upstream.FailoverOptions{Hedge: 30 * time.Millisecond})
	go func() {
		<-asked
		release()
	}()
	start := time.Now()
	r, err := begin(t.Context(), x, question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Server != slow.Addr() || answers(t, r) != 1 {
		t.Errorf("got %+v, %v after %v", r, err, time.Since(start))
	}
}

// TestMuxClose: questions in flight end with it, and none begins after it.
func TestMuxClose(t *testing.T) {
	arrived := make(chan struct{}, 1)
	s := dnstest.Start(t, func(dnstest.Query) dnstest.Action {
		arrived <- struct{}{}
		return dnstest.Action{Drop: true}
	})
	x, u := onMux(t, s.Addr(), upstream.Options{})
	q := question(t, "www.example", dnswire.TypeA)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	if !x.Begin(ctx, q, func(_ upstream.Reply, err error) { done <- err }) {
		t.Fatal("not begun")
	}
	<-arrived
	cancel()
	upstream.CloseMux(u)
	if err := <-done; err == nil {
		t.Error("no error")
	}
	if _, err := begin(t.Context(), x, q); !errors.Is(err, errNotBegun) {
		t.Errorf("after Close: %v", err)
	}
}

// TestCoalescedBegin: what is begun while it is in flight is asked once, and
// Exchange shares it.
func TestCoalescedBegin(t *testing.T) {
	const clients = 60
	hold := make(chan struct{})
	a := oneA()
	a.Hold = hold
	arrived := make(chan struct{}, 1)
	s := dnstest.Start(t, func(dnstest.Query) dnstest.Action {
		arrived <- struct{}{}
		return a
	})
	g, _ := onMux(t, s.Addr(), upstream.Options{})
	x := upstream.Coalesce(g).(upstream.Beginner)
	q := question(t, "www.example", dnswire.TypeA)
	var wg sync.WaitGroup
	done := func(r upstream.Reply, err error) {
		if err != nil || answers(t, r) != 1 {
			t.Errorf("got %+v, %v", r, err)
		}
		wg.Done()
	}
	for i := range clients {
		wg.Add(1)
		if !x.Begin(t.Context(), q, done) {
			t.Fatal("not begun")
		}
		if i == 0 {
			<-arrived
		}
	}
	wg.Go(func() {
		if r, err := x.Exchange(t.Context(), q); err != nil || answers(t, r) != 1 {
			t.Errorf("Exchange: %+v, %v", r, err)
		}
	})
	close(hold)
	wg.Wait()
	if n := len(s.Queries()); n > 2 { // Exchange may have come when all was over
		t.Errorf("%d queries", n)
	}
}

// BenchmarkBegin is one question over loopback, the server's share in it.
func BenchmarkBegin(b *testing.B) {
	to, stop := echo(b)
	defer stop()
	q := question(b, "www.example", dnswire.TypeA)
	x, _ := onMux(b, to.String(), upstream.Options{})
	b.Run("begin", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := begin(b.Context(), x, q); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("exchange", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x.Exchange(b.Context(), q); err != nil {
				b.Fatal(err)
			}
		}
	})
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
