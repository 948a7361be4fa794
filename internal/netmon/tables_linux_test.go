package netmon

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const running = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP

// ipmr is RTNL_FAMILY_IPMR, the family of IPv4 multicast routes (linux/rtnetlink.h).
const ipmr = 128

// message makes a message of a fixed header and attributes.
func message(typ netlink.HeaderType, header []byte, attrs func(*netlink.AttributeEncoder)) netlink.Message {
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	b, err := ae.Encode()
	if err != nil {
		panic(err)
	}
	return netlink.Message{Header: netlink.Header{Type: typ}, Data: append(header, b...)}
}

func linkMessage(typ netlink.HeaderType, family byte, index int, name string, flags uint32) netlink.Message {
	h := make([]byte, unix.SizeofIfInfomsg)
	h[0] = family
	binary.NativeEndian.PutUint32(h[4:], uint32(index))
	binary.NativeEndian.PutUint32(h[8:], flags)
	return message(typ, h, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_MTU, 1500)
		if name != "" {
			ae.String(unix.IFLA_IFNAME, name)
		}
	})
}

func familyNumber(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addrMessage makes a message about an address as the kernel does: IFA_LOCAL is
// there for IPv4 and where a peer is.
func addrMessage(typ netlink.HeaderType, index int, local, peer string, flags uint32) netlink.Message {
	p := netip.MustParsePrefix(local)
	address := p.Addr()
	if peer != "" {
		address = netip.MustParseAddr(peer)
	}
	h := make([]byte, unix.SizeofIfAddrmsg)
	h[0], h[1], h[2] = familyNumber(p.Addr()), byte(p.Bits()), byte(flags)
	binary.NativeEndian.PutUint32(h[4:], uint32(index))
	return message(typ, h, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_ADDRESS, address.AsSlice())
		if p.Addr().Is4() || peer != "" {
			ae.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		}
		ae.Uint32(unix.IFA_FLAGS, flags)
	})
}

// route is a route as a message tells it.
type route struct {
	family byte
	prefix byte
	kind   byte
	table  uint32
	metric uint32
	flags  uint32
	hops   []int // one is RTA_OIF, several are RTA_MULTIPATH

	gateway string // of every hop
}

func defaultVia(family byte, metric uint32, hops ...int) route {
	return route{family: family, kind: unix.RTN_UNICAST, table: unix.RT_TABLE_MAIN, metric: metric, hops: hops}
}

func (r route) message(typ netlink.HeaderType) netlink.Message {
	h := make([]byte, unix.SizeofRtMsg)
	h[0], h[1], h[4], h[7] = r.family, r.prefix, byte(min(r.table, unix.RT_TABLE_COMPAT)), r.kind
	if r.table == unix.RT_TABLE_MAIN {
		h[4] = unix.RT_TABLE_MAIN
	}
	binary.NativeEndian.PutUint32(h[8:], r.flags)
	return message(typ, h, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.RTA_TABLE, r.table)
		if r.metric != 0 {
			ae.Uint32(unix.RTA_PRIORITY, r.metric)
		}
		switch len(r.hops) {
		case 0:
		case 1:
			ae.Uint32(unix.RTA_OIF, uint32(r.hops[0]))
			if r.gateway != "" {
				ae.Bytes(unix.RTA_GATEWAY, netip.MustParseAddr(r.gateway).AsSlice())
			}
		default:
			ae.Bytes(unix.RTA_MULTIPATH, r.nexthops())
		}
	})
}

// nexthops encodes an array of struct rtnexthop.
func (r route) nexthops() []byte {
	var out []byte
	for _, index := range r.hops {
		hop := make([]byte, unix.SizeofRtNexthop)
		binary.NativeEndian.PutUint32(hop[4:], uint32(index))
		if r.gateway != "" {
			hop = message(0, hop, func(ae *netlink.AttributeEncoder) {
				ae.Bytes(unix.RTA_GATEWAY, netip.MustParseAddr(r.gateway).AsSlice())
			}).Data
		}
		binary.NativeEndian.PutUint16(hop, uint16(len(hop)))
		out = append(out, hop...)
	}
	return out
}

