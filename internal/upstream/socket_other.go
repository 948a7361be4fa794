//go:build !linux

package upstream

import (
	"net"
	"net/netip"
)

// openUDP returns a connected UDP socket.
func openUDP(server netip.AddrPort) (socket, error) { return dialUDP(server) }

// acknowledger returns a function that does nothing: connections are kept on Linux.
func acknowledger(net.Conn) func() { return func() {} }
