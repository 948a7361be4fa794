package dialer

import (
	"testing"
	"time"
)

// stateOf returns the state of the path to a remote address.
func stateOf(c *Conn, local string) string {
	for _, p := range c.Paths() {
		if p.Local.Addr().String() == local {
			return p.State
		}
	}
	return ""
}

// TestSilentPath: a path that dies without a word is set to backup until it
// recovers, and the data goes on.
func TestSilentPath(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		wantPairs(t, c, pair(client1v6, server1v6), pair(client2v6, server2v6))
		events := c.Events(timeout(t))
		w.Client().Links()[1].SetRate(20e6)
		result := transfer(t, c, 16<<20)
		until(t, "a part of the transfer", func() bool { return sentOctets(c) > 2<<20 })
		cut := time.Now()
		w.Client().Links()[1].Cut()
		next := func(want PathChange) {
			for e := range events {
				if e.Change == want && e.Local.Addr() == client2v6 {
					return
				}
			}
			t.Fatalf("never %s; paths %+v", want, c.Paths())
		}
		next(PathBackup)
		t.Logf("noticed after %v", time.Since(cut))
		if s := stateOf(c, client2v6.String()); s != StateBackup {
			t.Errorf("state %q", s)
		}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		events = c.Events(timeout(t))
		w.Client().Links()[1].Heal()
		next(PathActive)
		echo(t, c)
	})
}

// TestHandover: the second link carries data only when the first cannot.
func TestHandover(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		d := Dialer{Use: Handover}
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		until(t, "the backup path", func() bool { return stateOf(c, client2v6.String()) == StateBackup })
		links := w.Client().Links()
		before := links[1].Stats().ToRouter
		if err := <-transfer(t, c, 2<<20); err != nil {
			t.Fatal(err)
		}
		if n := links[1].Stats().ToRouter - before; n > 100<<10 {
			t.Errorf("the backup path carried %d octets", n)
		}
		if err := links[0].Down(); err != nil {
			t.Fatal(err)
		}
		if err := <-transfer(t, c, 1<<20); err != nil {
			t.Fatal(err)
		}
		until(t, "the take-over", func() bool { return stateOf(c, client2v6.String()) == StateActive })
	})
}

// TestInteractive: the path with the shorter round trip carries the data.
func TestInteractive(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		w.Client().Links()[0].SetDelay(40 * time.Millisecond)
		d := Dialer{Use: Interactive}
		c := connect(t, &d, record(server1v6, server2v6))
		joined(t, c)
		until(t, "the faster path to lead", func() bool {
			return stateOf(c, client2v6.String()) == StateActive && stateOf(c, client1v6.String()) == StateBackup
		})
		// The peer is told over the slower path, so an exchange that begins before
		// it knows may still come back that way.
		until(t, "an exchange in less than the slower path's round trip", func() bool {
			begin := time.Now()
			echo(t, c)
			return time.Since(begin) < 60*time.Millisecond
		})
	})
}
