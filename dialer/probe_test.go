package dialer

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// TestProbeDoubts: a host at which as many addresses were joined as Linux knows of
// itself refuses more of its own: that is no evidence, nor is it while the joins
// under way can make as many.
func TestProbeDoubts(t *testing.T) {
	silent := netip.MustParseAddrPort("[2001:db8:5::5]:443")
	for _, tt := range []struct {
		name       string
		proven     int
		candidates []netip.AddrPort
		want       Verdict
		err        error
	}{
		{"room for one", kernelAddrs - 1, []netip.AddrPort{v6a, v4a}, OtherHost, syscall.ECONNREFUSED},
		{"full", kernelAddrs, []netip.AddrPort{v6a, v4a}, Refused, ErrRefusalUnclear},
		{"the last under way", kernelAddrs - 1, []netip.AddrPort{v6a, silent, v4a}, Refused, ErrRefusalUnclear},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.pm.Establish(testToken)
				for i := range tt.proven {
					b.memory.Record(b.key, v6a.Addr(), netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}), hostid.Joined, time.Now())
				}
				b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.Refuse})
				b.pm.Script(silent.Addr(), mptcptest.Script{Result: mptcptest.Silent})
				b.joiner.probe = true
				b.probe = func(context.Context, netip.AddrPort) hostid.Outcome { return hostid.OtherHost }
				r, _ := b.settle(t, tt.candidates...)
				defer b.stop()
				j := r.Joins[len(r.Joins)-1]
				if j.Remote != v4a || j.Verdict != tt.want || !errors.Is(j.Err, tt.err) {
					t.Errorf("%+v, want %q: %v", j, tt.want, tt.err)
				}
				known := b.memory.Order(b.key, v6a.Addr(), []netip.Addr{v4a.Addr()}, time.Now())[0]
				if (known.Verdict == hostid.Different) != (tt.want == OtherHost) {
					t.Errorf("remembered %+v", known)
				}
			})
		})
	}
}
