package upstream

import (
	"net/netip"
	"os"
	"syscall"
)

// openUDP returns a connected UDP socket. It is what net.DialUDP does, less the
// calls and allocations for what a question does not need: addresses to show,
// and broadcast. A zone's name is left to the net package.
func openUDP(server netip.AddrPort) (socket, error) {
	a := server.Addr()
	if a.Zone() != "" {
		return dialUDP(server)
	}
	family, to := syscall.AF_INET6, syscall.Sockaddr(nil)
	if a.Is4() || a.Is4In6() {
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: int(server.Port()), Addr: a.Unmap().As4()}
	} else {
		to = &syscall.SockaddrInet6{Port: int(server.Port()), Addr: a.As16()}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := syscall.Connect(fd, to); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return os.NewFile(uintptr(fd), "udp"), nil //nolint:gosec // a descriptor is not negative
}
