package dialer

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
)

// The dial tests of package net, and where what they show is shown for a Dialer:
//
//	TestProhibitionaryDialArg        TestBadArguments
//	TestDialLocal                    TestThisHost
//	TestDialListenerAddr             TestDialListenerAddress
//	TestDialerDualStack              TestDialDualStack
//	TestDialerDualStackFDLeak        TestDialLeaksNothing
//	TestDialParallel                 TestRaceStep, TestDriverRun
//	TestDialParallelSpuriousConnection  TestDriverRun ("both connect at once")
//	TestDialerKeepAlive, TestDialTCPDefaultKeepAlive  TestKeepAlive
//	TestDialCancel                   TestDialCancelled, TestNoAnswer
//	TestCancelAfterDial              TestCancelAfterDial
//	TestDialContextCancelRace        TestCancelRaces
//	TestDialClosedPortFailFast       TestRefused
//	TestDialerControl, TestDialerControlContext, TestDialContext  TestControl
//	TestDialWithNonZeroDeadline, TestDialTimeoutMaxDuration  TestFarDeadlines
//	TestDialTimeout                  TestDeadlines, TestNoAnswer
//	TestMultiPathTCP                 TestMultipathMode
//	TestIPv6LinkLocalUnicastTCP      TestLinkLocal
//
// Not for a Dialer:
//
//	TestDialerFallbackDelay   the delay is ConnectionAttemptDelay, and it has bounds: TestRaceBoundsTheAttemptDelay
//	TestDialerPartialDeadline the attempts of a race share the dial's deadline, as they overlap
//	TestDialerLocalAddr       local addresses are a set, with tests of their own
//	TestResolveTCPAddr, TestTCPListenerName and the tests of established connections are of *net.TCPConn, which a Conn has inside

// TestDialListenerAddress: what a listener on all addresses gives as its own
// address can be dialled.
func TestDialListenerAddress(t *testing.T) {
	var d Dialer
	for _, network := range []string{"tcp", "tcp4"} {
		ln, err := net.Listen(network, ":0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := d.Dial(network, ln.Addr().String())
		if err != nil {
			t.Errorf("%s %v: %v", network, ln.Addr(), err)
		} else {
			_ = c.Close()
		}
		_ = ln.Close()
	}
}

// TestDialDualStack: localhost is reached whichever of its families listens.
func TestDialDualStack(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Logf("%s: %v", host, err) // no IPv6 here
			continue
		}
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		d := Dialer{Resolver: resolving(t)}
		d.Resolver.NoHosts = false
		c, err := d.DialContext(timeout(t), "tcp", net.JoinHostPort("localhost", port))
		switch {
		case err != nil:
			t.Errorf("%s: %v", host, err)
		case addrPortOf(c.RemoteAddr()).Addr().String() != host:
			t.Errorf("%s: connected to %v", host, c.RemoteAddr())
			fallthrough
		default:
			_ = c.Close()
		}
		_ = ln.Close()
	}
}

// TestDialLeaksNothing: dials that fail in every way leave no descriptor open.
func TestDialLeaksNothing(t *testing.T) {
	refused := closedPort(t)
	ln := listenAt(t, badAddr)
	defer ln.Close()
	failing := Dialer{Success: func(context.Context, net.Conn) error { return io.ErrUnexpectedEOF }}
	uncontrolled := Dialer{Control: func(string, string, syscall.RawConn) error { return io.ErrUnexpectedEOF }}
	late := Dialer{Timeout: -1}
	var plain Dialer
	dials := func() {
		for _, dial := range []func() (net.Conn, error){
			func() (net.Conn, error) { return plain.Dial("tcp", refused) },
			func() (net.Conn, error) { return plain.Dial("tcp", "localhost:"+portOf(refused)) },
			func() (net.Conn, error) { return failing.Dial("tcp", ln.Addr().String()) },
			func() (net.Conn, error) { return uncontrolled.Dial("tcp", ln.Addr().String()) },
			func() (net.Conn, error) { return late.Dial("tcp", ln.Addr().String()) },
		} {
			if c, err := dial(); err == nil {
				t.Error("no error")
				_ = c.Close()
			}
		}
	}
	dials() // what is opened once: the resolver's, the poller's
	before := openFiles(t)
	for range 10 {
		dials()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestDialCancelled: the Cancel channel ends a dial in net.Dialer's words, also
// when it is closed before.
func TestDialCancelled(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	d := Dialer{Cancel: closed}
	if _, err := d.Dial("tcp", closedPort(t)); err == nil {
		t.Error("no error")
	}
	inLab(t, func(t *testing.T, w *world) {
		w.Behave(server1v4, testlab.Blackholed)
		cancel := make(chan struct{})
		time.AfterFunc(testDelay, func() { close(cancel) })
		d := Dialer{Cancel: cancel, Timeout: time.Minute}
		begin := time.Now()
		_, err := d.Dial("tcp", record(server1v4).At(0).AddrPort().String())
		checkTime(t, "dial", time.Since(begin), testDelay)
		var ne net.Error
		if !errors.Is(err, context.Canceled) || !errors.As(err, &ne) || ne.Timeout() {
			t.Errorf("%v: want a cancellation", err)
		}
	})
}

// TestCancelAfterDial: what bounds a dial does not bound its connection.
func TestCancelAfterDial(t *testing.T) {
	address := echoServer(t, "127.0.0.1:0").String()
	ctx, cancel := context.WithCancel(t.Context())
	stop := make(chan struct{})
	d := Dialer{Cancel: stop, Timeout: time.Minute, Deadline: time.Now().Add(time.Minute)}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	close(stop)
	exchange(t, c)
}

// TestCancelRaces: a dial that is cancelled while it connects returns a
// connection that works, or none.
func TestCancelRaces(t *testing.T) {
	address := echoServer(t, "127.0.0.1:0").String()
	var d Dialer
	connected := 0
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			<-time.After(time.Duration(i) * time.Microsecond) // the moment is what is tried
			cancel()
		})
		c, err := d.DialContext(ctx, "tcp", address)
		group.Wait()
		switch {
		case err == nil:
			connected++
			exchange(t, c)
			_ = c.Close()
		case !errors.Is(err, context.Canceled):
			t.Fatal(err)
		}
	}
	t.Logf("%d of 200 connected", connected)
}

