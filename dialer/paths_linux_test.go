package dialer

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/mpaddr"
)

var (
	client2v4 = netip.MustParseAddr("10.0.2.2")
	client2v6 = netip.MustParseAddr("2001:db8:2::2")
)

// pairs returns the ends of a connection's active paths, sorted.
func pairs(c *Conn) (out []string) {
	for _, p := range c.Paths() {
		if p.State != StateJoining && p.State != StateClosed {
			out = append(out, pair(p.Local.Addr(), p.Remote.Addr()))
		}
	}
	slices.Sort(out)
	return out
}

// wantPairs waits for paths between these ends.
func wantPairs(t *testing.T, c *Conn, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("paths %v, want %v; joins %+v", got, want, c.Report().Joins)
		}
	}()
	until(t, "the paths", func() bool { got = pairs(c); return slices.Equal(got, want) })
}

// TestSpread: by default a further path leaves through a link not used yet, and
// data flows on both.
func TestSpread(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		wantPairs(t, c, pair(client1v6, server1v6), pair(client2v6, server2v6))
		if err := <-transfer(t, c, 2<<20); err != nil {
			t.Fatal(err)
		}
		for i, l := range w.Client().Links() {
			if n := l.Stats().ToRouter; n < 100<<10 {
				t.Errorf("link %d carried %d octets", i, n)
			}
		}
	})
}

// TestPathPolicies has the paths that each policy makes.
func TestPathPolicies(t *testing.T) {
	first := pair(client1v6, server1v6)
	for _, tt := range []struct {
		name   string
		policy PathPolicy
		set    mpaddr.Addr
		want   []string
	}{
		{"per remote", OnePerRemote, record(server1v6), []string{first}},
		{"per local, one address", OnePerLocal, record(server1v6), []string{first, pair(client2v6, server1v6)}},
		{"per local, two addresses", OnePerLocal, record(server1v6, server2v6), []string{first, pair(client2v6, server2v6)}},
		{"full mesh", FullMesh, record(server1v6, server2v6), []string{
			first, pair(client2v6, server1v6), pair(client1v6, server2v6), pair(client2v6, server2v6),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				unlimit(t, w.server)
				serve(t, w.server, false)
				d := Dialer{Paths: tt.policy}
				c := connect(t, &d, tt.set)
				joined(t, c)
				wantPairs(t, c, tt.want...)
			})
		})
	}
}

// TestLocal: only the local addresses allowed are used, from the first SYN on.
func TestLocal(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		for name, d := range map[string]*Dialer{
			"addresses": {Local: mpaddr.FromAddrs(0, client2v4, client2v6)},
			"interface": {LocalInterfaces: []string{w.Client().Links()[1].Name()}},
		} {
			t.Run(name, func(t *testing.T) {
				w.ResetSYNs()
				c := connect(t, d, record(server1v6, server2v4))
				joined(t, c)
				wantPairs(t, c, pair(client2v6, server1v6), pair(client2v4, server2v4))
				for _, s := range w.SYNs() {
					if a := s.Src.Addr(); a != client2v4 && a != client2v6 {
						t.Errorf("SYN from %v", a)
					}
				}
			})
		}
		d := Dialer{Local: mpaddr.FromAddrs(0, client1v4)}
		if _, err := d.Connect(timeout(t), record(server1v6)); !errors.Is(err, errNoSource) {
			t.Errorf("%v: want no local address", err)
		}
	})
}

// TestLinkGone: the paths of a link that goes are given up at once, also the
// one that the connection began with, and come back with the link.
func TestLinkGone(t *testing.T) {
	for i, name := range []string{"first link", "second link"} {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				serve(t, w.server, false)
				var d Dialer
				c := connect(t, &d, record(server1v6, server2v6))
				joined(t, c)
				both := []string{pair(client1v6, server1v6), pair(client2v6, server2v6)}
				wantPairs(t, c, both...)
				link := w.Client().Links()[i]
				if err := link.Down(); err != nil {
					t.Fatal(err)
				}
				left := both[1-i]
				until(t, "the loss", func() bool { return slices.Contains(pairs(c), left) && !slices.Contains(pairs(c), both[i]) })
				begin := time.Now()
				echo(t, c)
				if took := time.Since(begin); took > time.Second {
					t.Errorf("an exchange took %v", took)
				}
				if err := link.Up(); err != nil {
					t.Fatal(err)
				}
				begin = time.Now()
				wantPairs(t, c, both...)
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("back after %v", took)
				}
				echo(t, c)
			})
		})
	}
}

