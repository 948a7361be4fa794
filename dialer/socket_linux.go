package dialer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// connectTCP makes one connection over a socket of its own.
//
// net.Dialer will not do: it dials again with plain TCP after any error of an
// MPTCP socket, and makes an IPv4 socket for an IPv4 address, which can never
// take an IPv6 subflow.
func (d *Dialer) connectTCP(ctx context.Context, remote netip.AddrPort, want protocol) (*stream, error) {
	fd, s, err := d.makeSocket(ctx, remote, want)
	if err != nil {
		return nil, err
	}
	return d.connectSocket(ctx, fd, s, remote)
}

// connectSocket connects fd, and takes it over.
func (d *Dialer) connectSocket(ctx context.Context, fd int, s *stream, remote netip.AddrPort) (*stream, error) {
	addr, err := s.sockaddr(remote)
	if err == nil {
		err = startConnect(fd, addr)
	}
	if err != nil {
		_ = unix.Close(fd) // not connected
		return nil, err
	}
	if connected(fd) {
		s.readToken(fd)
		s.TCPConn, err = tcpConn(fd)
	} else {
		err = s.finishConnect(ctx, fd)
	}
	if err != nil {
		return nil, err
	}
	d.applyKeepAlive(s.TCPConn)
	return s, nil
}

const (
	infoOption = 1  // MPTCP_INFO (uapi/linux/mptcp.h)
	infoFlags  = 8  // where mptcpi_flags stands in it
	infoToken  = 12 // where mptcpi_token does
)

// readToken notes the connection's token.
func (s *stream) readToken(fd int) {
	if !s.mptcp {
		return
	}
	// This getter's type has room for the part of MPTCP_INFO that ends with the
	// token. mptcp.GetInfo reads all, which a dial has no use for.
	b, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_MPTCP, infoOption)
	if err != nil || binary.NativeEndian.Uint32(b.Multiaddr[infoFlags:])&mptcp.InfoFallback != 0 {
		return
	}
	s.token = binary.NativeEndian.Uint32(b.Multiaddr[infoToken:])
}

// roundTrip returns the round-trip time of a connection just made, as its
// handshake showed it; 0 where the system does not say. Of a Multipath TCP
// connection it is the first subflow's.
func roundTrip(c *net.TCPConn) (rtt time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			rtt = time.Duration(info.Rtt) * time.Microsecond
		}
	})
	return rtt
}

// makeSocket opens a socket for remote and runs the caller's control function on
// it. Where that sets an option which Multipath TCP lacks, the option goes
// before Multipath TCP, unless the dial is for Multipath TCP only.
func (d *Dialer) makeSocket(ctx context.Context, remote netip.AddrPort, want protocol) (int, *stream, error) {
	fd, s, err := openSocket(remote.Addr().Unmap(), want)
	if err != nil {
		return -1, nil, err
	}
	err = d.control(ctx, remote, rawSocket(fd))
	switch {
	case err == nil:
		return fd, s, nil
	case s.mptcp && isLacking(err) && want == requireMPTCP:
		s.lacking = append(s.lacking, err)
		return fd, s, nil
	}
	_ = unix.Close(fd) // nothing was sent
	if !s.mptcp || !isLacking(err) {
		return -1, nil, err
	}
	if fd, s, err = d.makeSocket(ctx, remote, plainTCP); err == nil {
		s.declined = "the dial's Control function sets a socket option that Multipath TCP lacks"
	}
	return fd, s, err
}

// isLacking reports whether the error of setsockopt(2) says that there is no
// such option for this kind of socket.
func isLacking(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOPROTOOPT)
}

// openSocket returns a non-blocking socket for remote: a dual-stack MPTCP one,
// an IPv4 MPTCP one where the host has no IPv6, or a plain one where the
// kernel refuses to make either, with the reason in the stream.
func openSocket(remote netip.Addr, want protocol) (fd int, s *stream, err error) {
	if want == plainTCP {
		fd, err = plainSocket(remote)
		return fd, &stream{family: familyOf(remote)}, err
	}
	fd, family, err := multipathSocket(remote)
	switch {
	case err == nil:
		return fd, &stream{mptcp: true, family: family}, nil
	case !withoutMPTCP(err):
		return -1, nil, err
	case want == requireMPTCP:
		return -1, nil, fmt.Errorf("%w: %w", ErrMultipathUnsupported, err)
	}
	reason := err
	fd, err = plainSocket(remote)
	return fd, &stream{family: familyOf(remote), plain: reason}, err
}

