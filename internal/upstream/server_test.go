package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

func TestExchangeOverLoopback(t *testing.T) {
	s := dnstest.Start(t, dnstest.Always(oneA()))
	r, err := newServer(s.Addr(), upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil {
		t.Fatal(err)
	}
	if answers(t, r) != 1 || r.Server != s.Addr() || r.Proto != "udp" || r.Tries != 1 || r.RTT <= 0 {
		t.Errorf("got %+v", r)
	}
	q := s.Queries()[0]
	if !q.EDNS || q.UDPSize != upstream.DefaultEDNSSize || q.DO || q.CD || q.AD {
		t.Errorf("the server saw %+v, want EDNS with %d octets", q, upstream.DefaultEDNSSize)
	}
}

func TestQueryFlags(t *testing.T) {
	s := dnstest.Start(t, dnstest.Always(oneA()))
	q := question(t, "www.example", dnswire.TypeA)
	q.DO, q.CD = true, true
	if _, err := newServer(s.Addr(), upstream.Options{AD: true, EDNSSize: 4096}).Exchange(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if seen := s.Queries()[0]; !seen.DO || !seen.CD || !seen.AD || seen.UDPSize != 4096 {
		t.Errorf("the server saw %+v", seen)
	}
	if _, err := newServer(s.Addr(), upstream.Options{NoEDNS: true}).Exchange(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if seen := s.Queries()[1]; seen.EDNS {
		t.Errorf("the server saw EDNS: %+v", seen)
	}
}

// TestWrongRepliesAreIgnored: what is not the answer does not end the wait
// (CVE-2023-28452).
func TestWrongRepliesAreIgnored(t *testing.T) {
	forged := dnstest.Action{Answer: []string{"@ 60 IN A 198.51.100.66", "@ 60 IN A 198.51.100.67"}}
	with := func(f func(*dnstest.Action)) dnstest.Action {
		a := forged
		f(&a)
		return a
	}
	tests := map[string]dnstest.Action{
		"wrong id":       with(func(a *dnstest.Action) { a.WrongID = true }),
		"wrong question": with(func(a *dnstest.Action) { a.WrongQuestion = true }),
		"no question":    with(func(a *dnstest.Action) { a.NoQuestion = true }),
		"a query":        with(func(a *dnstest.Action) { a.NotResponse = true }),
		"wrong opcode":   with(func(a *dnstest.Action) { a.WrongOpcode = true }),
		"wrong source":   with(func(a *dnstest.Action) { a.WrongSource = true }),
		"junk":           {Raw: []byte("junk")},
		"empty":          {Raw: []byte{}},
		"header only":    {Raw: []byte{0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0}, PatchID: true},
	}
	for name, wrong := range tests {
		t.Run(name, func(t *testing.T) {
			a := oneA()
			a.Before = []dnstest.Action{wrong, wrong, wrong}
			s := dnstest.Start(t, dnstest.Always(a))
			r, err := newServer(s.Addr(), upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
			if err != nil {
				t.Fatal(err)
			}
			if answers(t, r) != 1 {
				t.Errorf("took the forged answer")
			}
			if n := len(s.Queries()); n != 1 {
				t.Errorf("%d queries, want 1", n)
			}
		})
	}
}

// TestEmptyDatagram: one without an octet is no end of anything.
func TestEmptyDatagram(t *testing.T) {
	a := oneA()
	a.Before = []dnstest.Action{{Raw: []byte{}}}
	s := dnstest.Start(t, dnstest.Always(a))
	r, err := newServer(s.Addr(), upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Proto != "udp" || r.Tries != 1 || answers(t, r) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestFloodOfForgeriesMovesToTCP: looking at replies is bounded, and whoever
// guesses does not get more guesses.
func TestFloodOfForgeriesMovesToTCP(t *testing.T) {
	n := inMemory(t, map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
		a := oneA()
		if q.Proto == "udp" {
			a.Drop = true
			for range 150 {
				a.Before = append(a.Before, dnstest.Action{WrongID: true})
			}
		}
		return a
	}})
	r, err := newServer(serverAddr, upstream.Options{Dial: n.Dial}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Proto != "tcp" || answers(t, r) != 1 {
		t.Errorf("got %+v, %v; want an answer over tcp", r, err)
	}
}

// TestFloodOfForgeriesWithoutTCP: the right answer is taken after thousands of
// forgeries where TCP is refused or silent; what never ends is given up.
func TestFloodOfForgeriesWithoutTCP(t *testing.T) {
	for name, tt := range map[string]struct {
		tcp       dnstest.Action
		forgeries int
		want      bool
	}{
		"tcp closed":       {dnstest.Action{Hangup: true}, 3000, true},
		"tcp silent":       {dnstest.Action{Drop: true}, 3000, true},
		"beyond the bound": {dnstest.Action{Hangup: true}, 5000, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := inMemory(t, map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
					if q.Proto == "tcp" {
						return tt.tcp
					}
					a := oneA()
					for range tt.forgeries {
						a.Before = append(a.Before, dnstest.Action{WrongID: true, Delay: time.Microsecond}) // no faster than they are read
					}
					return a
				}})
				r, err := newServer(serverAddr, upstream.Options{Dial: n.Dial, Attempts: 1}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
				if tt.want && (err != nil || r.Proto != "udp" || answers(t, r) != 1) || !tt.want && !errors.Is(err, upstream.ErrFlooded) {
					t.Errorf("got %+v, %v", r, err)
				}
				if s := n.Server(serverAddr); len(s.Queries()) != 3 {
					t.Errorf("asked %d times, want udp, tcp, udp", len(s.Queries()))
				}
			})
		})
	}
}

func TestIDsAndPortsAreNotPredictable(t *testing.T) {
	const queries = 200
	s := dnstest.Start(t, dnstest.Always(oneA()))
	u := newServer(s.Addr(), upstream.Options{})
	q := question(t, "www.example", dnswire.TypeA)
	for range queries {
		if _, err := u.Exchange(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	ids, ports, inRow := map[uint16]bool{}, map[uint16]bool{}, 0
	seen := s.Queries()
	for i, q := range seen {
		ids[q.ID], ports[q.From.Port()] = true, true
		if i > 0 && (q.ID == seen[i-1].ID+1 || q.From.Port() == seen[i-1].From.Port()+1) {
			inRow++
		}
	}
	if len(ids) < queries*9/10 || len(ports) < queries*9/10 || inRow > queries/20 {
		t.Errorf("of %d queries: %d ids, %d ports, %d next to the one before", queries, len(ids), len(ports), inRow)
	}
}

func TestTruncatedGoesToTCP(t *testing.T) {
	big := dnstest.Action{Truncate: true}
	for i := range 200 {
		big.Answer = append(big.Answer, fmt.Sprintf("@ 60 IN A 192.0.2.%d", i))
	}
	s := dnstest.Start(t, dnstest.Always(big))
	r, err := newServer(s.Addr(), upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Proto != "tcp" || answers(t, r) != 200 {
		t.Errorf("got %s, %v; want 200 records over tcp", r.Proto, err)
	}
}

// TestOversizeGoesToTCP: a datagram beyond what was announced may be cut off.
func TestOversizeGoesToTCP(t *testing.T) {
	var big dnstest.Action
	for i := range 400 {
		big.Answer = append(big.Answer, fmt.Sprintf("@ 60 IN A 192.0.%d.%d", i/256, i%256))
	}
	s := dnstest.Start(t, dnstest.Always(big))
	r, err := newServer(s.Addr(), upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Proto != "tcp" || answers(t, r) != 400 {
		t.Errorf("got %s, %v; want 400 records over tcp", r.Proto, err)
	}
}

// TestTruncatedTakesThreeRoundTrips: one over UDP, one to connect, one over TCP.
func TestTruncatedTakesThreeRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := oneA()
		a.Truncate, a.Delay = true, 20*time.Millisecond
		n := dnstest.NewNet(map[string]dnstest.Script{serverAddr: dnstest.Always(a)})
		defer n.Close()
		n.Delay(serverAddr, 10*time.Millisecond)
		r, err := newServer(serverAddr, upstream.Options{Dial: n.Dial}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
		if err != nil || r.RTT != 60*time.Millisecond {
			t.Errorf("took %v, %v; want 60 ms", r.RTT, err)
		}
	})
}

func TestTCPFailures(t *testing.T) {
	tests := map[string]struct {
		action dnstest.Action
		want   error
	}{
		"truncated over tcp too": {dnstest.Action{TruncateAll: true}, upstream.ErrTruncated},
		"connection closed":      {dnstest.Action{Hangup: true}, nil},
		"malformed":              {dnstest.Action{Raw: malformed(), PatchID: true}, upstream.ErrMalformed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			n := inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(tc.action)})
			_, err := newServer(serverAddr, upstream.Options{Dial: n.Dial, UseTCP: true, Attempts: 1}).
				Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
			var e *upstream.Error
			if !errors.As(err, &e) || e.Timeout || e.Proto != "tcp" || (tc.want != nil && !errors.Is(err, tc.want)) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// malformed is a reply to www.example A whose record is cut off.
func malformed() []byte {
	m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	m.Response = true
	rr, _ := dns.NewRR("www.example. 60 IN A 192.0.2.1")
	m.Answer = []dns.RR{rr}
	b, _ := m.Pack()
	return b[:len(b)-2]
}

func TestUseTCP(t *testing.T) {
	s := dnstest.Start(t, dnstest.Always(oneA()))
	r, err := newServer(s.Addr(), upstream.Options{UseTCP: true}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil || r.Proto != "tcp" || s.Queries()[0].Proto != "tcp" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestEDNSFallback: a server that chokes on EDNS is asked without, and
// remembered.
func TestEDNSFallback(t *testing.T) {
	choke := func(a dnstest.Action) dnstest.Script {
		return func(q dnstest.Query) dnstest.Action {
			if q.EDNS {
				return a
			}
			return oneA()
		}
	}
	tests := map[string]dnstest.Action{
		"FORMERR":              {RCode: dns.RcodeFormatError, NoOPT: true},
		"NOTIMP":               {RCode: dns.RcodeNotImplemented, NoOPT: true},
		"BADVERS":              {RCode: dns.RcodeBadVers},
		"FORMERR, no question": {RCode: dns.RcodeFormatError, NoOPT: true, NoQuestion: true},
	}
	for name, action := range tests {
		t.Run(name, func(t *testing.T) {
			s := dnstest.Start(t, choke(action))
			u := newServer(s.Addr(), upstream.Options{})
			for range 2 {
				r, err := u.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
				if err != nil || answers(t, r) != 1 {
					t.Fatalf("got %v, %v", r, err)
				}
			}
			qs := s.Queries()
			if len(qs) != 3 || !qs[0].EDNS || qs[1].EDNS || qs[2].EDNS {
				t.Errorf("the server saw %+v, want EDNS once and then never", qs)
			}
		})
	}
}

// TestEDNSIsTriedAgain: the memory of a choking server ends.
func TestEDNSIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
			if q.EDNS {
				return dnstest.Action{RCode: dns.RcodeFormatError}
			}
			return oneA()
		}})
		defer n.Close()
		u := newServer(serverAddr, upstream.Options{Dial: n.Dial})
		for range 2 {
			if _, err := u.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour) // virtual
		}
		if qs := n.Server(serverAddr).Queries(); len(qs) != 4 || !qs[2].EDNS {
			t.Errorf("the server saw %+v, want EDNS tried again", qs)
		}
	})
}

