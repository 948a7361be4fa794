//go:build !linux

package broker

import (
	"context"
	"io/fs"
	"net"
	"syscall"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Server serves nobody: brokers are for Linux.
type Server struct{}

// NewServer returns [mptcp.ErrUnsupported].
func NewServer(Config) (*Server, error) { return nil, mptcp.ErrUnsupported }

// Serve returns [mptcp.ErrUnsupported].
func (*Server) Serve(context.Context, *net.UnixListener) error { return mptcp.ErrUnsupported }

// Attach returns [mptcp.ErrUnsupported].
func Attach(context.Context, string, syscall.RawConn) (mptcp.PathManager, error) {
	return nil, mptcp.ErrUnsupported
}

// Listen returns [mptcp.ErrUnsupported].
func Listen(string, fs.FileMode, int) (*net.UnixListener, error) { return nil, mptcp.ErrUnsupported }
