//go:build !linux

package dialer

import (
	"net/netip"
	"syscall"
)

// bindLocal does nothing: see [Dialer].Local.
func (r localRule) bindLocal(syscall.RawConn, netip.AddrPort) error { return nil }
