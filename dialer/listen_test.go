package dialer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// listenOn listens on a set, in text, until the test ends.
func listenOn(t testing.TB, lc ListenConfig, set string) *Listener {
	t.Helper()
	l, err := lc.Listen(context.Background(), mpaddr.MustParse(set))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// listenBound returns the set that a listener is bound to.
func listenBound(l *Listener) mpaddr.Addr { return l.Addr().(mpaddr.Addr) }

// listenReached connects to address by plain TCP, and returns the accepted connection;
// both are closed with the test.
func listenReached(t testing.TB, l *Listener, address netip.AddrPort) (client net.Conn, accepted *Conn) {
	t.Helper()
	var d net.Dialer
	client, err := d.Dial("tcp", address.String())
	if err != nil {
		t.Fatalf("dial %v: %v", address, err)
	}
	t.Cleanup(func() { _ = client.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if got, want := addrPortOf(c.(*Conn).TCPConn.RemoteAddr()), addrPortOf(client.LocalAddr()); got != want {
		t.Fatalf("accepted %v, want %v", got, want)
	}
	return client, c.(*Conn)
}

// listenRefused checks that nobody listens on address.
func listenRefused(t testing.TB, address netip.AddrPort) {
	t.Helper()
	if c, err := net.Dial("tcp", address.String()); err == nil {
		_ = c.Close()
		t.Errorf("%v: connected, want it refused", address)
	}
}

func TestListenOne(t *testing.T) {
	for _, text := range []string{"127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"} {
		l := listenOn(t, ListenConfig{}, text)
		set := listenBound(l)
		if set.Len() != 1 || set.At(0).Port() == 0 || !set.At(0).WithPort(0).SameTarget(mpaddr.MustParse(text).At(0)) {
			t.Errorf("%s: bound to %v", text, set)
		}
		if l.Addr().Network() != mpaddr.Network {
			t.Errorf("network %q", l.Addr().Network())
		}
		_, c := listenReached(t, l, set.At(0).Target())
		if got := c.LocalAddrs(); !got.SameSet(set) {
			t.Errorf("%s: accepted at %v", text, got)
		}
	}
}

// TestListenFamilies: one call, both families, one port; results in words.
func TestListenFamilies(t *testing.T) {
	l := listenOn(t, ListenConfig{}, "127.0.0.1:0,[::1]:0")
	set := listenBound(l)
	if set.Len() != 2 || set.At(0).Port() != set.At(1).Port() {
		t.Fatalf("bound to %v, want one port", set)
	}
	for i, e := range set.All() {
		listenReached(t, l, e.Target())
		r := l.Results()[i]
		if want := fmt.Sprintf("%v: bound, port chosen by the system for all", e); r.String() != want || !r.ChosenPort {
			t.Errorf("%v, want %s", r, want)
		}
	}
}

func TestListenErrors(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := other.Addr().String()
	tooMany := make([]netip.AddrPort, MaxListen+1)
	for i := range tooMany {
		tooMany[i] = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(i+1))
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	var lc ListenConfig
	for _, test := range []struct {
		name string
		ctx  context.Context
		set  mpaddr.Addr
		want error
		text string
	}{
		{"none", context.Background(), mpaddr.Addr{}, errNothingToListen, "listen multipath : no address to listen on"},
		{"too many", context.Background(), mpaddr.FromAddrPorts(tooMany...), errListenTooMany, "more than 255"},
		{"canceled", canceled, mpaddr.MustParse("127.0.0.1:0"), context.Canceled, "operation was canceled"},
		{"absent", context.Background(), mpaddr.MustParse("198.51.100.1:0"), nil, "listen multipath 198.51.100.1:0: bind: "},
		{"taken", context.Background(), mpaddr.MustParse(taken), nil, "listen multipath " + taken + ": bind: "},
		{"both", context.Background(), mpaddr.MustParse("198.51.100.1:80," + taken), nil, "198.51.100.1:80: bind: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := lc.Listen(test.ctx, test.set)
			if err == nil {
				_ = l.Close()
				t.Fatalf("bound to %v", l.Addr())
			}
			var op *net.OpError
			if !errors.As(err, &op) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%#v", err)
			}
			if !strings.Contains(err.Error(), test.text) {
				t.Errorf("%q, want %q in it", err, test.text)
			}
		})
	}
}

func TestListenClose(t *testing.T) {
	l := listenOn(t, ListenConfig{}, "127.0.0.1:0,[::1]:0")
	set := listenBound(l)
	waiting, err := net.Dial("tcp", set.At(0).String()) // nobody accepts it
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	accepting := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				accepting <- err
				return
			}
			_ = c.Close()
		}
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
	if _, err := l.Rebind(t.Context(), set); !errors.Is(err, net.ErrClosed) {
		t.Errorf("rebound: %v", err)
	}
	for _, e := range set.All() {
		listenRefused(t, e.Target())
	}
}

