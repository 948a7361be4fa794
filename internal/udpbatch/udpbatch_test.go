package udpbatch

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

const testTimeout = 10 * time.Second

// echo answers every datagram with itself.
func echo(dst, packet []byte, _ Peer) []byte { return append(dst, packet...) }

// serve runs the loops of an address until the test's end.
func serve(t testing.TB, addr string, sockets int, portable bool, h Handler) netip.AddrPort {
	t.Helper()
	conns, err := Listen(netip.MustParseAddrPort(addr), sockets)
	if err != nil {
		t.Fatal(err)
	}
	serveConns(t, conns, portable, h)
	return conns[0].Addr()
}

func serveConns(t testing.TB, conns []*Conn, portable bool, h Handler) {
	var wg sync.WaitGroup
	for _, c := range conns {
		c.portable = c.portable || portable
		wg.Go(func() {
			if err := c.Serve(h); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Serve: %v", err)
			}
		})
	}
	t.Cleanup(func() { Close(conns); wg.Wait() })
}

// connect is a client's socket, which takes answers from the address asked only.
func connect(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	return c
}

// roundTrip sends and wants the same back.
func roundTrip(t testing.TB, c net.Conn, packet []byte) {
	t.Helper()
	if _, err := c.Write(packet); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, 65536)
	n, err := c.Read(in)
	if err != nil || !bytes.Equal(in[:n], packet) {
		t.Fatalf("%d octets %.20x, %v; want %d octets", n, in[:n], err, len(packet))
	}
}

// both runs a test with batches and with the loop for systems without.
func both(t *testing.T, test func(t *testing.T, portable bool)) {
	for _, portable := range []bool{false, true} {
		t.Run(map[bool]string{false: "batches", true: "portable"}[portable], func(t *testing.T) { test(t, portable) })
	}
}

// TestEcho: both families, specific and wildcard addresses; the answer comes from the address asked,
// for else a connected socket does not take it.
func TestEcho(t *testing.T) {
	type address struct{ listen, ask string }
	tests := []address{{"127.0.0.1:0", "127.0.0.1"}, {"[::1]:0", "::1"}}
	if runtime.GOOS == "linux" { // all of 127.0.0.0/8 is there, and pktinfo
		tests = append(tests, address{"0.0.0.0:0", "127.0.0.2"}, address{"[::]:0", "::1"})
	}
	both(t, func(t *testing.T, portable bool) {
		for _, tt := range tests {
			var unsent uint64
			for _, by := range []string{"loop", "Send", "Queue"} {
				conns, err := Listen(netip.MustParseAddrPort(tt.listen), 1)
				if err != nil {
					t.Fatal(err)
				}
				conn := conns[0]
				h := echo
				switch by {
				case "Send":
					h = func(_, packet []byte, from Peer) []byte { conn.Send(packet, from); return nil }
				case "Queue":
					h = func(_, packet []byte, from Peer) []byte {
						conn.Queue(packet, from)
						conn.Flush()
						return nil
					}
				}
				serveConns(t, conns, portable, h)
				c := connect(t, netip.AddrPortFrom(netip.MustParseAddr(tt.ask), conn.Addr().Port()))
				for _, n := range []int{1, 12, 512, 1232, MaxDatagram} {
					roundTrip(t, c, bytes.Repeat([]byte{byte(n)}, n))
				}
				unsent += conn.Unsent()
			}
			if unsent != 0 {
				t.Errorf("%d answers not sent", unsent)
			}
		}
	})
}

// TestPeer: a Handler sees who asks and, on a wildcard address, which address was asked.
func TestPeer(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs pktinfo, and all of 127.0.0.0/8")
	}
	both(t, func(t *testing.T, portable bool) {
		peers := make(chan Peer, 1)
		for listen, ask := range map[string]string{"0.0.0.0:0": "127.0.0.3", "[::]:0": "::1"} {
			addr := serve(t, listen, 1, portable, func(_, _ []byte, from Peer) []byte { peers <- from; return nil })
			c := connect(t, netip.AddrPortFrom(netip.MustParseAddr(ask), addr.Port()))
			if _, err := c.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			p := <-peers
			if p.Asked().String() != ask || p.Addr != c.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("%v asked %v, want %v asked %s", p.Addr, p.Asked(), c.LocalAddr(), ask)
			}
		}
	})
}

// TestLongDatagram: what is beyond MaxDatagram is lost, the loop goes on.
func TestLongDatagram(t *testing.T) {
	both(t, func(t *testing.T, portable bool) {
		c := connect(t, serve(t, "127.0.0.1:0", 1, portable, echo))
		if _, err := c.Write(make([]byte, 3*MaxDatagram)); err != nil {
			t.Fatal(err)
		}
		in := make([]byte, 65536)
		if n, err := c.Read(in); err != nil || n != MaxDatagram {
			t.Errorf("%d octets, %v; want %d", n, err, MaxDatagram)
		}
		roundTrip(t, c, []byte("next"))
	})
}

