package mptcp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// Both ends of these tests are in one namespace, on addresses of the loopback
// interface.
var (
	addrA = netip.MustParseAddr("10.0.0.1") // the first subflow's remote
	addrB = netip.MustParseAddr("10.0.0.2")
	addrC = netip.MustParseAddr("10.0.0.3")
	addr6 = netip.MustParseAddr("fd00::1")
)

// eventTimeout bounds the wait for one event.
const eventTimeout = 10 * time.Second

// inNamespace runs fn in a namespace of its own, with the loopback interface
// up, the addresses above on it, and the userspace path manager selected.
func inNamespace(t *testing.T, fn func(t *testing.T)) {
	labtest.Run(t, func(t *testing.T) {
		setUpLoopback(t)
		if err := mptcp.SetPathManager(mptcp.UserspacePathManager); err != nil {
			t.Fatal(err)
		}
		fn(t)
	})
}

func setUpLoopback(t *testing.T) {
	t.Helper()
	c, err := rtnetlink.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	routes, err := rtnetlink.Dial(&netlink.Config{Groups: 1 << (unix.RTNLGRP_IPV6_ROUTE - 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer routes.Close()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	up := &rtnetlink.LinkMessage{Index: uint32(lo.Index), Flags: unix.IFF_UP, Change: unix.IFF_UP}
	if err := c.Link.Set(up); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Addr{addrA, addrB, addrC, addr6} {
		addAddr(t, c, lo.Index, a)
	}
	awaitRoute(t, routes, addr6)
}

// awaitRoute waits until the kernel can route to its own address a: it adds the
// route of an IPv6 address some time after the address.
func awaitRoute(t *testing.T, routes *rtnetlink.Conn, a netip.Addr) {
	t.Helper()
	if err := routes.SetReadDeadline(time.Now().Add(eventTimeout)); err != nil {
		t.Fatal(err)
	}
	for {
		messages, _, err := routes.Receive()
		if err != nil {
			t.Fatalf("wait for the route of %s: %v", a, err)
		}
		for _, m := range messages {
			r, ok := m.(*rtnetlink.RouteMessage)
			if ok && r.Type == unix.RTN_LOCAL && r.Attributes.Dst.Equal(a.AsSlice()) {
				return
			}
		}
	}
}

func addAddr(t *testing.T, c *rtnetlink.Conn, index int, a netip.Addr) {
	t.Helper()
	ip := net.IP(a.AsSlice())
	m := &rtnetlink.AddressMessage{
		Family: unix.AF_INET, PrefixLength: uint8(a.BitLen()), Index: uint32(index),
		Attributes: &rtnetlink.AddressAttributes{Address: ip, Local: ip},
	}
	if a.Is6() {
		m.Family, m.Flags = unix.AF_INET6, unix.IFA_F_NODAD
		m.Attributes.Flags = unix.IFA_F_NODAD
	}
	if err := c.Address.New(m); err != nil && !errors.Is(err, unix.EEXIST) {
		t.Fatalf("add %s: %v", a, err)
	}
}

// pair is a connection over the loopback interface and its path manager.
type pair struct {
	t              *testing.T
	client, server *net.TCPConn
	port           uint16
	token          uint32
	pm             mptcp.PathManager
	sub            *mptcp.Subscription
}

// openManager opens the path manager for the length of the test.
func openManager(t *testing.T) mptcp.PathManager {
	t.Helper()
	pm, err := mptcp.OpenPathManager()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pm.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return pm
}

// listen opens an MPTCP or a plain TCP listener for the length of the test.
func listen(t *testing.T, multipath bool, network, address string) net.Listener {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(multipath)
	l, err := config.Listen(context.Background(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects an AF_INET6 socket that takes subflows of both families, also
// to an IPv4 address.
func dial(t *testing.T, multipath bool, remote netip.AddrPort) *net.TCPConn {
	t.Helper()
	return dialControl(t, multipath, remote, func() error { return nil })
}

// dialControl calls control between making the socket and connecting it.
func dialControl(t *testing.T, multipath bool, remote netip.AddrPort, control func() error) *net.TCPConn {
	t.Helper()
	dialer := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv6unspecified},
		Control:   func(string, string, syscall.RawConn) error { return control() },
	}
	dialer.SetMultipathTCP(multipath)
	c, err := dialer.Dial("tcp", remote.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// connect makes a connection to addrA, without any data yet. Its events are
// read from before it began.
func connect(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, pm: openManager(t)}
	all, err := p.pm.Subscribe(0)
	if err != nil {
		t.Fatal(err)
	}
	p.sub = all
	l := listen(t, true, "tcp", ":0")
	p.port = l.Addr().(*net.TCPAddr).AddrPort().Port()
	p.client = dial(t, true, netip.AddrPortFrom(addrA, p.port))
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	p.server = accepted.(*net.TCPConn)
	p.token = info(t, p.client).Token
	return p
}

func raw(t *testing.T, c *net.TCPConn) syscall.RawConn {
	t.Helper()
	r, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func info(t *testing.T, c *net.TCPConn) mptcp.Info {
	t.Helper()
	i, err := mptcp.GetInfo(raw(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// flows returns the subflows of c.
func flows(t *testing.T, c *net.TCPConn) []mptcp.SubflowInfo {
	t.Helper()
	_, s, err := mptcp.FullInfo(raw(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// echo moves octets there and back.
func (p *pair) echo() {
	p.t.Helper()
	for _, way := range [][2]*net.TCPConn{{p.client, p.server}, {p.server, p.client}} {
		if _, err := way[0].Write([]byte("octets")); err != nil {
			p.t.Fatal(err)
		}
		if err := way[1].SetReadDeadline(time.Now().Add(eventTimeout)); err != nil {
			p.t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], make([]byte, 6)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// next returns the next event of the client's end of type want, or of any type
// for 0, and passes over the others.
func (p *pair) next(want mptcp.EventType) mptcp.Event {
	p.t.Helper()
	timeout := time.After(eventTimeout)
	for {
		select {
		case e, ok := <-p.sub.Events():
			if !ok {
				p.t.Fatalf("events ended while waiting for %q", want)
			}
			p.t.Logf("event %+v", e)
			if e.Token == p.token && (e.Type == want || want == 0) {
				return e
			}
		case <-timeout:
			p.t.Fatalf("no event %q", want)
		}
	}
}

// establish makes the connection fully established.
func (p *pair) establish() {
	p.t.Helper()
	p.echo()
	p.next(mptcp.Established)
}

// to is a subflow from a wildcard to addr.
func (p *pair) to(addr netip.Addr) mptcp.Subflow {
	return mptcp.Subflow{Remote: netip.AddrPortFrom(addr, p.port)}
}

// create creates a subflow to addr and returns it with the ports in use.
func (p *pair) create(s mptcp.Subflow) mptcp.Subflow {
	p.t.Helper()
	if err := p.pm.CreateSubflow(p.token, s); err != nil {
		p.t.Fatal(err)
	}
	e := p.next(mptcp.SubflowEstablished)
	s.Local, s.Remote = e.Local, e.Remote
	return s
}
