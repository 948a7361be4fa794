package upstream

import (
	"net"
	"net/netip"
	"os"
	"syscall"
)

// openUDP returns a connected UDP socket. It is what net.DialUDP does, less the
// calls and allocations for what a question does not need: addresses to show,
// and broadcast. A zone's name is left to the net package.
func openUDP(server netip.AddrPort) (socket, error) {
	if server.Addr().Zone() != "" {
		return dialUDP(server)
	}
	fd, err := connectUDP(server)
	if err != nil {
		return nil, err
	}
	return newUDPFile(os.NewFile(uintptr(fd), "udp")) //nolint:gosec // a descriptor is not negative
}

// connectUDP returns a connected UDP socket that does not block. The address has
// no zone.
func connectUDP(server netip.AddrPort) (fd int, err error) {
	a := server.Addr()
	family, to := syscall.AF_INET6, syscall.Sockaddr(nil)
	if a.Is4() || a.Is4In6() {
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: int(server.Port()), Addr: a.Unmap().As4()}
	} else {
		to = &syscall.SockaddrInet6{Port: int(server.Port()), Addr: a.As16()}
	}
	fd, err = syscall.Socket(family, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := syscall.Connect(fd, to); err != nil {
		_ = syscall.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// acknowledger returns a function that has the system acknowledge at once what came
// on a TCP connection (tcp(7), TCP_QUICKACK), not with what is sent next or after
// 40 ms.
func acknowledger(conn net.Conn) func() {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return func() {}
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return func() {}
	}
	set := func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) //nolint:gosec // a descriptor fits into an int
	}
	return func() { _ = raw.Control(set) }
}

// udpFile is a UDP socket for the questions of one look-up.
type udpFile struct {
	*os.File
	raw syscall.RawConn

	// Of the exchange under way.
	queries [][]byte
	buf     []byte
	n       int
	err     error
	turn    func(fd uintptr) bool
}

// ask sends queries and waits for the first datagram after them. No reply is there
// when a query has just left, so unlike Write and Read it does not try to read
// before it waits: that is a system call for nothing. It sends from within the
// read, when the poller has begun to note what comes: a reply that comes at once
// is not missed.
func (u *udpFile) ask(queries [][]byte, buf []byte) (int, error) {
	u.queries, u.buf = queries, buf
	if err := u.raw.Read(u.turn); err != nil {
		return 0, err
	}
	return u.n, u.err
}

// takeTurn sends first, then reads; false: wait until there is something.
func (u *udpFile) takeTurn(fd uintptr) bool {
	if queries := u.queries; queries != nil {
		u.queries = nil
		for _, q := range queries {
			if _, err := syscall.Write(int(fd), q); err != nil { //nolint:gosec // a descriptor fits into an int
				u.n, u.err = 0, os.NewSyscallError("write", err)
				return true
			}
		}
		return false
	}
	n, err := syscall.Read(int(fd), u.buf) //nolint:gosec // a descriptor fits into an int
	u.n, u.err = max(n, 0), os.NewSyscallError("read", err)
	return err != syscall.EAGAIN && err != syscall.EINTR
}

func newUDPFile(f *os.File) (socket, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	u := &udpFile{File: f, raw: raw}
	u.turn = u.takeTurn
	return u, nil
}
