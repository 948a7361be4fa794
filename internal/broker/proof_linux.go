package broker

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Why a descriptor is no proof.
var (
	errNotSocket = errors.New("the descriptor is not an MPTCP socket")
	errNamespace = errors.New("the socket belongs to another network namespace")
)

// proof is what a descriptor proves: the right to the connection it names.
type proof struct {
	token         uint32
	local, remote netip.AddrPort // the connection's own ends
	subflows      int            // besides the first
	closing       bool           // the peer has ended it, or an error has
}

// prover judges descriptors.
type prover struct {
	cookie uint64 // SO_NETNS_COOKIE of the server's network namespace
}

// newProver returns the prover of the calling thread's network namespace.
func newProver() (prover, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return prover{}, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return prover{}, fmt.Errorf("read the network namespace's cookie: %w", err)
	}
	return prover{cookie}, nil
}

// prove reads what fd proves. The order matters: what is not a socket of MPTCP
// is not asked for more.
func (p prover) prove(fd int) (proof, error) {
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_MPTCP {
		return proof{}, errNotSocket
	}
	if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil ||
		domain != unix.AF_INET && domain != unix.AF_INET6 {
		return proof{}, errNotSocket
	}
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil || cookie != p.cookie {
		return proof{}, errNamespace
	}
	info, err := mptcp.GetInfo(rawFD(fd))
	if err != nil {
		return proof{}, err
	}
	out := proof{token: info.Token, subflows: info.Subflows, closing: closing(fd)}
	if out.local, err = addrPort(unix.Getsockname(fd)); err == nil {
		out.remote, err = addrPort(unix.Getpeername(fd))
	}
	if err != nil {
		return proof{}, fmt.Errorf("read the connection's ends: %w", err)
	}
	return out, nil
}

// closing tells whether the connection's end has begun at the peer, or has come. As
// long as it has not, the peer knows the connection: it forgets one in order only
// when this end has confirmed its DATA_FIN (RFC 8684 section 3.3.3).
func closing(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 0) //nolint:gosec // a descriptor
	return n > 0 || err != nil
}

// addrPort takes what getsockname and getpeername return.
func addrPort(sa unix.Sockaddr, err error) (netip.AddrPort, error) {
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, errNotSocket
}

// rawFD is a descriptor as a [syscall.RawConn] that can only be looked at.
type rawFD int

func (fd rawFD) Control(f func(fd uintptr)) error { f(uintptr(fd)); return nil }
func (rawFD) Read(func(uintptr) bool) error       { return syscall.ENOSYS }
func (rawFD) Write(func(uintptr) bool) error      { return syscall.ENOSYS }
