package dialer

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/netmon"
)

// Why an address has no path.
var (
	errDenied     = errors.New("the peer asked not to be joined at the address that the connection began with")
	errNoSource   = errors.New("no local address that may be used reaches it")
	errSourceGone = errors.New("the local address is gone")
	errUnplanned  = errors.New("the path policy uses other addresses")
)

// origin is where a subflow begins: an address of this machine and, where the
// subflow is to be bound to it, its interface. The zero origin leaves the choice
// to routing.
type origin struct {
	addr  netip.Addr
	index int
}

// plan decides between which addresses a connection has paths. It is pure: the
// same plan gives the same paths, and paths that there are stay as long as
// their addresses do.
type plan struct {
	policy   PathPolicy
	first    held     // the subflow that the connection began with
	unwanted bool     // the first path's remote address is not in the set, or the peer does not want it joined
	remotes  []choice // the peer's other addresses, in order; from is not used
	have     []held   // the joins there are

	known      bool // network is
	network    netmon.State
	local      localRule
	routedFrom func(remote netip.Addr) netip.Addr // the origin that routing would choose, invalid for none; nil: not known
}

// held is a path that there is.
type held struct {
	from   origin
	local  netip.Addr // where it really begins; invalid while unknown
	remote netip.AddrPort
	up     bool
}

// choices returns the paths that there should be, those to leave out with the
// reason.
func (p plan) choices() []choice {
	switch p.policy {
	case OnePerLocal:
		return p.perLocal()
	case FullMesh:
		return p.fullMesh()
	}
	return p.perRemote()
}

// perRemote makes one path to each remote address.
func (p plan) perRemote() (out []choice) {
	uses := p.firstUse()
	for _, c := range p.targets(!p.first.up) {
		if c.skip == nil {
			c = p.fromBest(c, uses)
		}
		out = append(out, c)
	}
	return out
}

// firstUse counts the first path on its interface.
func (p plan) firstUse() map[int]int {
	uses := make(map[int]int)
	if p.first.up {
		uses[p.indexOf(p.first.local)]++
	}
	return uses
}

// fromBest chooses the origin of a path: the one that it has, or that of the
// interface with the fewest paths, in the order of preference.
func (p plan) fromBest(c choice, uses map[int]int) choice {
	list, routed := p.sources(c.remote.Addr())
	if len(list) == 0 {
		if !routed {
			c.skip = errNoSource
		}
		return p.keepUnrouted(c)
	}
	best := list[0]
	for _, s := range list[1:] {
		if uses[p.indexOf(s.addr)] < uses[p.indexOf(best.addr)] {
			best = s
		}
	}
	index := p.indexOf(best.addr)
	if h, ok := p.holds(c.remote, list); ok {
		// It moves only to an interface without any path, from one with others.
		at := p.indexOf(h.begins())
		if uses[index] > 0 || uses[at] == 0 {
			best, index = h.from, at
		}
	}
	uses[index]++
	c.from = best
	return c
}

// begins returns the local address of a path as far as it is known.
func (h held) begins() netip.Addr {
	if h.local.IsValid() {
		return h.local
	}
	return h.from.addr
}

// keepUnrouted keeps the source of a path for which there is no choice now.
func (p plan) keepUnrouted(c choice) choice {
	for _, h := range p.have {
		if h.remote == c.remote && (c.skip != nil || p.indexOf(h.begins()) != 0) {
			c.from = h.from
		}
	}
	return c
}

// holds returns the path that there is to remote, if it may stay.
func (p plan) holds(remote netip.AddrPort, list []origin) (held, bool) {
	for _, h := range p.have {
		if h.remote == remote && (slices.Contains(list, h.from) || h.from == (origin{}) && (!h.local.IsValid() || contains(list, h.local))) {
			return h, true
		}
	}
	return held{}, false
}

func contains(list []origin, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(s origin) bool { return s.addr == a })
}

// perLocal makes one path from each uplink. The remote addresses used least so
// far go first.
func (p plan) perLocal() (out []choice) {
	uses, used := p.firstUse(), map[netip.AddrPort]int{}
	if p.first.up {
		used[p.first.remote]++
	}
	targets := p.targets(true)
	for _, s := range p.uplinks(targets) {
		if uses[p.indexOf(s.addr)] > 0 {
			continue
		}
		if c, ok := p.leastUsed(targets, s, used); ok {
			uses[p.indexOf(s.addr)]++
			used[c.remote]++
			out = append(out, c)
		}
	}
	for _, c := range targets {
		if used[c.remote] == 0 {
			if c.skip == nil {
				c.skip = errUnplanned
			}
			out = append(out, c)
		}
	}
	return out
}

// leastUsed returns the path from s to the remote address that it has one to
// already, or that is used least.
func (p plan) leastUsed(targets []choice, s origin, used map[netip.AddrPort]int) (best choice, ok bool) {
	for _, c := range targets {
		list, _ := p.sources(c.remote.Addr())
		if c.skip != nil || !slices.Contains(list, s) {
			continue
		}
		c.from = s
		if slices.ContainsFunc(p.have, func(h held) bool { return h.from == s && h.remote == c.remote }) {
			return c, true
		}
		if !ok || used[c.remote] < used[best.remote] {
			best, ok = c, true
		}
	}
	return best, ok
}

// uplinks returns the sources for any of the targets, in order.
func (p plan) uplinks(targets []choice) (out []origin) {
	for _, c := range targets {
		list, _ := p.sources(c.remote.Addr())
		for _, s := range list {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// fullMesh makes a path for each pair, those to remote addresses without one
// first.
func (p plan) fullMesh() (out []choice) {
	direct := p.perRemote()
	out = append(out, direct...)
	for _, c := range p.targets(true) {
		if c.skip != nil {
			continue
		}
		list, _ := p.sources(c.remote.Addr())
		for _, s := range list {
			same := func(x choice) bool { return x.remote == c.remote && (x.from == s || x.from == (origin{})) }
			isFirst := p.first.up && c.remote == p.first.remote && p.indexOf(s.addr) == p.indexOf(p.first.local)
			if !isFirst && !slices.ContainsFunc(out, same) {
				c.from = s
				out = append(out, c)
			}
		}
	}
	return out
}

// targets returns the remote addresses, with the first one where it is wanted.
func (p plan) targets(withFirst bool) []choice {
	out := slices.Clone(p.remotes)
	if withFirst && !p.unwanted && !slices.ContainsFunc(out, func(c choice) bool { return c.remote == p.first.remote }) {
		out = append(out, choice{remote: p.first.remote, why: "the connection began with it"})
	}
	return out
}

// sources returns where paths to remote can begin, the best first. With none,
// routed tells whether routing may choose.
func (p plan) sources(remote netip.Addr) (list []origin, routed bool) {
	if !p.known || remote.IsLoopback() {
		return nil, true
	}
	list = p.local.sources(p.network, remote)
	if p.local.restricts() || p.routedFrom == nil {
		return list, !p.local.restricts()
	}
	// A more specific route goes before the uplinks: it leads somewhere else.
	if chosen := p.routedFrom(remote); chosen.IsValid() {
		index := p.indexOf(chosen)
		onUplink := func(s origin) bool { return p.indexOf(s.addr) == index }
		if index != 0 && !slices.ContainsFunc(list, onUplink) {
			return nil, true
		}
	}
	return list, true
}

// indexOf returns the interface of a local address, 0 for an unknown one.
func (p plan) indexOf(a netip.Addr) int {
	for _, n := range p.network.Addresses {
		if n.Addr == a {
			return n.Index
		}
	}
	return 0
}
