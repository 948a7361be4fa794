package dialer

import (
	"context"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// maxListenBacklog is the length asked for of the queue of connections that
// wait to be accepted. The kernel bounds it by net.core.somaxconn.
const maxListenBacklog = 65535

// openListener opens a listening socket of its own.
//
// net.ListenConfig will not do: it listens again with plain TCP after any error
// of an MPTCP socket, and makes an IPv4 socket for an IPv4 address, whose
// connections could never be given an IPv6 subflow.
func (lc *ListenConfig) openListener(_ context.Context, at listenBind) (*listenSocket, error) {
	want := preferMPTCP
	if lc.Multipath == MultipathOff {
		want = plainTCP
	}
	fd, kind, err := openSocket(at.addr.Addr(), want)
	if err != nil {
		return nil, err
	}
	if err := lc.listenOn(fd, kind, at); err != nil {
		_ = unix.Close(fd) // nobody has connected
		return nil, err
	}
	s := &listenSocket{listenBind: at, mptcp: kind.mptcp, family: kind.family, plain: kind.plain}
	s.dual = at.dual && listenTakesIPv4(fd)
	if s.TCPListener, err = listenFile(fd); err != nil {
		return nil, err
	}
	s.addr = netip.AddrPortFrom(at.addr.Addr(), listenPort(s.TCPListener))
	return s, nil
}

// listenOn sets a socket's options, binds it, and begins to listen.
func (lc *ListenConfig) listenOn(fd int, kind *stream, at listenBind) error {
	// As net does: a port in TIME_WAIT can be listened on.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if addr := at.addr.Addr(); kind.family == unix.AF_INET6 && addr.Is6() {
		only := 1
		if at.dual {
			only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if lc.Control != nil {
		if err := lc.Control(listenNetwork(at), at.addr.String(), rawSocket(fd)); err != nil {
			return err
		}
	}
	name, err := kind.sockaddr(at.addr)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, name); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("listen", unix.Listen(fd, maxListenBacklog))
}

// listenTakesIPv4 reports whether an IPv6 socket is dual-stack, which a Control
// function may have changed.
func listenTakesIPv4(fd int) bool {
	only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	return err == nil && only == 0
}

// listenFile hands a listening socket to package net. It takes fd over.
func listenFile(fd int) (*net.TCPListener, error) {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close() // the listener has a descriptor of its own by then
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return listenTCP(ln)
}
