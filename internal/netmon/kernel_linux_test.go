package netmon

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

func prefixes(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestLink: the addresses of an interface that goes down are given up at once,
// and are back, with their routes, when it comes up.
func TestLink(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab := labtest.New(t, testlab.Options{})
		specs := [][]netip.Prefix{prefixes("10.0.1.2/24", "fd00:1::2/64"), prefixes("10.0.2.2/24", "fd00:2::2/64")}
		for _, addrs := range specs {
			if _, err := lab.AddClientLink(testlab.LinkSpec{Addrs: addrs}); err != nil {
				t.Fatal(err)
			}
		}
		w := newWatch(t)
		all, _ := w.until("both links", has("10.0.1.2", "fd00:1::2", "10.0.2.2", "fd00:2::2"))
		if got := all.Sources(IPv4); len(got) != 2 || got[0].Addr.String() != "10.0.1.2" || !got[1].DefaultRoute {
			t.Errorf("sources %+v", got)
		}
		polled, err := readInterfaces()
		if added, removed := all.Diff(polled); err != nil || len(added)+len(removed) != 0 || !polled.DefaultIPv4 || !polled.DefaultIPv6 {
			t.Errorf("as other systems read it: %+v, %v", polled, err)
		}
		if got := polled.Sources(IPv6); len(got) != 2 || got[0].Addr.String() != "fd00:1::2" || !got[0].DefaultRoute {
			t.Errorf("sources as other systems read them: %+v", got)
		}
		link := lab.Client().Links()[1]
		for range 3 {
			if err := link.Down(); err != nil {
				t.Fatal(err)
			}
			lost := w.soon("down", hasNot("10.0.2.2", "fd00:2::2"))
			if added, removed := all.Diff(lost); len(added) != 0 || len(removed) != 2 {
				t.Errorf("down: added %v, removed %v", added, removed)
			}
			if err := link.Up(); err != nil {
				t.Fatal(err)
			}
			w.soon("up", func(s State) bool { return s.Equal(all) })
		}
	})
}

func TestAddresses(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		m := newMachine(t)
		a, _ := m.veth("a", "b")
		w := newWatch(t)
		m.add(a, "192.0.2.1/24")
		w.soon("IPv4", is("192.0.2.1", func(x Address) bool { return x.Interface == "a" && x.Index == a && x.Prefix == 24 }))
		m.add(a, "192.0.2.2/24")
		w.soon("secondary", is("192.0.2.2", func(x Address) bool { return x.Secondary }))
		m.add(a, "2001:db8::1/64")
		w.soon("IPv6", has("2001:db8::1"))
		m.prefer(a, "2001:db8::1/64", 0)
		w.soon("deprecated", is("2001:db8::1", func(x Address) bool { return x.Deprecated }))
		m.prefer(a, "2001:db8::1/64", forever)
		w.soon("preferred", is("2001:db8::1", func(x Address) bool { return !x.Deprecated }))
		m.remove(a, "2001:db8::1/64")
		w.soon("IPv6 removed", hasNot("2001:db8::1"))
		m.add(a, "2001:db8::1/64")
		w.soon("IPv6 back", has("2001:db8::1"))
		m.remove(a, "192.0.2.1/24") // takes the secondary one with it
		w.soon("IPv4 removed", hasNot("192.0.2.1", "192.0.2.2"))
		m.down(a)
		m.do(0, linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, a, "renamed", 0))
		m.up(a)
		m.add(a, "192.0.2.1/24")
		w.soon("renamed", is("192.0.2.1", func(x Address) bool { return x.Interface == "renamed" }))
		m.deleteLink(a)
		w.soon("link deleted", func(s State) bool { return len(s.Addresses) == 0 })
	})
}

