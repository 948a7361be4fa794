package dialer

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// keepIdle reads TCP_KEEPIDLE in seconds.
func keepIdle(t *testing.T, c syscall.Conn) int {
	t.Helper()
	return sockopt(t, c, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
}

func sockopt(t *testing.T, c syscall.Conn, level, option int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, option) })
	if err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return value
}
