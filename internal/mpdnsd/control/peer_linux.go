package control

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// mayAsk reports whether the client is root or of this process's user, as the
// kernel has it (SO_PEERCRED, unix(7)).
func mayAsk(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	var failure error
	err = raw.Control(func(fd uintptr) {
		peer, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return err == nil && failure == nil && isOwner(peer.Uid, os.Geteuid())
}

func isOwner(uid uint32, euid int) bool { return uid == 0 || int(uid) == euid }
