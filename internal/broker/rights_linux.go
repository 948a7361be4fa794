package broker

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// oobSize is the room for control messages, octets: for a few more descriptors
// than the one that may come. The kernel drops the rest and says so.
const oobSize = 64

var errDescriptors = errors.New("a message must have exactly one descriptor")

// receiver reads a client's messages. Its buffers are used again.
type receiver struct {
	conn *net.UnixConn
	data [MaxMessage]byte
	oob  [oobSize]byte
}

// receive reads one message and the descriptor that came with it, which the
// caller closes. With an error there is none to close.
func (r *receiver) receive() (message, int, error) {
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(r.data[:], r.oob[:])
	// An empty message looks like the end, and can have descriptors too.
	fds, rightsErr := descriptors(r.oob[:oobn])
	var m message
	switch {
	case err != nil:
	case rightsErr != nil:
		err = rightsErr
	case flags&unix.MSG_TRUNC != 0:
		err = errLong
	case len(fds) != 1 || flags&unix.MSG_CTRUNC != 0:
		err = errDescriptors
	default:
		m, err = parse(r.data[:n])
	}
	if err != nil {
		closeAll(fds)
		return nil, -1, err
	}
	return m, fds[0], nil
}

// descriptors returns all descriptors in control messages.
func descriptors(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read control messages: %w", err)
	}
	var all []int
	for i := range messages {
		if h := messages[i].Header; h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return all, fmt.Errorf("read descriptors: %w", err)
		}
		all = append(all, fds...)
	}
	return all, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // what the close of a stranger's file says is not ours
	}
}
