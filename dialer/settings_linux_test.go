package dialer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
)

// TestSwitchedOff: the environment switches Multipath TCP off for a program.
func TestSwitchedOff(t *testing.T) {
	address := echoServer(t, "127.0.0.1:0").String()
	for value, off := range map[string]bool{"0": true, "1": false, "": false, "off": false} {
		t.Setenv(MultipathEnv, value)
		for _, d := range []*Dialer{{}, {Fallback: FallbackError}} {
			c, err := d.Dial("tcp", address)
			if err != nil {
				if !off && d.Fallback == FallbackError && mptcp.Supported() != nil {
					continue
				}
				t.Fatalf("%q: %v", value, err)
			}
			r := c.(*Conn).Report()
			if got := r.Fallback == whySwitchedOff; got != off {
				t.Errorf("%q: fallback %q", value, r.Fallback)
			}
			_ = c.Close()
		}
		if !off {
			continue
		}
		var d Dialer
		_, err := d.Dial("multipath", address)
		if !errors.Is(err, ErrMultipathUnsupported) || !strings.Contains(err.Error(), MultipathEnv) {
			t.Errorf("%q: %v, want ErrMultipathUnsupported and what switches it off", value, err)
		}
	}
}

// TestFallbackError: the dial goes on to the next address where one is plain
// TCP, and fails where all are.
func TestFallbackError(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.other, true)
		serve(t, w.server, false)
		d := Dialer{Fallback: FallbackError}
		c := connect(t, &d, record(otherv6, server1v6))
		echo(t, c)
		r := c.Report()
		if c.remote.Addr() != server1v6 || r.Fallback != "" || !errors.Is(r.Attempts[0].Err, ErrNotMultipath) {
			t.Errorf("connected to %v, attempts %+v", c.remote, r.Attempts)
		}
		plain := record(otherv4).At(0).AddrPort().String()
		if _, err := d.Dial("tcp", plain); !errors.Is(err, ErrNotMultipath) {
			t.Errorf("%v: want ErrNotMultipath", err)
		}
		c4, err := d.Dial("tcp4", plain)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, c4)
		_ = c4.Close()
		if err := w.Client().Sysctl("net.mptcp.enabled", "0"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Dial("tcp", plain); !errors.Is(err, ErrMultipathUnsupported) {
			t.Errorf("%v: want ErrMultipathUnsupported", err)
		}
	})
}

// setsockopt returns a control function that sets an option.
func setsockopt(calls *int, option, value int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		*calls++
		cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
		return errors.Join(cerr, os.NewSyscallError("setsockopt", err))
	}
}

// TestLackingOption: an option that Multipath TCP lacks is set on plain TCP,
// unless the dial is for Multipath TCP only; neither fails.
func TestLackingOption(t *testing.T) {
	if mptcp.Supported() != nil {
		t.Log("no Multipath TCP here: nothing is lacking")
		return
	}
	const seconds = 7
	address := echoServer(t, "127.0.0.1:0").String()
	var calls int
	const option = unix.TCP_SYNCNT
	d := Dialer{Control: setsockopt(&calls, option, seconds)}
	c, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if got := sockopt(t, c.(*Conn), unix.IPPROTO_TCP, option); got != seconds {
		t.Errorf("option is %d, want %d", got, seconds)
	}
	r := c.(*Conn).Report()
	t.Logf("%d calls; %q, lacking %v", calls, r.Fallback, r.Lacking)
	if calls == 2 && !strings.Contains(r.Fallback, "socket option") {
		t.Errorf("fallback %q", r.Fallback)
	}
	_ = c.Close() // the server serves one at a time
	calls = 0
	m, err := d.Dial("multipath", address)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	exchange(t, m)
	r = m.(*Conn).Report()
	if calls != 1 || m.(*Conn).ID() == 0 {
		t.Errorf("%d calls, id %d", calls, m.(*Conn).ID())
	}
	if !slices.ContainsFunc(r.Lacking, isLacking) {
		t.Errorf("lacking %v, want the option's error", r.Lacking)
	}
	other := errors.New("not of an option")
	d.Control = func(string, string, syscall.RawConn) error { return other }
	if _, err := d.Dial("tcp", address); !errors.Is(err, other) {
		t.Errorf("%v: want the function's error", err)
	}
}

