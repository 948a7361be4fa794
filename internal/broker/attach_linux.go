package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/unixsocket"
)

// Attach asks the broker behind the unix socket path to manage the paths of
// conn, which must be a connected MPTCP socket. The path manager it returns is
// a [*Client]; it uses conn for every command, and the caller closes both: the
// client first, since a connection that is closed in the middle of a command
// lives until the command has ended.
//
// The error is [ErrAbsent] where there is no broker, or none that answers before
// ctx ends or [AttachTimeout] has passed, and [ErrRefused] with the reason where
// the broker does not want this client or this connection.
func Attach(ctx context.Context, path string, conn syscall.RawConn) (mptcp.PathManager, error) {
	ctx, cancel := context.WithTimeout(ctx, AttachTimeout)
	defer cancel()
	c := newClient(conn)
	err := c.dial(ctx, path)
	if err == nil {
		if err = c.handshake(ctx); err == nil {
			err = ctx.Err() // then the deadlines are spoilt
		}
		if err != nil {
			_ = c.conn.Close() // nothing was asked for
		}
	}
	if err != nil {
		return nil, fmt.Errorf("attach to the broker at %s: %w", path, attachError(ctx, err))
	}
	c.reader.Go(c.read)
	return c, nil
}

func newClient(proof syscall.RawConn) *Client {
	return &Client{
		proof:   proof,
		wait:    CommandTimeout,
		done:    make(chan struct{}),
		waiting: make(map[uint32]chan reply),
	}
}

func (c *Client) dial(ctx context.Context, path string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		return err
	}
	c.conn = conn.(*net.UnixConn) // of a unix network
	return nil
}

// attachError puts err in the terms of this package.
func attachError(ctx context.Context, err error) error {
	for errno, reason := range map[syscall.Errno]error{
		unix.ENOENT:       ErrAbsent,
		unix.ENOTDIR:      ErrAbsent,
		unix.ECONNREFUSED: ErrAbsent,  // nobody listens any more
		unix.EPROTOTYPE:   ErrAbsent,  // another kind of socket
		unix.EACCES:       ErrRefused, // by the socket's mode
		unix.EPERM:        ErrRefused,
		unix.EAGAIN:       ErrRefused, // its queue is full
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", reason, err)
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w that answers: %w", ErrAbsent, ctx.Err())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// send writes one message with the connection's descriptor. A failure of the
// write is errWrite, others come from the descriptor.
func (c *Client) send(m message) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	b := m.append(nil)
	failure := c.conn.SetWriteDeadline(time.Now().Add(c.wait))
	if failure == nil {
		err := c.proof.Control(func(fd uintptr) {
			_, _, failure = c.conn.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil)
		})
		if err != nil {
			return err
		}
	}
	if failure != nil {
		return fmt.Errorf("%w: %w", errWrite, failure)
	}
	return nil
}

// Listen makes the socket for [Server.Serve] at path, with a mode and, unless it
// is negative, a group id. A socket that is left there by a broker that has
// ended is replaced; one that is in use is not (EADDRINUSE).
func Listen(path string, mode fs.FileMode, group int) (*net.UnixListener, error) {
	l, err := unixsocket.Listen("unixpacket", path, mode, group)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return l, nil
}
