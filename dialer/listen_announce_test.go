package dialer

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
	"github.com/af-multipath/mpresolve/mpaddr"
)

const listenToken = 7

// listenWireStub is a connection with scripted paths.
type listenWireStub struct {
	mu    sync.Mutex
	id    uint32
	paths []Path
}

func (s *listenWireStub) ID() uint32 { s.mu.Lock(); defer s.mu.Unlock(); return s.id }

func (s *listenWireStub) Paths() []Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.paths)
}

func (s *listenWireStub) set(paths ...Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = paths
}

// listenPath is an active path from a local address.
func listenPath(local string) Path {
	return Path{
		Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort("203.0.113.1:5000"), State: StateActive,
	}
}

// listenAnnouncing runs a test with an announcer over a fake path manager and one
// connection that began at 192.0.2.1:80.
func listenAnnouncing(t *testing.T, test func(t *testing.T, a *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub)) {
	synctest.Test(t, func(t *testing.T) {
		fake := mptcptest.New()
		own, remote := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("203.0.113.1:5000")
		fake.Connect(listenToken, own, remote)
		a := newListenAnnouncer(nil, func() (mptcp.PathManager, error) { return fake, nil })
		defer a.close()
		wire := &listenWireStub{id: listenToken}
		wire.set(listenPath("192.0.2.1:80"))
		a.add(listenToken, own, wire)
		test(t, a, fake, wire)
	})
}

// listenBindTo gives the announcer the addresses of a set, without wildcards.
func listenBindTo(a *listenAnnouncer, text string) {
	set := mpaddr.MustParse(text)
	var binds []listenBind
	for _, e := range set.All() {
		binds = append(binds, listenBind{addr: e.Target()})
	}
	a.set(binds, listenFurther(set, nil))
}

// listenCommands returns what the fake was told to do, as op, id and address.
func listenCommands(fake *mptcptest.PathManager) (list []mptcptest.Call) {
	for _, c := range fake.Calls() {
		list = append(list, mptcptest.Call{Op: c.Op, ID: c.ID, Addr: c.Addr})
	}
	return list
}

func TestListenAnnouncer(t *testing.T) {
	listenAnnouncing(t, func(t *testing.T, a *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub) {
		announced := func(id uint8, addr string) mptcptest.Call {
			return mptcptest.Call{Op: "announce", ID: id, Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0)}
		}
		listenBindTo(a, "192.0.2.1:80,[2001:db8::1]:80,192.0.2.2:81,10.0.0.1:80")
		listenBindTo(a, "[2001:db8::1]:80,198.51.100.1:80,192.0.2.1:80")
		listenBindTo(a, "192.0.2.1:80")
		listenBindTo(a, "192.0.2.1:80,198.51.100.1:80")
		got := listenCommands(fake)
		slices.SortFunc(got[2:4], func(a, b mptcptest.Call) int { return int(b.ID) - int(a.ID) }) // in any order
		want := []mptcptest.Call{
			announced(253, "2001:db8::1"),
			announced(252, "198.51.100.1"),
			{Op: "remove", ID: 253},
			{Op: "remove", ID: 252},
			announced(251, "198.51.100.1"),
		}
		if !slices.Equal(got, want) {
			t.Errorf("commands %v\nwant %v", got, want)
		}
		var r ListenReport
		a.report(&r)
		if r.Announced != 3 || r.Withdrawn != 2 || r.Failed != 0 || r.Connections != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// TestListenAnnounceBound: a connection is told of so many addresses at most,
// also when ids come round.
func TestListenAnnounceBound(t *testing.T) {
	listenAnnouncing(t, func(t *testing.T, a *listenAnnouncer, fake *mptcptest.PathManager, _ *listenWireStub) {
		var many []netip.AddrPort
		for n := range 2 * maxListenAnnounced {
			many = append(many, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), 80))
		}
		first := many[0]
		rest := []listenBind{{addr: first}}
		for range 300 {
			a.set(rest, many)
			a.set(rest, many[:1])
			a.set(rest, nil)
		}
		ids := map[uint8]netip.Addr{}
		for _, c := range fake.Calls() {
			if c.Err != nil {
				t.Fatalf("%+v", c)
			}
			switch c.Op {
			case "announce":
				if c.ID == 0 || c.ID > mptcp.MaxLocalID || ids[c.ID].IsValid() {
					t.Fatalf("id %d is in use or out of range", c.ID)
				}
				ids[c.ID] = c.Addr.Addr()
			case "remove":
				delete(ids, c.ID)
			}
			if len(ids) > maxListenAnnounced {
				t.Fatalf("told of %d addresses", len(ids))
			}
		}
	})
}

