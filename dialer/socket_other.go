//go:build !linux

package dialer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"
)

// connectTCP makes one plain TCP connection: Multipath TCP sockets are used on
// Linux only.
func (d *Dialer) connectTCP(ctx context.Context, remote netip.AddrPort, want protocol) (*stream, error) {
	reason := fmt.Errorf("multipath TCP is not available on %s", runtime.GOOS)
	if want == requireMPTCP {
		return nil, fmt.Errorf("%w: %w", ErrMultipathUnsupported, reason)
	}
	nd := net.Dialer{
		KeepAlive: d.KeepAlive, KeepAliveConfig: d.KeepAliveConfig,
		Control: d.Control, ControlContext: d.ControlContext,
	}
	c, err := nd.DialContext(ctx, "tcp", remote.String())
	if err != nil {
		return nil, innerError(ctx, err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("connection is a %T", c)
	}
	s := &stream{TCPConn: tcp}
	if want == preferMPTCP {
		s.plain = reason
	}
	return s, nil
}

// connectFast is connectTCP: TCP Fast Open is used on Linux only.
func (d *Dialer) connectFast(ctx context.Context, remote netip.AddrPort, want protocol) (*stream, error) {
	s, err := d.connectTCP(ctx, remote, want)
	if err == nil {
		s.lacking = append(s.lacking, fmt.Errorf("TCP Fast Open is not available on %s", runtime.GOOS))
	}
	return s, err
}

// roundTrip is not known here.
func roundTrip(*net.TCPConn) time.Duration { return 0 }
