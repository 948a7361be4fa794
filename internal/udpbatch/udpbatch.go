// Package udpbatch moves UDP datagrams between a socket and one loop, as many at a time as are
// ready.
//
// [Listen] opens an address with one or more sockets, between which the kernel spreads the clients.
// [Conn.Serve] is a socket's loop: it reads what is there, hands each datagram to a [Handler], and
// sends what that returns. What is ready is answered at once: a batch is what has come meanwhile,
// never waited for. [Conn.Send] answers later, from any goroutine.
//
// On Linux a batch is one recvmmsg(2) and one sendmmsg(2), made without telling the scheduler, for
// neither blocks; the runtime's poller does the waiting. Elsewhere, and where a kernel or a filter
// of system calls does not have them, a batch is one datagram.
package udpbatch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
)

// Bounds of a batch.
const (
	// MaxDatagram is the longest datagram that is read whole, in octets; the rest of a longer one
	// is lost. DNS requests have some hundred at most, with padding (RFC 8467 section 4.1).
	MaxDatagram = 4096
	// batch is the greatest number of datagrams read at a time. The gain of more is below what can
	// be measured, and they would be out of the processor's nearest cache.
	batch = 32
	// replyRoom is the room, in octets, in which a Handler appends without allocating.
	replyRoom = 64 << 10
	// maxErrors is how many errors in a row end a loop. Single ones are an ICMP message about an
	// earlier answer, on some systems.
	maxErrors = 1000
)

// ErrReading says that a socket gave nothing but errors, a thousand times in a row.
var ErrReading = errors.New("reading datagrams fails again and again")

// Peer is where a datagram came from and the way back: also which of this machine's addresses was
// asked, where the socket's is a wildcard. It is a plain value.
type Peer struct {
	// Addr is the sender, without a zone.
	Addr    netip.AddrPort
	control [controlLen]byte // pktinfo in the form that sendmsg takes; stands where it is aligned
	n       uint8            // octets of control in use
	scope   uint32           // of a link-local address
}

// Handler answers a datagram by appending to dst, which is empty; an empty result is no answer. It
// runs on the loop's goroutine, so what takes time belongs elsewhere, with Send at its end.
// The packet is the Handler's until it returns.
type Handler func(dst, packet []byte, from Peer) []byte

// Conn is one UDP socket.
type Conn struct {
	udp      *net.UDPConn
	raw      syscall.RawConn
	portable bool // read and write one datagram at a time
	unsent   atomic.Uint64
	queue    queue
}

// Listen opens sockets at addr, as many as asked for where the system can share an address between
// them, else one. Port 0 is any free port. [::] is IPv6 only. An address that another socket has,
// shareable or not, is an error: two programs never share it by accident.
func Listen(addr netip.AddrPort, sockets int) (conns []*Conn, err error) {
	defer func() {
		if err != nil {
			Close(conns)
			conns = nil
		}
	}()
	first, err := listenFirst(addr)
	if err != nil {
		return nil, err
	}
	c, err := New(first)
	if err != nil {
		_ = first.Close()
		return nil, err
	}
	conns = append(conns, c)
	if sockets > 1 && share(c.raw) != nil {
		return conns, nil
	}
	addr = netip.AddrPortFrom(addr.Addr(), c.Addr().Port())
	for len(conns) < sockets {
		next, err := listenNext(addr)
		if err != nil {
			return conns, err
		}
		c, err := New(next)
		if err != nil {
			_ = next.Close()
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// Close closes all of conns.
func Close(conns []*Conn) {
	for _, c := range conns {
		_ = c.udp.Close()
	}
}

// listenFirst binds without sharing, so that it fails where any other socket has the address.
func listenFirst(addr netip.AddrPort) (*net.UDPConn, error) {
	return net.ListenUDP(network(addr.Addr()), net.UDPAddrFromAddrPort(addr))
}

func network(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

// New makes a Conn of a bound socket, which it takes over.
func New(udp *net.UDPConn) (*Conn, error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("udp socket: %w", err)
	}
	c := &Conn{udp: udp, raw: raw}
	if a := c.Addr().Addr(); a.IsUnspecified() {
		if err := rememberDestination(raw, a.Is4()); err != nil {
			return nil, fmt.Errorf("udp socket of a wildcard address: %w", err)
		}
	}
	c.portable = !canBatch(raw)
	return c, nil
}

// Addr returns the socket's own address, with its real port.
func (c *Conn) Addr() netip.AddrPort {
	return c.udp.LocalAddr().(*net.UDPAddr).AddrPort()
}

// UDP returns the socket itself, to set deadlines and to close it.
func (c *Conn) UDP() *net.UDPConn { return c.udp }

// Unsent counts the answers that the system did not take, for lack of room or of a route. They are
// dropped: a client asks again, and waiting would hold up the others.
func (c *Conn) Unsent() uint64 { return c.unsent.Load() }

// Serve reads and answers until the socket is closed or its read deadline has passed, and returns
// that error, or ErrReading.
func (c *Conn) Serve(h Handler) error {
	if !c.portable {
		return c.serveBatches(h)
	}
	return c.servePortable(h)
}

// ended reports whether a read's error is the end of reading.
func ended(err error) bool {
	return errors.Is(err, net.ErrClosed) || isTimeout(err)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Queue is Send that waits for Flush, so that many datagrams cost one call of the
// system. msg is copied.
func (c *Conn) Queue(msg []byte, to Peer) {
	switch {
	case len(msg) == 0:
	case c.portable, len(msg) > MaxDatagram:
		c.Send(msg, to)
	default:
		c.enqueue(msg, to)
	}
}

// servePortable is Serve in terms of package net.
func (c *Conn) servePortable(h Handler) error {
	in, out := make([]byte, MaxDatagram), make([]byte, 0, replyRoom)
	var p Peer
	control := make([]byte, controlLen)
	for errs := 0; errs < maxErrors; {
		n, cn, _, from, err := c.udp.ReadMsgUDPAddrPort(in, control)
		if err != nil && ended(err) {
			return err
		}
		if err != nil {
			errs++
			continue
		}
		errs = 0
		p.Addr, p.scope = netip.AddrPortFrom(from.Addr().WithZone(""), from.Port()), scopeOf(from.Addr())
		p.setControl(control[:cn])
		if msg := h(out, in[:n], p); len(msg) > 0 {
			c.sendPortable(msg, &p)
		}
	}
	return ErrReading
}

func (c *Conn) sendPortable(msg []byte, p *Peer) {
	to := p.Addr
	if p.scope != 0 {
		to = netip.AddrPortFrom(to.Addr().WithZone(strconv.FormatUint(uint64(p.scope), 10)), to.Port())
	}
	if _, _, err := c.udp.WriteMsgUDPAddrPort(msg, p.control[:p.n], to); err != nil {
		c.unsent.Add(1)
	}
}

// scopeOf is the number of an address's zone; 0 for none.
func scopeOf(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(a.Zone()); err == nil {
		return uint32(i.Index)
	}
	return 0
}
