package mptcp_test

import (
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// The lab: a client, a server with two links, and another host.
var (
	serverFirst  = netip.MustParseAddr("10.1.1.2")
	serverSecond = netip.MustParseAddr("10.1.2.2")
	serverIPv6   = netip.MustParseAddr("fd00:12::2")
	otherHost    = netip.MustParseAddr("10.2.1.2")
)

const (
	labPort    = 7000 // both hosts speak MPTCP on it
	plainPort  = 7001 // the other host speaks TCP on it
	closedPort = 7002
)

// linkDelay leaves a join in SYN_SENT while its command returns; without it an
// ICMP error can arrive inside connect, which then ignores it.
const linkDelay = 2 * time.Millisecond

// newLab builds the lab in the calling process's namespace.
func newLab(t *testing.T) *testlab.Lab {
	t.Helper()
	lab := labtest.New(t, testlab.Options{})
	link := testlab.LinkSpec{Addrs: prefixes("10.0.1.2/24", "fd00:1::2/64"), Delay: linkDelay}
	if _, err := lab.AddClientLink(link); err != nil {
		t.Fatal(err)
	}
	server := addHost(t, lab, "server",
		testlab.LinkSpec{Addrs: prefixes("10.1.1.2/24")},
		testlab.LinkSpec{Addrs: prefixes("10.1.2.2/24", "fd00:12::2/64")})
	other := addHost(t, lab, "other", testlab.LinkSpec{Addrs: prefixes("10.2.1.2/24")})
	serve(t, server, true, labPort)
	serve(t, other, true, labPort)
	serve(t, other, false, plainPort)
	if err := mptcp.SetPathManager(mptcp.UserspacePathManager); err != nil {
		t.Fatal(err)
	}
	return lab
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func addHost(t *testing.T, lab *testlab.Lab, name string, links ...testlab.LinkSpec) *testlab.Host {
	t.Helper()
	h, err := lab.AddHost(name, links...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve sends back what it is sent, until the test ends.
func serve(t *testing.T, h *testlab.Host, multipath bool, port int) {
	t.Helper()
	open := h.ListenPlain
	if multipath {
		open = h.Listen
	}
	l, err := open("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done := make(chan struct{})
			defer func() { c.Close(); <-done }()
			go func() {
				defer close(done)
				defer c.Close()
				_, _ = io.Copy(c, c) // ends with the connection
			}()
		}
	}()
}

// labPair is an established connection to the server's first address.
func labPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, pm: openManager(t), port: labPort}
	var err error
	if p.sub, err = p.pm.Subscribe(0); err != nil {
		t.Fatal(err)
	}
	p.client = dial(t, true, netip.AddrPortFrom(serverFirst, labPort))
	p.token = info(t, p.client).Token
	p.roundTrip()
	p.next(mptcp.Established)
	return p
}

// roundTrip sends octets to an echo server and waits for them.
func (p *pair) roundTrip() {
	p.t.Helper()
	if err := p.client.SetDeadline(time.Now().Add(eventTimeout)); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.client.Write([]byte("octets")); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.ReadFull(p.client, make([]byte, 6)); err != nil {
		p.t.Fatal(err)
	}
}

// verdict is a row of the table of what joins come to.
type verdict struct {
	name      string
	remote    netip.AddrPort
	behaviour testlab.Behaviour
	joined    bool          // SubflowEstablished
	closed    bool          // SubflowClosed, after it or alone
	errno     syscall.Errno // of SubflowClosed; 0 is none
}

var verdicts = []verdict{
	{"same host", at(serverSecond, labPort), testlab.Up, true, false, 0},
	{"same host over IPv6", at(serverIPv6, labPort), testlab.Up, true, false, 0},
	{"third ACK stripped", at(serverSecond, labPort), testlab.StripThirdACK, true, true, 0},
	{"other MPTCP host", at(otherHost, labPort), testlab.Up, false, true, unix.ECONNREFUSED},
	{"closed port", at(otherHost, closedPort), testlab.Up, false, true, unix.ECONNREFUSED},
	{"reset", at(serverSecond, labPort), testlab.Refused, false, true, unix.ECONNREFUSED},
	{"plain TCP host", at(otherHost, plainPort), testlab.Up, false, true, 0},
	{"stripped SYN", at(serverSecond, labPort), testlab.StripSYN, false, true, 0},
	{"stripped SYN/ACK", at(serverSecond, labPort), testlab.StripSYNACK, false, true, 0},
	{"host unreachable", at(serverSecond, labPort), testlab.Unreachable, false, true, unix.EHOSTUNREACH},
	{"network unreachable", at(serverSecond, labPort), testlab.NetUnreachable, false, true, unix.ENETUNREACH},
	{"port unreachable", at(serverSecond, labPort), testlab.PortUnreachable, false, true, unix.ECONNREFUSED},
	{"prohibited", at(serverSecond, labPort), testlab.AdminProhibited, false, true, unix.EHOSTUNREACH},
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// TestKernelVerdicts has a row for each thing that can become of a join. The
// connection carries on in all of them.
func TestKernelVerdicts(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab := newLab(t)
		for _, v := range verdicts {
			t.Run(v.name, func(t *testing.T) {
				lab.Behave(v.remote.Addr(), v.behaviour)
				defer lab.Behave(v.remote.Addr(), testlab.Up)
				checkVerdict(t, v)
			})
		}
	})
}

