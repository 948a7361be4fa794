package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// protocol is what a connection attempt may use.
type protocol uint8

const (
	plainTCP     protocol = iota // plain TCP only
	preferMPTCP                  // MPTCP, or plain TCP where no MPTCP socket can be made
	requireMPTCP                 // MPTCP, or an error where no MPTCP socket can be made
)

// stream is a connected socket and how it was made.
type stream struct {
	*net.TCPConn
	mptcp  bool   // the socket is an MPTCP one, whatever the peer speaks
	family int    // of the socket; only an AF_INET6 one takes subflows of both families
	plain  error  // why plain TCP was used although MPTCP was wanted
	token  uint32 // of the connection when it was made; 0 for plain TCP

	declined string         // why MPTCP was given up for this dial, as a sentence
	lacking  []error        // socket options that could not be set
	via      netip.AddrPort // the NAT64's address for the remote, invalid without one
	conn     *Conn          // the connection to be, where TLS is spoken over it
	secured  *tls.Conn      // over conn, where success was the TLS handshake
}

// control binds a socket as Dialer.Local says and runs the caller's Control or
// ControlContext function, once for each socket. The network names the family of the address, also where an IPv6
// socket is used for an IPv4 address.
func (d *Dialer) control(ctx context.Context, remote netip.AddrPort, c syscall.RawConn) error {
	if err := newLocalRule(d.Local, d.LocalInterfaces).bindLocal(c, remote); err != nil {
		return err
	}
	network := "tcp6"
	if remote.Addr().Unmap().Is4() {
		network = "tcp4"
	}
	switch {
	case d.ControlContext != nil:
		return d.ControlContext(ctx, network, remote.String(), c)
	case d.Control != nil:
		return d.Control(network, remote.String(), c)
	}
	return nil
}

// token returns the connection's token, its identifier on this host, and false
// when the connection is plain TCP.
func token(c syscall.Conn) (uint32, bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	info, err := mptcp.GetInfo(raw)
	return info.Token, err == nil
}

// fellBack reports whether c is, or has become, plain TCP.
func fellBack(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_, err = mptcp.GetInfo(raw)
	return errors.Is(err, mptcp.ErrFallback)
}

// ipv4Only reports whether the socket takes no IPv6 subflow.
func (s *stream) ipv4Only() bool { return s.family == syscall.AF_INET }