// TestServerSilentToEDNS: some drop what they do not understand.
func TestServerSilentToEDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
			a := oneA()
			a.Drop = q.EDNS
			return a
		}})
		defer n.Close()
		u := newServer(serverAddr, upstream.Options{Dial: n.Dial})
		q := question(t, "www.example", dnswire.TypeA)
		if r, err := u.Exchange(t.Context(), q); err != nil || r.Tries != 1 || r.RTT > 5*second {
			t.Fatalf("got %+v, %v; want an answer within the first try", r, err)
		}
		if r, err := u.Exchange(t.Context(), q); err != nil || r.RTT != 0 {
			t.Errorf("got %+v, %v; want an answer at once", r, err)
		}
	})
}

// TestLostDatagram: the same datagram is sent again after about a second, long
// before the try is over, and with the same id.
func TestLostDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
			a := oneA()
			a.Drop = q.Nth == 0
			return a
		}})
		defer n.Close()
		r, err := newServer(serverAddr, upstream.Options{Dial: n.Dial}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
		if err != nil || r.RTT < 750*time.Millisecond || r.RTT > 1250*time.Millisecond {
			t.Errorf("got %+v, %v; want an answer after 1 s, a quarter more or less", r, err)
		}
		qs := n.Server(serverAddr).Queries()
		if len(n.Dials()) != 1 || len(qs) != 2 || qs[0].ID != qs[1].ID {
			t.Errorf("sockets %v, queries %+v; want one socket and one id", n.Dials(), qs)
		}
	})
}

