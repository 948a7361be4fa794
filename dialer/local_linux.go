package dialer

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/netmon"
)

// bindLocal binds a socket that is to connect to remote to the best of the local
// addresses that the rule allows. Without a rule, and for loopback, routing
// chooses.
func (r localRule) bindLocal(c syscall.RawConn, remote netip.AddrPort) error {
	if !r.restricts() || remote.Addr().Unmap().IsLoopback() {
		return nil
	}
	network, err := netmon.Read()
	if err != nil {
		return fmt.Errorf("read the local addresses: %w", err)
	}
	sources := r.sources(network, remote.Addr().Unmap())
	err = errNoSource
	for _, s := range sources {
		if err = bindSocket(c, s); err == nil {
			return nil
		}
	}
	return err
}

// bindSocket binds a socket to a source. That it is not bound to the interface
// too, for want of the right, is no error: routing has its say then.
func bindSocket(c syscall.RawConn, from origin) (err error) {
	failure := c.Control(func(fd uintptr) {
		if from.index != 0 {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, from.index)
		}
		err = bindAddr(int(fd), from.addr)
	})
	if failure != nil {
		return failure
	}
	return os.NewSyscallError("bind", err)
}

// bindAddr binds to an address in the socket's own family.
func bindAddr(fd int, addr netip.Addr) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	switch {
	case err != nil:
		return err
	case family == unix.AF_INET && !addr.Is4():
		return unix.EAFNOSUPPORT
	case family == unix.AF_INET:
		return unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.As4()})
	}
	return unix.Bind(fd, &unix.SockaddrInet6{Addr: addr.As16()})
}
