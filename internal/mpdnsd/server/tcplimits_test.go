package server

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestTCPNoCutOff: a connection may ask as often as it likes, and answers that are ready together
// come in fewer segments than there are answers.
func TestTCPNoCutOff(t *testing.T) {
	const questions = 1000
	s, l := primed(t, options())
	c := dial(t, l)
	packet := frame(pack(t, question("www.example", "A")))
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(bytes.Repeat(packet, questions))
		done <- err
	}()
	for i := range questions {
		if r := receive(t, c); len(r.Answer) != 1 {
			t.Fatalf("answer %d: %v", i, r)
		}
	}
	if err := await(t, done); err != nil {
		t.Error(err)
	}
	if n := s.Stats().TCP.Hits; n != questions {
		t.Errorf("%d hits", n)
	}
}

// TestTCPWholeBatches: questions that come in one segment are answered in one, in whole.
func TestTCPWholeBatches(t *testing.T) {
	_, l := primed(t, options())
	c := dial(t, l)
	packet := frame(pack(t, question("www.example", "A")))
	const together = 20
	if _, err := c.Write(bytes.Repeat(packet, together)); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, 1<<16)
	n, err := c.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	length := 2 + int(binary.BigEndian.Uint16(in))
	if n != together*length {
		t.Errorf("%d octets at once, want %d answers of %d", n, together, length)
	}
}

// TestTCPHugeFrames: messages up to the greatest length are read whole, and each gets its answer;
// those behind are read as before.
func TestTCPHugeFrames(t *testing.T) {
	_, l := listen(t, zoneSource(t), options())
	c := dial(t, l)
	good := pack(t, question("server.demo.example", "A"))
	for _, n := range []int{readerLen - 3, readerLen - 2, readerLen - 1, readerLen, 20000, 65535} {
		huge := append(bytes.Clone(good), make([]byte, n-len(good))...)
		if _, err := c.Write(append(frame(huge), frame(good)...)); err != nil {
			t.Fatal(err)
		}
		codes := map[int]int{receive(t, c).Rcode: 1}
		codes[receive(t, c).Rcode]++
		if codes[dns.RcodeFormatError] != 1 || codes[dns.RcodeSuccess] != 1 {
			t.Errorf("%d octets: codes %v", n, codes)
		}
	}
}

// TestTCPSlowFrame: a client that sends an octet now and then does not keep its connection beyond
// the time for one message.
func TestTCPSlowFrame(t *testing.T) {
	o := options()
	o.TCPIdle = 200 * time.Millisecond
	_, l := listen(t, zoneSource(t), o)
	c := dial(t, l)
	begun := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.Read(make([]byte, 1))
	}()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for _, b := range frame(pack(t, question("server.demo.example", "A"))) {
		select {
		case <-ended:
			if d := time.Since(begun); d > testTimeout/2 {
				t.Errorf("closed after %v", d)
			}
			return
		case <-pace.C:
			_, _ = c.Write([]byte{b})
		}
	}
	t.Error("was given more than the time for one message")
}

// TestTCPUnread: a client that leaves its answers unread is closed after a time, whatever it does.
func TestTCPUnread(t *testing.T) {
	t.Parallel() // it waits for writeTimeout
	s, l := listen(t, zoneSource(t), options())
	c := dial(t, l)
	fill(t, c)
	if n := s.tcpConns.Load(); n != 1 {
		t.Fatalf("%d connections", n)
	}
	look, end := time.NewTicker(50*time.Millisecond), time.After(writeTimeout+testTimeout)
	defer look.Stop()
	for s.tcpConns.Load() > 0 {
		select {
		case <-look.C:
		case <-end:
			t.Fatal("still open")
		}
	}
}

// TestTCPPerClient: one client has its share of the connections, and no more.
func TestTCPPerClient(t *testing.T) {
	o := options()
	o.TCPConnections, o.TCPPerClient = 10, 0 // 0: half
	s := start(t, zoneSource(t), o)
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1")
	other := netip.MustParseAddr("2001:db8:0:1::1")
	for i := range 6 {
		if got, want := s.enter([]netip.Addr{a, b}[i%2]), i < 5; got != want {
			t.Errorf("connection %d of one /64: %v", i, got)
		}
	}
	for i := range 6 {
		if got, want := s.enter(other), i < 5; got != want {
			t.Errorf("connection %d of another: %v", i, got)
		}
	}
	if s.enter(netip.MustParseAddr("192.0.2.1")) {
		t.Error("more than all connections")
	}
	for range 5 {
		s.leave(a)
		s.leave(other)
	}
	if len(s.clients) != 0 || s.tcpConns.Load() != 0 {
		t.Errorf("left behind: %v, %d", s.clients, s.tcpConns.Load())
	}
}

// TestTCPThousands: thousands of connections, most of them turned away, leave goroutines and memory
// bounded, and the server answers.
func TestTCPThousands(t *testing.T) {
	const connections, limit = 3000, 100
	o := options()
	o.TCPConnections, o.TCPPerClient = limit, limit
	s, l := listen(t, zoneSource(t), o)
	packet := frame(pack(t, question("server.demo.example", "A")))
	before := runtime.NumGoroutine()
	open := make(chan net.Conn, 300) // as many as one process's descriptors hold with ease
	for range connections {
		if len(open) == cap(open) {
			_ = (<-open).Close()
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(packet)
		open <- c
		if n := s.tcpConns.Load(); n > limit {
			t.Fatalf("%d connections", n)
		}
	}
	if n := runtime.NumGoroutine() - before; n > 2*limit+options().Outstanding+localWorkers {
		t.Errorf("%d goroutines more", n)
	}
	if r := exchange(t, l, "udp", question("server.demo.example", "A")); len(r.Answer) != 2 {
		t.Errorf("answer %v", r)
	}
	for close(open); len(open) > 0; {
		_ = (<-open).Close()
	}
	if s.Stats().TCPRefused == 0 {
		t.Error("nobody was turned away")
	}
}

// TestKeepalive: who asks for it over TCP is told how long it may idle (RFC 7828); over UDP nobody is.
func TestKeepalive(t *testing.T) {
	s := start(t, zoneSource(t), options())
	m := question("server.demo.example", "A")
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE})
	for tr, want := range map[transport]uint16{overUDP: 0, overTCP: 50} {
		got := uint16(0)
		for _, o := range ask(t, s, m, tr).IsEdns0().Option {
			if k, ok := o.(*dns.EDNS0_TCP_KEEPALIVE); ok {
				got = k.Timeout
			}
		}
		if got != want {
			t.Errorf("transport %d: %d tenths of a second, want %d", tr, got, want)
		}
	}
}

// BenchmarkTCPHit is a batch of eight cached answers over one connection.
func BenchmarkTCPHit(b *testing.B) {
	_, l := primed(b, options())
	c := dial(b, l)
	_ = c.SetDeadline(time.Time{})
	packet, in := bytes.Repeat(frame(pack(b, question("www.example", "A"))), 8), make([]byte, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(packet); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < len(packet)+8*16; {
			n, err := c.Read(in)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
}
