package dnstest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Net is a network in memory with DNS servers on it. Its Dial fits
// upstream.Options.Dial and resolver.Resolver.Dial. Everything in it blocks on
// channels and timers only, so it runs in virtual time under testing/synctest.
// Close it before the test's bubble ends.
type Net struct {
	servers map[string]*Server
	paths   map[string]time.Duration

	mu    sync.Mutex // guards dials
	dials []string
}

// NewNet has one server per address ("192.0.2.53:53").
func NewNet(scripts map[string]Script) *Net {
	n := &Net{servers: map[string]*Server{}, paths: map[string]time.Duration{}}
	for addr, script := range scripts {
		n.servers[addr] = newServer(script)
	}
	return n
}

// Delay sets the one-way delay to a server: a TCP connection to it takes two
// of them to open. The delay of queries and replies is the script's matter.
func (n *Net) Delay(address string, d time.Duration) { n.paths[address] = d }

// Server is the one at the address, for its record of queries; nil if none.
func (n *Net) Server(address string) *Server { return n.servers[address] }

// Close stops all servers and waits for them.
func (n *Net) Close() {
	for _, s := range n.servers {
		s.Close()
	}
}

// Dials lists the sockets opened so far, as "udp 192.0.2.53:53".
func (n *Net) Dials() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.dials...)
}

// Dial opens a connection to a server. An address without one refuses TCP,
// and answers datagrams with a port unreachable error at the next read.
func (n *Net) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, network+" "+address)
	n.mu.Unlock()
	s := n.servers[address]
	udp := network[:3] == "udp"
	switch {
	case s == nil && udp:
		return newDatagrams(nil), nil
	case s == nil:
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case udp:
		return newDatagrams(s), nil
	}
	if d := n.paths[address]; d > 0 {
		t := time.NewTimer(2 * d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	client, server := net.Pipe()
	s.wg.Go(func() { s.serveStream(server) })
	return client, nil
}

// inbox is how many datagrams wait for a reader; more are lost, as in a
// socket's buffer.
const inbox = 256

// datagrams is the client's end of a UDP socket connected to a server.
type datagrams struct {
	server *Server
	in     chan []byte
	closed chan struct{}

	mu       sync.Mutex // guards what is below
	deadline time.Time
	changed  chan struct{} // closed and replaced when the deadline changes
	once     sync.Once
}

func newDatagrams(s *Server) *datagrams {
	return &datagrams{
		server: s, in: make(chan []byte, inbox), closed: make(chan struct{}), changed: make(chan struct{}),
	}
}

func (d *datagrams) Write(b []byte) (int, error) {
	if d.server == nil || d.server.ctx.Err() != nil {
		return len(b), nil
	}
	packet := append([]byte(nil), b...)
	d.server.wg.Go(func() {
		d.server.handle(packet, "udp", netip.AddrPort{}, func(reply []byte, a Action) error {
			if a.WrongSource {
				return nil // a connected socket does not see it
			}
			select {
			case d.in <- reply:
			default:
			}
			return nil
		})
	})
	return len(b), nil
}

func (d *datagrams) Read(b []byte) (int, error) {
	if d.server == nil {
		return 0, &net.OpError{Op: "read", Net: "udp", Err: os.NewSyscallError("read", syscall.ECONNREFUSED)}
	}
	for {
		d.mu.Lock()
		deadline, changed := d.deadline, d.changed
		d.mu.Unlock()
		var expired <-chan time.Time
		if !deadline.IsZero() {
			t := time.NewTimer(time.Until(deadline))
			defer t.Stop()
			expired = t.C
		}
		select {
		case p := <-d.in:
			return copy(b, p), nil
		case <-d.closed:
			return 0, net.ErrClosed
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

func (d *datagrams) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

func (d *datagrams) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deadline = t
	close(d.changed)
	d.changed = make(chan struct{})
	return nil
}

func (d *datagrams) SetDeadline(t time.Time) error    { return d.SetReadDeadline(t) }
func (d *datagrams) SetWriteDeadline(time.Time) error { return nil }
func (d *datagrams) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (d *datagrams) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
