// Package grpcexample makes a gRPC client whose connections a [dialer.Dialer]
// makes. A server needs nothing: what [net.Listen] returns speaks Multipath TCP,
// and a [dialer.Listener] does at several addresses.
package grpcexample

import (
	"context"
	"net"

	"google.golang.org/grpc"

	"github.com/af-multipath/mpresolve/dialer"
)

// NewClient returns a client of the gRPC server at target, "host:port", that
// connects with d.
//
// The scheme passthrough hands the name to d. With the scheme that gRPC takes
// by itself, dns, it would look the name up and dial each address alone, with
// nothing left to race or to join.
func NewClient(d *dialer.Dialer, target string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	dial := grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	})
	return grpc.NewClient("passthrough:///"+target, append(options, dial)...)
}
