package dialer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// connectFast is connectTCP with TCP Fast Open.
//
// With a cookie of the peer's the socket counts as connected before anything is
// sent, so that getpeername(2) fails and net.FileConn would make a connection
// without a remote address. A net.Dialer gives it one: its socket is replaced by
// ours before it connects.
func (d *Dialer) connectFast(ctx context.Context, remote netip.AddrPort, want protocol) (*stream, error) {
	fd, s, err := d.makeSocket(ctx, remote, want)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1); err != nil {
		s.lacking = append(s.lacking, fmt.Errorf("TCP Fast Open: %w", os.NewSyscallError("setsockopt", err)))
		return d.connectSocket(ctx, fd, s, remote)
	}
	defer unix.Close(fd) //nolint:errcheck // the connection has a descriptor of its own by then
	nd := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return replaceSocket(c, fd) }}
	nd.SetMultipathTCP(false)
	if s.family == unix.AF_INET6 && remote.Addr().Is4() {
		nd.LocalAddr = &net.TCPAddr{IP: net.IPv6unspecified} // else the address is written as IPv4's
	}
	c, err := nd.DialContext(ctx, "tcp", remote.String())
	if err != nil {
		return nil, innerError(ctx, err)
	}
	s.TCPConn = c.(*net.TCPConn) // of the network "tcp"
	if s.mptcp {
		s.token, _ = token(s.TCPConn)
	}
	d.applyKeepAlive(s.TCPConn)
	return s, nil
}

// replaceSocket puts fd's socket in the place of c's.
func replaceSocket(c syscall.RawConn, fd int) error {
	var err error
	if cerr := c.Control(func(old uintptr) { err = unix.Dup3(fd, int(old), unix.O_CLOEXEC) }); cerr != nil {
		return cerr
	}
	return os.NewSyscallError("dup3", err)
}
