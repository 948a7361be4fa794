package resolver

import (
	"fmt"
	"net/netip"
)

// misplaced says why an address has no place in any DNS answer; empty if it may
// have.
func misplaced(a netip.Addr) string {
	switch {
	case a.Is4In6():
		return "IPv4-mapped address in an AAAA record"
	case a.IsUnspecified():
		return "unspecified address"
	case a.IsLoopback():
		return "loopback address"
	case a.IsMulticast():
		return "multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "broadcast address"
	case a.Is4() && a.As4()[0] == 0:
		return "address of this network (RFC 791)"
	case a.IsLinkLocalUnicast() && a.Zone() == "":
		return "link-local address without a zone"
	}
	return ""
}

// isPrivate reports whether a is meant for one site: RFC 1918, RFC 4193, the
// shared space of RFC 6598, site-local (RFC 3879).
func isPrivate(a netip.Addr) bool {
	if a.IsPrivate() {
		return true
	}
	b := a.AsSlice()
	if a.Is4() {
		return b[0] == 100 && b[1]&0xc0 == 64
	}
	return len(b) == 16 && b[0] == 0xfe && b[1]&0xc0 == 0xc0
}

// candidate is an address on its way into the record.
type candidate struct {
	addr netip.Addr
	own  bool // from this machine's own configuration: not filtered
}

// filter divides the addresses of all families into those to keep, which it
// appends to keep, without duplicates, and those to drop, with the reason.
func filter(keep []candidate, families []FamilyResult, keepLocal bool, source func(netip.Addr) Source) ([]candidate, []Dropped) {
	var dropped []Dropped
	for i := range families {
		own := keepLocal || families[i].isOwn()
		for _, a := range families[i].Addrs {
			if why := misplaced(a); why != "" && !own {
				dropped = append(dropped, Dropped{a, why})
			} else if c := (candidate{a.Unmap(), own}); !has(keep, c.addr) {
				keep = append(keep, c)
			}
		}
	}
	return dropPrivate(keep, dropped, source)
}

func has(keep []candidate, a netip.Addr) bool {
	for _, c := range keep {
		if c.addr == a {
			return true
		}
	}
	return false
}

// dropPrivate takes private addresses out where the name has public ones: of
// the same family always; of the other, unless this host would send from a
// private address itself, as it does inside the site.
func dropPrivate(all []candidate, dropped []Dropped, source func(netip.Addr) Source) ([]candidate, []Dropped) {
	var public publics
	private := false
	for _, c := range all {
		if p := isPrivate(c.addr); p && !c.own {
			private = true
		} else if !p {
			*public.of(c.addr) = true
		}
	}
	if !private || public == (publics{}) {
		return all, dropped
	}
	keep := all[:0]
	for _, c := range all {
		if why := privateOutOfPlace(c, public, source); why != "" {
			dropped = append(dropped, Dropped{c.addr, why})
			continue
		}
		keep = append(keep, c)
	}
	return keep, dropped
}

// publics are the families in which a name has public addresses.
type publics struct{ four, six bool }

// of is the place for the family of a.
func (p *publics) of(a netip.Addr) *bool {
	if a.Is4() {
		return &p.four
	}
	return &p.six
}

// privateOutOfPlace says why a private address does not belong beside the
// public ones; empty if it does, or is not private.
func privateOutOfPlace(c candidate, public publics, sourceOf func(netip.Addr) Source) string {
	if c.own || !isPrivate(c.addr) {
		return ""
	}
	if *public.of(c.addr) {
		return "private address beside public ones"
	}
	var source netip.Addr
	if sourceOf != nil {
		source = sourceOf(c.addr).Addr
	}
	switch {
	case !source.IsValid():
		return "private address beside public ones, and no way to it"
	case !isPrivate(source):
		return fmt.Sprintf("private address beside public ones, and this host would reach it from %s", source)
	}
	return ""
}
