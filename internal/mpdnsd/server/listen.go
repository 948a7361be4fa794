package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/udpbatch"
)

// portTries is how often a port that is free for UDP is tried for TCP.
const portTries = 16

// Listener takes questions at one address, over UDP and TCP.
type Listener struct {
	s         *Server
	addr      netip.AddrPort
	loops     []udpLoop // none without UDP
	tcp       *net.TCPListener
	tcpCounts []counters // connections take turns

	stopping atomic.Bool
	running  sync.WaitGroup // what takes questions
	inFlight sync.WaitGroup // questions that workers have

	mu    sync.Mutex
	conns map[*tcpConn]struct{} // guarded by mu
	turn  int                   // of tcpCounts; guarded by mu
}

// Listen opens an address and begins to take questions there. Port 0 is any
// port that is free for both UDP and TCP. An address that another program has
// is an error, whatever that program would share.
func (s *Server) Listen(addr netip.AddrPort) (*Listener, error) {
	udp, tcp, err := open(addr, s.options.Loops)
	if err != nil {
		return nil, fmt.Errorf("listening on %v: %w", addr, reason(err))
	}
	return s.serve(addr.Addr(), udp, tcp)
}

// ListenOn begins to take questions from sockets that another opened, such as
// the service manager, and takes them over. One of them may be nil.
func (s *Server) ListenOn(udp *net.UDPConn, tcp *net.TCPListener) (*Listener, error) {
	var conns []*udpbatch.Conn
	var addr netip.Addr
	if tcp != nil {
		addr = tcp.Addr().(*net.TCPAddr).AddrPort().Addr()
	}
	if udp != nil {
		c, err := udpbatch.New(udp)
		if err != nil {
			return nil, err
		}
		conns, addr = []*udpbatch.Conn{c}, c.Addr().Addr()
	}
	return s.serve(addr, conns, tcp)
}

// serve starts the loops of sockets.
func (s *Server) serve(addr netip.Addr, udp []*udpbatch.Conn, tcp *net.TCPListener) (*Listener, error) {
	l := &Listener{
		s: s, tcp: tcp, conns: make(map[*tcpConn]struct{}),
		loops: make([]udpLoop, len(udp)), tcpCounts: make([]counters, s.options.Loops),
	}
	var port uint16
	if tcp != nil {
		port = tcp.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	for i, c := range udp {
		port = c.Addr().Port()
		l.loops[i].l, l.loops[i].conn = l, c
	}
	l.addr = netip.AddrPortFrom(addr, port)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.close()
		return nil, net.ErrClosed
	}
	s.listeners[l] = struct{}{}
	for i := range l.loops {
		l.running.Go(l.loops[i].serve)
	}
	if tcp != nil {
		l.running.Go(l.serveTCP)
	}
	return l, nil
}

// open opens the sockets of one port. [::] is IPv6 only, so that 0.0.0.0 can
// stand beside it.
func open(addr netip.AddrPort, loops int) (udp []*udpbatch.Conn, tcp *net.TCPListener, err error) {
	network := "tcp6"
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	for range portTries {
		if udp, err = udpbatch.Listen(addr, loops); err != nil {
			return nil, nil, err
		}
		tcp, err = net.ListenTCP(network, net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr.Addr(), udp[0].Addr().Port())))
		if err == nil {
			return udp, tcp, nil
		}
		udpbatch.Close(udp)
		if addr.Port() != 0 {
			break
		}
	}
	return nil, nil, err
}

// reason is an error of package net without the address that it repeats.
func reason(err error) error {
	var oe *net.OpError
	if errors.As(err, &oe) {
		return oe.Err
	}
	return err
}

// Flush sends the answers that wait to be sent together. It is for
// [upstream.Mux.OnBatch].
func (s *Server) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		for i := range l.loops {
			l.loops[i].conn.Flush()
		}
	}
}

// Addr returns the address listened on, with its real port.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Close stops taking questions at this address, and returns when those taken
// are answered.
func (l *Listener) Close() {
	l.stop()
	l.drain()
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if _, open := l.s.listeners[l]; open {
		delete(l.s.listeners, l)
		l.addStats(&l.s.past)
	}
}

// stop ends all reading; answers still go out.
func (l *Listener) stop() {
	l.stopping.Store(true)
	past := time.Unix(1, 0)
	for i := range l.loops {
		_ = l.loops[i].conn.UDP().SetReadDeadline(past) // fails on a closed socket only
	}
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.net.SetReadDeadline(past)
	}
}

// drain waits until all questions taken are answered, and closes the sockets.
func (l *Listener) drain() {
	l.running.Wait()
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
	for i := range l.loops {
		l.loops[i].conn.Flush()
		_ = l.loops[i].conn.UDP().Close()
	}
	if l.tcp != nil {
		_ = l.tcp.Close()
	}
}

// udpLoop is one of a Listener's UDP sockets, with the goroutine that reads it.
type udpLoop struct {
	l      *Listener
	conn   *udpbatch.Conn
	req    request // the one in hand
	counts counters
}

// serve answers until the listener stops.
func (u *udpLoop) serve() {
	if err := u.conn.Serve(u.take); !u.l.stopping.Load() && !errors.Is(err, net.ErrClosed) {
		u.l.s.options.Log.Error("giving up udp", "listen", u.l.addr, "error", err)
	}
}

// take answers one datagram, or gives it to a worker. If all are busy it is
// dropped: its client will ask again.
func (u *udpLoop) take(dst, packet []byte, from udpbatch.Peer) []byte {
	s := u.l.s
	u.req = request{packet: packet, client: from.Addr, asked: u.asked(&from), transport: overUDP, counts: &u.counts}
	out, done := s.begin(dst, &u.req)
	if !done {
		u.later(&u.req, from)
		return nil
	}
	return out
}

// asked is this machine's address that a datagram was sent to.
func (u *udpLoop) asked(from *udpbatch.Peer) netip.Addr {
	if a := from.Asked(); a.IsValid() {
		return a
	}
	return u.l.addr.Addr()
}

// later has a worker answer.
func (u *udpLoop) later(req *request, from udpbatch.Peer) {
	l := u.l
	l.inFlight.Add(1)
	job := l.s.newJob(req, func(msg []byte, batch bool) {
		switch {
		case len(msg) == 0:
		case batch:
			u.conn.Queue(msg, from)
		default:
			u.conn.Send(msg, from)
		}
		l.inFlight.Done()
	})
	if !l.s.try(job) {
		req.drop(DropBusy)
		l.inFlight.Done()
	}
}
