// Package unixsocket makes the unix sockets that the daemon is asked at.
package unixsocket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// Listen makes the socket at path, of a network such as "unix" or "unixpacket",
// with a mode and, unless it is negative, a group id. A socket that a process
// left there that has ended is replaced; one that is in use is not (EADDRINUSE).
func Listen(network, path string, mode fs.FileMode, group int) (*net.UnixListener, error) {
	addr := &net.UnixAddr{Net: network, Name: path}
	l, err := net.ListenUnix(network, addr)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(addr) {
		if err = os.Remove(path); err == nil {
			l, err = net.ListenUnix(network, addr)
		}
	}
	if err != nil {
		return nil, err
	}
	if group >= 0 {
		err = os.Chown(path, -1, group)
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		_ = l.Close() // nobody was served
		return nil, err
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