// TestNexthopPadding: a nexthop's length need not be a multiple of four, the
// next one's place is.
func TestNexthopPadding(t *testing.T) {
	array := append(make([]byte, 12), make([]byte, 9)...)
	for i, length := range map[int]uint16{0: 9, 12: 9} {
		binary.NativeEndian.PutUint16(array[i:], length)
		binary.NativeEndian.PutUint32(array[i+4:], uint32(i+1))
	}
	var r defaultRoute
	if err := r.decodeNexthops(array); err != nil || !slices.Equal(r.indices, []int{1, 13}) {
		t.Errorf("indices %v, %v", r.indices, err)
	}
}

// applyAll applies messages and fails for those that cannot be decoded.
func applyAll(t interface{ Fatalf(string, ...any) }, tb *tables, ms ...netlink.Message) effect {
	var all effect
	for _, m := range ms {
		before := tb.state()
		e, err := tb.apply(m)
		if err != nil {
			t.Fatalf("apply type %d: %v", m.Header.Type, err)
		}
		if e&changed == 0 && !tb.state().Equal(before) {
			t.Fatalf("type %d changed %v to %v and did not say so", m.Header.Type, before, tb.state())
		}
		all |= e
	}
	return all
}

// eth is a link that is up.
func eth(index int, name string) netlink.Message {
	return linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, index, name, running)
}

func newAddr(index int, local string) netlink.Message {
	return addrMessage(unix.RTM_NEWADDR, index, local, "", 0)
}

