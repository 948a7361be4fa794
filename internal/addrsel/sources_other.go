//go:build !linux

package addrsel

import "net/netip"

// localAddrs returns what is known of this host's addresses: prefix lengths.
func localAddrs() map[netip.Addr]Source { return localPrefixes() }