// TestLongAnswers: a batch of answers beyond the room that is kept is sent all the same.
func TestLongAnswers(t *testing.T) {
	const size, count = 60000, 4
	both(t, func(t *testing.T, portable bool) {
		c := connect(t, serve(t, "127.0.0.1:0", 1, portable, func(dst, packet []byte, _ Peer) []byte {
			return append(append(dst, packet[0]), make([]byte, size)...)
		}))
		if err := c.SetReadBuffer(1 << 20); err != nil { // room for all of them, whatever the default
			t.Fatal(err)
		}
		for i := range byte(count) {
			if _, err := c.Write([]byte{i}); err != nil {
				t.Fatal(err)
			}
		}
		in := make([]byte, 65536)
		for i := range byte(count) {
			if n, err := c.Read(in); err != nil || n != size+1 || in[0] != i {
				t.Errorf("answer %d: %d octets, %v", i, n, err)
			}
		}
	})
}

// TestQueue: more than one batch of datagrams, one of them refused, wait for Flush, but for what
// no room is left for, and come in order.
func TestQueue(t *testing.T) {
	both(t, func(t *testing.T, portable bool) {
		const count = 3*batch + 5
		conns, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 1)
		if err != nil {
			t.Fatal(err)
		}
		c := conns[0]
		c.portable = c.portable || portable
		t.Cleanup(func() { Close(conns) })
		client := connect(t, c.Addr())
		to := Peer{Addr: client.LocalAddr().(*net.UDPAddr).AddrPort()}
		c.Flush() // of nothing
		c.Queue(nil, to)
		for i := range byte(count) {
			if i == 7 {
				c.Queue([]byte("to nobody"), Peer{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
			}
			c.Queue([]byte{i, i}, to)
		}
		c.Flush()
		in := make([]byte, 100)
		for i := range byte(count) {
			if n, err := client.Read(in); err != nil || n != 2 || in[0] != i {
				t.Fatalf("datagram %d: %d octets %x, %v", i, n, in[:n], err)
			}
		}
		if n := c.Unsent(); n != 1 {
			t.Errorf("%d not sent, want 1", n)
		}
		Close(conns)
		c.Queue([]byte{1}, to)
		c.Flush()
		if n := c.Unsent(); n != 2 {
			t.Errorf("%d not sent after Close, want 2", n)
		}
	})
}

// TestSockets: many clients of one address are answered by whichever of its sockets they fall to.
func TestSockets(t *testing.T) {
	const sockets, clients = 4, 64
	conns, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), sockets)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	served := make(map[*Conn]int)
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			_ = c.Serve(func(dst, packet []byte, _ Peer) []byte {
				mu.Lock()
				defer mu.Unlock()
				served[c]++
				return append(dst, packet...)
			})
		})
	}
	for i := range byte(clients) {
		roundTrip(t, connect(t, conns[0].Addr()), []byte{i})
	}
	Close(conns)
	wg.Wait()
	want := 1
	if runtime.GOOS == "linux" {
		want = sockets
	}
	if len(conns) != want || len(served) != want {
		t.Errorf("%d sockets, %d of them with clients, want %d: %v", len(conns), len(served), want, served)
	}
}

// TestAnotherHasTheAddress: sockets that share an address among themselves share it with nobody
// else, whichever comes first.
func TestAnotherHasTheAddress(t *testing.T) {
	for _, sockets := range []int{1, 2} {
		for _, theirs := range []int{1, 2} {
			t.Run(fmt.Sprintf("%d against %d", sockets, theirs), func(t *testing.T) {
				other, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), theirs)
				if err != nil {
					t.Fatal(err)
				}
				addr := other[0].Addr()
				if ours, err := Listen(addr, sockets); err == nil {
					Close(ours)
					t.Error("one address twice")
				}
				Close(other)
				ours, err := Listen(addr, sockets)
				if err != nil {
					t.Fatal(err)
				}
				Close(ours)
			})
		}
	}
}

// TestDeadlineEnds: a read deadline in the past ends Serve, and answers can still be sent.
func TestDeadlineEnds(t *testing.T) {
	both(t, func(t *testing.T, portable bool) {
		conns, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer Close(conns)
		c := conns[0]
		c.portable = c.portable || portable
		peers, done := make(chan Peer, 1), make(chan error, 1)
		go func() { done <- c.Serve(func(_, _ []byte, from Peer) []byte { peers <- from; return nil }) }()
		client := connect(t, c.Addr())
		if _, err := client.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		p := <-peers
		_ = c.UDP().SetReadDeadline(time.Unix(1, 0))
		if err := <-done; !isTimeout(err) {
			t.Errorf("Serve: %v", err)
		}
		c.Send([]byte{2}, p)
		in := make([]byte, 1)
		if _, err := client.Read(in); err != nil || in[0] != 2 {
			t.Errorf("after the deadline: %v, %v", in, err)
		}
	})
}

// TestUnsent: an answer that the system refuses does not take those of its batch with it.
func TestUnsent(t *testing.T) {
	both(t, func(t *testing.T, portable bool) {
		conns, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 1)
		if err != nil {
			t.Fatal(err)
		}
		serveConns(t, conns, portable, func(dst, packet []byte, _ Peer) []byte {
			if packet[0] == 0 {
				return append(dst, make([]byte, 70000)...) // EMSGSIZE
			}
			return append(dst, packet...)
		})
		c := connect(t, conns[0].Addr())
		for i := range byte(3) {
			if _, err := c.Write([]byte{i % 2}); err != nil {
				t.Fatal(err)
			}
		}
		roundTrip(t, c, []byte{1}) // the one sent in the middle
		in := make([]byte, 1)
		if _, err := c.Read(in); err != nil {
			t.Fatal(err)
		}
		if n := conns[0].Unsent(); n != 2 {
			t.Errorf("%d not sent, want 2", n)
		}
	})
}