// TestFarDeadlines: limits that are far away, at the end of time even, are none.
func TestFarDeadlines(t *testing.T) {
	address := echoServer(t, "127.0.0.1:0").String()
	for _, d := range []*Dialer{
		{Timeout: math.MaxInt64},
		{Deadline: time.Now().Add(24 * time.Hour)},
		{Timeout: math.MaxInt64, Deadline: time.Unix(1<<62, 0)},
		{Timeout: math.MaxInt64, Deadline: time.Now().Add(time.Hour)},
	} {
		c, err := d.Dial("tcp", address)
		if err != nil {
			t.Errorf("%v, %v: %v", d.Timeout, d.Deadline, err)
			continue
		}
		exchange(t, c)
		_ = c.Close()
	}
}

// TestMultipathMode: a connection to a Multipath TCP listener is one, unless it
// is switched off; plain TCP in every other case.
func TestMultipathMode(t *testing.T) {
	if err := mptcp.Supported(); err != nil {
		t.Log(err)
		return
	}
	for _, tt := range []struct {
		name    string
		listen  bool // with Multipath TCP
		dialer  *Dialer
		network string
		want    bool
	}{
		{"both", true, &Dialer{}, "tcp", true},
		{"plain listener", false, &Dialer{}, "tcp", false},
		{"switched off", true, &Dialer{Multipath: MultipathOff}, "tcp", false},
		{"tcp4", true, &Dialer{}, "tcp4", false},
	} {
		var lc net.ListenConfig
		lc.SetMultipathTCP(tt.listen)
		ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := tt.dialer.Dial(tt.network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.(*Conn).MultipathTCP()
		if got != tt.want || err != nil || (c.(*Conn).ID() != 0) != tt.want {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, err, tt.want)
		}
		_, _ = c.Close(), ln.Close()
	}
}

// TestLinkLocal: the zone of an address chooses the interface.
func TestLinkLocal(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		spec := testlab.LinkSpec{Name: "local", Addrs: []netip.Prefix{netip.MustParsePrefix("fe80::1/64")}}
		if _, err := w.AddClientLink(spec); err != nil {
			t.Fatal(err)
		}
		// The kernel leaves the zone out of an MPTCP socket's own name.
		address := net.JoinHostPort("fe80::1%local", portOf(echoServer(t, "[fe80::1%local]:0").String()))
		var d Dialer
		c, err := d.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		exchange(t, c)
		if _, err := d.Dial("tcp", strings.Replace(address, "%local", "%nowhere", 1)); err == nil {
			t.Error("no error for an interface that does not exist")
		}
	})
}

// TestDialAllocations: a dial allocates about as much as net.Dialer's, with what
// the server beside it does counted in both.
func TestDialAllocations(t *testing.T) {
	var ours Dialer
	var theirs net.Dialer
	theirs.SetMultipathTCP(true)
	address := acceptor(t)
	count := func(dial func(network, address string) (net.Conn, error)) float64 {
		return testing.AllocsPerRun(200, func() {
			c, err := dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		})
	}
	// What else the process does is counted too, so the least of several is taken,
	// in turns.
	const most, turns = 1.1, 5
	got, want := math.Inf(1), math.Inf(1)
	for range turns {
		got, want = min(got, count(ours.Dial)), min(want, count(theirs.Dial))
	}
	if got > most*want {
		t.Errorf("%v allocations, net.Dialer has %v", got, want)
	}
}
