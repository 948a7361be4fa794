package server

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// allowed is the set of clients that get answers.
type allowed struct {
	prefixes *bart.Lite // besides this machine
}

// newAllowed copies the prefixes.
func newAllowed(prefixes []netip.Prefix) allowed {
	table := new(bart.Lite)
	for _, p := range prefixes {
		table.Insert(p.Masked())
	}
	return allowed{table}
}

// has reports whether a client that asked at one of this machine's addresses may ask. This machine
// is known by loopback addresses, and by asking from the address that it asks at: what has one of
// its own addresses as destination has the same as source, if nothing else is chosen.
func (a allowed) has(client, asked netip.Addr) bool {
	client = client.Unmap().WithZone("")
	return client.IsLoopback() || a.prefixes.Contains(client) || client == asked.Unmap().WithZone("")
}
