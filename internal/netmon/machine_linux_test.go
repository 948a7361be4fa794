package netmon

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// patience bounds the wait for one change.
const patience = 10 * time.Second

// soon is within which a change must be known. Some milliseconds are usual; a
// machine busy with other tests may take longer.
const soon = time.Second

const forever = 1<<32 - 1 // of a lifetime

// machine changes the links, addresses and routes of the process's namespace.
type machine struct {
	t *testing.T
	c *netlink.Conn
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	c, err := dial(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &machine{t, c}
}

// try sends a request and returns the kernel's answer.
func (m *machine) try(flags netlink.HeaderFlags, req netlink.Message) error {
	req.Header.Flags = netlink.Request | netlink.Acknowledge | flags
	_, err := m.c.Execute(req)
	return err
}

func (m *machine) do(flags netlink.HeaderFlags, req netlink.Message) {
	m.t.Helper()
	if err := m.try(flags, req); err != nil {
		m.t.Fatalf("request of type %d: %v", req.Header.Type, err)
	}
}

// veth makes a pair that is up at both ends and returns their indices.
func (m *machine) veth(name, peer string) (index, peerIndex int) {
	m.t.Helper()
	const vethInfoPeer = 1 // VETH_INFO_PEER
	m.do(netlink.Create|netlink.Excl, message(unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, "veth")
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				data.Bytes(vethInfoPeer, linkMessage(0, unix.AF_UNSPEC, 0, peer, 0).Data)
				return nil
			})
			return nil
		})
	}))
	index, peerIndex = m.index(name), m.index(peer)
	m.up(index)
	m.up(peerIndex)
	return index, peerIndex
}

func (m *machine) index(name string) int {
	m.t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return i.Index
}

// setLink makes the request that changes whether a link is up.
func setLink(index int, flags uint32) netlink.Message {
	req := linkMessage(unix.RTM_NEWLINK, unix.AF_UNSPEC, index, "", flags)
	binary.NativeEndian.PutUint32(req.Data[12:], unix.IFF_UP)
	return req
}

func (m *machine) up(index int)   { m.t.Helper(); m.do(0, setLink(index, unix.IFF_UP)) }
func (m *machine) down(index int) { m.t.Helper(); m.do(0, setLink(index, 0)) }

func (m *machine) deleteLink(index int) {
	m.t.Helper()
	m.do(0, linkMessage(unix.RTM_DELLINK, unix.AF_UNSPEC, index, "", 0))
}

// add gives a link an address that is usable at once.
func (m *machine) add(index int, local string) {
	m.t.Helper()
	m.do(netlink.Create|netlink.Excl, addrMessage(unix.RTM_NEWADDR, index, local, "", unix.IFA_F_NODAD))
}

func (m *machine) remove(index int, local string) {
	m.t.Helper()
	m.do(0, addrMessage(unix.RTM_DELADDR, index, local, "", 0))
}

// prefer changes the preferred lifetime of an address, in seconds.
func (m *machine) prefer(index int, local string, seconds uint32) {
	m.t.Helper()
	req := addrMessage(unix.RTM_NEWADDR, index, local, "", unix.IFA_F_NODAD)
	var info [16]byte
	binary.NativeEndian.PutUint32(info[0:], seconds)
	binary.NativeEndian.PutUint32(info[4:], forever)
	extra := message(0, nil, func(ae *netlink.AttributeEncoder) { ae.Bytes(unix.IFA_CACHEINFO, info[:]) })
	req.Data = append(req.Data, extra.Data...)
	m.do(netlink.Replace, req)
}

// request is the route as a request tells it.
func (r route) request(typ netlink.HeaderType) netlink.Message {
	req := r.message(typ)
	req.Data[5] = unix.RTPROT_STATIC
	if r.family == unix.AF_INET && r.gateway == "" {
		req.Data[6] = unix.RT_SCOPE_LINK
	}
	if typ == unix.RTM_DELROUTE {
		req.Data[6] = unix.RT_SCOPE_NOWHERE
	}
	return req
}

func (m *machine) addRoute(r route) {
	m.t.Helper()
	m.do(netlink.Create|netlink.Excl, r.request(unix.RTM_NEWROUTE))
}

func (m *machine) deleteRoute(r route) {
	m.t.Helper()
	m.do(0, r.request(unix.RTM_DELROUTE))
}

// watch is a monitor and a subscription of it for the length of a test.
type watch struct {
	t   *testing.T
	m   *Monitor
	sub *Subscription
}

func newWatch(t *testing.T) *watch {
	t.Helper()
	m, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return watchOf(t, m)
}

func watchOf(t *testing.T, m *Monitor) *watch {
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Err(); err != nil {
			t.Error(err)
		}
	})
	return &watch{t, m, m.Subscribe()}
}

// until reads states until one is as wanted, and returns it and those before.
func (w *watch) until(what string, ok func(State) bool) (State, []State) {
	w.t.Helper()
	begin, timeout := time.Now(), time.After(patience)
	var before []State
	for {
		select {
		case s, open := <-w.sub.States():
			if !open {
				w.t.Fatalf("%s: the monitor ended: %v", what, w.m.Err())
			}
			checkState(w.t, s)
			if ok(s) {
				w.t.Logf("%s: after %v", what, time.Since(begin).Round(10*time.Microsecond))
				return s, before
			}
			before = append(before, s)
		case <-timeout:
			w.t.Fatalf("%s: not in %v; the state is %+v", what, patience, w.m.State())
		}
	}
}

// soon is until, within the time a dialer has.
func (w *watch) soon(what string, ok func(State) bool) State {
	w.t.Helper()
	begin := time.Now()
	s, _ := w.until(what, ok)
	if took := time.Since(begin); took > soon {
		w.t.Errorf("%s: took %v", what, took)
	}
	return s
}

// find returns the entry of an address.
func (s State) find(addr string) (Address, bool) {
	i := slices.IndexFunc(s.Addresses, func(a Address) bool { return a.Addr == netip.MustParseAddr(addr) })
	if i < 0 {
		return Address{}, false
	}
	return s.Addresses[i], true
}

// has and hasNot are conditions on all of some addresses.
func has(addrs ...string) func(State) bool {
	return func(s State) bool {
		return !slices.ContainsFunc(addrs, func(a string) bool { _, ok := s.find(a); return !ok })
	}
}

func hasNot(addrs ...string) func(State) bool {
	return func(s State) bool {
		return !slices.ContainsFunc(addrs, func(a string) bool { _, ok := s.find(a); return ok })
	}
}

// is is the condition that an address is there and as wanted.
func is(addr string, ok func(Address) bool) func(State) bool {
	return func(s State) bool {
		a, found := s.find(addr)
		return found && ok(a)
	}
}