// TestRejoin: a subflow that was closed is tried again.
func TestRejoin(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		want := []string{pair(client1v6, server1v6), pair(client2v6, server2v6)}
		wantPairs(t, c, want...)
		if err := <-transfer(t, c, 2<<20); err != nil { // a subflow just joined would seem to be over a limit
			t.Fatal(err)
		}
		destroyPath(t, c, server2v6)
		until(t, "the loss", func() bool { return len(pairs(c)) == 1 })
		wantPairs(t, c, want...)
	})
}

// destroyPath closes a subflow behind the connection's back.
func destroyPath(t *testing.T, c *Conn, remote netip.Addr) {
	t.Helper()
	pm, err := c.subflows.managers.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer c.subflows.managers.release()
	for _, p := range c.Paths() {
		if p.Remote.Addr() == remote {
			if err := pm.DestroySubflow(c.ID(), subflowOf(p)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestUplinkThatDoesNotReach: an address that has no answer from an unused link
// is joined from where routing lets it begin.
func TestUplinkThatDoesNotReach(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Client().Links()[1].Cut()
		d := Dialer{JoinTimeout: 500 * time.Millisecond}
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		wantPairs(t, c, pair(client1v6, server1v6), pair(client1v6, server2v6))
	})
}

// TestAnnouncedByPeer: an address that the server announces becomes a path of a
// connection to a single address, and the reader of the events is told.
func TestAnnouncedByPeer(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		announce(t, w, server2v6)
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6))
		events := c.Events(timeout(t))
		echo(t, c)
		var changes []PathChange
		for e := range events {
			changes = append(changes, e.Change)
			if e.Change == PathJoined {
				break
			}
		}
		if !slices.Equal(changes, []PathChange{PathAnnounced, PathJoined}) {
			t.Errorf("changes %v", changes)
		}
		wantPairs(t, c, pair(client1v6, server1v6), pair(client2v6, server2v6))
		if v := verdicts(c.Report())[server2v6]; v != Joined {
			t.Errorf("%q, want joined", v)
		}
	})
}

// TestDeniesInitial: the C flag of the peer is honoured and reported, whoever
// makes the paths.
func TestDeniesInitial(t *testing.T) {
	for _, tt := range []struct {
		name         string
		deny, broker bool
	}{
		{"allowed", false, false},
		{"denied", true, false},
		{"allowed, broker", false, true},
		{"denied, broker", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				unlimit(t, w.server)
				if tt.deny {
					if err := w.server.Sysctl("net.mptcp.allow_join_initial_addr_port", "0"); err != nil {
						t.Fatal(err)
					}
				}
				serve(t, w.server, false)
				d := &Dialer{}
				if tt.broker {
					path, _ := startBroker(t, broker.Config{})
					d = withoutRight(path)
				}
				d.Paths = FullMesh
				c := connect(t, d, record(server1v6, server2v6))
				joined(t, c)
				until(t, "the joins", func() bool {
					return slices.Contains(pairs(c), pair(client1v6, server2v6)) && slices.Contains(pairs(c), pair(client2v6, server2v6))
				})
				if r := c.Report(); r.DeniesInitial != tt.deny || r.Manager == managerBroker != tt.broker {
					t.Errorf("denied: %v, manager %s", r.DeniesInitial, r.Manager)
				}
				if got := slices.Contains(pairs(c), pair(client2v6, server1v6)); got == tt.deny {
					t.Errorf("paths %v", pairs(c))
				}
			})
		})
	}
}
