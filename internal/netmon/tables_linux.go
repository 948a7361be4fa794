package netmon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tables hold what the kernel told: all links but only those addresses and
// routes that can matter. They have one owner at a time.
type tables struct {
	links  map[int]link
	addrs  map[addrKey]addr
	routes map[routeKey]uint32 // the lowest metric of the default routes, or NoMetric
}

// link is one interface.
type link struct {
	name   string
	up     bool // by the administrator; the kernel flushes routes when this ends
	usable bool // up, with a carrier, and not loopback
}

// addrKey tells the addresses of one interface apart as the kernel does: IPv6
// addresses by themselves, IPv4 addresses also by prefix and by the peer.
type addrKey struct {
	index  int
	local  netip.Addr
	peer   netip.Addr // IPv4 only: IFA_ADDRESS
	prefix int        // IPv4 only
}

// addr is the rest of an address.
type addr struct {
	prefix int
	flags  uint32
}

type routeKey struct {
	family Family
	index  int
}

func newTables() *tables {
	return &tables{
		links:  make(map[int]link),
		addrs:  make(map[addrKey]addr),
		routes: make(map[routeKey]uint32),
	}
}

// effect is what has to be done after a message.
type effect uint8

const (
	// changed: the State may be another one.
	changed effect = 1 << iota
	// askRoutes: default routes may have gone without a word, or in a way that
	// depends on the kernel's version.
	askRoutes
	// askAll: messages were lost.
	askAll
)

// errShort says that a message ends before its fixed header does.
var errShort = errors.New("message too short")

// apply changes the tables by one message, of a dump or of a notification. The
// effect is for notifications: a dump needs nothing more. Messages of other
// types have none. A message that cannot be decoded changes nothing.
//
// Of routes only additions are applied. Whether one replaced another, and what
// went with a link, an address or a nexthop object, is asked for.
func (t *tables) apply(m netlink.Message) (effect, error) {
	e, err := t.dispatch(m)
	if err != nil {
		return 0, fmt.Errorf("apply route netlink message of type %d: %w", m.Header.Type, err)
	}
	return e, nil
}

func (t *tables) dispatch(m netlink.Message) (effect, error) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK:
		return t.newLink(m.Data)
	case unix.RTM_DELLINK:
		return t.deleteLink(m.Data)
	case unix.RTM_NEWADDR:
		return t.newAddr(m.Data)
	case unix.RTM_DELADDR:
		return t.deleteAddr(m.Data)
	case unix.RTM_NEWROUTE:
		return t.newRoute(m.Data)
	case unix.RTM_DELROUTE:
		return t.deleteRoute(m.Data)
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return askRoutes, nil
	}
	return 0, nil
}

func (t *tables) newLink(data []byte) (effect, error) {
	index, l, ok, err := parseLink(data)
	if err != nil || !ok {
		return 0, err
	}
	old := t.links[index]
	if l.name == "" {
		l.name = old.name
	}
	t.links[index] = l
	switch {
	case l == old:
		return 0, nil
	case old.up && !l.up:
		return changed | askRoutes, nil
	}
	return changed, nil
}

// deleteLink takes away what was on the link, too.
func (t *tables) deleteLink(data []byte) (effect, error) {
	index, _, ok, err := parseLink(data)
	if err != nil || !ok {
		return 0, err
	}
	delete(t.links, index)
	for k := range t.addrs {
		if k.index == index {
			delete(t.addrs, k)
		}
	}
	for _, family := range []Family{IPv4, IPv6} {
		delete(t.routes, routeKey{family, index})
	}
	return changed | askRoutes, nil
}

func (t *tables) newAddr(data []byte) (effect, error) {
	k, a, ok, err := parseAddr(data)
	if err != nil || !ok || t.addrs[k] == a {
		return 0, err
	}
	t.addrs[k] = a
	return changed, nil
}

func (t *tables) deleteAddr(data []byte) (effect, error) {
	k, _, ok, err := parseAddr(data)
	if err != nil || !ok {
		return 0, err
	}
	delete(t.addrs, k)
	return changed | askRoutes, nil
}

