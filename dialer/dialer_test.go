package dialer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// echoServer runs an echo server on a loopback address until the test ends.
func echoServer(t testing.TB, address string) net.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	return ln.Addr()
}

// closedPort returns a loopback address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func exchange(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
}

func TestNetworks(t *testing.T) {
	supported := mptcp.Supported() == nil
	address := echoServer(t, "127.0.0.1:0").String()
	tests := []struct {
		network string
		mode    Mode
		mptcp   bool
		sets    bool
	}{
		{"tcp", MultipathAuto, supported, false},
		{"tcp", MultipathOff, false, false},
		{"tcp4", MultipathAuto, false, false},
		{"multipath", MultipathAuto, true, true},
		{"multipath", MultipathOff, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.network, func(t *testing.T) {
			d := Dialer{Multipath: tt.mode}
			c, err := d.Dial(tt.network, address)
			if tt.mptcp && !supported {
				if !errors.Is(err, ErrMultipathUnsupported) {
					t.Fatalf("got %v, want ErrMultipathUnsupported", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			exchange(t, c)
			conn := c.(*Conn)
			if (conn.ID() != 0) != tt.mptcp || (conn.Report().Fallback == "") != tt.mptcp {
				t.Errorf("id %d, fallback %q", conn.ID(), conn.Report().Fallback)
			}
			if _, sets := c.RemoteAddr().(mpaddr.Addr); sets != tt.sets {
				t.Errorf("remote address is a %T", c.RemoteAddr())
			}
			if !tt.sets && c.RemoteAddr().String() != address {
				t.Errorf("remote address %v, want %v", c.RemoteAddr(), address)
			}
			if conn.RemoteAddrs().Len() != 1 || conn.LocalAddrs().Len() != 1 || len(conn.Paths()) != 1 {
				t.Errorf("local %v, remote %v, paths %+v", conn.LocalAddrs(), conn.RemoteAddrs(), conn.Paths())
			}
			if err := conn.WaitJoins(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAfterClose: what a closed connection tells is its beginning.
func TestAfterClose(t *testing.T) {
	var d Dialer
	address := echoServer(t, "127.0.0.1:0").String()
	for _, network := range []string{"tcp", "tcp4"} {
		c, err := d.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
		conn := c.(*Conn)
		if c.RemoteAddr().String() != address || conn.RemoteAddrs().At(0).AddrPort().String() != address {
			t.Errorf("remote address %v, %v", c.RemoteAddr(), conn.RemoteAddrs())
		}
		if p := conn.Paths(); len(p) != 1 || p[0].State != StateClosed {
			t.Errorf("paths %+v", p)
		}
	}
}

// TestBadArguments: what net.Dialer refuses is refused with its errors.
func TestBadArguments(t *testing.T) {
	var d Dialer
	var nd net.Dialer
	for _, tt := range [][2]string{
		{"udp", "127.0.0.1:1"},
		{"tcp", "127.0.0.1"},
		{"tcp", "127.0.0.1:no-such-service"},
		{"tcp", "127.0.0.1:65536"},
		{"tcp", "::1:80"},
		{"tcp4", "[::1]:80"},
		{"tcp6", "127.0.0.1:80"},
	} {
		_, err := d.Dial(tt[0], tt[1])
		_, want := nd.Dial(tt[0], tt[1])
		if tt[0] == "udp" {
			want = &net.OpError{Op: "dial", Net: "udp", Err: net.UnknownNetworkError("udp")}
		}
		if err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%v:\ngot  %v\nwant %v", tt, err, want)
		}
	}
	if _, err := d.Connect(t.Context(), mpaddr.Addr{}); !errors.Is(err, errNoAddress) {
		t.Errorf("empty set: %v", err)
	}
}

// TestThisHost: no host, and the unspecified address, are this host.
func TestThisHost(t *testing.T) {
	var d Dialer
	_, port, _ := net.SplitHostPort(echoServer(t, "127.0.0.1:0").String())
	for _, host := range []string{"", "0.0.0.0", "127.0.0.1", "::ffff:127.0.0.1"} {
		c, err := d.Dial("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%q: %v", host, err)
			continue
		}
		if got := addrPortOf(c.RemoteAddr()).Addr().String(); got != "127.0.0.1" {
			t.Errorf("%q: connected to %v", host, got)
		}
		_ = c.Close()
	}
}

// TestRefused: one refused address is net.Dialer's error to the letter; several
// are all named.
func TestRefused(t *testing.T) {
	var d Dialer
	var nd net.Dialer
	first, second := closedPort(t), closedPort(t)
	_, err := d.Dial("tcp", first)
	_, want := nd.Dial("tcp", first)
	if err == nil || err.Error() != want.Error() || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got  %v\nwant %v", err, want)
	}
	set := mpaddr.FromAddrPorts(netip.MustParseAddrPort(first), netip.MustParseAddrPort(second))
	_, err = d.Connect(t.Context(), set)
	var all *Error
	switch {
	case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, ErrMultipathUnsupported):
		t.Errorf("%v: want ECONNREFUSED", err)
	case !errors.As(err, &all) || len(all.Attempts) != 2:
		t.Errorf("%v: want both attempts", err)
	case !strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), second):
		t.Errorf("%v: want both addresses named", err)
	}
	t.Log(err)
}

// TestDeadlines: a dial that runs out of time, or is cancelled, fails with an
// error that passes the usual checks. The address is one of documentation, to
// which a connect has no answer.
func TestDeadlines(t *testing.T) {
	past, cancelPast := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancelPast()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	address := echoServer(t, "127.0.0.1:0").String()
	tests := []struct {
		name    string
		dialer  *Dialer
		ctx     context.Context
		want    []error
		timeout bool
	}{
		{"timeout", &Dialer{Timeout: -1}, t.Context(), []error{os.ErrDeadlineExceeded, context.DeadlineExceeded}, true},
		{"deadline", &Dialer{Deadline: time.Now().Add(-1)}, t.Context(), []error{os.ErrDeadlineExceeded, context.DeadlineExceeded}, true},
		{"context", &Dialer{}, past, []error{os.ErrDeadlineExceeded, context.DeadlineExceeded}, true},
		{"cancelled", &Dialer{}, cancelled, []error{context.Canceled}, false},
	}
	for _, tt := range tests {
		for _, host := range []string{address, "localhost:1"} {
			t.Run(tt.name+" "+host, func(t *testing.T) {
				_, err := tt.dialer.DialContext(tt.ctx, "tcp", host)
				for _, want := range tt.want {
					if !errors.Is(err, want) {
						t.Errorf("%v: want %v", err, want)
					}
				}
				var ne net.Error
				if !errors.As(err, &ne) || ne.Timeout() != tt.timeout {
					t.Errorf("%v: timeout %v, want %v", err, ne != nil && ne.Timeout(), tt.timeout)
				}
				if err != nil && strings.Contains(err.Error(), "context") {
					t.Errorf("%v: speaks of contexts", err)
				}
			})
		}
	}
}

// TestControl: once for each socket, with the network and address of the
// attempt; an error of it ends the attempt.
func TestControl(t *testing.T) {
	address := echoServer(t, "127.0.0.1:0").String()
	var calls []string
	control := func(network, address string, c syscall.RawConn) error {
		return c.Control(func(uintptr) { calls = append(calls, network+" "+address) })
	}
	d := Dialer{Control: control}
	c, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if _, err := d.Dial("tcp", closedPort(t)); err == nil {
		t.Error("connected to a closed port")
	}
	if want := "tcp4 " + address; len(calls) != 2 || calls[0] != want {
		t.Errorf("calls %q, want %q and one more", calls, want)
	}
	type key struct{}
	failure := errors.New("not today")
	d = Dialer{Control: control, ControlContext: func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
		if ctx.Value(key{}) != "value" {
			t.Error("not the dial's context")
		}
		return failure
	}}
	if _, err := d.DialContext(context.WithValue(t.Context(), key{}, "value"), "tcp", address); !errors.Is(err, failure) {
		t.Errorf("got %v, want the control function's error", err)
	}
	if len(calls) != 2 {
		t.Error("Control was called although ControlContext is set")
	}
}

// TestHTTP: the dialer works unchanged inside http.Transport, with TLS and
// HTTP/2, and connections are reused.
func TestHTTP(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, network := range []string{"tcp", "multipath"} {
		if network == "multipath" && mptcp.Supported() != nil {
			continue
		}
		t.Run(network, func(t *testing.T) {
			var d Dialer
			var dials atomic.Int32
			transport := server.Client().Transport.(*http.Transport).Clone()
			transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
				dials.Add(1)
				return d.DialContext(ctx, network, address)
			}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			body := strings.Repeat("over every path ", 1<<14)
			for range 3 {
				response, err := client.Post(server.URL, "text/plain", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				echoed, err := io.ReadAll(response.Body)
				if err != nil || string(echoed) != body {
					t.Errorf("%d octets came back, %v", len(echoed), err)
				}
				if err := response.Body.Close(); err != nil {
					t.Error(err)
				}
				if response.ProtoMajor != 2 {
					t.Errorf("protocol %s", response.Proto)
				}
			}
			if n := dials.Load(); n != 1 {
				t.Errorf("%d dials for 3 requests", n)
			}
		})
	}
}
