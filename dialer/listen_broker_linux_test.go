package dialer

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// listenDeaf listens on both addresses of the client, without the right to announce.
func listenDeaf(t *testing.T, path string) *Listener {
	t.Helper()
	restore := listenDropNetAdmin(t)
	l, err := (&ListenConfig{Broker: path}).Listen(context.Background(), record(client1v6, client2v6))
	restore()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// reports waits until the listener's report, as of a process without the right,
// fulfils a condition.
func (w *world) reports(t *testing.T, l *Listener, what string, holds func(ListenReport) bool) {
	t.Helper()
	until(t, what, func() bool {
		restore := listenDropNetAdmin(t)
		defer restore()
		return holds(l.Report())
	})
}

// fromServer connects from the server, whose path manager joins what it is told of,
// and exchanges something.
func (w *world) fromServer(t *testing.T, l *Listener) *Conn {
	t.Helper()
	var d net.Dialer
	d.SetMultipathTCP(true)
	remote, err := w.server.DialContext(context.Background(), &d, "tcp", netip.AddrPortFrom(client1v6, labPort).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = remote.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	if _, err := remote.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return accepted.(*Conn)
}

// activePaths counts those that carry data.
func activePaths(c *Conn) (n int) {
	for _, p := range c.Paths() {
		if p.State == StateActive {
			n++
		}
	}
	return n
}

// TestListenBroker: a listener without the right has its further addresses announced
// and withdrawn by the broker, also by the one that comes after the first has died.
func TestListenBroker(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		err := w.server.Do(func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: 4, AddAddrAccepted: 4}) })
		if err != nil {
			t.Fatal(err)
		}
		path, kill := startBroker(t, broker.Config{})
		l := listenDeaf(t, path)
		c := w.fromServer(t, l)
		until(t, "the join of the announced address", func() bool { return activePaths(c) == 2 })
		w.reports(t, l, "the announcement", func(r ListenReport) bool {
			return r.Manager == managerBroker && r.Why == whyListenBroker && r.Announced == 1 && r.Connections == 1 && r.Failed == 0
		})
		if _, err := l.Rebind(context.Background(), record(client1v6)); err != nil {
			t.Fatal(err)
		}
		until(t, "the end of the withdrawn path", func() bool { return activePaths(c) == 1 })
		w.reports(t, l, "the withdrawal", func(r ListenReport) bool { return r.Withdrawn == 1 })

		kill()
		if _, err := l.Rebind(context.Background(), record(client1v6, client2v6)); err != nil {
			t.Fatal(err)
		}
		startBrokerAt(t, path, broker.Config{})
		until(t, "the join when the broker has returned", func() bool { return activePaths(c) == 2 })
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		w.reports(t, l, "the end of the connection", func(r ListenReport) bool { return r.Connections == 0 && r.Announced == 2 })
	})
}

// TestListenBrokerAbsent: without a broker, and with one that hangs, connections are
// accepted, and the report says what is missing.
func TestListenBrokerAbsent(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		for name, path := range map[string]string{"absent": filepath.Join(t.TempDir(), "none"), "hanging": hangingBroker(t), "off": BrokerOff} {
			t.Run(name, func(t *testing.T) {
				l := listenDeaf(t, path)
				w.fromServer(t, l)
				w.reports(t, l, "the reason", func(r ListenReport) bool {
					told := strings.Contains(r.Why, "there is no broker either") != (path == BrokerOff)
					return told && r.Manager == managerNone && strings.HasPrefix(r.Why, whyListenDeaf) && r.Connections == 0
				})
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}
