//go:build !linux

package addrsel

import "net/netip"

// localAddrs returns what is known of this host's addresses: prefix lengths.
func localAddrs() map[netip.Addr]Source { return localPrefixes() }

// sourceOf returns the address that the kernel would send from to reach dest.
func (f *Finder) sourceOf(dest netip.AddrPort) netip.Addr { return dialSource(dest) }
