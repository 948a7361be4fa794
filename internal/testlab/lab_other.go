//go:build !linux

package testlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"time"
)

func errNotLinux() error {
	return fmt.Errorf("%w: labs need Linux, not %s", ErrUnavailable, runtime.GOOS)
}

// Reexec returns an error that wraps ErrUnavailable: labs need Linux.
func Reexec(*exec.Cmd) error { return errNotLinux() }

// Inside returns false: labs need Linux.
func Inside() bool { return false }

// OtherUser returns 0: labs need Linux.
func OtherUser() (uint32, error) { return 0, nil }

// Available returns an error that wraps ErrUnavailable: labs need Linux.
func Available() error { return errNotLinux() }

// WithoutNetAdmin calls start: there is no capability to take.
func WithoutNetAdmin(start func() error) error { return start() }

// Lab cannot be made outside Linux; see [New].
type Lab struct{}

// New returns an error that wraps ErrUnavailable: labs need Linux.
func New(Options) (*Lab, error) { return nil, errNotLinux() }

// Client returns nil.
func (*Lab) Client() *Host { return nil }

// AddHost returns an error that wraps ErrUnavailable.
func (*Lab) AddHost(string, ...LinkSpec) (*Host, error) { return nil, errNotLinux() }

// AddClientLink returns an error that wraps ErrUnavailable.
func (*Lab) AddClientLink(LinkSpec) (*Link, error) { return nil, errNotLinux() }

// Behave does nothing.
func (*Lab) Behave(netip.Addr, Behaviour) {}

// SYNs returns nil.
func (*Lab) SYNs() []SYN { return nil }

// ResetSYNs does nothing.
func (*Lab) ResetSYNs() {}

// Close does nothing.
func (*Lab) Close() error { return nil }

// Host cannot be made outside Linux.
type Host struct{}

// Name returns "".
func (*Host) Name() string { return "" }

// Links returns nil.
func (*Host) Links() []*Link { return nil }

// Do returns an error that wraps ErrUnavailable.
func (*Host) Do(func() error) error { return errNotLinux() }

// Listen returns an error that wraps ErrUnavailable.
func (*Host) Listen(string, string) (net.Listener, error) { return nil, errNotLinux() }

// ListenPlain returns an error that wraps ErrUnavailable.
func (*Host) ListenPlain(string, string) (net.Listener, error) { return nil, errNotLinux() }

// ListenConfig returns an error that wraps ErrUnavailable.
func (*Host) ListenConfig(*net.ListenConfig, string, string) (net.Listener, error) {
	return nil, errNotLinux()
}

// ListenPacket returns an error that wraps ErrUnavailable.
func (*Host) ListenPacket(string, string) (net.PacketConn, error) { return nil, errNotLinux() }

// DialContext returns an error that wraps ErrUnavailable.
func (*Host) DialContext(context.Context, *net.Dialer, string, string) (net.Conn, error) {
	return nil, errNotLinux()
}

// Sysctl returns an error that wraps ErrUnavailable.
func (*Host) Sysctl(string, string) error { return errNotLinux() }

// Start returns an error that wraps ErrUnavailable.
func (*Host) Start(*exec.Cmd) error { return errNotLinux() }

// Link cannot be made outside Linux.
type Link struct{}

// Name returns "".
func (*Link) Name() string { return "" }

// Index returns 0.
func (*Link) Index() int { return 0 }

// Addrs returns nil.
func (*Link) Addrs() []netip.Addr { return nil }

// SetDelay does nothing.
func (*Link) SetDelay(time.Duration) {}

// SetLoss does nothing.
func (*Link) SetLoss(float64) {}

// SetRate does nothing.
func (*Link) SetRate(int64) {}

// Cut does nothing.
func (*Link) Cut() {}

// Heal does nothing.
func (*Link) Heal() {}

// Down returns an error that wraps ErrUnavailable.
func (*Link) Down() error { return errNotLinux() }

// Up returns an error that wraps ErrUnavailable.
func (*Link) Up() error { return errNotLinux() }

// Stats returns zero counts.
func (*Link) Stats() LinkStats { return LinkStats{} }
