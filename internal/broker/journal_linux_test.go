package broker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// takeAll returns n events.
func takeAll(t *testing.T, sub *mptcp.Subscription, n int) (all []mptcp.Event) {
	t.Helper()
	for range n {
		all = append(all, <-sub.Events())
	}
	return all
}

// TestPast: who brings a connection is told what happened before and still
// holds, each subscriber of it, and nothing of another connection.
func TestPast(t *testing.T) {
	f, b := serveFakes(t, Config{})
	raw := f.connect(t, token)
	created := mptcp.Event{Type: mptcp.Created, Token: token, Local: here, Remote: peer, Flags: mptcp.FlagDenyJoinInitial}
	announced := func(id uint8, a netip.AddrPort) mptcp.Event {
		return mptcp.Event{Type: mptcp.Announced, Token: token, RemoteID: id, Remote: a}
	}
	f.Emit(created)
	f.Emit(announced(9, other))
	f.Emit(announced(3, netip.AddrPortFrom(own, 443)))
	f.Emit(announced(4, peer))
	f.Emit(mptcp.Event{Type: mptcp.Announced, Token: token + 1, RemoteID: 5, Remote: peer})
	f.Emit(mptcp.Event{Type: mptcp.Removed, Token: token, RemoteID: 4})
	want := []mptcp.Event{created, announced(3, netip.AddrPortFrom(own, 443)), announced(9, other)}
	c := b.attach(raw)
	first := takeAll(t, subscribe(t, c, token), len(want))
	second := takeAll(t, subscribe(t, c, token), len(want))
	for i, w := range want {
		if first[i] != w || second[i] != w {
			t.Errorf("event %d: %+v and %+v, want %+v", i, first[i], second[i], w)
		}
	}
	// What changes while the client is there changes what a later one is told.
	sub := subscribe(t, c, token)
	f.Emit(mptcp.Event{Type: mptcp.Removed, Token: token, RemoteID: 9})
	next(t, sub, mptcp.Removed)
	f.Emit(announced(7, peer))
	next(t, subscribe(t, c, token), mptcp.Announced) // 3
	later := subscribe(t, c, token)
	for _, w := range []mptcp.Event{created, announced(3, netip.AddrPortFrom(own, 443)), announced(7, peer)} {
		if got := <-later.Events(); got != w {
			t.Errorf("later: %+v, want %+v", got, w)
		}
	}
}

// TestPastAtOnce: an event that comes while a connection is brought reaches the
// client, on one way or the other.
func TestPastAtOnce(t *testing.T) {
	f, b := serveFakes(t, Config{})
	raw := f.connect(t, token)
	for id := range uint8(100) {
		emitted := make(chan struct{})
		go func() {
			defer close(emitted)
			f.Emit(mptcp.Event{Type: mptcp.Announced, Token: token, RemoteID: id, Remote: other})
		}()
		pm, err := Attach(context.Background(), b.path, raw)
		if err != nil {
			t.Fatal(err)
		}
		sub := subscribe(t, pm, token)
		for next(t, sub, mptcp.Announced).RemoteID != id {
		}
		pm.Close()
		<-emitted
		f.Emit(mptcp.Event{Type: mptcp.Removed, Token: token, RemoteID: id})
	}
}

// TestLateBroker: of a connection that is older than the broker nothing is
// known, which is not the same as no C flag.
func TestLateBroker(t *testing.T) {
	pm := mptcptest.New()
	pm.Connect(token, here, peer)
	j, err := newJournal(pm)
	if err != nil {
		t.Fatal(err)
	}
	go j.run()
	pm.Emit(mptcp.Event{Type: mptcp.Announced, Token: token, RemoteID: 3, Remote: other})
	v := j.look(token)
	if past := v.past(token); len(past) != 1 || past[0].Type != mptcp.Announced {
		t.Errorf("past: %+v", past)
	}
	pm.Close()
	<-j.done
	if v := j.look(token); len(v.announced) != 1 {
		t.Errorf("after the path manager: %+v", v)
	}
}

// TestJournalBounds: neither many connections nor what their peers do can make
// the journal larger than it may be.
func TestJournalBounds(t *testing.T) {
	pm := mptcptest.New()
	defer pm.Close()
	j, err := newJournal(pm)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint32(maxJournal + 100) {
		j.note(mptcp.Event{Type: mptcp.Created, Token: n + 1})
	}
	if len(j.conns) != maxJournal {
		t.Errorf("%d connections are kept", len(j.conns))
	}
	const last = maxJournal + 100
	for id := range 256 {
		a := netip.AddrFrom4([4]byte{198, 51, 100, byte(id)})
		j.note(mptcp.Event{Type: mptcp.Announced, Token: last, RemoteID: uint8(id), Remote: netip.AddrPortFrom(a, 1)})
		j.note(mptcp.Event{Type: mptcp.SubflowEstablished, Token: last, Remote: netip.AddrPortFrom(a, 1)})
	}
	if v := j.conns[last]; len(v.announced) != maxPeerAddrs || len(v.joined) != maxJoinedAddrs {
		t.Errorf("%d announced, %d joined", len(v.announced), len(v.joined))
	}
	for n := range uint32(maxJournal + 100) {
		j.note(mptcp.Event{Type: mptcp.Closed, Token: n + 1})
	}
	if len(j.conns) != 0 {
		t.Errorf("%d closed connections are kept", len(j.conns))
	}
}

