package upstream_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestTCPWithMux: a server with a Mux keeps its connection from question to
// question until it is closed; one without keeps none.
func TestTCPWithMux(t *testing.T) {
	const n = 20
	truncated := oneA()
	truncated.Truncate = true
	d := dnstest.Start(t, dnstest.Always(truncated))
	q := question(t, "www.example", dnswire.TypeA)
	group, withMux := onMux(t, d.Addr(), upstream.Options{})
	plain := newServer(d.Addr(), upstream.Options{})
	ask := func(x upstream.Exchanger) {
		t.Helper()
		var r upstream.Reply
		var err error
		if b, ok := x.(upstream.Beginner); ok {
			r, err = begin(t.Context(), b, q)
		} else {
			r, err = x.Exchange(t.Context(), q)
		}
		if err != nil || r.Proto != "tcp" || answers(t, r) != 1 {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	for i, tc := range []struct {
		x    upstream.Exchanger
		want int
	}{{group, 1}, {withMux, 1}, {plain, n}} {
		before := len(d.Queries())
		for range n {
			ask(tc.x)
		}
		if got := len(tcpPorts(d.Queries()[before:])); got != tc.want {
			t.Errorf("case %d: %d connections for %d questions, want %d", i, got, n, tc.want)
		}
	}
	withMux.Close()
	before := len(d.Queries())
	ask(withMux)
	ask(withMux)
	if got := len(tcpPorts(d.Queries()[before:])); got != 2 {
		t.Errorf("%d connections for 2 questions after Close", got)
	}
}

// TestTCPEDNSFallback: a server may take an OPT record, but not the option that is
// only sent over TCP.
func TestTCPEDNSFallback(t *testing.T) {
	d := dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
		if q.Proto == "tcp" && q.EDNS {
			return dnstest.Action{RCode: dns.RcodeFormatError}
		}
		a := oneA()
		a.Truncate = true
		return a
	})
	x, _ := onMux(t, d.Addr(), upstream.Options{})
	r, err := begin(t.Context(), x, question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Proto != "tcp" || answers(t, r) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestTCPPanic: what panics over TCP costs one question, not the program.
func TestTCPPanic(t *testing.T) {
	truncated := oneA()
	truncated.Truncate = true
	d := dnstest.Start(t, dnstest.Always(truncated))
	x, s := onMux(t, d.Addr(), upstream.Options{
		Dial: func(context.Context, string, string) (net.Conn, error) { panic("as a test") },
	})
	s.Close() // the question has a connection of its own
	_, err := begin(t.Context(), x, question(t, "www.example", dnswire.TypeA))
	if p := (*upstream.PanicError)(nil); !errors.As(err, &p) {
		t.Errorf("got %v", err)
	}
}

// tcpPorts are the source ports of those queries that came over TCP.
func tcpPorts(queries []dnstest.Query) map[netip.AddrPort]bool {
	seen := map[netip.AddrPort]bool{}
	for _, q := range queries {
		if q.Proto == "tcp" {
			seen[q.From] = true
		}
	}
	return seen
}

// TestTCPReset: a server that resets a kept connection when the next question
// comes has that question on a new one.
func TestTCPReset(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for number := 1; ; number++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer func() { _ = c.Close() }()
				p := &peer{c, number}
				if number > 1 {
					p.answerAll()
					return
				}
				for range 2 {
					p.reply(p.query())
				}
				p.query()
				_ = c.(*net.TCPConn).SetLinger(0)
			})
		}
	})
	defer served.Wait()
	defer func() { _ = ln.Close() }()
	s := newServer(ln.Addr().String(), upstream.Options{UseTCP: true, Attempts: 1})
	defer upstream.KeepTCP(s)()
	defer upstream.CloseTCP(s)
	for range 4 {
		if _, err := s.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTCPAcknowledges: what has come is acknowledged at once where more is waited
// for, and else with the next question.
func TestTCPAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := &countingRaw{}
		client, server := net.Pipe()
		s := newServer(serverAddr, upstream.Options{
			UseTCP: true, Attempts: 1,
			Dial: func(context.Context, string, string) (net.Conn, error) { return withRaw{client, raw}, nil },
		})
		defer upstream.KeepTCP(s)()
		defer upstream.CloseTCP(s)
		k, p := &kept{Server: s, t: t}, &peer{server, 1}
		a, b := k.ask(t.Context(), "a.example"), k.ask(t.Context(), "b.example")
		for i, q := range p.queries(2) {
			synctest.Wait()
			before := int(raw.controls.Load())
			p.reply(q)
			synctest.Wait()
			want(t, "times that a reply was acknowledged", int(raw.controls.Load())-before, 1-i)
		}
		if err := errors.Join(a(), b()); err != nil {
			t.Error(err)
		}
	})
}

// withRaw is a connection that has a descriptor, so to speak.
type withRaw struct {
	net.Conn
	raw syscall.RawConn
}

func (c withRaw) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// countingRaw counts the calls of Control.
type countingRaw struct {
	syscall.RawConn
	controls atomic.Int32
}

func (c *countingRaw) Control(func(uintptr)) error {
	c.controls.Add(1)
	return nil
}
