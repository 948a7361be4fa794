package dialer

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// TestReconnect is draft section 4.2, connecting again: what is missing from the
// new set is dropped, also the address that the connection began with; what is
// new is joined; each address has its result.
func TestReconnect(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		unlimit(t, w.server)
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server1v4))
		joined(t, c)
		results, err := c.Reconnect(timeout(t), record(server1v4, server2v6, otherv4))
		if err != nil || len(results) != 3 {
			t.Fatalf("%+v, %v", results, err)
		}
		for i, want := range []int{1, 1, 0} {
			if r := results[i]; r.Paths != want || (r.Err == nil) != (want > 0) {
				t.Errorf("%+v, want %d paths", r, want)
			}
		}
		if !errors.Is(results[2].Err, syscall.ECONNREFUSED) {
			t.Errorf("%v, want it refused", results[2].Err)
		}
		until(t, "the new set", func() bool { return c.RemoteAddrs().SameSet(record(server1v4, server2v6)) })
		echo(t, c)
	})
}

// TestReconnectToNothing: a set of which nothing works, and one for which there
// is no time, change nothing.
func TestReconnectToNothing(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Behave(server2v4, testlab.Blackholed)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		results, err := c.Reconnect(timeout(t), record(otherv4, otherv6))
		if !errors.Is(err, ErrNoPathLeft) || len(results) != 2 || results[0].Err == nil {
			t.Errorf("%+v, %v", results, err)
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Reconnect(short, record(server2v4)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if _, err := c.Reconnect(timeout(t), mpaddr.Addr{}); !errors.Is(err, errNoAddress) {
			t.Errorf("%v", err)
		}
		wantPairs(t, c, pair(client1v6, server1v6), pair(client2v6, server2v6))
		echo(t, c)
	})
}

// TestRebind is draft section 4.1 for a connection: bound to another address,
// its paths move there without a break.
func TestRebind(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		unlimit(t, w.server)
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		result := transfer(t, c, 4<<20)
		for _, to := range []netip.Addr{client2v6, client1v6, client2v6} {
			results, err := c.Rebind(timeout(t), mpaddr.FromAddrs(0, to, netip.MustParseAddr("2001:db8:99::1")))
			if err != nil || results[0].Paths == 0 || !errors.Is(results[1].Err, syscall.EADDRNOTAVAIL) {
				t.Fatalf("%v: %+v, %v", to, results, err)
			}
			wantPairs(t, c, pair(to, server1v6), pair(to, server2v6))
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
		if _, err := c.Rebind(timeout(t), mpaddr.FromAddrs(0, netip.MustParseAddr("2001:db8:99::1"))); !errors.Is(err, ErrNoPathLeft) {
			t.Errorf("%v: want no path left", err)
		}
		if _, err := c.Rebind(timeout(t), mpaddr.FromAddrs(0, netip.IPv6Unspecified())); err != nil {
			t.Error(err)
		}
		until(t, "both links in use", func() bool {
			used := map[netip.Addr]bool{}
			for _, e := range c.LocalAddrs().AddrPorts() {
				used[e.Addr()] = true
			}
			return used[client1v6] && used[client2v6] && len(pairs(c)) == 2
		})
		echo(t, c)
	})
}
