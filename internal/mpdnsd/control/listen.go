package control

import (
	"fmt"
	"io/fs"
	"net"

	"github.com/af-multipath/mpresolve/internal/unixsocket"
)

// Listen makes the socket at path, with a mode and, unless it is negative, a
// group id. A socket that a daemon left there that has ended is replaced; one
// that is in use is not (EADDRINUSE). Clients of users other than root and this
// process's are turned away while the mode is the owner's alone.
func Listen(path string, mode fs.FileMode, group int) (net.Listener, error) {
	l, err := unixsocket.Listen("unix", path, mode, group)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if mode&0o077 == 0 {
		return &owned{l}, nil
	}
	return l, nil
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
