package mptcp

import (
	"fmt"
	"net/netip"
	"strings"
)

// Endpoint is one address that the kernel's own path manager was told to use
// ("ip mptcp endpoint"). The userspace path manager does not use them by itself.
type Endpoint struct {
	ID      uint8          // 1 to 255; to add one, 0 lets the kernel choose
	Addr    netip.AddrPort // the port is 0 unless it is announced with one
	Flags   EndpointFlags
	IfIndex int // the interface its subflows are bound to, else 0
}

// EndpointFlags say what an [Endpoint] is for.
type EndpointFlags uint32

// The flags of endpoints (uapi/linux/mptcp_pm.h).
const (
	// EndpointSignal: announce the address to the peer (ADD_ADDR).
	EndpointSignal EndpointFlags = 1 << iota
	// EndpointSubflow: make a subflow from the address.
	EndpointSubflow
	// EndpointBackup: its subflows carry data only when no other can.
	EndpointBackup
	// EndpointFullMesh: make subflows to all known addresses of the peer.
	EndpointFullMesh
	// EndpointImplicit: made by the kernel for an address that a peer joined.
	EndpointImplicit
	// EndpointLaminar: one subflow from here for one announced address (Linux 6.18).
	EndpointLaminar
)

// Has reports whether all the given flags are set.
func (f EndpointFlags) Has(flags EndpointFlags) bool { return f&flags == flags }

// String lists the flags in iproute2's words: "subflow,backup".
func (f EndpointFlags) String() string {
	var words []string
	for i, word := range [...]string{"signal", "subflow", "backup", "fullmesh", "implicit", "laminar"} {
		if f.Has(1 << i) {
			words = append(words, word)
			f &^= 1 << i
		}
	}
	if f != 0 {
		words = append(words, fmt.Sprintf("%#x", uint32(f)))
	}
	return strings.Join(words, ",")
}