func checkVerdict(t *testing.T, v verdict) {
	t.Helper()
	p := labPair(t)
	if err := p.pm.CreateSubflow(p.token, mptcp.Subflow{Remote: v.remote}); err != nil {
		t.Fatal(err)
	}
	want := []mptcp.EventType{mptcp.SubflowEstablished, mptcp.SubflowClosed}
	if !v.joined {
		want = want[1:]
	}
	if !v.closed {
		want = want[:1]
	}
	for _, want := range want {
		e := p.next(0)
		if e.Type != want || e.Remote != v.remote {
			t.Fatalf("%+v, want %q", e, want)
		}
		if e.Errno != v.errno || e.HasError != (v.errno != 0) || e.HasReset {
			t.Errorf("%+v, want error %d", e, v.errno)
		}
	}
	p.roundTrip()
}

// TestKernelBreakOffJoin gives up a join that gets no answer.
func TestKernelBreakOffJoin(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab := newLab(t)
		p := labPair(t)
		lab.Behave(serverSecond, testlab.Blackholed)
		if err := p.pm.CreateSubflow(p.token, p.to(serverSecond)); err != nil {
			t.Fatal(err)
		}
		var join mptcp.SubflowInfo
		for _, f := range flows(t, p.client) {
			if f.Remote.Addr() == serverSecond {
				join = f
			}
		}
		if join.TCP.State != mptcp.StateSynSent {
			t.Fatalf("the join is %+v", join)
		}
		if err := p.pm.DestroySubflow(p.token, mptcp.Subflow{Local: join.Local, Remote: join.Remote}); err != nil {
			t.Fatal(err)
		}
		e := p.next(mptcp.SubflowClosed)
		if e.Errno != unix.ECONNRESET || e.Local.Port() != join.Local.Port() || e.Remote != at(serverSecond, 0) {
			t.Errorf("%+v", e)
		}
		p.roundTrip()
		lab.Behave(serverSecond, testlab.Up)
		p.create(p.to(serverSecond))
	})
}

// TestKernelStrippedLater is a middlebox that changes its mind: the peer resets
// the subflow and says why.
func TestKernelStrippedLater(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab := newLab(t)
		p := labPair(t)
		joined := p.create(p.to(serverSecond))
		first := flows(t, p.client)[0]
		if err := p.pm.SetBackup(p.token, mptcp.Subflow{Local: first.Local, Remote: first.Remote}, true); err != nil {
			t.Fatal(err)
		}
		p.roundTrip() // over the joined subflow, which is fully established then
		lab.Behave(serverSecond, testlab.StripLater)
		p.roundTrip()
		e := p.next(mptcp.SubflowClosed)
		const interference = 6 // RFC 8684 section 3.6
		if e.Remote != joined.Remote || e.Errno != unix.ECONNRESET || !e.HasReset || e.ResetReason != interference {
			t.Errorf("%+v", e)
		}
	})
}

// TestKernelBlackhole takes the three seconds after which the kernel tries
// without MPTCP.
func TestKernelBlackhole(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab := newLab(t)
		lab.Behave(otherHost, testlab.BlockMPTCP)
		c := dial(t, true, at(otherHost, labPort))
		if multipath, err := c.MultipathTCP(); multipath || err != nil {
			t.Fatalf("MPTCP %v through a path that drops it: %v", multipath, err)
		}
		probe := func(want bool) {
			t.Helper()
			if got, err := mptcp.ProbeBlackhole(); got != want || err != nil {
				t.Errorf("blackholed %v, want %v: %v", got, want, err)
			}
		}
		probe(true)
		if s, err := mptcp.ReadSystem(); err != nil || !s.Blackholed {
			t.Errorf("%+v, %v", s, err)
		}
		if err := mptcp.ResetBlackhole(); err != nil {
			t.Fatal(err)
		}
		probe(false)
	})
}
