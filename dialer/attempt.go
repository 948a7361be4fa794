package dialer

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// synthesisTimeout bounds how long an attempt without a route waits to learn of
// a NAT64.
const synthesisTimeout = time.Second

// successFunc looks for what a dial counts as success on a connection just
// made. It returns when ctx is done or the connection's deadline has passed.
type successFunc func(ctx context.Context, s *stream) error

// attempt makes one connection attempt: a TCP connection, and what the dial
// counts as success beyond. In between it calls established.
func (d *Dialer) attempt(ctx context.Context, t target, remote netip.AddrPort, established func()) (*stream, error) {
	s, err := d.reach(ctx, t, remote)
	if err != nil {
		return nil, err
	}
	if t.strict && s.token == 0 {
		_ = s.Close() // nothing was sent
		return nil, ErrNotMultipath
	}
	if t.success == nil {
		return s, nil
	}
	established()
	if err := succeed(ctx, s, t.success); err != nil {
		_ = s.Close() // err says more
		return nil, err
	}
	return s, nil
}

// reach connects to remote: through the network's NAT64 where it is an IPv4
// address to which this host has no route (Happy Eyeballs v3, section 5).
func (d *Dialer) reach(ctx context.Context, t target, remote netip.AddrPort) (*stream, error) {
	connect := d.connectTCP
	if t.fast {
		connect = d.connectFast
	}
	s, err := connect(ctx, remote, t.want)
	if err == nil || !remote.Addr().Is4() || !isUnreachable(err) {
		return s, err
	}
	patience, cancel := context.WithTimeout(ctx, synthesisTimeout)
	defer cancel()
	addr, ok := d.resolver().Synthesize(patience, remote.Addr())
	if !ok {
		return nil, err
	}
	via := netip.AddrPortFrom(addr, remote.Port())
	if s, err = connect(ctx, via, t.want); err != nil {
		return nil, fmt.Errorf("through the NAT64 as %v: %w", addr, err)
	}
	s.via = via
	return s, nil
}

// succeed runs a successFunc within ctx.
func succeed(ctx context.Context, s *stream, success successFunc) error {
	stop := whenDone(ctx, func() {
		_ = s.SetDeadline(time.Unix(1, 0)) // fails only on a closed connection
	})
	err := success(ctx, s)
	if stop() || ctx.Err() != nil && err != nil {
		return ctx.Err()
	}
	return err
}

// whenDone calls f when ctx is done. The function it returns ends that and
// reports whether f was called; nothing of f runs afterwards.
func whenDone(ctx context.Context, f func()) (stop func() bool) {
	if ctx.Done() == nil {
		return func() bool { return false }
	}
	ended := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(ended)
		f()
	})
	return func() bool {
		if forget() {
			return false
		}
		<-ended
		return true
	}
}