// TestDuplicateAddressDetection: an address is there when it may be used, and
// never when another host has it. The two ends of the pair are the hosts.
func TestDuplicateAddressDetection(t *testing.T) {
	t.Parallel()
	labtest.Run(t, func(t *testing.T) {
		m := newMachine(t)
		a, b := m.veth("a", "b")
		m.add(b, "2001:db8::1/64")
		w := newWatch(t)
		for _, local := range []string{"2001:db8::1/64", "2001:db8::2/64"} {
			m.do(netlink.Create, addrMessage(unix.RTM_NEWADDR, a, local, "", 0))
		}
		s, before := w.until("the other one is in use", has("2001:db8::2"))
		awaitDuplicate(t, a, netip.MustParseAddr("2001:db8::1"))
		for _, s := range append(before, s, w.m.State()) {
			for _, x := range s.Addresses {
				if x.Addr == netip.MustParseAddr("2001:db8::1") && x.Index == a {
					t.Errorf("a duplicate address is in use: %+v", x)
				}
			}
		}
	})
}

// awaitDuplicate waits until the kernel found that an address is a duplicate.
func awaitDuplicate(t *testing.T, index int, a netip.Addr) {
	t.Helper()
	c, err := dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for begin := time.Now(); time.Since(begin) < patience; <-poll.C {
		tb, err := readTables(c)
		if err != nil {
			t.Fatal(err)
		}
		if tb.addrs[addrKey{index: index, local: a}].flags&unix.IFA_F_DADFAILED != 0 {
			return
		}
	}
	t.Fatalf("%v is no duplicate", a)
}

func TestDefaultRoute(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		m := newMachine(t)
		a, _ := m.veth("a", "b")
		c, _ := m.veth("c", "d")
		for i, index := range []int{a, c} {
			m.add(index, fmt.Sprintf("192.0.2.%d/24", i+1))
			m.add(index, fmt.Sprintf("2001:db8::%d/64", i+1))
		}
		w := newWatch(t)
		for _, test := range []struct {
			family    byte
			of        func(State) bool
			one, two  string
			gateway   string
			unmetered uint32
		}{
			{unix.AF_INET, func(s State) bool { return s.DefaultIPv4 }, "192.0.2.1", "192.0.2.2", "192.0.2.254", 0},
			{unix.AF_INET6, func(s State) bool { return s.DefaultIPv6 }, "2001:db8::1", "2001:db8::2", "2001:db8::fe", 1024},
		} {
			routed := func(metric uint32) func(Address) bool {
				return func(x Address) bool { return x.DefaultRoute && x.Metric == metric }
			}
			unrouted := func(x Address) bool { return !x.DefaultRoute && x.Metric == NoMetric }
			m.addRoute(defaultVia(test.family, 0, a))
			w.soon("added", is(test.one, routed(test.unmetered)))
			m.deleteRoute(defaultVia(test.family, 0, a))
			w.soon("gone", func(s State) bool { return !test.of(s) && is(test.one, unrouted)(s) })

			m.addRoute(defaultVia(test.family, 50, a))
			w.soon("with a metric", is(test.one, routed(50)))
			m.do(netlink.Create|netlink.Replace, defaultVia(test.family, 50, c).request(unix.RTM_NEWROUTE))
			w.soon("replaced", func(s State) bool { return is(test.one, unrouted)(s) && is(test.two, routed(50))(s) })

			policy := defaultVia(test.family, 7, a)
			policy.table = 1001
			m.addRoute(policy)
			w.soon("other table", is(test.one, func(x Address) bool { return x.DefaultRoute && x.Metric == NoMetric }))
			m.deleteRoute(policy)
			m.deleteRoute(defaultVia(test.family, 50, c))
			w.soon("both gone", func(s State) bool { return !test.of(s) })

			several := defaultVia(test.family, 60, a, c)
			several.gateway = test.gateway
			m.addRoute(several)
			w.soon("two nexthops", func(s State) bool { return is(test.one, routed(60))(s) && is(test.two, routed(60))(s) })
			m.deleteRoute(several)
			w.soon("two nexthops gone", func(s State) bool { return !test.of(s) })
		}
	})
}

