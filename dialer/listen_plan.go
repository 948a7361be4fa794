package dialer

import (
	"net/netip"
	"slices"
)

// listenBind is what a listening socket is bound to.
type listenBind struct {
	addr netip.AddrPort // never IPv4-mapped
	dual bool           // addr is [::], and IPv4 is taken too
}

// covers reports whether connections to ap arrive at the socket.
func (b listenBind) covers(ap netip.AddrPort) bool {
	if b.addr.Port() != ap.Port() {
		return false
	}
	switch {
	case b.addr.Addr() == ap.Addr():
		return true
	case !b.addr.Addr().IsUnspecified():
		return false
	case b.addr.Addr().Is4():
		return ap.Addr().Is4()
	}
	return b.dual || ap.Addr().Is6()
}

// overlaps reports whether the system refuses one of the two sockets while the
// other is listening.
func (b listenBind) overlaps(o listenBind) bool {
	if b.addr.Port() != o.addr.Port() {
		return false
	}
	return b.covers(o.addr) || o.covers(b.addr)
}

// listenPlan is one socket to open and the addresses asked for that it serves.
type listenPlan struct {
	listenBind
	entries []int // positions of those addresses in the set, rising
}

// planListen returns the sockets that serve the addresses at the positions
// entries of want: as few as do, in the order of first mention. A wildcard
// serves every address of its port that it covers, and [::] both families, so
// that [::] and 0.0.0.0 of one port are one socket. Port 0 is one port like any
// other. The addresses of want are not IPv4-mapped.
func planListen(want []netip.AddrPort, entries []int) []listenPlan {
	var plans []listenPlan
	for _, i := range entries {
		covers := func(p listenPlan) bool { return p.covers(want[i]) }
		n := slices.IndexFunc(plans, covers)
		if n < 0 {
			n = len(plans)
			plans = append(plans, listenPlan{listenBind: widestListen(want, entries, want[i])})
		}
		plans[n].entries = append(plans[n].entries, i)
	}
	return plans
}

// widestListen returns the socket that serves ap: that of a wildcard, where one
// that covers it was asked for too.
func widestListen(want []netip.AddrPort, entries []int, ap netip.AddrPort) listenBind {
	asked := func(a netip.Addr) bool {
		w := netip.AddrPortFrom(a, ap.Port())
		return slices.ContainsFunc(entries, func(i int) bool { return want[i] == w })
	}
	switch {
	case asked(netip.IPv6Unspecified()):
		return listenBind{netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port()), true}
	case ap.Addr().Is4() && asked(netip.IPv4Unspecified()):
		return listenBind{netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port()), false}
	}
	return listenBind{addr: ap}
}

// split returns what is left to try when p's socket cannot be had: a dual-stack
// socket becomes one of IPv6 and those of the IPv4 addresses asked for; another
// wildcard's specific addresses get a socket each. It is empty when there is
// nothing else to try.
func (p listenPlan) split(want []netip.AddrPort) []listenPlan {
	var six, four, specific []int
	for _, i := range p.entries {
		if want[i].Addr().Is4() {
			four = append(four, i)
		} else {
			six = append(six, i)
		}
		if want[i] != p.addr {
			specific = append(specific, i)
		}
	}
	if p.dual && len(four) > 0 {
		only6 := listenPlan{listenBind{addr: p.addr}, six}
		return append([]listenPlan{only6}, planListen(want, four)...)
	}
	var plans []listenPlan
	for _, i := range specific {
		plans = append(plans, listenPlan{listenBind{addr: want[i]}, []int{i}})
	}
	return plans
}
