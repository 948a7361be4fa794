package dialer

import (
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// TestRejoinPauses: a subflow that was closed is tried again after pauses that
// double, as long as the network is at fault; a refusal is the end of it, and
// says nothing about the host.
func TestRejoinPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.settle(t, v6a, v4a)
		defer b.stop()
		time.Sleep(time.Second)
		b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.HostUnreachable})
		b.pm.Break(testToken, v4a, syscall.ECONNRESET)
		for tries, pause := 1, minRejoin; tries < 5; tries, pause = tries+1, 2*pause {
			time.Sleep(pause - time.Millisecond)
			if n := len(b.creates()); n != tries {
				t.Fatalf("%d tries before the pause of %v is over, want %d", n, pause, tries)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if n := len(b.creates()); n != tries+1 {
				t.Fatalf("%d tries after the pause of %v, want %d", n, pause, tries+1)
			}
		}
		b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.Refuse})
		time.Sleep(time.Hour)
		if n := len(b.creates()); n != 6 {
			t.Errorf("%d tries, want none after a refusal", n)
		}
		if c := b.memory.Order(b.key, v6a.Addr(), []netip.Addr{v4a.Addr()}, time.Now())[0]; !c.Try {
			t.Errorf("%+v: the failures were remembered", c)
		}
	})
}
