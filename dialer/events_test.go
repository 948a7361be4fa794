package dialer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// TestEvents: readers and the hook are told of each change in order, and the end
// of the connection ends the readers.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.pm.Script(v4b.Addr(), mptcptest.Script{Result: mptcptest.Refuse, Delay: time.Second})
		var hooked []PathEvent
		b.events.hook = func(e PathEvent) { hooked = append(hooked, e) }
		c := &Conn{subflows: b.subflows}
		events := c.Events(t.Context())
		b.settle(t, v6a, v4a, v4b)
		time.Sleep(time.Second)
		b.pm.Break(testToken, v4a, syscall.ECONNRESET)
		synctest.Wait()
		b.stop()
		read := slices.Collect(events)
		want := []PathEvent{
			{Change: PathJoined, Remote: v4a},
			{Change: PathFailed, Remote: v4b, Err: syscall.ECONNREFUSED},
			{Change: PathClosed, Remote: v4a, Err: syscall.ECONNRESET},
		}
		for _, got := range [][]PathEvent{read, hooked} {
			if len(got) != len(want) {
				t.Fatalf("%+v, want %+v", got, want)
			}
			for i := range want {
				if got[i].Change != want[i].Change || got[i].Remote != want[i].Remote || !errors.Is(got[i].Err, want[i].Err) {
					t.Errorf("%+v, want %+v", got[i], want[i])
				}
			}
		}
	})
}

// TestSlowReader: nothing waits for a reader, who learns how much it missed.
func TestSlowReader(t *testing.T) {
	var p pathEvents
	r := p.subscribe()
	const lost = 5
	for range pathEventBuffer + lost {
		p.tell(PathEvent{})
	}
	<-r.events
	p.tell(PathEvent{Change: PathJoined})
	for range pathEventBuffer - 1 {
		if e := <-r.events; e.Missed != 0 {
			t.Fatalf("%+v", e)
		}
	}
	if e := <-r.events; e.Missed != lost || e.Change != PathJoined {
		t.Errorf("%+v, want %d missed", e, lost)
	}
	p.forget(r)
	if len(p.readers) != 0 {
		t.Error("a reader is left")
	}
	p.end()
	if _, ok := <-p.subscribe().events; ok {
		t.Error("an event after the end")
	}
}

// TestEventsContext: a reader ends with its context.
func TestEventsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &Conn{subflows: &subflows{}}
	for e := range c.Events(ctx) {
		t.Errorf("%+v", e)
	}
	for e := range (&Conn{}).Events(t.Context()) {
		t.Errorf("%+v", e)
	}
}

// TestAnnounced: what the peer announces is joined, but for another port or
// policy, and given up when it is withdrawn; the peer's word that it is its own is
// remembered whether it is joined or not.
func TestAnnounced(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy AnnouncedPolicy
		addr   netip.AddrPort
		want   bool
		same   hostid.Verdict
	}{
		{"joined", JoinAnnounced, v4a, true, hostid.Same},
		{"ignored", IgnoreAnnounced, v4a, false, hostid.Same},
		{"another port", JoinAnnounced, netip.AddrPortFrom(v4a.Addr(), 80), false, hostid.Unknown},
		{"misplaced", JoinAnnounced, netip.MustParseAddrPort("127.0.0.1:443"), false, hostid.Unknown},
		{"of another network", IgnoreAnnounced, netip.MustParseAddrPort("10.0.0.1:443"), false, hostid.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.pm.Establish(testToken)
				b.subflows.announced = tt.policy
				var changes []PathChange
				b.events.hook = func(e PathEvent) { changes = append(changes, e.Change) }
				b.settle(t, v6a)
				defer b.stop()
				b.pm.Emit(mptcp.Event{Type: mptcp.Announced, Token: testToken, Remote: tt.addr, RemoteID: 3})
				synctest.Wait()
				if got := slices.Contains(b.creates(), tt.addr); got != tt.want || changes[0] != PathAnnounced {
					t.Errorf("joined %v, changes %v", got, changes)
				}
				known := b.memory.Order(b.key, v6a.Addr(), []netip.Addr{tt.addr.Addr()}, time.Now())
				if known[0].Verdict != tt.same {
					t.Errorf("remembered: %+v", known)
				}
				b.pm.Emit(mptcp.Event{Type: mptcp.Removed, Token: testToken, RemoteID: 3})
				synctest.Wait()
				if last := changes[len(changes)-1]; tt.want && (last != PathClosed || len(b.now().Joins) != 0) {
					t.Errorf("changes %v, joins %+v", changes, b.now().Joins)
				}
				if !slices.Contains(changes, PathWithdrawn) {
					t.Errorf("changes %v", changes)
				}
			})
		})
	}
}