// TestFastOpen: the second plain connection to an address has its first octets
// in the SYN, and a remote address before; Multipath TCP says that it goes
// without.
func TestFastOpen(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		for _, h := range []*testlab.Host{w.Client(), w.server} {
			if err := h.Sysctl("net.ipv4.tcp_fastopen", "3"); err != nil {
				t.Fatal(err)
			}
		}
		var calls int
		lc := net.ListenConfig{Control: setsockopt(&calls, unix.TCP_FASTOPEN, 16)}
		lc.SetMultipathTCP(true)
		ln, err := w.server.ListenConfig(&lc, "tcp", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		serveOn(t, ln)
		for _, addr := range record(server1v4, server1v6).AddrPorts() {
			d := Dialer{FastOpen: true, Multipath: MultipathOff}
			if n, r := fastOpened(t, &d, addr); n != 0 || len(r.Lacking) != 0 {
				t.Errorf("%v, first: %d fast opens, lacking %v", addr, n, r.Lacking)
			}
			if n, r := fastOpened(t, &d, addr); n != 1 || len(r.Lacking) != 0 {
				t.Errorf("%v, second: %d fast opens, lacking %v", addr, n, r.Lacking)
			}
			d = Dialer{FastOpen: true}
			if n, r := fastOpened(t, &d, addr); n != 0 || r.Fallback != "" || !slices.Contains(r.Lacking, errFastMultipath) {
				t.Errorf("%v, multipath: %d fast opens, fallback %q, lacking %v", addr, n, r.Fallback, r.Lacking)
			}
		}
	})
}

// fastOpened makes a connection, exchanges something over it, and returns how
// many SYNs carried data that was acknowledged.
func fastOpened(t *testing.T, d *Dialer, addr netip.AddrPort) (uint64, Report) {
	t.Helper()
	before := fastOpens(t)
	c, err := d.DialContext(timeout(t), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := addrPortOf(c.RemoteAddr()); got != addr {
		t.Errorf("remote address %v, want %v", got, addr)
	}
	echo(t, c)
	return fastOpens(t) - before, c.(*Conn).Report()
}

// fastOpens reads the counter of connections whose SYN carried data that was
// acknowledged.
func fastOpens(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	// Each section is a line of names and a line of values.
	names, rest, _ := strings.Cut(string(text), "\n")
	values, _, _ := strings.Cut(rest, "\n")
	i := slices.Index(strings.Fields(names), "TCPFastOpenActive")
	if i < 0 {
		t.Fatal("no such counter")
	}
	n, err := strconv.ParseUint(strings.Fields(values)[i], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFastOpenOnlyWhereItIsProven: an address that no longer answers does not win a race by its
// cookie: several addresses are raced without, unless success is looked for.
func TestFastOpenOnlyWhereItIsProven(t *testing.T) {
	one, two := target{}, target{}
	one.setOnly(v4a)
	two.candidates = append(two.candidates, v6a, v4a)
	d := Dialer{FastOpen: true}
	proven := Dialer{FastOpen: true, Success: func(context.Context, net.Conn) error { return io.EOF }}
	for _, tt := range []struct {
		d    *Dialer
		t    target
		want bool
	}{{&d, one, true}, {&d, two, false}, {&proven, two, true}, {&Dialer{}, one, false}} {
		got := tt.t
		if err := tt.d.apply(&got); err != nil || got.fast != tt.want {
			t.Errorf("%d candidates: %v, %v, want %v", len(got.candidates), got.fast, err, tt.want)
		}
	}
}
