//go:build !linux

package dialer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
)

// openListener opens a plain TCP socket: Multipath TCP sockets are used on Linux
// only.
func (lc *ListenConfig) openListener(ctx context.Context, at listenBind) (*listenSocket, error) {
	network := listenNetwork(at)
	if at.dual {
		network = "tcp"
	}
	config := net.ListenConfig{Control: lc.Control}
	ln, err := config.Listen(ctx, network, at.addr.String())
	if err != nil {
		return nil, listenCause(err)
	}
	s := &listenSocket{listenBind: at}
	if s.TCPListener, err = listenTCP(ln); err != nil {
		return nil, err
	}
	s.addr = netip.AddrPortFrom(at.addr.Addr(), listenPort(s.TCPListener))
	if lc.Multipath == MultipathAuto {
		s.plain = fmt.Errorf("multipath TCP is not available on %s", runtime.GOOS)
	}
	return s, nil
}