// TestListenAnnouncerEnds: connections are forgotten when they end, also when
// the event was lost, and when the kernel refuses for good.
func TestListenAnnouncerEnds(t *testing.T) {
	const both = "192.0.2.1:80,198.51.100.1:80"
	for _, test := range []struct {
		name   string
		end    func(a *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub)
		conns  int
		failed uint64
	}{
		{"alive", func(*listenAnnouncer, *mptcptest.PathManager, *listenWireStub) {}, 1, 0},
		{"closed", func(_ *listenAnnouncer, fake *mptcptest.PathManager, _ *listenWireStub) { fake.Disconnect(listenToken) }, 0, 0},
		{"closed unnoticed", func(_ *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub) {
			wire.set(Path{State: StateClosed})
			fake.Emit(mptcp.Event{Type: mptcp.EventsLost})
		}, 0, 0},
		{"fell back unnoticed", func(_ *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub) {
			wire.id = 0
			fake.Emit(mptcp.Event{Type: mptcp.EventsLost})
		}, 0, 0},
		{"events lost, alive", func(_ *listenAnnouncer, fake *mptcptest.PathManager, _ *listenWireStub) {
			fake.Emit(mptcp.Event{Type: mptcp.EventsLost})
		}, 1, 0},
		{"unknown to the kernel", func(a *listenAnnouncer, _ *mptcptest.PathManager, wire *listenWireStub) {
			a.forget(listenToken)
			a.add(listenToken+1, netip.MustParseAddrPort("192.0.2.1:80"), wire)
		}, 0, 0},
		{"forbidden", func(_ *listenAnnouncer, fake *mptcptest.PathManager, _ *listenWireStub) { fake.Forbid() }, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			listenAnnouncing(t, func(t *testing.T, a *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub) {
				test.end(a, fake, wire)
				synctest.Wait()
				listenBindTo(a, both)
				var r ListenReport
				a.report(&r)
				if r.Connections != test.conns || r.Failed != test.failed || (r.LastError != nil) != (test.failed > 0) {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// TestListenAnnouncerKernel: connections of the kernel's path manager are none
// of ours, and that is no failure.
func TestListenAnnouncerKernel(t *testing.T) {
	listenAnnouncing(t, func(t *testing.T, a *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub) {
		own := netip.MustParseAddrPort("192.0.2.1:80")
		fake.ConnectKernelManaged(listenToken+1, own, netip.MustParseAddrPort("203.0.113.1:5001"))
		a.add(listenToken+1, own, wire)
		listenBindTo(a, "192.0.2.1:80,198.51.100.1:80")
		var r ListenReport
		a.report(&r)
		if r.Connections != 1 || r.Announced != 1 || r.Failed != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestListenAnnouncerLastPath: what carries the last path is not withdrawn until
// there is another.
func TestListenAnnouncerLastPath(t *testing.T) {
	listenAnnouncing(t, func(t *testing.T, a *listenAnnouncer, fake *mptcptest.PathManager, wire *listenWireStub) {
		removed := func() bool {
			return slices.ContainsFunc(fake.Calls(), func(c mptcptest.Call) bool { return c.Op == "remove" })
		}
		listenBindTo(a, "192.0.2.1:80,198.51.100.1:80")
		wire.set(listenPath("198.51.100.1:80"))
		listenBindTo(a, "192.0.2.1:80")
		if removed() {
			t.Error("the last path's address was withdrawn")
		}
		wire.set(listenPath("198.51.100.1:80"), listenPath("192.0.2.1:80"))
		listenBindTo(a, "192.0.2.1:80")
		if !removed() {
			t.Error("the address was not withdrawn when there was another path")
		}
	})
}

func TestListenManagerGone(t *testing.T) {
	listenAnnouncing(t, func(t *testing.T, a *listenAnnouncer, fake *mptcptest.PathManager, _ *listenWireStub) {
		if err := a.broken(); err != nil {
			t.Error(err)
		}
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := a.broken(); !errors.Is(err, mptcp.ErrClosed) {
			t.Error(err)
		}
	})
	refusing := func() (mptcp.PathManager, error) { return nil, syscall.EMFILE }
	a := newListenAnnouncer(nil, refusing)
	a.follow(&Conn{id: 1})
	a.announce(&Conn{id: 1})
	a.update(nil, mpaddr.Addr{})
	a.close()
	if err := a.broken(); !errors.Is(err, syscall.EMFILE) {
		t.Error(err)
	}
}

func TestListenReach(t *testing.T) {
	for _, test := range []struct {
		own, further string
		want         bool
	}{
		{"192.0.2.1", "2001:db8::1", true},
		{"2001:db8::1", "192.0.2.1", true},
		{"192.0.2.1", "10.0.0.1", false},
		{"2001:db8::1", "fd00::1", false},
		{"10.0.0.1", "192.0.2.1", true},
		{"10.0.0.1", "fd00::1", true},
		{"127.0.0.1", "127.0.0.2", true},
		{"127.0.0.1", "192.0.2.1", false},
		{"192.0.2.1", "127.0.0.1", false},
		{"2001:db8::1", "fe80::1%2", false},
		{"10.0.0.1", "169.254.1.1", false},
		{"192.0.2.1", "224.0.0.1", false},
	} {
		if got := listenReach(netip.MustParseAddr(test.own), netip.MustParseAddr(test.further)); got != test.want {
			t.Errorf("%s to a peer of %s: %v", test.further, test.own, got)
		}
	}
}

func TestListenFurther(t *testing.T) {
	machine := []netip.Addr{
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("fe80::1"),
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1"),
	}
	for set, want := range map[string]string{
		"192.0.2.1:80,[::ffff:192.0.2.2]:80":     "192.0.2.1:80,192.0.2.2:80",
		"0.0.0.0:80":                             "192.0.2.1:80,10.0.0.1:80",
		"[::]:80,0.0.0.0:80":                     "[2001:db8::1]:80,192.0.2.1:80,10.0.0.1:80",
		"192.0.2.1:80,192.0.2.7:80,0.0.0.0:80":   "192.0.2.1:80,192.0.2.7:80,10.0.0.1:80",
		"0.0.0.0:80,0.0.0.0:81,[2001:db8::2]:80": "192.0.2.1:80,10.0.0.1:80,192.0.2.1:81,10.0.0.1:81,[2001:db8::2]:80",
	} {
		if got := mpaddr.FromAddrPorts(listenFurther(mpaddr.MustParse(set), machine)...).String(); got != want {
			t.Errorf("%s: %s, want %s", set, got, want)
		}
	}
}