func (t *tables) newRoute(data []byte) (effect, error) {
	r, ok, err := parseRoute(data)
	if err != nil || !ok {
		return 0, err
	}
	for _, index := range r.indices {
		k := routeKey{r.family, index}
		if old, known := t.routes[k]; !known || r.metric < old {
			t.routes[k] = r.metric
		}
	}
	return changed | askRoutes, nil
}

func (t *tables) deleteRoute(data []byte) (effect, error) {
	_, ok, err := parseRoute(data)
	if err != nil || !ok {
		return 0, err
	}
	return askRoutes, nil
}

// state returns what the tables come to.
func (t *tables) state() State {
	var s State
	for k, a := range t.addrs {
		l, ok := t.links[k.index]
		if !ok || !l.usable || !a.usable() || !usableAddr(k.local) {
			continue
		}
		s.Addresses = append(s.Addresses, t.address(k, a, l))
	}
	s.Addresses = tidy(s.Addresses)
	for k := range t.routes {
		if t.links[k.index].usable {
			s.DefaultIPv4 = s.DefaultIPv4 || k.family == IPv4
			s.DefaultIPv6 = s.DefaultIPv6 || k.family == IPv6
		}
	}
	return s
}

func (t *tables) address(k addrKey, a addr, l link) Address {
	metric, routed := t.routes[routeKey{familyOf(k.local), k.index}]
	if !routed {
		metric = NoMetric
	}
	return Address{
		Addr:         k.local,
		Prefix:       a.prefix,
		Interface:    l.name,
		Index:        k.index,
		DefaultRoute: routed,
		Metric:       metric,
		Deprecated:   a.flags&unix.IFA_F_DEPRECATED != 0,
		// One bit has two meanings.
		Temporary: k.local.Is6() && a.flags&unix.IFA_F_TEMPORARY != 0,
		Secondary: k.local.Is4() && a.flags&unix.IFA_F_SECONDARY != 0,
	}
}

// usable reports whether duplicate address detection is over and found none.
func (a addr) usable() bool { return a.flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 }

// parseLink decodes struct ifinfomsg and the name. Messages of a family are
// about something else of the link, such as its place in a bridge: not ok.
func parseLink(b []byte) (index int, l link, ok bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return 0, link{}, false, errShort
	}
	if b[0] != unix.AF_UNSPEC {
		return 0, link{}, false, nil
	}
	index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	flags := binary.NativeEndian.Uint32(b[8:])
	const usable = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	l.up = flags&unix.IFF_UP != 0
	l.usable = flags&(usable|unix.IFF_LOOPBACK) == usable
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return 0, link{}, false, err
	}
	for ad.Next() {
		if ad.Type() == unix.IFLA_IFNAME {
			l.name = ad.String()
		}
	}
	return index, l, true, ad.Err()
}

// parseAddr decodes struct ifaddrmsg and its attributes. It is not ok for
// families other than IPv4 and IPv6.
func parseAddr(b []byte) (k addrKey, a addr, ok bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return k, a, false, errShort
	}
	family := b[0]
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return k, a, false, nil
	}
	a = addr{prefix: int(b[1]), flags: uint32(b[2])}
	k.index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return k, a, false, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL: // the own end; IFA_ADDRESS is the peer's where they differ
			ad.Do(decodeIP(family, &k.local))
		case unix.IFA_ADDRESS:
			ad.Do(decodeIP(family, &k.peer))
		case unix.IFA_FLAGS: // all of them; the header has eight
			a.flags = ad.Uint32()
		}
	}
	if !k.local.IsValid() {
		k.local = k.peer
	}
	k.prefix = a.prefix
	if family == unix.AF_INET6 {
		k.peer, k.prefix = netip.Addr{}, 0
	}
	return k, a, k.local.IsValid(), ad.Err()
}

// decodeIP decodes an address of the family.
func decodeIP(family byte, to *netip.Addr) func([]byte) error {
	return func(b []byte) error {
		a, ok := netip.AddrFromSlice(b)
		if !ok || a.Is4() != (family == unix.AF_INET) {
			return fmt.Errorf("address of family %d has %d octets", family, len(b))
		}
		*to = a
		return nil
	}
}
