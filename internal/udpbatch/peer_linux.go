package udpbatch

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// parse reads a sender's address and the control message that came with its datagram; false if it is
// of no known family.
func (p *Peer) parse(sa *unix.RawSockaddrInet6, control []byte) bool {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		p.Addr, p.scope = netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port(&sa4.Port)), 0
	case unix.AF_INET6:
		p.Addr, p.scope = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), port(&sa.Port)), sa.Scope_id
	default:
		return false
	}
	p.setControl(control)
	return true
}

// sockaddr is parse the other way round; it returns the length in octets.
func (p *Peer) sockaddr(sa *unix.RawSockaddrInet6) uint32 {
	if p.Addr.Addr().Is4() {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		sa4.Family, sa4.Addr = unix.AF_INET, p.Addr.Addr().As4()
		setPort(&sa4.Port, p.Addr.Port())
		return unix.SizeofSockaddrInet4
	}
	sa.Family, sa.Addr, sa.Scope_id = unix.AF_INET6, p.Addr.Addr().As16(), p.scope
	setPort(&sa.Port, p.Addr.Port())
	return unix.SizeofSockaddrInet6
}

// port reads a port, which a socket address has in the order of the network.
func port(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

func setPort(p *uint16, v uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], v)
}

// setControl keeps what was received as what is to be sent: the address asked becomes the answer's
// source, for a client takes an answer only from whom it asked. The interface is left to the routing
// table, unless the address is link-local, and so means nothing without it.
func (p *Peer) setControl(control []byte) {
	p.n = 0
	if len(control) < unix.SizeofCmsghdr || len(control) > controlLen {
		return
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(control) >= unix.CmsgSpace(unix.SizeofInet4Pktinfo):
		p.n = uint8(copy(p.control[:], control[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)]))
		p.info4().Ifindex = 0
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(control) >= unix.CmsgSpace(unix.SizeofInet6Pktinfo):
		p.n = uint8(copy(p.control[:], control[:unix.CmsgSpace(unix.SizeofInet6Pktinfo)]))
		if i := p.info6(); !netip.AddrFrom16(i.Addr).IsLinkLocalUnicast() {
			i.Ifindex = 0
		}
	}
}

func (p *Peer) info4() *unix.Inet4Pktinfo {
	return (*unix.Inet4Pktinfo)(unsafe.Pointer(&p.control[unix.CmsgSpace(0)]))
}

func (p *Peer) info6() *unix.Inet6Pktinfo {
	return (*unix.Inet6Pktinfo)(unsafe.Pointer(&p.control[unix.CmsgSpace(0)]))
}

// Asked returns the address of this machine that the datagram was sent to, where the socket's own
// is a wildcard and the system tells; else the zero Addr.
func (p *Peer) Asked() netip.Addr {
	switch int(p.n) {
	case unix.CmsgSpace(unix.SizeofInet4Pktinfo):
		return netip.AddrFrom4(p.info4().Spec_dst)
	case unix.CmsgSpace(unix.SizeofInet6Pktinfo):
		return netip.AddrFrom16(p.info6().Addr)
	}
	return netip.Addr{}
}
