package dialer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// The lab's addresses: two links of the client, two of the server, one of
// another host.
var (
	client1v4 = netip.MustParseAddr("10.0.1.2")
	client1v6 = netip.MustParseAddr("2001:db8:1::2")
	server1v4 = netip.MustParseAddr("10.1.1.2")
	server1v6 = netip.MustParseAddr("2001:db8:11::2")
	server2v4 = netip.MustParseAddr("10.1.2.2")
	server2v6 = netip.MustParseAddr("2001:db8:12::2")
	otherv4   = netip.MustParseAddr("10.2.1.2")
	otherv6   = netip.MustParseAddr("2001:db8:21::2")
)

const (
	labPort  = 7000
	labDelay = 2 * time.Millisecond // of each direction of the client's links
	labRTT   = 2 * labDelay
)

// world is a lab with a client (the process itself), a server with two links
// and another host.
type world struct {
	*testlab.Lab
	server, other *testlab.Host
}

// inLab runs a test in a lab whose client uses the userspace path manager.
func inLab(t *testing.T, test func(t *testing.T, w *world)) {
	labtest.Run(t, func(t *testing.T) {
		w := newWorld(t)
		if err := mptcp.SetPathManager(mptcp.UserspacePathManager); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newLab(t)
	w.server = w.host(t, "server",
		[]netip.Addr{server1v4, server1v6}, []netip.Addr{server2v4, server2v6})
	w.other = w.host(t, "other", []netip.Addr{otherv4, otherv6})
	return w
}

// newLab makes a lab with the client only.
func newLab(t *testing.T) *world {
	t.Helper()
	w := &world{Lab: labtest.New(t, testlab.Options{})}
	for _, addrs := range [][]netip.Prefix{
		{netip.PrefixFrom(client1v4, 24), netip.PrefixFrom(client1v6, 64)},
		{netip.MustParsePrefix("10.0.2.2/24"), netip.MustParsePrefix("2001:db8:2::2/64")},
	} {
		if _, err := w.AddClientLink(testlab.LinkSpec{Addrs: addrs, Delay: labDelay}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// host adds a host with a link for each list of addresses.
func (w *world) host(t *testing.T, name string, links ...[]netip.Addr) *testlab.Host {
	t.Helper()
	var specs []testlab.LinkSpec
	for _, addrs := range links {
		var spec testlab.LinkSpec
		for _, a := range addrs {
			spec.Addrs = append(spec.Addrs, netip.PrefixFrom(a, a.BitLen()*3/4&^7))
		}
		specs = append(specs, spec)
	}
	h, err := w.AddHost(name, specs...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// unlimit makes a host accept any number of joins: under the userspace path
// manager, with somebody subscribed, the kernel's limit does not apply.
func unlimit(t *testing.T, h *testlab.Host) mptcp.PathManager {
	t.Helper()
	if err := h.Sysctl("net.mptcp.path_manager", mptcp.UserspacePathManager); err != nil {
		t.Fatal(err)
	}
	var pm mptcp.PathManager
	if err := h.Do(func() (err error) {
		pm, err = mptcp.OpenPathManager()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pm.Close() })
	return pm
}

// app is an echo server that counts what it sees.
type app struct {
	accepted atomic.Int32
	ended    atomic.Int32
	octets   atomic.Int64
}

// serve runs an echo server on a host until the test ends.
func serve(t *testing.T, h *testlab.Host, plain bool) *app {
	t.Helper()
	listen := h.Listen
	if plain {
		listen = h.ListenPlain
	}
	ln, err := listen("tcp", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, ln)
}

// serveOn runs an echo server on a listener until the test ends.
func serveOn(t *testing.T, ln net.Listener) *app {
	t.Helper()
	a := &app{}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		a.accept(ln)
	}()
	return a
}

func (a *app) accept(ln net.Listener) {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		a.accepted.Add(1)
		serving.Go(func() {
			n, _ := io.Copy(c, c)
			a.octets.Add(n)
			_ = c.Close()
			a.ended.Add(1)
		})
	}
}

// record returns the addresses with the lab's port.
func record(addrs ...netip.Addr) mpaddr.Addr { return mpaddr.FromAddrs(labPort, addrs...) }

// connect connects to a record and closes the connection with the test.
func connect(t *testing.T, d *Dialer, set mpaddr.Addr) *Conn {
	t.Helper()
	c, err := d.Connect(timeout(t), set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// timeout is a context that bounds what a test waits for.
func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// echo sends a message to an echo server and waits for it.
func echo(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
}

// joined exchanges something, waits for the joins and returns the report.
func joined(t *testing.T, c *Conn) Report {
	t.Helper()
	echo(t, c)
	if err := c.WaitJoins(timeout(t)); err != nil {
		t.Fatal(err)
	}
	return c.Report()
}

// verdicts returns the verdicts of a report by address.
func verdicts(r Report) map[netip.Addr]Verdict {
	out := make(map[netip.Addr]Verdict)
	for _, j := range r.Joins {
		out[j.Remote.Addr()] = j.Verdict
	}
	return out
}

// until waits for a condition, looking often.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx := timeout(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: did not come about", what)
		}
	}
}

// TestSameHost is draft section 4.2 on a real kernel: one host with two links
// and two families, one connection over all four addresses.
func TestSameHost(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		unlimit(t, w.server)
		a := serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server1v4, server2v6, server2v4))
		r := joined(t, c)
		for _, addr := range []netip.Addr{server1v4, server2v6, server2v4} {
			if v := verdicts(r)[addr]; v != Joined {
				t.Errorf("%v: %q, want joined", addr, v)
			}
		}
		if r.Manager != managerDirect || r.Fallback != "" {
			t.Errorf("manager %q (%s), fallback %q", r.Manager, r.Why, r.Fallback)
		}
		if set := c.RemoteAddr().(mpaddr.Addr); !set.SameSet(record(server1v6, server1v4, server2v6, server2v4)) {
			t.Errorf("remote set %v", set)
		}
		if n := len(c.Paths()); n != 4 {
			t.Errorf("%d paths, want 4: %+v", n, c.Paths())
		}
		if c.ID() == 0 {
			t.Error("no identifier")
		}
		echo(t, c)
		if n := a.accepted.Load(); n != 1 {
			t.Errorf("the server accepted %d connections, want 1", n)
		}
		t.Logf("connected in %v, joined in %v", r.Connect, r.Joined)
	})
}

