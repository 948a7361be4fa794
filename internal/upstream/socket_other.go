//go:build !linux

package upstream

import "net/netip"

// openUDP returns a connected UDP socket.
func openUDP(server netip.AddrPort) (socket, error) { return dialUDP(server) }
