package broker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Why the broker refuses an address.
var (
	errPort      = errors.New("the remote port is not the connection's")
	errOwnPort   = errors.New("the announced port is not the connection's")
	errNotOwn    = errors.New("not an address of this machine")
	errNotBound  = errors.New("no MPTCP socket of this machine listens there on the connection's port")
	errAnnounced = errors.New("the connection has as many announced addresses as it may")
	errNotPublic = errors.New("the address is not for hosts to be reached at")
	errPrivate   = errors.New("the address is private and the connection's peer is not")
	errDisallow  = errors.New("the address is outside of the allowed prefixes")
	errSubflows  = errors.New("the connection has as many subflows as it may")
)

// class is what an address is good for.
type class uint8

const (
	public  class = iota
	private       // reached within a site
	local         // reached within a link or a host
	invalid       // not a host's address
)

// classes are the ranges that are not public, as the special-purpose registries
// of RFC 6890 have them. The first that matches counts.
var classes = []struct {
	prefix netip.Prefix
	class  class
}{
	{netip.MustParsePrefix("0.0.0.0/8"), invalid},       // RFC 791, this network
	{netip.MustParsePrefix("10.0.0.0/8"), private},      // RFC 1918
	{netip.MustParsePrefix("100.64.0.0/10"), private},   // RFC 6598, shared with the carrier
	{netip.MustParsePrefix("127.0.0.0/8"), local},       // RFC 1122, loopback
	{netip.MustParsePrefix("169.254.0.0/16"), local},    // RFC 3927, link-local
	{netip.MustParsePrefix("172.16.0.0/12"), private},   // RFC 1918
	{netip.MustParsePrefix("192.0.0.0/24"), private},    // RFC 6890, protocol assignments
	{netip.MustParsePrefix("192.168.0.0/16"), private},  // RFC 1918
	{netip.MustParsePrefix("198.18.0.0/15"), private},   // RFC 2544, benchmarks
	{netip.MustParsePrefix("224.0.0.0/4"), invalid},     // RFC 5771, multicast
	{netip.MustParsePrefix("240.0.0.0/4"), invalid},     // RFC 1112, reserved; broadcast
	{netip.MustParsePrefix("::1/128"), local},           // RFC 4291, loopback
	{netip.MustParsePrefix("::/96"), invalid},           // RFC 4291, unspecified; IPv4-compatible
	{netip.MustParsePrefix("64:ff9b:1::/48"), private},  // RFC 8215, local translation
	{netip.MustParsePrefix("100::/64"), invalid},        // RFC 6666, discard-only
	{netip.MustParsePrefix("2001::/32"), invalid},       // RFC 4380, Teredo: hides an IPv4 address
	{netip.MustParsePrefix("fc00::/7"), private},        // RFC 4193
	{netip.MustParsePrefix("fe80::/10"), local},         // RFC 4291, link-local
	{netip.MustParsePrefix("fec0::/10"), private},       // RFC 3879, former site-local
	{netip.MustParsePrefix("ff00::/8"), invalid},        // RFC 4291, multicast
	{netip.MustParsePrefix("::ffff:0:0:0/96"), invalid}, // RFC 2765, IPv4-translated
}

// translations are the prefixes whose addresses stand for an IPv4 address, and
// where in the octets that begins.
var translations = []struct {
	prefix netip.Prefix
	offset int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // RFC 6052, well-known prefix of NAT64
	{netip.MustParsePrefix("2002::/16"), 2},     // RFC 3056, 6to4
}

// classify returns what a is good for. An address that stands for an IPv4
// address is what that is.
func classify(a netip.Addr) class {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return invalid
	}
	for _, t := range translations {
		if t.prefix.Contains(a) {
			b := a.As16()
			a = netip.AddrFrom4([4]byte(b[t.offset:]))
		}
	}
	for _, c := range classes {
		if c.prefix.Contains(a) {
			return c.class
		}
	}
	return public
}

// reachable tells whether a connection to peer may have other's address at its
// end too.
func reachable(other, peer netip.Addr) error {
	switch classify(other) {
	case public:
		return nil
	case private:
		if c := classify(peer); c == private || c == local {
			return nil
		}
		return errPrivate
	default:
		return errNotPublic
	}
}

// policy is what an administrator sets.
type policy struct {
	allow    []netip.Prefix // empty: any
	subflows int            // of one connection, besides the first
}

// target decides on a subflow to remote. The connection goes to peer; announced
// are the endpoints that the peer announced.
func (p policy) target(remote, peer netip.AddrPort, announced map[uint8]netip.AddrPort) error {
	if err := p.targetAddr(remote.Addr(), peer.Addr()); err != nil {
		return fmt.Errorf("%v: %w", remote, err)
	}
	if remote.Port() != 0 && remote.Port() == peer.Port() {
		return nil
	}
	for _, a := range announced {
		if remote.Port() != 0 && a == remote {
			return nil
		}
	}
	return fmt.Errorf("%v: %w, which is %d", remote, errPort, peer.Port())
}

func (p policy) targetAddr(remote, peer netip.Addr) error {
	if err := reachable(remote, peer); err != nil || len(p.allow) == 0 {
		return err
	}
	for _, prefix := range p.allow {
		if prefix.Contains(remote) {
			return nil
		}
	}
	return errDisallow
}

// room decides on one more subflow of a connection that has n besides the first.
func (p policy) room(n int) error {
	if n >= p.subflows {
		return fmt.Errorf("%w: %d", errSubflows, p.subflows)
	}
	return nil
}

// machine is what can be reached here.
type machine struct {
	addrs     []netip.Addr
	listeners []mptcp.Listener
}

// announce decides on announcing addr to the peer; here is the connection's own
// end. A join goes to the connection's port.
func (policy) announce(addr, here, peer netip.AddrPort, own machine) error {
	if err := reachable(addr.Addr(), peer.Addr()); err != nil {
		return fmt.Errorf("announce %v: %w", addr, err)
	}
	if addr.Port() != 0 && addr.Port() != here.Port() {
		return fmt.Errorf("announce %v: %w, which is %d", addr, errOwnPort, here.Port())
	}
	if !slices.Contains(own.addrs, addr.Addr()) {
		return fmt.Errorf("announce %v: %w", addr, errNotOwn)
	}
	reached := netip.AddrPortFrom(addr.Addr(), here.Port())
	if !slices.ContainsFunc(own.listeners, func(l mptcp.Listener) bool { return l.Accepts(reached) }) {
		return fmt.Errorf("announce %v: %w, which is %d", addr, errNotBound, here.Port())
	}
	return nil
}