// TestFlushedRoute: the kernel flushes IPv4 routes without a word when their
// link goes down and when its last address is removed.
func TestFlushedRoute(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		m := newMachine(t)
		a, _ := m.veth("a", "b")
		w := newWatch(t)
		begin := func() {
			m.add(a, "192.0.2.1/24")
			m.addRoute(defaultVia(unix.AF_INET, 0, a))
			w.soon("routed", is("192.0.2.1", func(x Address) bool { return x.DefaultRoute }))
		}
		unrouted := is("192.0.2.1", func(x Address) bool { return !x.DefaultRoute })
		begin()
		m.down(a)
		m.up(a)
		w.soon("down and up", unrouted)
		m.remove(a, "192.0.2.1/24")
		w.soon("removed", hasNot("192.0.2.1"))
		begin()
		m.remove(a, "192.0.2.1/24")
		m.add(a, "192.0.2.1/24")
		w.soon("removed and back", unrouted)
	})
}

// TestCarrier: a link without a carrier has no usable addresses. The kernel
// tells of a lost carrier at most once a second.
func TestCarrier(t *testing.T) {
	t.Parallel()
	labtest.Run(t, func(t *testing.T) {
		m := newMachine(t)
		a, b := m.veth("a", "b")
		w := newWatch(t)
		m.add(a, "192.0.2.1/24")
		m.addRoute(defaultVia(unix.AF_INET, 0, a))
		routed := func(s State) bool { return s.DefaultIPv4 && has("192.0.2.1")(s) }
		w.soon("carrier", routed)
		m.down(b)
		w.until("carrier lost", func(s State) bool { return !s.DefaultIPv4 && len(s.Addresses) == 0 })
		m.up(b)
		w.soon("carrier back", routed)
	})
}

// TestOverrun: after the kernel dropped notifications everything is read anew.
func TestOverrun(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		m := newMachine(t)
		a, _ := m.veth("a", "b")
		k, err := openKernel(1) // octets: the kernel has a minimum of two or three kilobytes
		if err != nil {
			t.Fatal(err)
		}
		m.add(a, "192.0.2.1/24")
		for range 100 {
			m.add(a, "192.0.2.9/24")
			m.remove(a, "192.0.2.9/24")
		}
		m.add(a, "192.0.2.2/24")
		m.addRoute(defaultVia(unix.AF_INET, 0, a))
		if dropped(t, k.events.PID()) == "0" {
			t.Error("no notification was dropped")
		}
		w := watchOf(t, start(k, k.tables.state()))
		w.soon("after the overrun", func(s State) bool { return s.DefaultIPv4 && has("192.0.2.1", "192.0.2.2")(s) })
		m.remove(a, "192.0.2.2/24")
		w.soon("and on", hasNot("192.0.2.2"))
	})
}

// dropped returns how many notifications the kernel dropped for a socket.
func dropped(t *testing.T, port uint32) string {
	t.Helper()
	f, err := os.Open("/proc/thread-self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// sk, protocol, port, groups, rmem, wmem, dump, locks, drops, inode
		if f := strings.Fields(lines.Text()); len(f) == 10 && f[1] == "0" && f[2] == fmt.Sprint(port) {
			return f[8]
		}
	}
	t.Fatalf("no socket of port %d", port)
	return ""
}

// TestNamespace: a monitor follows the namespace of the thread that opened it.
func TestNamespace(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab := labtest.New(t, testlab.Options{})
		host, err := lab.AddHost("host", testlab.LinkSpec{Addrs: prefixes("10.0.9.2/24")})
		if err != nil {
			t.Fatal(err)
		}
		var m *Monitor
		if err := host.Do(func() (err error) { m, err = Open(); return err }); err != nil {
			t.Fatal(err)
		}
		w := watchOf(t, m)
		w.until("the host's link", has("10.0.9.2"))
		if s, err := Read(); err != nil || !hasNot("10.0.9.2")(s) {
			t.Errorf("the client has %+v, %v", s, err)
		}
		if err := host.Links()[0].Down(); err != nil {
			t.Fatal(err)
		}
		w.soon("down", hasNot("10.0.9.2"))
	})
}

