package netmon

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// modelKernel is as much of a kernel as the tables have to follow: it tells
// what it does in notifications, and flushes IPv4 routes without any.
type modelKernel struct {
	links  map[int]uint32 // flags by index
	addrs  map[modelAddr]uint32
	routes []route
	told   []netlink.Message
}

type modelAddr struct {
	index int
	local string
}

func (a modelAddr) is6() bool { return strings.Contains(a.local, ":") }

func (a modelAddr) message(typ netlink.HeaderType, flags uint32) netlink.Message {
	return addrMessage(typ, a.index, a.local, "", flags)
}

func (k *modelKernel) tell(m netlink.Message) { k.told = append(k.told, m) }

func modelLink(typ netlink.HeaderType, index int, flags uint32) netlink.Message {
	return linkMessage(typ, unix.AF_UNSPEC, index, fmt.Sprint("eth", index), flags)
}

func (k *modelKernel) setLink(index int, flags uint32) {
	if flags&unix.IFF_UP == 0 {
		k.flush(index)
	}
	k.links[index] = flags
	k.tell(modelLink(unix.RTM_NEWLINK, index, flags))
}

// flush is what goes with a link that is not up any more.
func (k *modelKernel) flush(index int) {
	for a := range k.addrs {
		if a.index == index && a.is6() {
			k.remove(a)
		}
	}
	k.dropRoutes(func(r route) bool { return slices.Contains(r.hops, index) })
}

// dropRoutes tells of the IPv6 routes that go, and not of the IPv4 ones.
func (k *modelKernel) dropRoutes(drop func(route) bool) {
	k.routes = slices.DeleteFunc(k.routes, func(r route) bool {
		if drop(r) && r.family == unix.AF_INET6 {
			k.tell(r.message(unix.RTM_DELROUTE))
		}
		return drop(r)
	})
}

func (k *modelKernel) deleteLink(index int) {
	k.flush(index)
	for a := range k.addrs {
		if a.index == index {
			k.remove(a)
		}
	}
	delete(k.links, index)
	k.tell(modelLink(unix.RTM_DELLINK, index, 0))
}

func (k *modelKernel) remove(a modelAddr) {
	flags := k.addrs[a]
	delete(k.addrs, a)
	k.tell(a.message(unix.RTM_DELADDR, flags))
	for other := range k.addrs {
		if other.index == a.index && !other.is6() {
			return
		}
	}
	if !a.is6() { // the link's last IPv4 address
		k.dropRoutes(func(r route) bool { return r.family == unix.AF_INET && slices.Contains(r.hops, a.index) })
	}
}

// addRoute adds a route, or puts it in the place of one of its metric, of which
// the one message does not tell.
func (k *modelKernel) addRoute(r route) {
	k.routes = slices.DeleteFunc(k.routes, func(o route) bool { return o.family == r.family && o.metric == r.metric })
	k.routes = append(k.routes, r)
	k.tell(r.message(unix.RTM_NEWROUTE))
}

// dumpRoutes and dump are what the kernel answers.
func (k *modelKernel) dumpRoutes() (ms []netlink.Message) {
	for _, r := range k.routes {
		ms = append(ms, r.message(unix.RTM_NEWROUTE))
	}
	return ms
}

func (k *modelKernel) dump() (ms []netlink.Message) {
	for index, flags := range k.links {
		ms = append(ms, modelLink(unix.RTM_NEWLINK, index, flags))
	}
	for a, flags := range k.addrs {
		ms = append(ms, a.message(unix.RTM_NEWADDR, flags))
	}
	return append(ms, k.dumpRoutes()...)
}

// change makes one change that the kernel would allow, or none.
func (k *modelKernel) change(t *rapid.T) {
	index := rapid.IntRange(2, 4).Draw(t, "index")
	_, exists := k.links[index]
	addr := modelAddr{index, rapid.SampledFrom([]string{"192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64", "fe80::1/64"}).Draw(t, "addr")}
	_, held := k.addrs[addr]
	up := k.links[index]&unix.IFF_UP != 0
	switch what := rapid.SampledFrom([]string{"link", "link", "bounce", "delete link", "bridge", "addr", "addr", "remove", "route", "route", "delete route"}).Draw(t, "what"); {
	case what == "link":
		k.setLink(index, rapid.SampledFrom([]uint32{0, unix.IFF_UP, running, running}).Draw(t, "flags"))
	case what == "bounce" && exists:
		k.setLink(index, 0)
		k.setLink(index, running)
	case what == "delete link" && exists:
		k.deleteLink(index)
	case what == "bridge" && exists:
		k.tell(linkMessage(unix.RTM_DELLINK, unix.AF_BRIDGE, index, "", 0))
	case what == "addr" && exists && (up || !addr.is6()):
		k.addrs[addr] = rapid.SampledFrom([]uint32{0, unix.IFA_F_TENTATIVE, unix.IFA_F_DEPRECATED, unix.IFA_F_TEMPORARY}).Draw(t, "flags")
		k.tell(addr.message(unix.RTM_NEWADDR, k.addrs[addr]))
	case what == "remove" && held:
		k.remove(addr)
	case what == "route" && up:
		k.addRoute(k.drawRoute(t, index))
	case what == "delete route" && len(k.routes) > 0:
		r := rapid.SampledFrom(k.routes).Draw(t, "route")
		k.routes = slices.DeleteFunc(k.routes, func(o route) bool { return o.family == r.family && o.metric == r.metric })
		k.tell(r.message(unix.RTM_DELROUTE))
	}
}

// drawRoute draws a default route over a link and perhaps others that are up.
func (k *modelKernel) drawRoute(t *rapid.T, index int) route {
	hops := []int{index}
	for other := 2; other <= 4; other++ {
		if other != index && k.links[other]&unix.IFF_UP != 0 && rapid.Bool().Draw(t, "one more hop") {
			hops = append(hops, other)
		}
	}
	family := rapid.SampledFrom([]byte{unix.AF_INET, unix.AF_INET6}).Draw(t, "family")
	return defaultVia(family, rapid.SampledFrom([]uint32{0, 100}).Draw(t, "metric"), hops...)
}

// TestApplyProperty: the state after any sequence of notifications, with the
// routes asked for where apply says so, is that of a fresh dump.
func TestApplyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := &modelKernel{links: map[int]uint32{}, addrs: map[modelAddr]uint32{}}
		tb := newTables()
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			k.change(t)
			if rapid.Bool().Draw(t, "not yet") {
				continue
			}
			e := applyAll(t, tb, k.told...)
			k.told = nil
			if e&askRoutes != 0 {
				clear(tb.routes)
				applyAll(t, tb, k.dumpRoutes()...)
			}
			fresh := newTables()
			applyAll(t, fresh, k.dump()...)
			checkState(t, tb.state())
			if got, want := tb.state(), fresh.state(); !got.Equal(want) {
				t.Fatalf("after notifications %+v\nafter a dump %+v", got, want)
			}
		}
	})
}
