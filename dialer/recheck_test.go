package dialer

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
	"github.com/af-multipath/mpresolve/resolver"
)

// twoNames is an answer of which look-ups alone say that the IPv6 address is
// another host's than the IPv4 ones, and of these nothing.
func twoNames(now time.Time, six netip.Addr, four ...netip.Addr) *resolver.Answer {
	families := []resolver.FamilyResult{
		{Type: "AAAA", Name: "name", Addrs: []netip.Addr{six}, TTL: time.Minute},
		{Type: "A", Name: "name", Addrs: four, TTL: time.Minute, Chain: []string{"other.name."}},
	}
	return resolver.Merge("name", 443, families, resolver.MergeOptions{Now: now})
}

// TestRecheckDifferent: of the addresses that look-ups alone call another host's,
// one is joined in a dial, and each once in an hour; when a join proves such an
// address the same host's, it is joined from then on. With LeaveUnknown none is.
func TestRecheckDifferent(t *testing.T) {
	for name, policy := range map[string]UnknownPolicy{"JoinUnknown": JoinUnknown, "LeaveUnknown": LeaveUnknown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := hostid.NewMemory(0)
				result := mptcptest.Script{Result: mptcptest.Refuse}
				dial := func() (joined []netip.AddrPort, r Report) {
					b := newBench()
					defer b.stop()
					b.pm.Establish(testToken)
					b.pm.Script(v4a.Addr(), result)
					b.pm.Script(v4b.Addr(), result)
					b.memory, b.unknown, b.joiner.probe = memory, policy, true
					b.probe = func(context.Context, netip.AddrPort) hostid.Outcome { return hostid.NotTried }
					b.late.merged = twoNames(time.Now(), v6a.Addr(), v4a.Addr(), v4b.Addr())
					r, _ = b.settle(t, v6a, v4a, v4b)
					return b.creates(), r
				}
				wasted := map[netip.AddrPort]int{}
				const hours = 12
				for range hours * 60 {
					joined, r := dial()
					if len(joined) > 1 {
						t.Fatalf("joined %v in one dial", joined)
					}
					for _, a := range joined {
						wasted[a]++
					}
					for _, j := range r.Joins {
						if j.Believed != "different" {
							t.Fatalf("%+v", j)
						}
					}
					time.Sleep(time.Minute) // virtual time
				}
				want := hours - 1
				if policy == LeaveUnknown {
					want = 0
				}
				if wasted[v4a] != want || wasted[v4b] != want {
					t.Errorf("joined %v in %d hours, want %d of each", wasted, hours, want)
				}
				result = mptcptest.Script{}
				time.Sleep(hostid.RecheckAfter) // virtual time
				first, _ := dial()
				second, r := dial() // the one just proven, and the other's turn
				if policy == JoinUnknown && (len(first) != 1 || len(second) != 2 || r.WastedJoins != 0) {
					t.Errorf("the same host: joined %v, then %v", first, second)
				}
			})
		})
	}
}
