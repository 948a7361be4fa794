package upstream_test

import (
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

const serverCookie = "0102030405060708"

// cookieServer answers over UDP and TCP as answer says: it gets the cookie of the
// query, in hexadecimal, and the network, and changes the reply. It returns the
// address and what it was sent.
func cookieServer(t *testing.T, answer func(network, cookie string, nth int, reply *dns.Msg)) (addr string, seen func() []string) {
	t.Helper()
	pc, l := listenBoth(t)
	var mu sync.Mutex
	var got []string
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		cookie := "none"
		if opt := q.IsEdns0(); opt != nil {
			for _, o := range opt.Option {
				if c, ok := o.(*dns.EDNS0_COOKIE); ok {
					cookie = c.Cookie
				}
			}
		}
		network := w.LocalAddr().Network()
		mu.Lock()
		nth := len(got)
		got = append(got, network+" "+cookie)
		mu.Unlock()
		reply := new(dns.Msg).SetReply(q)
		reply.RecursionAvailable = true
		rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.1")
		reply.Answer = []dns.RR{rr}
		answer(network, cookie, nth, reply)
		_ = w.WriteMsg(reply)
	})
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			<-ended
		})
	}
	return pc.LocalAddr().String(), func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(got) }
}

// listenBoth opens one port of both kinds; the one that is free for UDP may be
// taken for TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		_ = pc.Close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

// withCookie puts a cookie into a reply.
func withCookie(m *dns.Msg, cookie string) {
	m.SetEdns0(1232, false)
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie})
}

// TestCookies: the first question carries a client cookie of eight random octets,
// the next the server's beside it; another server gets another.
func TestCookies(t *testing.T) {
	echo := func(_, cookie string, _ int, m *dns.Msg) { withCookie(m, cookie[:16]+serverCookie) }
	addr, seen := cookieServer(t, echo)
	otherAddr, otherSeen := cookieServer(t, echo)
	s := newServer(addr, upstream.Options{})
	q := question(t, "www.example", dnswire.TypeA)
	for range 2 {
		if r, err := s.Exchange(t.Context(), q); err != nil || answers(t, r) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if _, err := newServer(otherAddr, upstream.Options{}).Exchange(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	got, client := seen(), ""
	if len(got) == 2 && len(got[0]) == len("udp ")+16 {
		client = got[0]
	}
	if _, err := hex.DecodeString(client[min(len(client), 4):]); err != nil || client == "" || got[1] != client+serverCookie {
		t.Errorf("the server was sent %v", got)
	}
	if other := otherSeen(); len(other) != 1 || other[0] == client {
		t.Errorf("two servers have the client cookie %v", other)
	}
}

// TestBadCookie: the question is asked again with the cookie that the refusal
// brought, and over TCP when that does not help.
func TestBadCookie(t *testing.T) {
	for name, tt := range map[string]struct {
		refused int // so many over UDP
		proto   string
		asked   int
	}{"once": {1, "udp", 2}, "always": {100, "tcp", 3}} {
		t.Run(name, func(t *testing.T) {
			addr, seen := cookieServer(t, func(network, cookie string, nth int, m *dns.Msg) {
				withCookie(m, cookie[:16]+serverCookie)
				if network == "udp" && nth < tt.refused {
					m.Rcode, m.Answer = dns.RcodeBadCookie, nil
				}
			})
			r, err := newServer(addr, upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
			if err != nil || r.Proto != tt.proto || answers(t, r) != 1 || r.Tries != 1 {
				t.Errorf("%+v, %v", r, err)
			}
			if got := seen(); len(got) != tt.asked || len(got[1]) != len("udp ")+32 {
				t.Errorf("the server was sent %v", got)
			}
		})
	}
}

// TestForgedCookie: a reply with another's client cookie is not looked at, nor is
// one without from a server that does cookies; when it seems to do so no more,
// the next try takes it.
func TestForgedCookie(t *testing.T) {
	for name, forge := range map[string]func(m *dns.Msg, cookie string){
		"another's": func(m *dns.Msg, _ string) { withCookie(m, "ffffffffffffffff"+serverCookie) },
		"none":      func(*dns.Msg, string) {},
		"too short": func(m *dns.Msg, cookie string) { withCookie(m, cookie[:14]) },
		"too long":  func(m *dns.Msg, cookie string) { withCookie(m, cookie[:16]+strings.Repeat("ab", 33)) },
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := cookieServer(t, func(network, cookie string, nth int, m *dns.Msg) {
				if nth == 0 {
					withCookie(m, cookie[:16]+serverCookie)
					return
				}
				forge(m, cookie)
			})
			s := newServer(addr, upstream.Options{Timeout: second / 10, Attempts: 1})
			q := question(t, "www.example", dnswire.TypeA)
			if _, err := s.Exchange(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			if r, err := s.Exchange(t.Context(), q); err == nil {
				t.Errorf("took %+v", r)
			}
			r, err := s.Exchange(t.Context(), q)
			if (err == nil) != (name == "none") {
				t.Errorf("after that: %+v, %v", r, err)
			}
		})
	}
}

// TestWrongTypeAndClass: a reply to another question about the same name is not
// looked at.
func TestWrongTypeAndClass(t *testing.T) {
	for name, change := range map[string]func(*dns.Question){
		"type":  func(q *dns.Question) { q.Qtype = dns.TypeAAAA },
		"class": func(q *dns.Question) { q.Qclass = dns.ClassCHAOS },
	} {
		t.Run(name, func(t *testing.T) {
			addr, seen := cookieServer(t, func(_, _ string, _ int, m *dns.Msg) { change(&m.Question[0]) })
			s := newServer(addr, upstream.Options{Timeout: second / 10, Attempts: 1})
			if r, err := s.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA)); err == nil || len(seen()) == 0 {
				t.Errorf("took %+v; the server was sent %v", r, seen())
			}
		})
	}
}
