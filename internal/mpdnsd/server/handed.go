package server

import (
	"fmt"
	"net"
	"net/netip"
)

// ListenOn begins to take questions from two sockets of one address that are open
// already, as a service manager hands them over. It owns them from now on, and
// closes them on an error.
func (s *Server) ListenOn(udp *net.UDPConn, tcp *net.TCPListener) (*Listener, error) {
	l := &Listener{s: s, udp: udp, tcp: tcp, conns: make(map[*tcpConn]struct{})}
	local := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	l.addr = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	if l.addr.Addr().IsUnspecified() {
		if err := rememberDestination(udp, l.addr.Addr().Is4()); err != nil {
			l.close()
			return nil, fmt.Errorf("listening on %v: %w", l.addr, err)
		}
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