// TestLastTryGoesOverTCP: where datagrams are lost a connection may not be, and
// the server is asked over TCP at once for a while. One that has no TCP is asked
// over UDP in the same try.
func TestLastTryGoesOverTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healed atomic.Bool
		n := inMemory(t, map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
			a := oneA()
			a.Drop = q.Proto == "udp" && !healed.Load()
			return a
		}})
		u := newServer(serverAddr, upstream.Options{Dial: n.Dial})
		q := question(t, "www.example", dnswire.TypeA)
		expect := func(proto string, tries int, took time.Duration) {
			t.Helper()
			if r, err := u.Exchange(t.Context(), q); err != nil || r.Proto != proto || r.Tries != tries || r.RTT != took {
				t.Errorf("got %+v, %v; want %s after %d tries and %v", r, err, proto, tries, took)
			}
		}
		expect("tcp", 2, 5*second)
		expect("tcp", 1, 0)
		healed.Store(true)
		time.Sleep(61 * second)
		expect("udp", 1, 0)
	})
	synctest.Test(t, func(t *testing.T) {
		n := inMemory(t, map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
			a := oneA()
			a.Drop, a.Hangup = q.Nth < 3, q.Proto == "tcp"
			return a
		}})
		u := newServer(serverAddr, upstream.Options{Dial: n.Dial})
		if r, err := u.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA)); err != nil || r.Proto != "udp" || r.Tries != 2 || r.RTT != 5*second {
			t.Errorf("without tcp: got %+v, %v", r, err)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(map[string]dnstest.Script{serverAddr: dnstest.Always(dnstest.Action{Drop: true})})
		defer n.Close()
		_, err := newServer(serverAddr, upstream.Options{Dial: n.Dial, Timeout: 2 * second, Attempts: 3}).
			Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
		var e *upstream.Error
		if !errors.As(err, &e) || !e.Timeout || e.Tries != 3 || e.Elapsed != 6*second || e.Server != serverAddr {
			t.Errorf("got %+v", err)
		}
		if want := "timed out after 3 tries"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
		if len(n.Dials()) != 3 {
			t.Errorf("sockets %v, want one for each try", n.Dials())
		}
	})
}

