package dialer

import (
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/netmon"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// localRule says which addresses of this machine a connection may use: those of
// a set, where a wildcard stands for all of its family, and those of interfaces
// by name. The zero rule allows all.
type localRule struct {
	addrs      []netip.Addr
	interfaces []string
}

// newLocalRule returns the rule of a set and of interfaces.
func newLocalRule(set mpaddr.Addr, interfaces []string) localRule {
	r := localRule{interfaces: interfaces}
	for _, e := range set.All() {
		r.addrs = append(r.addrs, e.Target().Addr())
	}
	return r
}

// restricts reports whether the rule leaves anything out.
func (r localRule) restricts() bool { return len(r.addrs) > 0 || len(r.interfaces) > 0 }

// allows reports whether the rule names an address or its interface; all, that
// it does so by a wildcard.
func (r localRule) allows(a netmon.Address) (named, all bool) {
	if !r.restricts() || slices.Contains(r.interfaces, a.Interface) {
		return false, true
	}
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	all = a.Addr.Is4() && slices.Contains(r.addrs, any4) || a.Addr.Is6() && slices.Contains(r.addrs, any6)
	return slices.Contains(r.addrs, a.Addr), all
}

// allowsAddr reports whether a subflow may begin at an address of this machine.
func (r localRule) allowsAddr(network netmon.State, addr netip.Addr) bool {
	for _, a := range network.Addresses {
		if a.Addr == addr {
			named, all := r.allows(a)
			return named || all
		}
	}
	return !r.restricts()
}

// sources returns where paths to remote can begin: the addresses named one by
// one, and for wildcards the best address of each interface that has the remote
// address on link, or else a default route.
func (r localRule) sources(network netmon.State, remote netip.Addr) (out []origin) {
	family := netmon.IPv6
	if remote.Is4() {
		family = netmon.IPv4
	}
	for _, a := range network.Addresses {
		if named, _ := r.allows(a); named && a.Addr.Is4() == remote.Is4() {
			out = append(out, sourceOf(a))
		}
	}
	best := network.Sources(family)
	linked := slices.ContainsFunc(best, func(a netmon.Address) bool { return onLink(a, remote) })
	for _, a := range best {
		_, all := r.allows(a)
		reaches := onLink(a, remote) || a.DefaultRoute && !linked
		if all && reaches && !slices.Contains(out, sourceOf(a)) {
			out = append(out, sourceOf(a))
		}
	}
	return out
}

// onLink reports whether remote is on the link of a.
func onLink(a netmon.Address, remote netip.Addr) bool {
	return netip.PrefixFrom(a.Addr, a.Prefix).Masked().Contains(remote)
}

// sourceOf returns an address as a source. A subflow is bound to an interface
// that has a default route of its own: the routing table's may lead elsewhere.
func sourceOf(a netmon.Address) origin {
	if a.DefaultRoute {
		return origin{addr: a.Addr, index: a.Index}
	}
	return origin{addr: a.Addr}
}
