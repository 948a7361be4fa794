package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxReadErrors is how many errors in a row end a UDP loop. Single ones
	// are an ICMP message about an earlier answer, on some systems.
	maxReadErrors = 1000
	// portTries is how often a port that is free for UDP is tried for TCP.
	portTries = 16
)

// Listener takes questions at one address, over UDP and TCP.
type Listener struct {
	s    *Server
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  *net.TCPListener

	stopping atomic.Bool
	loops    sync.WaitGroup // those that take questions
	inFlight sync.WaitGroup // questions that workers have

	mu    sync.Mutex
	conns map[*tcpConn]struct{} // guarded by mu
}

// Listen opens an address and begins to take questions there. Port 0 is any
// port that is free for both UDP and TCP.
func (s *Server) Listen(addr netip.AddrPort) (*Listener, error) {
	l := &Listener{s: s, conns: make(map[*tcpConn]struct{})}
	if err := l.open(addr); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.close()
		return nil, net.ErrClosed
	}
	s.listeners[l.addr] = l
	l.loops.Go(l.serveUDP)
	l.loops.Go(l.serveTCP)
	return l, nil
}

// open opens both sockets on one port. [::] is IPv6 only, so that 0.0.0.0 can
// stand beside it.
func (l *Listener) open(addr netip.AddrPort) (err error) {
	udp, tcp := "udp6", "tcp6"
	if addr.Addr().Is4() {
		udp, tcp = "udp4", "tcp4"
	}
	for range portTries {
		l.udp, err = net.ListenUDP(udp, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return fmt.Errorf("listening on %v: %w", addr, reason(err))
		}
		l.addr = netip.AddrPortFrom(addr.Addr(), l.udp.LocalAddr().(*net.UDPAddr).AddrPort().Port())
		if addr.Addr().IsUnspecified() {
			err = rememberDestination(l.udp, addr.Addr().Is4())
		}
		if err != nil {
			_ = l.udp.Close() // nothing was sent
			break
		}
		l.tcp, err = net.ListenTCP(tcp, net.TCPAddrFromAddrPort(l.addr))
		if err == nil {
			return nil
		}
		_ = l.udp.Close() // nothing was sent
		if addr.Port() != 0 {
			break
		}
	}
	return fmt.Errorf("listening on %v: %w", addr, reason(err))
}

// reason is an error of package net without the address that it repeats.
func reason(err error) error {
	var oe *net.OpError
	if errors.As(err, &oe) {
		return oe.Err
	}
	return err
}

// Addr returns the address listened on, with its real port.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Close stops taking questions at this address, and returns when those taken
// are answered.
func (l *Listener) Close() {
	l.s.mu.Lock()
	delete(l.s.listeners, l.addr)
	l.s.mu.Unlock()
	l.stop()
	l.drain()
}

// stop ends all reading; answers still go out.
func (l *Listener) stop() {
	l.stopping.Store(true)
	past := time.Unix(1, 0)
	_ = l.udp.SetReadDeadline(past) // fails on a closed socket only
	_ = l.tcp.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.net.SetReadDeadline(past)
	}
}

// drain waits until all questions taken are answered, and closes the sockets.
func (l *Listener) drain() {
	l.loops.Wait()
	l.inFlight.Wait()
	l.close()
}

// abort closes all connections, whatever their clients have not read yet.
func (l *Listener) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.net.Close()
	}
}

func (l *Listener) close() {
	_ = l.udp.Close()
	_ = l.tcp.Close()
}

// datagram is one request over UDP and the way back.
type datagram struct {
	client  netip.AddrPort
	control []byte // what rememberDestination asks for; empty unless the listener's address is a wildcard
}

// serveUDP reads datagrams and answers what can be answered at once.
func (l *Listener) serveUDP() {
	in := make([]byte, maxQuery)
	out := make([]byte, 0, maxQuery)
	control := make([]byte, maxControl)
	for errs := 0; errs < maxReadErrors; {
		n, cn, _, client, err := l.udp.ReadMsgUDPAddrPort(in, control)
		if l.stopping.Load() || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			errs++
			continue
		}
		errs = 0
		l.take(out, in[:n], datagram{client, control[:cn]})
	}
	l.s.options.Log.Error("reading over udp fails again and again, giving up", "listen", l.addr)
}

// take answers one datagram, or gives it to a worker. If all are busy it is
// dropped: its client will ask again.
func (l *Listener) take(out, packet []byte, d datagram) {
	req := request{packet: packet, client: d.client, transport: overUDP}
	out, done := l.s.begin(out, &req)
	if done {
		l.send(out, d)
		return
	}
	d.control = slices.Clone(d.control)
	l.inFlight.Add(1)
	if !l.s.try(l.s.newJob(&req, func(msg []byte) { l.send(msg, d); l.inFlight.Done() })) {
		l.inFlight.Done()
	}
}

// send sends an answer, if there is one. Whether it arrives is the client's
// concern.
func (l *Listener) send(msg []byte, d datagram) {
	if len(msg) > 0 {
		_, _, _ = l.udp.WriteMsgUDPAddrPort(msg, d.control, d.client)
	}
}
