package dialer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// listenWorld is a lab whose server is under the userspace path manager and
// listens on a set; the client follows the events of its own connections.
type listenWorld struct {
	*world
	l      *Listener
	client *mptcp.Subscription
}

// inListenLab listens on set in the lab's server.
func inListenLab(t *testing.T, lc ListenConfig, set mpaddr.Addr, test func(t *testing.T, w *listenWorld)) {
	inLab(t, func(t *testing.T, lab *world) {
		w := &listenWorld{world: lab}
		if err := w.server.Sysctl("net.mptcp.path_manager", mptcp.UserspacePathManager); err != nil {
			t.Fatal(err)
		}
		w.client = listenEvents(t)
		w.l = listenIn(t, w.server, lc, set)
		test(t, w)
	})
}

// listenIn listens in a host until the test ends.
func listenIn(t *testing.T, h *testlab.Host, lc ListenConfig, set mpaddr.Addr) (l *Listener) {
	t.Helper()
	if err := h.Do(func() (err error) {
		l, err = lc.Listen(context.Background(), set)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// listenEvents follows the events of the client until the test ends.
func listenEvents(t *testing.T) *mptcp.Subscription {
	t.Helper()
	pm, err := mptcp.OpenPathManager()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pm.Close() })
	sub, err := pm.Subscribe(0)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// rebind changes the listener's set, in the server's namespace.
func (w *listenWorld) rebind(t *testing.T, set mpaddr.Addr) []ListenResult {
	t.Helper()
	var results []ListenResult
	if err := w.server.Do(func() (err error) {
		results, err = w.l.Rebind(context.Background(), set)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return results
}

// next returns the next event of one type of a connection of the client.
func (w *listenWorld) next(t *testing.T, c *Conn, want mptcp.EventType) mptcp.Event {
	t.Helper()
	ctx := timeout(t)
	for {
		select {
		case e, ok := <-w.client.Events():
			if !ok {
				t.Fatalf("the events ended while waiting for %q", want)
			}
			if e.Token == c.ID() && e.Type == want {
				return e
			}
		case <-ctx.Done():
			t.Fatalf("no event %q", want)
		}
	}
}

// told returns the addresses that the client is told of, n of them, by id.
func (w *listenWorld) told(t *testing.T, c *Conn, n int) map[netip.Addr]uint8 {
	t.Helper()
	out := make(map[netip.Addr]uint8)
	for len(out) < n {
		e := w.next(t, c, mptcp.Announced)
		out[e.Remote.Addr()] = e.RemoteID
	}
	return out
}

// accept returns the next connection of the listener.
func (w *listenWorld) accept(t *testing.T) *Conn {
	t.Helper()
	c, err := w.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*Conn)
}

// echoing accepts a connection and echoes what it gets.
func (w *listenWorld) echoing(t *testing.T) *Conn {
	t.Helper()
	c := w.accept(t)
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
	go func() {
		defer close(done)
		_, _ = io.Copy(c, c.TCPConn)
	}()
	return c
}

// TestListenDualHomed is draft section 4.1 on a real kernel: a server with four
// addresses listens on three of them in one call. A client reaches each, and is
// told of the others that reach as far as the one that it connected to.
func TestListenDualHomed(t *testing.T) {
	set := record(server1v4, server2v4, server2v6)
	inListenLab(t, ListenConfig{}, set, func(t *testing.T, w *listenWorld) {
		if !listenBound(w.l).Equal(set) {
			t.Fatalf("bound to %v", w.l.Addr())
		}
		for own, want := range map[netip.Addr][]netip.Addr{
			server1v4: {server2v4, server2v6},
			server2v4: {server1v4, server2v6},
			server2v6: nil, // the others are private addresses
		} {
			d := Dialer{MaxSubflows: -1}
			c := connect(t, &d, record(own))
			a := w.accept(t)
			if a.LocalAddr().(mpaddr.Addr).At(0).Addr() != own || a.ID() == 0 {
				t.Errorf("accepted at %v, id %#x", a.LocalAddr(), a.ID())
			}
			told := w.told(t, c, len(want))
			for _, addr := range want {
				if told[addr] == 0 {
					t.Errorf("connected to %v: told of %v, not of %v", own, told, addr)
				}
			}
		}
		var d Dialer
		if c, err := d.Connect(timeout(t), record(server1v6)); err == nil {
			_ = c.Close()
			t.Errorf("%v is not listened on, and a client is connected", server1v6)
		}
		r := w.l.Report()
		if r.Connections != 3 || r.Announced != 4 || r.Failed != 0 || !r.Further.SameSet(set) {
			t.Errorf("report %+v", r)
		}
		if err := w.server.Do(func() error { r = w.l.Report(); return nil }); err != nil {
			t.Fatal(err)
		}
		if r.Manager != managerDirect || r.Why != whyListenDirect || r.Fallback != "" {
			t.Errorf("manager %q: %s; fallback %q", r.Manager, r.Why, r.Fallback)
		}
	})
}

// TestListenAnnounceRule: the caller's rule decides which connection is told of
// what.
func TestListenAnnounceRule(t *testing.T) {
	rule := func(_, further netip.Addr) bool { return further == server1v4 }
	inListenLab(t, ListenConfig{Announce: rule}, record(server1v4, server2v4, server2v6), func(t *testing.T, w *listenWorld) {
		d := Dialer{MaxSubflows: -1}
		c := connect(t, &d, record(server2v6))
		w.accept(t)
		if told := w.told(t, c, 1); told[server1v4] == 0 {
			t.Errorf("told of %v", told)
		}
		if r := w.l.Report(); r.Announced != 1 {
			t.Errorf("%d announced", r.Announced)
		}
	})
}

// TestListenJoins: a host whose only follower of events may be the listener
// accepts joins, and both ends' addresses are live sets.
func TestListenJoins(t *testing.T) {
	set := record(server1v4, server2v4, server2v6)
	inListenLab(t, ListenConfig{}, set, func(t *testing.T, w *listenWorld) {
		var d Dialer
		c := connect(t, &d, set)
		a := w.echoing(t)
		for addr, v := range verdicts(joined(t, c)) {
			if v != Joined {
				t.Errorf("%v: %q", addr, v)
			}
		}
		until(t, "the server's set", func() bool { return a.LocalAddr().(mpaddr.Addr).SameSet(set) })
		if n := a.RemoteAddr().(mpaddr.Addr).Len(); n != 3 || len(a.Paths()) != 3 {
			t.Errorf("remote set %v, paths %+v", a.RemoteAddr(), a.Paths())
		}
	})
}

// TestListenKernelPeer: a peer that does nothing for it, under its kernel's own
// path manager, joins what it is told of, and leaves what is withdrawn.
func TestListenKernelPeer(t *testing.T) {
	inLab(t, func(t *testing.T, lab *world) {
		w := &listenWorld{world: lab}
		if err := w.server.Sysctl("net.mptcp.path_manager", mptcp.UserspacePathManager); err != nil {
			t.Fatal(err)
		}
		if err := mptcp.SetPathManager(mptcp.KernelPathManager); err != nil {
			t.Fatal(err)
		}
		if err := mptcp.SetLimits(mptcp.Limits{Subflows: 4, AddAddrAccepted: 4}); err != nil {
			t.Fatal(err)
		}
		set := record(server1v4, server2v4, server2v6)
		w.l = listenIn(t, w.server, ListenConfig{}, set)
		d := Dialer{MaxSubflows: -1}
		c := connect(t, &d, record(server1v4))
		a := w.echoing(t)
		until(t, "joins of the announced addresses", func() bool { return c.RemoteAddrs().SameSet(set) && a.LocalAddrs().SameSet(set) })
		echo(t, c)
		w.rebind(t, record(server1v4, server2v6))
		until(t, "the end of the dropped path", func() bool { return c.RemoteAddrs().SameSet(record(server1v4, server2v6)) })
		echo(t, c)
	})
}

// TestListenWithdraw: when the set changes, the peers of live connections learn
// of new addresses and of dropped ones, whose subflows end; the data goes on.
func TestListenWithdraw(t *testing.T) {
	inListenLab(t, ListenConfig{}, record(server1v4, server2v4), func(t *testing.T, w *listenWorld) {
		var d Dialer
		c := connect(t, &d, record(server1v4, server2v4))
		a := w.echoing(t)
		id := w.told(t, c, 1)[server2v4]
		joined(t, c)
		until(t, "both paths", func() bool { return a.LocalAddrs().Len() == 2 })
		result := transfer(t, c, 1<<20)

		w.rebind(t, record(server1v4, server2v6))
		if told := w.told(t, c, 1); told[server2v6] == 0 {
			t.Errorf("told of %v, want the new address", told)
		}
		if e := w.next(t, c, mptcp.Removed); e.RemoteID != id || id == 0 {
			t.Errorf("removed id %d, want %d", e.RemoteID, id)
		}
		until(t, "the end of the dropped path", func() bool {
			return !slices.ContainsFunc(c.Paths(), func(p Path) bool { return p.Remote.Addr() == server2v4 && p.State == StateActive })
		})
		if err := <-result; err != nil {
			t.Errorf("the transfer: %v", err)
		}
		if r := w.l.Report(); r.Announced != 2 || r.Withdrawn != 1 || r.Failed != 0 {
			t.Errorf("report %+v", r)
		}
		if c, err := d.Connect(timeout(t), record(server2v4)); err == nil {
			_ = c.Close()
			t.Errorf("%v is still listened on", server2v4)
		}
		_ = c.Close()
		_ = a.Close()
		until(t, "the end of the connection", func() bool { return w.l.Report().Connections == 0 })
	})
}

// TestListenWithdrawUnannounced: a subflow that the peer made to an address by
// itself, as from DNS, ends when the address is dropped.
func TestListenWithdrawUnannounced(t *testing.T) {
	quiet := ListenConfig{Announce: func(_, _ netip.Addr) bool { return false }}
	inListenLab(t, quiet, record(server1v4, server2v4), func(t *testing.T, w *listenWorld) {
		var d Dialer
		c := connect(t, &d, record(server1v4, server2v4))
		a := w.echoing(t)
		joined(t, c)
		until(t, "both paths", func() bool { return a.LocalAddrs().Len() == 2 })
		w.rebind(t, record(server1v4))
		until(t, "one path", func() bool { return a.LocalAddrs().SameSet(record(server1v4)) })
		echo(t, c)
	})
}

// TestListenSlowAccept: a connection that waited to be accepted, and was joined
// meanwhile, is not told of what its peer has found by itself.
func TestListenSlowAccept(t *testing.T) {
	inListenLab(t, ListenConfig{}, record(server1v4, server2v4), func(t *testing.T, w *listenWorld) {
		var d Dialer
		c := connect(t, &d, record(server1v4, server2v4))
		if err := c.WaitJoins(timeout(t)); err != nil {
			t.Fatal(err)
		}
		a := w.echoing(t)
		echo(t, c)
		w.rebind(t, record(server1v4, server2v4)) // the same again
		if r := w.l.Report(); r.Failed != 0 || r.Announced != 0 {
			t.Errorf("report %+v", r)
		}
		w.rebind(t, record(server1v4))
		until(t, "one path", func() bool { return a.LocalAddrs().SameSet(record(server1v4)) })
		echo(t, c)
	})
}

// TestListenLastPath: an address is not withdrawn from a connection that has no
// other path.
func TestListenLastPath(t *testing.T) {
	inListenLab(t, ListenConfig{}, record(server1v4, server2v4), func(t *testing.T, w *listenWorld) {
		var d Dialer
		c := connect(t, &d, record(server1v4, server2v4))
		a := w.echoing(t)
		joined(t, c)
		until(t, "both paths", func() bool { return len(a.Paths()) == 2 })
		pm, err := mptcp.OpenPathManager()
		if err != nil {
			t.Fatal(err)
		}
		defer pm.Close()
		for _, p := range c.Paths() {
			if p.Remote.Addr() == server1v4 {
				if err := pm.DestroySubflow(c.ID(), mptcp.Subflow{Local: p.Local, Remote: p.Remote}); err != nil {
					t.Fatal(err)
				}
			}
		}
		until(t, "one path", func() bool { return a.LocalAddrs().SameSet(record(server2v4)) })
		w.rebind(t, record(server1v4))
		if r := w.l.Report(); r.Withdrawn != 0 {
			t.Errorf("%d withdrawn", r.Withdrawn)
		}
		echo(t, c)
	})
}

// TestListenWildcardLab: one wildcard socket does the same as all addresses: it
// is what the report says, and the machine's addresses are announced.
func TestListenWildcardLab(t *testing.T) {
	inListenLab(t, ListenConfig{}, mpaddr.MustParse("0.0.0.0:7000,[::]:7000"), func(t *testing.T, w *listenWorld) {
		if len(w.l.sockets) != 1 {
			t.Errorf("%d sockets", len(w.l.sockets))
		}
		var d Dialer
		set := record(server1v4, server2v4, server1v6, server2v6)
		c := connect(t, &d, set)
		first := w.echoing(t).LocalAddrs().At(0).Addr()
		for addr, v := range verdicts(joined(t, c)) {
			if v != Joined {
				t.Errorf("%v: %q", addr, v)
			}
		}
		for addr := range w.told(t, c, 3) {
			if !set.ContainsAddrPort(netip.AddrPortFrom(addr, labPort)) || addr == first {
				t.Errorf("told of %v", addr)
			}
		}
		if r := w.l.Report(); !r.Further.SameSet(set) {
			t.Errorf("further addresses %v", r.Further)
		}
	})
}

// TestListenHTTPPaths: an HTTP server on a set of addresses serves a request
// over several paths, and goes on while the set changes.
func TestListenHTTPPaths(t *testing.T) {
	set := record(server1v4, server2v4)
	inListenLab(t, ListenConfig{}, set, func(t *testing.T, w *listenWorld) {
		conns := make(chan *Conn, 1)
		handler := func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = rw.Write(body)
		}
		server := &http.Server{
			Handler: http.HandlerFunc(handler),
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				conns <- c.(*Conn)
				return ctx
			},
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := server.Serve(w.l); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		var d Dialer
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Connect(ctx, set) }
		transport := &http.Transport{DialContext: dial}
		client := &http.Client{Transport: transport}
		listenPost(t, client, "http://server")
		accepted := <-conns
		until(t, "both paths", func() bool { return accepted.LocalAddrs().SameSet(set) })
		listenPost(t, client, "http://server")
		w.rebind(t, record(server1v4))
		until(t, "one path", func() bool { return accepted.LocalAddrs().SameSet(record(server1v4)) })
		listenPost(t, client, "http://server")
		transport.CloseIdleConnections()
		if err := server.Shutdown(timeout(t)); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
}
