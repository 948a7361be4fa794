package dialer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// maxPortTries is how many ports of the system's choice are tried until one is
// free for all the addresses that were asked for with port 0.
const maxPortTries = 8

// listenSocket is one listening socket.
type listenSocket struct {
	listenBind
	*net.TCPListener
	mptcp  bool  // it is an MPTCP socket, whatever the peers speak
	family int   // of the socket, see stream.family; 0 where it does not matter
	plain  error // why it is plain TCP although MPTCP was wanted
}

// listenBinder opens sockets for the addresses of a set and notes for each what
// became of it. It is used by one goroutine.
type listenBinder struct {
	open  func(listenBind) (*listenSocket, error)
	probe func(netip.Addr) error // nil, or why the address cannot be bound

	want    []netip.AddrPort // the set; port 0 is the one that the system chooses
	port    uint16           // that port; 0 until there is one
	results []ListenResult   // one for each address of the set
	sockets []*listenSocket  // those opened
}

// bindAll opens the sockets of plans. Those of port 0 come last, so that the
// system does not choose a port that was asked for, and get one port for all.
func (b *listenBinder) bindAll(plans []listenPlan) {
	var chosen []listenPlan
	for _, p := range plans {
		if p.addr.Port() == 0 {
			chosen = append(chosen, p)
			continue
		}
		b.bind(p)
	}
	for try := 1; len(chosen) > 0; try++ {
		mark := len(b.sockets)
		for _, p := range chosen {
			b.bind(p)
		}
		if try == maxPortTries || !b.taken(chosen) {
			return
		}
		closeListeners(b.sockets[mark:])
		b.sockets, b.port = b.sockets[:mark], 0
	}
}

// taken reports whether an address of plans is without a socket because another
// socket has its port.
func (b *listenBinder) taken(plans []listenPlan) bool {
	for _, p := range plans {
		if slices.ContainsFunc(p.entries, func(i int) bool { return errors.Is(b.results[i].Err, syscall.EADDRINUSE) }) {
			return true
		}
	}
	return false
}

// bind opens p's socket, or, where it cannot be had, several of fewer addresses.
func (b *listenBinder) bind(p listenPlan) {
	at := p.listenBind
	at.addr = b.resolve(at.addr)
	s, err := b.open(at)
	if err == nil {
		b.take(s, p)
		return
	}
	for _, i := range p.entries {
		b.results[i].fail(err)
	}
	for _, q := range p.split(b.want) {
		b.bind(q)
	}
}

// resolve puts the chosen port in the place of port 0.
func (b *listenBinder) resolve(ap netip.AddrPort) netip.AddrPort {
	if ap.Port() == 0 {
		return netip.AddrPortFrom(ap.Addr(), b.port)
	}
	return ap
}

// take keeps a socket that was opened for p.
func (b *listenBinder) take(s *listenSocket, p listenPlan) {
	b.sockets = append(b.sockets, s)
	if p.addr.Port() == 0 && b.port == 0 {
		b.port = s.addr.Port()
	}
	for _, q := range planListen(b.want, b.assign(s, p.entries)) {
		b.bind(q)
	}
}

// assign notes that s serves the entries, and returns those that it does not:
// the IPv4 ones, where a Control function made [::] a socket of IPv6 alone. An
// address that a wildcard covers, but that this machine has not, is not bound.
func (b *listenBinder) assign(s *listenSocket, entries []int) (rest []int) {
	for _, i := range entries {
		ap := b.resolve(b.want[i])
		if !s.covers(ap) {
			rest = append(rest, i)
			continue
		}
		if ap.Addr() != s.addr.Addr() && !ap.Addr().IsUnspecified() {
			if err := b.probe(ap.Addr()); err != nil {
				b.results[i].fail(err)
				continue
			}
		}
		b.results[i].succeed(ap, s.addr)
	}
	return rest
}

// listenBound reports whether any address is bound.
func (b *listenBinder) bound() bool {
	return slices.ContainsFunc(b.results, func(r ListenResult) bool { return r.Err == nil })
}

// closeListeners closes sockets that are not used any more.
func closeListeners(sockets []*listenSocket) {
	for _, s := range sockets {
		_ = s.Close() // a listening socket has nothing to lose
	}
}

// probeListen reports why a specific address cannot be bound to, with a
// datagram socket that is closed at once.
func probeListen(a netip.Addr) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return listenCause(err)
	}
	return c.Close()
}

// listenCause returns what a net.OpError wraps, as it is wrapped again.
func listenCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// listenTCP returns ln as what it is.
func listenTCP(ln net.Listener) (*net.TCPListener, error) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		_ = ln.Close() // never used
		return nil, fmt.Errorf("listener is a %T", ln)
	}
	return tcp, nil
}

// listenPort returns the port that a socket is bound to.
func listenPort(ln *net.TCPListener) uint16 { return addrPortOf(ln.Addr()).Port() }