func TestCancelEndsTheWait(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprintf("tcp %v", tcp), func(t *testing.T) {
			s := dnstest.Start(t, dnstest.Always(dnstest.Action{Drop: true}))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, err := newServer(s.Addr(), upstream.Options{UseTCP: tcp}).Exchange(ctx, question(t, "www.example", dnswire.TypeA))
				done <- err
			}()
			if err := s.WaitQueries(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			cancel()
			err := <-done
			var e *upstream.Error
			if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Timeout {
				t.Errorf("got %v, want the cancellation", err)
			}
		})
	}
}

func TestDeadlineOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(map[string]dnstest.Script{serverAddr: dnstest.Always(dnstest.Action{Drop: true})})
		defer n.Close()
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		start := time.Now()
		_, err := newServer(serverAddr, upstream.Options{Dial: n.Dial}).Exchange(ctx, question(t, "www.example", dnswire.TypeA))
		var e *upstream.Error
		if !errors.As(err, &e) || !e.Timeout || time.Since(start) != second {
			t.Errorf("got %v after %v, want a time-out after 1 s", err, time.Since(start))
		}
	})
}

// TestNoServerListens: the port is held by a socket that is connected
// elsewhere, so nothing listens there and no one else can.
func TestNoServerListens(t *testing.T) {
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, err = newServer(c.LocalAddr().String(), upstream.Options{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	var e *upstream.Error
	if !errors.As(err, &e) || e.Timeout || !errors.Is(err, syscall.ECONNREFUSED) || e.Tries != 2 {
		t.Errorf("got %v, want connection refused after 2 tries", err)
	}
}

func BenchmarkExchange(b *testing.B) {
	s := dnstest.Start(b, dnstest.Always(oneA()))
	u := newServer(s.Addr(), upstream.Options{})
	q := question(b, "www.example", dnswire.TypeA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := u.Exchange(b.Context(), q); err != nil {
			b.Fatal(err)
		}
	}
}