func TestApply(t *testing.T) {
	const both = changed | askRoutes
	base := []netlink.Message{
		eth(2, "eth0"), newAddr(2, "192.0.2.1/24"), newAddr(2, "2001:db8::1/64"),
		defaultVia(unix.AF_INET, 100, 2).message(unix.RTM_NEWROUTE),
	}
	flags := func(f uint32) netlink.Message {
		return addrMessage(unix.RTM_NEWADDR, 2, "2001:db8::1/64", "", f)
	}
	link := func(typ netlink.HeaderType, family byte, name string, f uint32) netlink.Message {
		return linkMessage(typ, family, 2, name, f)
	}
	for name, test := range map[string]struct {
		m      netlink.Message
		effect effect
		want   []string // the addresses of the state
	}{
		"same link again":       {eth(2, "eth0"), 0, []string{"192.0.2.1", "2001:db8::1"}},
		"link without a name":   {eth(2, ""), 0, []string{"192.0.2.1", "2001:db8::1"}},
		"renamed":               {eth(2, "eth1"), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"other link":            {eth(3, "eth1"), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"down":                  {link(unix.RTM_NEWLINK, 0, "eth0", unix.IFF_LOWER_UP), both, nil},
		"no carrier":            {link(unix.RTM_NEWLINK, 0, "eth0", unix.IFF_UP), changed, nil},
		"dormant":               {link(unix.RTM_NEWLINK, 0, "eth0", running&^unix.IFF_RUNNING), changed, nil},
		"loopback":              {link(unix.RTM_NEWLINK, 0, "eth0", running|unix.IFF_LOOPBACK), changed, nil},
		"deleted":               {link(unix.RTM_DELLINK, 0, "eth0", 0), both, nil},
		"left a bridge":         {link(unix.RTM_DELLINK, unix.AF_BRIDGE, "eth0", 0), 0, []string{"192.0.2.1", "2001:db8::1"}},
		"joined a bridge":       {link(unix.RTM_NEWLINK, unix.AF_BRIDGE, "eth0", 0), 0, []string{"192.0.2.1", "2001:db8::1"}},
		"tentative":             {flags(unix.IFA_F_TENTATIVE), changed, []string{"192.0.2.1"}},
		"optimistic":            {flags(unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC), changed, []string{"192.0.2.1"}},
		"duplicate":             {flags(unix.IFA_F_DADFAILED), changed, []string{"192.0.2.1"}},
		"flags beyond eight":    {flags(unix.IFA_F_NOPREFIXROUTE), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"same address again":    {newAddr(2, "192.0.2.1/24"), 0, []string{"192.0.2.1", "2001:db8::1"}},
		"other prefix, IPv6":    {newAddr(2, "2001:db8::1/48"), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"other prefix, IPv4":    {newAddr(2, "192.0.2.1/16"), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"with a peer":           {addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.1/32", "10.0.0.2", 0), changed, []string{"10.0.0.1", "192.0.2.1", "2001:db8::1"}},
		"on an unknown link":    {newAddr(9, "10.0.0.1/24"), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"link-local IPv6":       {newAddr(2, "fe80::1/64"), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"link-local IPv4":       {newAddr(2, "169.254.0.1/16"), changed, []string{"192.0.2.1", "2001:db8::1"}},
		"address removed":       {addrMessage(unix.RTM_DELADDR, 2, "192.0.2.1/24", "", 0), both, []string{"2001:db8::1"}},
		"other one removed":     {addrMessage(unix.RTM_DELADDR, 2, "192.0.2.1/16", "", 0), both, []string{"192.0.2.1", "2001:db8::1"}},
		"removed with a peer":   {addrMessage(unix.RTM_DELADDR, 2, "2001:db8::1/128", "2001:db8::2", 0), both, []string{"192.0.2.1"}},
		"nexthop object":        {netlink.Message{Header: netlink.Header{Type: unix.RTM_DELNEXTHOP}}, askRoutes, []string{"192.0.2.1", "2001:db8::1"}},
		"neighbour":             {netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWNEIGH}}, 0, []string{"192.0.2.1", "2001:db8::1"}},
		"address of a family":   {netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWADDR}, Data: []byte{unix.AF_MPLS, 7: 2}}, 0, []string{"192.0.2.1", "2001:db8::1"}},
		"address without octet": {netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWADDR}, Data: []byte{unix.AF_INET, 7: 0}}, 0, []string{"192.0.2.1", "2001:db8::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			tb := newTables()
			applyAll(t, tb, base...)
			if got := applyAll(t, tb, test.m); got != test.effect {
				t.Errorf("effect %b, want %b", got, test.effect)
			}
			var addrs []string
			for _, a := range tb.state().Addresses {
				addrs = append(addrs, a.Addr.String())
			}
			if !slices.Equal(addrs, test.want) {
				t.Errorf("addresses %v, want %v", addrs, test.want)
			}
		})
	}
}

func TestApplyRoute(t *testing.T) {
	const both = changed | askRoutes
	with := func(r route, change func(*route)) netlink.Message {
		change(&r)
		return r.message(unix.RTM_NEWROUTE)
	}
	v4, v6 := defaultVia(unix.AF_INET, 100, 2), defaultVia(unix.AF_INET6, 1024, 2)
	for name, test := range map[string]struct {
		m      netlink.Message
		effect effect
		want   map[routeKey]uint32
	}{
		"IPv4":            {v4.message(unix.RTM_NEWROUTE), both, map[routeKey]uint32{{IPv4, 2}: 100}},
		"IPv6":            {v6.message(unix.RTM_NEWROUTE), both, map[routeKey]uint32{{IPv6, 2}: 1024}},
		"no metric":       {with(v4, func(r *route) { r.metric = 0 }), both, map[routeKey]uint32{{IPv4, 2}: 0}},
		"other table":     {with(v4, func(r *route) { r.table = 1001 }), both, map[routeKey]uint32{{IPv4, 2}: NoMetric}},
		"several hops":    {with(v4, func(r *route) { r.hops = []int{2, 3} }), both, map[routeKey]uint32{{IPv4, 2}: 100, {IPv4, 3}: 100}},
		"not the default": {with(v6, func(r *route) { r.prefix = 3 }), 0, nil},
		"unreachable":     {with(v6, func(r *route) { r.kind = unix.RTN_UNREACHABLE }), 0, nil},
		"cached":          {with(v6, func(r *route) { r.flags = unix.RTM_F_CLONED }), 0, nil},
		"multicast table": {with(v4, func(r *route) { r.family = ipmr }), 0, nil},
		"removed":         {v4.message(unix.RTM_DELROUTE), askRoutes, nil},
		"other removed":   {route{family: unix.AF_INET, prefix: 24, kind: unix.RTN_UNICAST, hops: []int{2}}.message(unix.RTM_DELROUTE), 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tb := newTables()
			if got := applyAll(t, tb, test.m); got != test.effect {
				t.Errorf("effect %b, want %b", got, test.effect)
			}
			if !maps.Equal(tb.routes, test.want) {
				t.Errorf("routes %v, want %v", tb.routes, test.want)
			}
		})
	}
}

// TestState holds each field against the messages it comes from.
func TestState(t *testing.T) {
	tb := newTables()
	applyAll(t, tb,
		eth(2, "eth0"), eth(3, "wlan0"), linkMessage(unix.RTM_NEWLINK, 0, 4, "wwan0", unix.IFF_UP),
		defaultVia(unix.AF_INET, 600, 3).message(unix.RTM_NEWROUTE),
		defaultVia(unix.AF_INET, 700, 3).message(unix.RTM_NEWROUTE),
		defaultVia(unix.AF_INET6, 1024, 4).message(unix.RTM_NEWROUTE),
		newAddr(3, "192.0.2.1/24"), newAddr(4, "2001:db8:4::1/64"),
		addrMessage(unix.RTM_NEWADDR, 2, "10.0.0.2/24", "", unix.IFA_F_SECONDARY),
		addrMessage(unix.RTM_NEWADDR, 2, "2001:db8::1/64", "", unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED),
	)
	address := func(s string, prefix, index int, name string) Address {
		return Address{Addr: netip.MustParseAddr(s), Prefix: prefix, Index: index, Interface: name, Metric: NoMetric}
	}
	want := State{DefaultIPv4: true, Addresses: []Address{
		address("10.0.0.2", 24, 2, "eth0").with(secondary),
		address("2001:db8::1", 64, 2, "eth0").with(temporary).with(deprecated),
		address("192.0.2.1", 24, 3, "wlan0").with(func(a *Address) { a.DefaultRoute, a.Metric = true, 600 }),
	}}
	if got := tb.state(); !got.Equal(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	checkState(t, tb.state())
}

func TestApplyRefuses(t *testing.T) {
	nested := func(b ...byte) netlink.Message {
		r := defaultVia(unix.AF_INET, 0).message(unix.RTM_NEWROUTE)
		length := uint16(4 + len(b))
		r.Data = binary.NativeEndian.AppendUint16(r.Data, length)
		r.Data = append(binary.NativeEndian.AppendUint16(r.Data, unix.RTA_MULTIPATH), b...)
		return r
	}
	of := func(typ netlink.HeaderType, data ...byte) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: typ}, Data: data}
	}
	badIP := message(unix.RTM_NEWADDR, []byte{unix.AF_INET, 24, 7: 0}, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, make([]byte, 16))
	})
	short := binary.NativeEndian.AppendUint16(nil, 7)
	long := binary.NativeEndian.AppendUint16(nil, 12)
	for name, test := range map[string]struct {
		m     netlink.Message
		short bool
	}{
		"empty link":           {of(unix.RTM_NEWLINK), true},
		"short deletion":       {of(unix.RTM_DELLINK, make([]byte, 15)...), true},
		"short address":        {of(unix.RTM_NEWADDR, make([]byte, 7)...), true},
		"short deletion again": {of(unix.RTM_DELADDR, make([]byte, 7)...), true},
		"short route":          {of(unix.RTM_NEWROUTE, make([]byte, 11)...), true},
		"short route deletion": {of(unix.RTM_DELROUTE, make([]byte, 11)...), true},
		"link attribute":       {of(unix.RTM_NEWLINK, []byte{16: 1, 19: 0}...), false},
		"address attribute":    {of(unix.RTM_NEWADDR, []byte{unix.AF_INET, 11: 0, 8: 1}...), false},
		"route attribute":      {of(unix.RTM_NEWROUTE, []byte{unix.AF_INET, 7: unix.RTN_UNICAST, 12: 1, 15: 0}...), false},
		"IPv6 in IPv4":         {badIP, false},
		"half a nexthop":       {nested(1, 2, 3, 4), true},
		"nexthop too short":    {nested(append(short, make([]byte, 6)...)...), false},
		"nexthop too long":     {nested(append(long, make([]byte, 6)...)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			tb := newTables()
			e, err := tb.apply(test.m)
			if e != 0 || err == nil || errors.Is(err, errShort) != test.short {
				t.Errorf("effect %b, error %v", e, err)
			}
			if len(tb.links)+len(tb.addrs)+len(tb.routes) != 0 {
				t.Errorf("tables changed: %+v", tb)
			}
		})
	}
}