// TestIdle: a connection without data is established by a keep-alive probe, and
// the caller's setting is put back.
func TestIdle(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		d := Dialer{KeepAlive: time.Minute}
		c := connect(t, &d, record(server1v4, server2v4))
		begin := time.Now()
		if err := c.WaitJoins(timeout(t)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("joined after %v, want about a second", took)
		}
		if v := verdicts(c.Report())[server2v4]; v != Joined {
			t.Errorf("%q, want joined", v)
		}
		if got := keepAliveOf(t, c); !got.on || got.idle != 60 {
			t.Errorf("keep-alive %+v, want the caller's", got)
		}
	})
}

// transfer sends random octets to an echo server and checks that the same come
// back. The channel has the result.
func transfer(t *testing.T, c net.Conn, octets int64) <-chan error {
	t.Helper()
	out := make(chan error, 1)
	sent, received := sha256.New(), sha256.New()
	var group errgroup.Group
	group.Go(func() error {
		_, err := io.CopyN(io.MultiWriter(c, sent), rand.NewChaCha8([32]byte{1}), octets)
		return err
	})
	group.Go(func() error {
		_, err := io.CopyN(received, c, octets)
		return err
	})
	go func() {
		err := group.Wait()
		if err == nil && !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
			err = errors.New("other octets came back")
		}
		out <- err
	}()
	return out
}
