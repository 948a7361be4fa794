package server

import (
	"net"

	"golang.org/x/sys/unix"
)

// maxControl is room for one IP_PKTINFO or IPV6_PKTINFO control message.
const maxControl = 64

// rememberDestination has the socket of a wildcard address tell, with each
// datagram, which of the machine's addresses it was sent to. Given back with
// the answer, the same octets make that address its source (ip(7), IP_PKTINFO;
// RFC 3542 section 6): a client takes an answer only from whom it asked.
func rememberDestination(c *net.UDPConn, ip4 bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		if ip4 {
			serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		} else {
			serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	if err != nil {
		return err
	}
	return serr
}