// TestMatchesDump: after any sequence of changes the monitor knows what a fresh
// reading tells.
func TestMatchesDump(t *testing.T) {
	t.Parallel()
	labtest.Run(t, func(t *testing.T) {
		m := newMachine(t)
		a, _ := m.veth("a", "b")
		c, _ := m.veth("c", "d")
		last, _ := m.veth("last", "peer")
		w := newWatch(t)
		marks := 0
		rapid.Check(t, func(rt *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(rt, "changes") {
				draw := changes(a, c).Draw(rt, "change")
				t.Logf("%s: %v", draw.what, m.try(draw.flags, draw.request))
			}
			// What came before this address is known once it is.
			mark := fmt.Sprintf("10.9.%d.%d", marks>>8&0xff, marks&0xff)
			marks++
			m.add(last, mark+"/32")
			w.until("mark", has(mark))
			m.remove(last, mark+"/32")
			matches(t, w)
		})
	})
}

// matches waits until the monitor's state is that of a fresh reading. Links
// change by themselves for some time after they came up.
func matches(t *testing.T, w *watch) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for begin := time.Now(); ; <-poll.C {
		fresh, err := Read()
		if err != nil {
			t.Fatal(err)
		}
		if w.m.State().Equal(fresh) {
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("the monitor has %+v\na fresh reading %+v", w.m.State(), fresh)
		}
	}
}

// change is a request; that the kernel refuses it is no failure.
type change struct {
	what    string
	flags   netlink.HeaderFlags
	request netlink.Message
}

// changes draws changes of two links.
func changes(a, b int) *rapid.Generator[change] {
	return rapid.Custom(func(t *rapid.T) change {
		index := rapid.SampledFrom([]int{a, b}).Draw(t, "link")
		addr := rapid.SampledFrom([]string{"192.0.2.1/24", "192.0.2.2/24", "10.0.0.1/8", "2001:db8::1/64", "fd00::1/64"}).Draw(t, "address")
		hops := rapid.SampledFrom([][]int{{a}, {b}, {a, b}}).Draw(t, "hops")
		family := rapid.SampledFrom([]byte{unix.AF_INET, unix.AF_INET6}).Draw(t, "family")
		r := defaultVia(family, rapid.SampledFrom([]uint32{0, 50}).Draw(t, "metric"), hops...)
		if family == unix.AF_INET6 || rapid.Bool().Draw(t, "with a gateway") {
			r.gateway = map[byte]string{unix.AF_INET: "192.0.2.254", unix.AF_INET6: "2001:db8::fe"}[family]
		}
		r.table = rapid.SampledFrom([]uint32{unix.RT_TABLE_MAIN, 1001}).Draw(t, "table")
		const create = netlink.Create
		return rapid.SampledFrom([]change{
			{fmt.Sprint("up ", index), 0, setLink(index, unix.IFF_UP)},
			{fmt.Sprint("up again ", index), 0, setLink(index, unix.IFF_UP)},
			{fmt.Sprint("down ", index), 0, setLink(index, 0)},
			{fmt.Sprint("add ", addr, index), create, addrMessage(unix.RTM_NEWADDR, index, addr, "", unix.IFA_F_NODAD)},
			{fmt.Sprint("remove ", addr, index), 0, addrMessage(unix.RTM_DELADDR, index, addr, "", 0)},
			{fmt.Sprint("add route ", r), create | netlink.Excl, r.request(unix.RTM_NEWROUTE)},
			{fmt.Sprint("append route ", r), create | netlink.Append, r.request(unix.RTM_NEWROUTE)},
			{fmt.Sprint("replace route ", r), create | netlink.Replace, r.request(unix.RTM_NEWROUTE)},
			{fmt.Sprint("delete route ", r), 0, r.request(unix.RTM_DELROUTE)},
		}).Draw(t, "change")
	})
}
