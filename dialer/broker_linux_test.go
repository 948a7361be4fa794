package dialer

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// startBroker serves a broker of this namespace. stop ends it, as its death does.
func startBroker(t *testing.T, config broker.Config) (path string, stop func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "paths.sock")
	return path, startBrokerAt(t, path, config)
}

func startBrokerAt(t *testing.T, path string, config broker.Config) (stop func()) {
	t.Helper()
	pm, err := mptcp.OpenPathManager()
	if err != nil {
		t.Fatal(err)
	}
	config.Manager = pm
	server, err := broker.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := broker.Listen(path, 0o666, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(ctx, ln) })
	stop = sync.OnceFunc(func() {
		cancel()
		serving.Wait()
		_ = pm.Close()
	})
	t.Cleanup(stop)
	return stop
}

// withoutRight returns a Dialer that may not use the path manager.
func withoutRight(path string) *Dialer {
	d := &Dialer{Broker: path}
	d.managers.open = func() (mptcp.PathManager, error) { return nil, mptcp.ErrNotPermitted }
	return d
}

// TestBroker: a program without privilege gets its subflows from the broker.
func TestBroker(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		path, _ := startBroker(t, broker.Config{})
		r := dialWithout(t, path, record(server1v6, server2v6))
		if r.Manager != managerBroker || r.Why != whyBroker {
			t.Errorf("manager %q (%s)", r.Manager, r.Why)
		}
		if v := r.Verdicts[server2v6.String()]; v != Joined {
			t.Errorf("%q, want joined", v)
		}
	})
}

// TestBrokerDies: the connection and its subflows outlive the broker, and the
// report says what is no more.
func TestBrokerDies(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		path, kill := startBroker(t, broker.Config{})
		c := connect(t, withoutRight(path), record(server1v6, server2v6))
		if r := joined(t, c); r.Manager != managerBroker || verdicts(r)[server2v6] != Joined {
			t.Fatalf("report %+v", r)
		}
		kill()
		until(t, "the report of the loss", func() bool { return c.Report().Manager == managerNone })
		if why := c.Report().Why; !strings.Contains(why, "broker is gone") {
			t.Errorf("why: %s", why)
		}
		echo(t, c)
		if n := c.RemoteAddrs().Len(); n != 2 {
			t.Errorf("%d paths are left, want both", n)
		}
		if _, err := c.Reconnect(timeout(t), record(server1v6)); !errors.Is(err, broker.ErrGone) {
			t.Errorf("reconnect without a broker: %v", err)
		}
		startBrokerAt(t, path, broker.Config{})
		until(t, "the broker's return", func() bool { return c.Report().Manager == managerBroker })
		if _, err := c.Reconnect(timeout(t), record(server2v6)); err != nil {
			t.Errorf("reconnect: %v", err)
		}
		echo(t, c)
	})
}

// TestBrokerAbsent: without a broker, and with one that hangs, there is a
// connection with one path, and the reason.
func TestBrokerAbsent(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		for name, path := range map[string]string{
			"absent": filepath.Join(t.TempDir(), "none"), "hanging": hangingBroker(t),
		} {
			t.Run(name, func(t *testing.T) {
				r := dialWithout(t, path, record(server1v6, server2v6))
				if r.Manager != managerNone || !strings.Contains(r.Why, "no broker") || r.ID == 0 {
					t.Errorf("%+v", r)
				}
				begin := time.Now()
				c := connect(t, withoutRight(path), record(server1v6, server2v6))
				if took := time.Since(begin); took > brokerTimeout {
					t.Errorf("the dial took %v: it waited for the broker", took)
				}
				if j := joined(t, c).Joins[0]; j.Verdict != NotTried || !errors.Is(j.Err, broker.ErrAbsent) {
					t.Errorf("join %+v", j)
				}
				echo(t, c)
			})
		}
	})
}

// TestBrokerRefuses: what the broker's policy forbids is not joined, and the
// join says so.
func TestBrokerRefuses(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		path, _ := startBroker(t, broker.Config{})
		c := connect(t, withoutRight(path), record(server1v6, server2v4, server2v6))
		r := joined(t, c)
		if r.Manager != managerBroker || verdicts(r)[server2v6] != Joined {
			t.Errorf("%+v", r)
		}
		for _, j := range r.Joins { // a private address beside a public one
			if j.Remote.Addr() == server2v4 && (j.Verdict != NotTried || !errors.Is(j.Err, broker.ErrRefused)) {
				t.Errorf("%+v", j)
			}
		}
	})
}

// hangingBroker accepts and says nothing.
func hangingBroker(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hanging.sock")
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return path
}

// TestBrokerReason has the clauses for what is wrong with the broker.
func TestBrokerReason(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{mptcp.ErrNotPermitted, ""},
		{errors.Join(mptcp.ErrNotPermitted, broker.ErrAbsent), "no broker"},
		{errors.Join(mptcp.ErrNotPermitted, broker.ErrRefused), "refuses"},
		{errors.Join(mptcp.ErrNotPermitted, mptcp.ErrUnsupported), "does not help"},
	} {
		if got := brokerReason(tt.err); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
