package dnstest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(t *testing.T, network, addr, name string, typ uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, typ)
	r, _, err := (&dns.Client{Net: network}).Exchange(m, addr)
	if err != nil {
		t.Fatalf("exchange over %s: %v", network, err)
	}
	return r
}

func TestZoneOverUDPAndTCP(t *testing.T) {
	s := dnstest.Start(t, dnstest.Zone(
		"www.example. 300 IN CNAME h.example.",
		"h.example. 60 IN A 192.0.2.1",
		"loop.example. 60 IN CNAME loop.example.",
	))
	for _, network := range []string{"udp", "tcp"} {
		if r := ask(t, network, s.Addr(), "WWW.example.", dns.TypeA); len(r.Answer) != 2 || !r.RecursionAvailable {
			t.Errorf("%s: got %v, want an alias and an address", network, r)
		}
		if r := ask(t, network, s.Addr(), "h.example.", dns.TypeAAAA); r.Rcode != 0 || len(r.Answer) != 0 || len(r.Ns) != 1 {
			t.Errorf("%s: got %v, want no data with an SOA", network, r)
		}
		if r := ask(t, network, s.Addr(), "no.example.", dns.TypeA); r.Rcode != dns.RcodeNameError {
			t.Errorf("%s: got %v, want NXDOMAIN", network, r)
		}
		if r := ask(t, network, s.Addr(), "loop.example.", dns.TypeA); len(r.Answer) == 0 {
			t.Errorf("%s: got %v, want the looping alias", network, r)
		}
	}
	if n := s.Count("www.example", "A"); n != 2 {
		t.Errorf("recorded %d queries for www.example, want 2", n)
	}
	qs := s.Queries()
	if qs[0].Proto != "udp" || qs[4].Proto != "tcp" || qs[4].Nth != 1 || !qs[0].From.IsValid() {
		t.Errorf("recorded %+v", qs)
	}
}

func TestActions(t *testing.T) {
	tests := map[string]struct {
		action dnstest.Action
		check  func(*dns.Msg) bool
	}{
		"rcode":     {dnstest.Action{RCode: dns.RcodeRefused}, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeRefused }},
		"truncated": {dnstest.Action{Truncate: true, Answer: []string{"@ 1 IN A 192.0.2.1"}}, func(m *dns.Msg) bool { return m.Truncated && len(m.Answer) == 0 }},
		"owner":     {dnstest.Action{Answer: []string{"@ 1 IN A 192.0.2.1"}}, func(m *dns.Msg) bool { return m.Answer[0].Header().Name == "a.example." }},
		"after a forgery": {
			dnstest.Action{Before: []dnstest.Action{{WrongID: true}}, RCode: dns.RcodeNameError},
			func(m *dns.Msg) bool { return m.Rcode == dns.RcodeNameError },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := dnstest.Start(t, dnstest.Always(tc.action))
			if r := ask(t, "udp", s.Addr(), "a.example.", dns.TypeA); !tc.check(r) {
				t.Errorf("got %v", r)
			}
		})
	}
}

func TestWaitQueries(t *testing.T) {
	s := dnstest.Start(t, dnstest.Always(dnstest.Action{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WaitQueries(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	ask(t, "udp", s.Addr(), "a.example.", dns.TypeA)
	if err := s.WaitQueries(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

func TestNetInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(map[string]dnstest.Script{
			"192.0.2.53:53": dnstest.Always(dnstest.Action{Delay: time.Second, Answer: []string{"@ 1 IN A 192.0.2.1"}}),
		})
		defer n.Close()
		n.Delay("192.0.2.53:53", time.Second)
		want := map[string]time.Duration{"udp": time.Second, "tcp": 3 * time.Second}
		for network, elapsed := range want {
			start := time.Now()
			c, err := n.Dial(t.Context(), network, "192.0.2.53:53")
			if err != nil {
				t.Fatal(err)
			}
			conn := &dns.Conn{Conn: c, UDPSize: 4096}
			if network == "udp" {
				conn.Conn = packetConn{c}
			}
			r, _, err := (&dns.Client{Net: network, Timeout: time.Minute}).ExchangeWithConn(new(dns.Msg).SetQuestion("a.example.", dns.TypeA), conn)
			if err != nil || len(r.Answer) != 1 {
				t.Errorf("%s: got %v, %v", network, r, err)
			}
			if got := time.Since(start); got != elapsed {
				t.Errorf("%s: took %v, want %v", network, got, elapsed)
			}
			_ = c.Close()
		}
	})
}

// packetConn makes miekg/dns take the connection for a datagram socket.
type packetConn struct{ net.Conn }

func (packetConn) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }
func (packetConn) WriteTo([]byte, net.Addr) (int, error)  { return 0, net.ErrClosed }

func TestNetWithoutServer(t *testing.T) {
	n := dnstest.NewNet(nil)
	defer n.Close()
	if _, err := n.Dial(t.Context(), "tcp", "192.0.2.1:53"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("tcp: got %v, want connection refused", err)
	}
	c, err := n.Dial(t.Context(), "udp", "192.0.2.1:53")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("udp: got %v, want connection refused", err)
	}
	if got := n.Dials(); len(got) != 2 {
		t.Errorf("dials %v", got)
	}
}

func TestDatagramDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(map[string]dnstest.Script{"192.0.2.53:53": dnstest.Always(dnstest.Action{Drop: true})})
		defer n.Close()
		c, err := n.Dial(t.Context(), "udp", "192.0.2.53:53")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_ = c.SetDeadline(start.Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		_ = c.Close()
		_ = c.SetDeadline(time.Time{})
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want closed", err)
		}
	})
}
