package dialer

import (
	"testing"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// TestHistoryOfTheAttachment: with IPv6 blackholed, the second dial takes no more
// than two round trips; on another network IPv6 is tried first again, and back on
// the first one what was known there counts again.
func TestHistoryOfTheAttachment(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Behave(server1v6, testlab.Blackholed)
		d := asking(t, zone(server1v6, server1v4))
		// dial counts the attempts, the first of which is on IPv6 where it is tried.
		dial := func(what string, attempts int) {
			t.Helper()
			c := dialName(t, d, "tcp")
			r := c.Report()
			if c.remote.Addr() != server1v4 || len(r.Attempts) != attempts {
				t.Errorf("%s: connected to %v, %d attempts of %d: %+v", what, c.remote, len(r.Attempts), attempts, r.Attempts)
			}
			if attempts == 1 {
				checkTime(t, what, r.Connect-r.Resolve, 2*labRTT)
			} else {
				checkTime(t, what, r.Connect-r.Resolve, DefaultConnectionAttemptDelay+2*labRTT)
			}
			_ = c.Close() // so that the next dial looks at the network anew
		}
		dial("first dial", 2)
		dial("second dial", 1)
		second := w.Client().Links()[1]
		if err := second.Down(); err != nil {
			t.Fatal(err)
		}
		dial("first dial on another network", 2)
		dial("second dial there", 1)
		if err := second.Up(); err != nil {
			t.Fatal(err)
		}
		dial("back on the first network", 1)
	})
}

// TestHistoryOrders: among the addresses of a family the one that is known to
// answer goes first.
func TestHistoryOrders(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		served := zone(server1v4, server2v4)
		d := asking(t, served)
		w.Behave(server1v4, testlab.Blackholed)
		if c := dialName(t, d, "tcp"); c.remote.Addr() != server2v4 {
			t.Fatalf("connected to %v", c.remote)
		}
		w.Behave(server1v4, testlab.Up)
		c := dialName(t, d, "tcp")
		r := c.Report()
		if c.remote.Addr() != server2v4 || len(r.Attempts) != 1 {
			t.Errorf("connected to %v: %+v", c.remote, r.Attempts)
		}
		if first := r.Answer.Record.At(0).Addr(); first != server2v4 {
			t.Errorf("the record begins with %v, want the address used before: %v", first, r.Answer.Reasons())
		}
		t.Log(r.Answer.Reasons())
	})
}
