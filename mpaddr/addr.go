package mpaddr

import (
	"iter"
	"net"
	"net/netip"
	"slices"
)

// Network is the name of the network that an [Addr] is an address of, as
// [Addr.Network] returns it and as dialers and listeners take it.
const Network = "multipath"

// Addr is an AF_MULTIPATH address (section 3 of the draft): an ordered set of
// the transport addresses of one host, no target twice. The order is kept by
// every operation; a resolver puts the address to dial first in front.
//
// The zero value is the empty set. An Addr is immutable and may be copied and
// used by several goroutines at once. Its octets, text and JSON are described
// in the package comment.
//
// As a net.Addr may be compared or be the key of a map, an Addr may too,
// without a panic; but a == b only says that one is a copy of the other, or
// that both are empty. Use [Addr.Equal] or [Addr.SameSet].
type Addr struct {
	// set is never written through after its Addr is made, nor is it the
	// caller's slice. It is nil for the empty set. It is a pointer because a
	// slice here would make comparing two net.Addr panic.
	set *[]Endpoint
}

var _ net.Addr = Addr{}

// New returns the set of eps in their order. Of several endpoints that are one
// target the first is kept, and endpoints that are not valid are left out.
func New(eps ...Endpoint) Addr {
	x := index{eps: make([]Endpoint, 0, len(eps))}
	for _, e := range eps {
		if e.IsValid() {
			x.add(e)
		}
	}
	return own(x.eps)
}

// FromAddrPorts is [New] for endpoints without flow information.
func FromAddrPorts(aps ...netip.AddrPort) Addr {
	x := index{eps: make([]Endpoint, 0, len(aps))}
	for _, ap := range aps {
		if ap.IsValid() {
			x.add(EndpointFrom(ap))
		}
	}
	return own(x.eps)
}

// FromAddrs is [New] for addresses that share one port, as when a name's
// addresses become a set to connect to.
func FromAddrs(port uint16, as ...netip.Addr) Addr {
	x := index{eps: make([]Endpoint, 0, len(as))}
	for _, ip := range as {
		if ip.IsValid() {
			x.add(EndpointFrom(netip.AddrPortFrom(ip, port)))
		}
	}
	return own(x.eps)
}

// own makes a set of eps, which the caller gives away and which holds valid
// endpoints only, no target twice.
func own(eps []Endpoint) Addr {
	if len(eps) == 0 {
		return Addr{}
	}
	set := eps // only this is moved to the heap, so the empty set costs nothing
	return Addr{set: &set}
}

// endpoints returns the elements, to be read only.
func (a Addr) endpoints() []Endpoint {
	if a.set == nil {
		return nil
	}
	return *a.set
}

// Network returns [Network], "multipath".
func (a Addr) Network() string { return Network }

// Len returns the number of endpoints.
func (a Addr) Len() int { return len(a.endpoints()) }

// IsEmpty reports whether a has no endpoint.
func (a Addr) IsEmpty() bool { return a.set == nil }

// At returns the endpoint at position i, from 0. It panics when i is out of
// range, as indexing a slice does.
func (a Addr) At(i int) Endpoint { return a.endpoints()[i] }

// All returns an iterator over positions and endpoints, in order.
func (a Addr) All() iter.Seq2[int, Endpoint] { return slices.All(a.endpoints()) }

// AddrPorts returns address and port of every endpoint in order, in a slice
// of the caller's own, IPv4-mapped addresses as such; nil for the empty set.
func (a Addr) AddrPorts() []netip.AddrPort {
	if a.IsEmpty() {
		return nil
	}
	aps := make([]netip.AddrPort, a.Len())
	for i, e := range a.endpoints() {
		aps[i] = e.AddrPort()
	}
	return aps
}

// Equal reports whether a and b have equal endpoints in the same order, and
// with that the same octets. It tells an IPv4 address from its IPv4-mapped
// form, and one flow information from another.
func (a Addr) Equal(b Addr) bool { return slices.Equal(a.endpoints(), b.endpoints()) }

// SameSet reports whether a and b have the same targets, in any order.
func (a Addr) SameSet(b Addr) bool {
	return a.Len() == b.Len() && a.Minus(b).IsEmpty()
}

// Contains reports whether e's target is in a.
func (a Addr) Contains(e Endpoint) bool {
	return e.IsValid() && (&index{eps: a.endpoints()}).find(e) >= 0
}

// ContainsAddrPort reports whether ap's target is in a.
func (a Addr) ContainsAddrPort(ap netip.AddrPort) bool { return a.Contains(EndpointFrom(ap)) }

// linearLimit is the number of endpoints up to which a target is looked for
// one by one. It is that of the longest draft-layout record and one more;
// above it a map keeps a hostile record of 65535 endpoints from costing the
// square of that.
const linearLimit = 16

// index finds targets among endpoints and gathers those not yet there.
type index struct {
	eps []Endpoint
	// at has the position of each target in eps. It is nil as long as a walk
	// does, and then made by build.
	at map[netip.AddrPort]int
}

// build makes the map if there are enough endpoints for one.
func (x *index) build() {
	if x.at != nil || len(x.eps) <= linearLimit {
		return
	}
	x.at = make(map[netip.AddrPort]int, len(x.eps))
	for i, e := range x.eps {
		x.at[e.Target()] = i
	}
}

// find returns the position of e's target, or -1.
func (x *index) find(e Endpoint) int {
	target := e.Target()
	if x.at == nil {
		return slices.IndexFunc(x.eps, func(f Endpoint) bool { return f.Target() == target })
	}
	if i, ok := x.at[target]; ok {
		return i
	}
	return -1
}

// add appends e unless its target is there, and returns the position at which
// it was found, or -1 when it was not and so was added.
func (x *index) add(e Endpoint) (found int) {
	if found = x.find(e); found >= 0 {
		return found
	}
	x.eps = append(x.eps, e)
	if x.at != nil {
		x.at[e.Target()] = len(x.eps) - 1
	}
	x.build()
	return -1
}
