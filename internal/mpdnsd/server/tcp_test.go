package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// dial opens a TCP connection to l, closed with the test.
func dial(t testing.TB, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	return c
}

// frame is a message with its length before it.
func frame(packet []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
}

// receive reads one framed message.
func receive(t testing.TB, c net.Conn) *dns.Msg {
	t.Helper()
	r, err := (&dns.Conn{Conn: c}).ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPipelining sends questions at once and takes the answers as they come: a
// slow one does not hold up those behind it (RFC 7766 section 6.2.1.1), also
// more of them than are worked on at a time.
func TestPipelining(t *testing.T) {
	release := make(chan struct{})
	fast := dnstest.Zone("fast.example. 60 IN A 192.0.2.1", "slow.example. 60 IN A 192.0.2.2")
	up := dnstest.Start(t, func(q dnstest.Query) dnstest.Action {
		a := fast(q)
		if q.Is("slow.example", "A") {
			a.Hold = release
		}
		return a
	})
	source := forwarding(t, up)
	source.Upstream = upstream.NewServer(up.AddrPort(), upstream.Options{Timeout: testTimeout})
	_, l := listen(t, source, options())
	c := dial(t, l)
	var all []byte
	slow := question("slow.example", "A")
	all = append(all, frame(pack(t, slow))...)
	want := make(map[uint16]bool)
	for range 2 * maxPipelined {
		m := question("fast.example", "A")
		for m.Id == slow.Id || want[m.Id] {
			m.Id++
		}
		want[m.Id] = true
		all = append(all, frame(pack(t, m))...)
	}
	go func() { _, _ = c.Write(all) }() // ends with the connection
	for range len(want) {
		r := receive(t, c)
		if !want[r.Id] || len(r.Answer) != 1 {
			t.Fatalf("answer %v", r)
		}
		delete(want, r.Id)
	}
	close(release)
	if r := receive(t, c); r.Id != slow.Id || answers(r) != "slow.example. A 192.0.2.2" {
		t.Errorf("last answer %v", r)
	}
}

// TestTCPOctetByOctet: a question may come in any pieces.
func TestTCPOctetByOctet(t *testing.T) {
	_, l := listen(t, zoneSource(t), options())
	c := dial(t, l)
	_ = c.(*net.TCPConn).SetNoDelay(true)
	for _, b := range frame(pack(t, question("server.demo.example", "A"))) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if r := receive(t, c); len(r.Answer) != 2 {
		t.Errorf("answer %v", r)
	}
	_ = c.(*net.TCPConn).CloseWrite() // half closed: what was asked before is answered
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestTCPHalfClose answers what was asked although the client sends no more.
func TestTCPHalfClose(t *testing.T) {
	_, l := listen(t, zoneSource(t), options())
	c := dial(t, l)
	if _, err := c.Write(frame(pack(t, question("server.demo.example", "TYPE65400")))); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if r := receive(t, c); len(r.Answer) != 1 {
		t.Errorf("answer %v", r)
	}
}

// TestTCPClosed is when the server closes a connection.
func TestTCPClosed(t *testing.T) {
	o := options()
	o.TCPIdle = 50 * time.Millisecond
	_, l := listen(t, zoneSource(t), o)
	for name, send := range map[string][]byte{
		"idle":                     nil,
		"idle after half a length": {0},
		"zero length":              {0, 0},
		"shorter than a header":    {0, 5, 1, 2, 3, 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, l)
			_, _ = c.Write(send)
			if n, err := c.Read(make([]byte, 1)); n > 0 || isTimeout(err) {
				t.Errorf("%d octets, %v; want the end", n, err)
			}
		})
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// TestTCPConnections: connections above the limit are closed at once, and a
// place is free again when one ends.
func TestTCPConnections(t *testing.T) {
	o := options()
	s, l := listen(t, zoneSource(t), o)
	packet := frame(pack(t, question("server.demo.example", "A")))
	var open []net.Conn
	for range o.TCPConnections {
		c := dial(t, l)
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
		receive(t, c)
		open = append(open, c)
	}
	c := dial(t, l)
	_, _ = c.Write(packet)
	if n, err := c.Read(make([]byte, 1)); n > 0 || isTimeout(err) {
		t.Errorf("one connection too many: %d octets, %v", n, err)
	}
	if n := s.tcpConns.Load(); n != int64(o.TCPConnections) {
		t.Errorf("%d connections counted", n)
	}
	_ = open[0].Close()
	for deadline := time.Now().Add(testTimeout); ; {
		c := dial(t, l)
		_, _ = c.Write(packet)
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no connection after one has ended")
		}
	}
}

// TestTCPSlowReader: a client that asks and does not read is not read further,
// holds a bounded number of answers, and does not keep others waiting.
func TestTCPSlowReader(t *testing.T) {
	s, l := listen(t, zoneSource(t), options())
	fill(t, dial(t, l))
	if queued, most := s.tcpQueued.Load(), int64(maxPipelined*4096); queued > most {
		t.Errorf("%d octets queued, want at most %d", queued, most)
	}
	if r := exchange(t, l, "tcp", question("server.demo.example", "A")); len(r.Answer) != 2 {
		t.Errorf("another client: %v", r)
	}
}

// TestShutdownSlowReader: a client that does not read does not keep the server
// from ending in its time.
func TestShutdownSlowReader(t *testing.T) {
	s := New(zoneSource(t), options())
	l, err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, l)
	fill(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	begun := time.Now()
	_ = s.Shutdown(ctx) // whether all was answered is not the question here
	if d := time.Since(begun); d > writeTimeout/2 {
		t.Errorf("Shutdown took %v", d)
	}
}

// fill asks for large answers and reads none, until nothing more can be sent.
func fill(t testing.TB, c net.Conn) {
	packet := frame(pack(t, question("big.test.example", "TXT")))
	_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	var err error
	for err == nil { // until the server reads no more and the buffers are full
		_, err = c.Write(packet)
	}
}