// FuzzApply: no message panics, any leaves a state as promised, and none has an
// effect when it comes again, unless routes are to be asked for.
func FuzzApply(f *testing.F) {
	for _, m := range []netlink.Message{
		eth(2, "eth0"), linkMessage(unix.RTM_DELLINK, 0, 2, "eth0", 0),
		newAddr(2, "192.0.2.9/24"), newAddr(2, "2001:db8::9/64"),
		addrMessage(unix.RTM_DELADDR, 2, "10.0.0.1/32", "10.0.0.2", 0),
		defaultVia(unix.AF_INET, 100, 2, 3).message(unix.RTM_NEWROUTE),
		defaultVia(unix.AF_INET6, 1024, 2).message(unix.RTM_DELROUTE),
	} {
		if e := applyAll(f, newTables(), m); e == 0 {
			f.Fatalf("seed of type %d has no effect", m.Header.Type)
		}
		f.Add(uint16(m.Header.Type), m.Data)
	}
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		tb := newTables()
		applyAll(t, tb, eth(2, "eth0"), newAddr(2, "192.0.2.1/24"), newAddr(2, "2001:db8::1/64"))
		m := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ)}, Data: data}
		before := tb.state()
		e, err := tb.apply(m)
		after := tb.state()
		checkState(t, after)
		if (err != nil || e&changed == 0) && !after.Equal(before) {
			t.Fatalf("%v became %v, effect %b, error %v", before, after, e, err)
		}
		again, errAgain := tb.apply(m)
		if (err == nil) != (errAgain == nil) || again&changed != 0 && again&askRoutes == 0 {
			t.Fatalf("again: effect %b, error %v; at first %v", again, errAgain, err)
		}
		if !tb.state().Equal(after) {
			t.Fatalf("again: %v became %v", after, tb.state())
		}
	})
}

func BenchmarkApply(b *testing.B) {
	tb := newTables()
	if _, err := tb.apply(eth(2, "eth0")); err != nil {
		b.Fatal(err)
	}
	m := newAddr(2, "2001:db8::1/64")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tb.apply(m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkState has a host of four links with eight addresses each.
func BenchmarkState(b *testing.B) {
	tb := newTables()
	for index := range 4 {
		ms := []netlink.Message{eth(index, "eth"), defaultVia(unix.AF_INET6, 1024, index).message(unix.RTM_NEWROUTE)}
		for i := range 8 {
			p := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(index), 15: byte(i)}), 64)
			ms = append(ms, newAddr(index, p.String()))
		}
		applyAll(b, tb, ms...)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(tb.state().Addresses) != 32 {
			b.Fatal("addresses are missing")
		}
	}
}
