package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Listen makes the socket at path, with a mode and, unless it is negative, a
// group id. A socket that a daemon left there that has ended is replaced; one
// that is in use is not (EADDRINUSE). Clients of users other than root and this
// process's are turned away while the mode is the owner's alone.
func Listen(path string, mode fs.FileMode, group int) (net.Listener, error) {
	addr := &net.UnixAddr{Net: "unix", Name: path}
	l, err := net.ListenUnix(addr.Net, addr)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(addr) {
		if err = os.Remove(path); err == nil {
			l, err = net.ListenUnix(addr.Net, addr)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if group >= 0 {
		err = os.Chown(path, -1, group)
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		_ = l.Close() // nobody was served
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if mode&0o077 == 0 {
		return &owned{l}, nil
	}
	return l, nil
}

// abandoned reports whether nobody listens at a socket that there is.
func abandoned(addr *net.UnixAddr) bool {
	info, err := os.Lstat(addr.Name)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	c, err := net.DialUnix(addr.Net, nil, addr)
	if err == nil {
		_ = c.Close() // somebody does
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// owned accepts clients of root and of this process's user only.
type owned struct{ *net.UnixListener }

func (l *owned) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if mayAsk(c) {
			return c, nil
		}
		_ = c.Close() // it was told nothing
	}
}