// multipathSocket opens an MPTCP socket that can have subflows of both
// families, or of IPv4 alone where the host has no IPv6.
func multipathSocket(remote netip.Addr) (fd, family int, err error) {
	fd, err = socket(unix.AF_INET6, unix.IPPROTO_MPTCP)
	if errors.Is(err, unix.EAFNOSUPPORT) && remote.Is4() {
		fd, err = socket(unix.AF_INET, unix.IPPROTO_MPTCP)
		return fd, unix.AF_INET, err
	}
	if err != nil {
		return -1, 0, err
	}
	// Zero already, unless net.ipv6.bindv6only is set. An error shows in connect.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	return fd, unix.AF_INET6, nil
}

func plainSocket(remote netip.Addr) (int, error) {
	return socket(familyOf(remote), unix.IPPROTO_TCP)
}

func socket(family, proto int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	return fd, os.NewSyscallError("socket", err)
}

// familyOf returns the socket family of an unmapped address.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// withoutMPTCP reports whether the error of socket creation means that there is
// no MPTCP to be had: not in the kernel (EPROTONOSUPPORT; EINVAL before Linux
// 5.6), switched off (ENOPROTOOPT), or forbidden (EPERM, EACCES: SELinux,
// seccomp and the like). Only then plain TCP is used instead.
func withoutMPTCP(err error) bool {
	for _, errno := range []syscall.Errno{unix.EPROTONOSUPPORT, unix.EINVAL, unix.ENOPROTOOPT, unix.EPERM, unix.EACCES} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// sockaddr returns remote as the stream's socket family writes it: IPv4
// addresses are IPv4-mapped on an IPv6 socket.
func (s *stream) sockaddr(remote netip.AddrPort) (unix.Sockaddr, error) {
	addr := remote.Addr().Unmap()
	if s.family == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(remote.Port()), Addr: addr.As4()}, nil
	}
	zone, err := zoneID(addr.Zone())
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet6{Port: int(remote.Port()), Addr: addr.As16(), ZoneId: zone}, nil
}

// zoneID returns the scope id of a zone that is an interface's name or number.
func zoneID(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("zone %q: %w", zone, err)
	}
	return uint32(i.Index), nil
}

// startConnect sends the SYN.
func startConnect(fd int, addr unix.Sockaddr) error {
	switch err := unix.Connect(fd, addr); {
	case err == nil, errors.Is(err, unix.EINPROGRESS), errors.Is(err, unix.EALREADY), errors.Is(err, unix.EINTR):
		return nil
	default:
		return os.NewSyscallError("connect", err)
	}
}

// connected reports whether fd is connected already, as it is on the loopback
// interface when connect(2) returns. Then nothing need wait for it.
func connected(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(p, 0)
	return n == 1 && err == nil && p[0].Revents == unix.POLLOUT
}

// tcpConn hands a connected socket to package net, which takes a copy of the
// descriptor. It takes fd over.
func tcpConn(fd int) (*net.TCPConn, error) {
	// NewFile gives a non-blocking descriptor to the poller, for nothing here.
	// Package net makes the socket non-blocking again.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return fileConn(f)
}

// finishConnect waits in the runtime's poller until fd is connected, has
// failed, or ctx is done. It takes fd over.
func (s *stream) finishConnect(ctx context.Context, fd int) error {
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	err := awaitConnect(ctx, f)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	}
	s.readToken(fd)
	s.TCPConn, err = fileConn(f)
	return err
}

// fileConn returns a connection with a descriptor of its own.
func fileConn(f *os.File) (*net.TCPConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("socket is a %T", c)
	}
	return tcp, nil
}

// awaitConnect waits until f is writable and the kernel says how the connect
// ended, or ctx is done.
func awaitConnect(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	defer whenDone(ctx, func() {
		_ = f.SetWriteDeadline(time.Unix(1, 0)) // fails only on a closed file
	})()
	var failure error
	err = raw.Write(func(fd uintptr) (done bool) {
		done, failure = connectResult(int(fd))
		return done
	})
	if failure != nil {
		return failure
	}
	return err
}

// connectResult says whether a non-blocking connect has ended, and how.
func connectResult(fd int) (done bool, err error) {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	switch errno := syscall.Errno(n); errno {
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
		return false, nil
	case unix.EISCONN:
		return true, nil
	case 0:
		// The poller wakes for other reasons too: only a peer's name is proof.
		_, err := unix.Getpeername(fd)
		return err == nil, nil
	default:
		return true, os.NewSyscallError("connect", errno)
	}
}

// rawSocket is a socket that is not connected yet, for Control functions.
type rawSocket int

// errNotConnected is returned by rawSocket's Read and Write.
var errNotConnected = errors.New("the socket is not connected yet")

func (s rawSocket) Control(f func(fd uintptr)) error { f(uintptr(s)); return nil }
func (rawSocket) Read(func(fd uintptr) bool) error   { return errNotConnected }
func (rawSocket) Write(func(fd uintptr) bool) error  { return errNotConnected }
