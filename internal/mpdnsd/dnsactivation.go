package mpdnsd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
)

// handedDNS is the sockets for questions at one address that the service manager
// opened.
type handedDNS struct {
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  *net.TCPListener
}

func (h *handedDNS) close() {
	if h.udp != nil {
		_ = h.udp.Close() // nothing was sent
	}
	if h.tcp != nil {
		_ = h.tcp.Close() // nobody was served
	}
}

// dnsSockets takes UDP and TCP sockets out of the files handed over, closes these,
// and pairs them by address, in its order. The other files are returned. DNS needs
// both transports (RFC 7766 section 5), so a socket without its other half is an
// error, and so is a second one of an address.
func dnsSockets(files []*os.File) (dns []*handedDNS, others []*os.File, err error) {
	byAddr := map[netip.AddrPort]*handedDNS{}
	var errs []error
	for _, f := range files {
		one := asDNS(f)
		if one == nil {
			others = append(others, f)
			continue
		}
		_ = f.Close() // the socket has its own descriptor
		if err := one.join(byAddr); err != nil {
			one.close()
			errs = append(errs, fmt.Errorf("socket %q: %w", f.Name(), err))
		}
	}
	for _, one := range byAddr {
		errs = append(errs, one.check())
		dns = append(dns, one)
	}
	slices.SortFunc(dns, func(a, b *handedDNS) int {
		return cmp.Or(a.addr.Addr().Compare(b.addr.Addr()), cmp.Compare(a.addr.Port(), b.addr.Port()))
	})
	if err = errors.Join(errs...); err != nil {
		closeAll(dns)
		return nil, others, err
	}
	return dns, others, nil
}

// asDNS is a file as a socket for questions; nil if it is none.
func asDNS(f *os.File) *handedDNS {
	if l, err := net.FileListener(f); err == nil {
		if tcp, ok := l.(*net.TCPListener); ok {
			return &handedDNS{addr: unmapped(tcp.Addr().(*net.TCPAddr).AddrPort()), tcp: tcp}
		}
		_ = l.Close() // a copy of what is another's
		return nil
	}
	if c, err := net.FilePacketConn(f); err == nil {
		if udp, ok := c.(*net.UDPConn); ok {
			return &handedDNS{addr: unmapped(udp.LocalAddr().(*net.UDPAddr).AddrPort()), udp: udp}
		}
		_ = c.Close() // a copy of what is another's
	}
	return nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// join puts a socket to its other half.
func (h *handedDNS) join(byAddr map[netip.AddrPort]*handedDNS) error {
	half, ok := byAddr[h.addr]
	switch {
	case !ok:
		byAddr[h.addr] = h
	case h.udp != nil && half.udp == nil:
		half.udp = h.udp
	case h.tcp != nil && half.tcp == nil:
		half.tcp = h.tcp
	default:
		return fmt.Errorf("a second one for %v", h.addr)
	}
	return nil
}

func (h *handedDNS) check() error {
	switch {
	case h.udp == nil:
		return fmt.Errorf("a TCP socket at %v and none for UDP: ListenDatagram=%[1]v in the socket unit", h.addr)
	case h.tcp == nil:
		return fmt.Errorf("a UDP socket at %v and none for TCP: ListenStream=%[1]v in the socket unit", h.addr)
	}
	return nil
}

func closeAll(dns []*handedDNS) {
	for _, one := range dns {
		one.close()
	}
}

// takeHanded takes what the service manager has opened. Its sockets for questions
// stand in place of the addresses configured, now and at every reload.
func (d *daemon) takeHanded(set *setup) (dns []*handedDNS, others []*os.File, err error) {
	files, err := handedFiles(os.Getenv, os.Getpid())
	if err == nil {
		dns, others, err = dnsSockets(files)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("service manager: %w", err)
	}
	for _, one := range dns {
		d.handed = append(d.handed, one.addr)
	}
	d.replaceListen(set)
	return dns, others, nil
}

// replaceListen puts the addresses handed over in place of those configured.
func (d *daemon) replaceListen(set *setup) {
	if len(d.handed) > 0 {
		set.config.Listen = d.handed
	}
}

// listenHanded takes questions from the sockets handed over.
func (d *daemon) listenHanded(dns []*handedDNS) error {
	for i, one := range dns {
		l, err := d.server.ListenOn(one.udp, one.tcp)
		if err != nil {
			closeAll(dns[i+1:])
			return fmt.Errorf("service manager: %w", err)
		}
		d.listeners[one.addr] = append(d.listeners[one.addr], l)
		d.log.Info("listening", "address", l.Addr(), "transports", "udp,tcp", "from", "service manager")
	}
	return nil
}