// TestListenTurns: with connections waiting everywhere, the sockets are served
// one after the other, however many wait at one of them.
func TestListenTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Listener{queue: make(chan listenAccepted), done: make(chan struct{}), announcer: new(listenAnnouncer)}
		const sockets, rounds = 3, 5
		for n := range sockets {
			l.group.Go(func() {
				l.pump(func() (*Conn, error) { return nil, fmt.Errorf("%d", n) })
			})
		}
		synctest.Wait()
		var first, got []string
		for i := range sockets * rounds {
			_, err := l.Accept()
			synctest.Wait()
			text := errors.Unwrap(err).Error()
			if i < sockets {
				first = append(first, text)
			}
			got = append(got, text)
		}
		if want := strings.Repeat(strings.Join(first, ""), rounds); strings.Join(got, "") != want {
			t.Errorf("served in the order %v", got)
		}
		close(l.done)
		l.group.Wait()
	})
}

func TestListenControl(t *testing.T) {
	type call struct{ network, address string }
	var calls []call
	lc := ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		calls = append(calls, call{network, address})
		if strings.HasPrefix(address, "[") {
			return errors.New("not this one")
		}
		return c.Control(func(uintptr) {})
	}}
	l := listenOn(t, lc, "127.0.0.1:0,[::1]:0")
	want := []call{{"tcp4", "127.0.0.1:0"}, {"tcp6", listenBound(l).At(0).WithPort(0).String()}}
	want[1].address = fmt.Sprintf("[::1]:%d", listenBound(l).At(0).Port())
	if len(calls) != 2 || calls[0] != want[0] || calls[1] != want[1] {
		t.Errorf("calls %v, want %v", calls, want)
	}
	if r := l.Results()[1]; r.Err == nil || r.String() != "[::1]:0: not bound: not this one" {
		t.Errorf("%v", r)
	}
}