// TestAnnouncedLimit: the bound is the connection's, also for a client that
// leaves and comes again; a withdrawn address makes room.
func TestAnnouncedLimit(t *testing.T) {
	f, b := serveFakes(t, Config{})
	raw := f.connect(t, token)
	announce := func(c *Client, id uint8) error { return c.Announce(token, id, netip.AddrPortFrom(own, 0)) }
	c := b.attach(raw)
	for id := range uint8(MaxAnnounced) {
		if err := announce(c, id+1); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	c = b.attach(raw)
	if err := announce(c, 100); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), errAnnounced.Error()) {
		t.Errorf("one too many: %v", err)
	}
	if err := announce(c, 1); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := c.Remove(token, 1); err != nil {
		t.Error(err)
	}
	if err := announce(c, 100); err != nil {
		t.Errorf("after one was withdrawn: %v", err)
	}
}

// TestLabDeniesInitial: the peer's C flag and its announcements, which the
// kernel tells before the connection can be brought to the broker, reach its
// client.
func TestLabDeniesInitial(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, w *world) {
		for i, want := range []uint16{0, mptcp.FlagDenyJoinInitial} {
			if err := w.server.Sysctl("net.mptcp.allow_join_initial_addr_port", []string{"1", "0"}[i]); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				err := w.server.Do(func() error {
					return mptcp.AddEndpoint(mptcp.Endpoint{Addr: netip.AddrPortFrom(server2v6, 0), Flags: mptcp.EndpointSignal})
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			_, raw := connect(t, true, at(server1v6))
			c := w.attach(raw)
			sub := subscribe(t, c, c.token)
			e := next(t, sub, mptcp.Created)
			if e.Flags&mptcp.FlagDenyJoinInitial != want || e.ServerSide || e.Remote != at(server1v6) || e.Token != c.token {
				t.Errorf("created: %+v, want flag %d", e, want)
			}
			if i == 1 {
				if e := next(t, sub, mptcp.Announced); e.Remote != at(server2v6) || e.Token != c.token {
					t.Errorf("announced: %+v", e)
				}
			}
		}
	})
}

// TestLabAnnounce: an accepted connection's peer is told of another address of
// the listener, joins it, and leaves it when it is withdrawn.
func TestLabAnnounce(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, w *world) {
		err := w.server.Do(func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: 4, AddAddrAccepted: 4}) })
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", ":7001")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var d net.Dialer
		d.SetMultipathTCP(true)
		remote, err := w.server.DialContext(context.Background(), &d, "tcp", "[2001:db8:1::2]:7001")
		if err != nil {
			t.Fatal(err)
		}
		defer remote.Close()
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		raw, err := accepted.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		c := w.attach(raw)
		sub := subscribe(t, c, c.token)
		if e := next(t, sub, mptcp.Created); !e.ServerSide {
			t.Errorf("created: %+v", e)
		}
		for refused, why := range map[string]error{
			"[2001:db8:99::1]:0": errNotOwn, "[::1]:0": errNotPublic, "10.0.2.2:0": errPrivate, "[2001:db8:2::2]:22": errOwnPort,
		} {
			if err := c.Announce(c.token, 9, netip.MustParseAddrPort(refused)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), why.Error()) {
				t.Errorf("announce %s: %v, want %v", refused, err, why)
			}
		}
		if _, err := remote.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := accepted.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := c.Announce(c.token, 7, netip.AddrPortFrom(client2v6, 0)); err != nil {
			t.Fatal(err)
		}
		if e := next(t, sub, mptcp.SubflowEstablished); e.Local != netip.AddrPortFrom(client2v6, 7001) {
			t.Errorf("joined: %+v", e)
		}
		if err := c.Remove(c.token, 7); err != nil {
			t.Fatal(err)
		}
		if e := next(t, sub, mptcp.SubflowClosed); e.Local.Addr() != client2v6 {
			t.Errorf("closed: %+v", e)
		}
		l.Close()
		if err := c.Announce(c.token, 8, netip.AddrPortFrom(client2v6, 0)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), errNotBound.Error()) {
			t.Errorf("without a listener: %v", err)
		}
	})
}
