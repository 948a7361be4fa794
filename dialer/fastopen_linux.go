package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errFastMultipath is why Multipath TCP goes without TCP Fast Open. Seen in
// Linux 6.18: what a server writes between the SYN's data and the third ACK is
// held back until the client sends more, which most protocols never do.
var errFastMultipath = errors.New("TCP Fast Open is not used with Multipath TCP, over which Linux servers do not answer data in a SYN")

// connectFast is connectTCP with TCP Fast Open, where the socket is plain TCP.
//
// With a cookie of the peer's the socket counts as connected before anything is
// sent, so that getpeername(2) fails and net.FileConn would make a connection
// without a remote address: a net.Dialer makes it.
func (d *Dialer) connectFast(ctx context.Context, remote netip.AddrPort, want protocol) (*stream, error) {
	if want != plainTCP {
		s, err := d.connectTCP(ctx, remote, want)
		if err == nil {
			s.lacking = append(s.lacking, errFastMultipath)
		}
		return s, err
	}
	s := &stream{family: familyOf(remote.Addr().Unmap())}
	nd := net.Dialer{ControlContext: func(ctx context.Context, _, _ string, c syscall.RawConn) error {
		if err := setFastOpen(c); err != nil {
			s.lacking = append(s.lacking, fmt.Errorf("TCP Fast Open: %w", err))
		}
		return d.control(ctx, remote, c)
	}}
	nd.SetMultipathTCP(false)
	c, err := nd.DialContext(ctx, "tcp", remote.String())
	if err != nil {
		return nil, innerError(ctx, err)
	}
	s.TCPConn = c.(*net.TCPConn) // of the network "tcp"
	d.applyKeepAlive(s.TCPConn)
	return s, nil
}

func setFastOpen(c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	})
	return errors.Join(cerr, os.NewSyscallError("setsockopt", err))
}