// TestListenModes: what the accepted connections' addresses are, and what the
// report says.
func TestListenModes(t *testing.T) {
	supported := mptcp.Supported() == nil
	for _, test := range []struct {
		name         string
		lc           ListenConfig
		multi, plain bool // the client
		sets         bool
		report, conn string // Fallback
	}{
		{"plain client", ListenConfig{}, false, false, true, "", whyListenPlain},
		{"multipath client", ListenConfig{}, supported, false, true, "", ""},
		{"TCPAddrs", ListenConfig{TCPAddrs: true}, supported, false, false, "", ""},
		{"off", ListenConfig{Multipath: MultipathOff}, supported, true, false, whyListenOff, whyListenOff},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !supported && !test.plain {
				return
			}
			l := listenOn(t, test.lc, "127.0.0.1:0")
			d := Dialer{Multipath: MultipathOff}
			if test.multi {
				d.Multipath = MultipathAuto
			}
			client, err := d.Dial("tcp", listenBound(l).At(0).String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			c := accepted.(*Conn)
			if _, sets := c.LocalAddr().(mpaddr.Addr); sets != test.sets {
				t.Errorf("local address is a %T", c.LocalAddr())
			}
			if _, sets := c.RemoteAddr().(mpaddr.Addr); sets != test.sets {
				t.Errorf("remote address is a %T", c.RemoteAddr())
			}
			if got := l.Report().Fallback; got != test.report {
				t.Errorf("listener: %q, want %q", got, test.report)
			}
			if got := c.Report().Fallback; got != test.conn || (c.ID() == 0) != (test.conn != "") {
				t.Errorf("connection: %q, want %q; id %d", got, test.conn, c.ID())
			}
			if p := c.Paths(); len(p) != 1 || p[0].State != StateActive || p[0].Verdict != First {
				t.Errorf("paths %+v", p)
			}
			if err := c.WaitJoins(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Ports below those that systems give to connections and to port 0 (32768 and up
// on Linux, 49152 and up elsewhere), so that what else runs here does not take
// one between its choice and its use.
const (
	firstQuietPort = 20000
	quietPorts     = 12000
)

// freeListenPort returns a port that nothing of this machine listens on, in text.
func freeListenPort(t *testing.T) string {
	t.Helper()
	for {
		port := fmt.Sprint(firstQuietPort + rand.IntN(quietPorts))
		ln, err := net.Listen("tcp", ":"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return port
	}
}

func TestListenRebind(t *testing.T) {
	l := listenOn(t, ListenConfig{}, "127.0.0.1:0")
	first := listenBound(l).At(0)
	second := mpaddr.MustParse("[::1]:0").At(0)
	_, kept := listenReached(t, l, first.Target())

	// Port 0 is the listener's own port by now.
	results, err := l.Rebind(t.Context(), mpaddr.New(first, second))
	if err != nil || len(results) != 2 || results[1].Bound.Port() != first.Port() {
		t.Fatalf("%v, %v", results, err)
	}
	second = results[1].Bound
	listenReached(t, l, first.Target())
	listenReached(t, l, second.Target())

	if _, err := l.Rebind(t.Context(), mpaddr.New(second)); err != nil {
		t.Fatal(err)
	}
	listenRefused(t, first.Target())
	listenReached(t, l, second.Target())
	if !listenBound(l).Equal(mpaddr.New(second)) {
		t.Errorf("bound to %v", l.Addr())
	}

	// What would leave none changes nothing.
	for _, text := range []string{"", "198.51.100.1:0", "198.51.100.1:80,203.0.113.1:80"} {
		results, err := l.Rebind(t.Context(), mpaddr.MustParse(text))
		if err == nil || !listenBound(l).Equal(mpaddr.New(second)) || l.Results()[0].Err != nil {
			t.Errorf("%q: %v, %v; bound to %v", text, results, err, l.Addr())
		}
		listenReached(t, l, second.Target())
	}
	if err := kept.SetDeadline(time.Now()); err != nil {
		t.Errorf("the connection of a dropped address: %v", err)
	}
}

// TestListenRebindConcurrently is for the race detector.
func TestListenRebindConcurrently(t *testing.T) {
	l := listenOn(t, ListenConfig{}, "127.0.0.1:0")
	both := listenBound(l).Union(mpaddr.MustParse("[::1]:0"))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				_, _ = l.Rebind(t.Context(), both)
				_, _ = l.Rebind(t.Context(), mpaddr.New(both.At(0)))
				_, _, _ = l.Addr(), l.Results(), l.Report()
			}
		})
	}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	for range 20 {
		if c, err := net.Dial("tcp", both.At(0).String()); err == nil {
			_ = c.Close()
		}
	}
	_ = l.Close()
	all.Wait()
}

// TestListenHTTP: a real HTTP server and client, over each address of the set.
func TestListenHTTP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "https"}[secure], func(t *testing.T) {
			borrowed := httptest.NewUnstartedServer(nil)
			borrowed.StartTLS() // for its certificate
			borrowed.Close()

			l := listenOn(t, ListenConfig{}, "127.0.0.1:0,[::1]:0")
			server := &http.Server{TLSConfig: borrowed.TLS, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				_, _ = w.Write(body)
			})}
			served := make(chan error, 1)
			go func() {
				if secure {
					served <- server.ServeTLS(l, "", "")
				} else {
					served <- server.Serve(l)
				}
			}()
			var d Dialer
			tlsConfig := borrowed.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			tlsConfig.ServerName = "example.com"
			transport := &http.Transport{DialContext: d.DialContext, TLSClientConfig: tlsConfig}
			for _, e := range listenBound(l).All() {
				url := map[bool]string{false: "http://", true: "https://"}[secure] + e.String()
				listenPost(t, &http.Client{Transport: transport}, url)
			}
			transport.CloseIdleConnections()
			if err := server.Shutdown(listenTimeout(t)); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
	}
}

// listenPost sends a body large enough for several segments and wants it back.
func listenPost(t *testing.T, client *http.Client, url string) {
	t.Helper()
	body := strings.Repeat("over every path ", 1<<14)
	response, err := client.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || string(got) != body {
		t.Errorf("%s: %d octets, %v", url, len(got), err)
	}
}

// listenTimeout bounds what must not take long.
func listenTimeout(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
