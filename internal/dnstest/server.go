package dnstest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Server answers DNS queries as its script says. Its goroutines end, and are
// waited for, in Close.
type Server struct {
	script Script
	pc     net.PacketConn // nil: no UDP
	ln     net.Listener   // nil: no TCP
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what is below
	queries []Query
	conns   map[net.Conn]bool
	arrived chan struct{} // closed and replaced at each query
}

// TB is the part of testing.TB that this package needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// portTries bounds the search for a port that is free for both UDP and TCP.
const portTries = 50

// Start runs a server on a free port of 127.0.0.1, UDP and TCP, until the test
// ends.
func Start(tb TB, script Script) *Server {
	tb.Helper()
	return StartAt(tb, "127.0.0.1:0", script)
}

// StartAt is Start on an address of the caller's choice; port 0 takes a free
// one.
func StartAt(tb TB, address string, script Script) *Server {
	tb.Helper()
	var last error
	for range portTries {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			tb.Fatalf("dnstest: listen on tcp %s: %v", address, err)
			return nil
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			s := Serve(pc, ln, script)
			tb.Cleanup(s.Close)
			return s
		}
		last = err
		_ = ln.Close()
	}
	tb.Fatalf("dnstest: no port of %s is free for udp and tcp: %v", address, last)
	return nil
}

// Serve runs a server on the caller's sockets, either of which may be nil.
// Close closes them.
func Serve(pc net.PacketConn, ln net.Listener, script Script) *Server {
	s := newServer(script)
	s.pc, s.ln = pc, ln
	if pc != nil {
		s.wg.Go(s.packets)
	}
	if ln != nil {
		s.wg.Go(s.accept)
	}
	return s
}

func newServer(script Script) *Server {
	s := &Server{script: script, conns: map[net.Conn]bool{}, arrived: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close stops the server and waits for its goroutines.
func (s *Server) Close() {
	s.cancel()
	if s.pc != nil {
		_ = s.pc.Close()
	}
	if s.ln != nil {
		_ = s.ln.Close()
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// AddrPort is where the server listens.
func (s *Server) AddrPort() netip.AddrPort {
	if s.pc != nil {
		return addrPort(s.pc.LocalAddr())
	}
	return addrPort(s.ln.Addr())
}

// Addr is AddrPort as text.
func (s *Server) Addr() string { return s.AddrPort().String() }

// Queries returns what was asked so far, in order of arrival.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Query(nil), s.queries...)
}

// Count returns how many queries for this name and type arrived. An empty
// name or type matches all.
func (s *Server) Count(name, typ string) int {
	n := 0
	for _, q := range s.Queries() {
		if (typ == "" || q.Type == typ) && (name == "" || q.Is(name, q.Type)) {
			n++
		}
	}
	return n
}

// WaitQueries returns when n queries have arrived, or with the context's error.
func (s *Server) WaitQueries(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		have, arrived := len(s.queries), s.arrived
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d queries, have %d: %w", n, have, ctx.Err())
		}
	}
}

// record notes the query and sets its Nth.
func (s *Server) record(q Query) Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.queries {
		if old.Type == q.Type && strings.EqualFold(old.Name, q.Name) {
			q.Nth++
		}
	}
	s.queries = append(s.queries, q)
	close(s.arrived)
	s.arrived = make(chan struct{})
	return q
}

// packets reads datagrams; each is answered by a goroutine of its own, since
// an answer may be told to wait.
func (s *Server) packets() {
	buf := make([]byte, 65535)
	for {
		n, from, err := s.pc.ReadFrom(buf)
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			continue // an ICMP error of an earlier reply
		}
		packet := append([]byte(nil), buf[:n]...)
		s.wg.Go(func() {
			s.handle(packet, "udp", addrPort(from), func(reply []byte, a Action) error {
				return s.sendPacket(reply, from, a)
			})
		})
	}
}

func (s *Server) sendPacket(reply []byte, to net.Addr, a Action) error {
	pc := s.pc
	if a.WrongSource {
		other, err := net.ListenPacket("udp", net.JoinHostPort(s.AddrPort().Addr().String(), "0"))
		if err != nil {
			return fmt.Errorf("open another source: %w", err)
		}
		defer func() { _ = other.Close() }()
		pc = other
	}
	_, err := pc.WriteTo(reply, to)
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.serveStream(c) })
	}
}

// serveStream answers the queries of one TCP connection, one after the other.
func (s *Server) serveStream(c net.Conn) {
	s.mu.Lock()
	s.conns[c] = true
	s.mu.Unlock()
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	if s.ctx.Err() != nil {
		return
	}
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, packet); err != nil {
			return
		}
		ok := s.handle(packet, "tcp", addrPort(c.RemoteAddr()), func(reply []byte, _ Action) error {
			framed := binary.BigEndian.AppendUint16(nil, uint16(len(reply))) //nolint:gosec // a packed message is at most 65535 octets
			_, err := c.Write(append(framed, reply...))
			return err
		})
		if !ok {
			return
		}
	}
}

// handle does what the script says; it reports false when a TCP connection
// must be closed.
func (s *Server) handle(packet []byte, proto string, from netip.AddrPort, send func([]byte, Action) error) bool {
	msg, q, err := parse(packet, proto, from)
	if err != nil {
		return false
	}
	a := s.script(s.record(q))
	for _, act := range append(append([]Action(nil), a.Before...), a) {
		if act.Hangup {
			return false
		}
		if !s.wait(act) || act.Drop {
			continue
		}
		reply, err := act.build(msg, proto)
		if err != nil || send(reply, act) != nil {
			return false
		}
	}
	return true
}

// wait lets the action's time pass; it reports false when the server closes.
func (s *Server) wait(a Action) bool {
	if a.Delay > 0 {
		t := time.NewTimer(a.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.ctx.Done():
			return false
		}
	}
	if a.Hold != nil {
		select {
		case <-a.Hold:
		case <-s.ctx.Done():
			return false
		}
	}
	return true
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	case *net.TCPAddr:
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
