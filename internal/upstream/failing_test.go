package upstream_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestServerThatFailsForAName is passed over for that name, for a time that
// doubles, and is the first as ever for others (RFC 9520 section 3.2).
func TestServerThatFailsForAName(t *testing.T) {
	for name, fails := range map[string]dnstest.Action{
		"SERVFAIL": {RCode: 2}, "REFUSED": {RCode: 5}, "silent": {Drop: true},
		"lame": {NoRA: true, Authority: []string{". 60 IN NS a.root-servers.net."}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := dnstest.Overlay(good(), func(q dnstest.Query) bool { return q.Is("bad.example", "A") }, does(fails))
				x, n := group(t, upstream.FailoverOptions{Hedge: -1, Penalty: -1}, first, good())
				ask := func(name string, want bool) {
					t.Helper()
					s := n.Server(serverAddr)
					before := len(s.Queries())
					if r, err := x.Exchange(t.Context(), question(t, name, dnswire.TypeA)); err != nil || answers(t, r) != 1 {
						t.Fatalf("%+v, %v", r, err)
					}
					if got := len(s.Queries()) > before; got != want {
						t.Errorf("%v: the first server was asked for %s: %v", time.Now(), name, got)
					}
				}
				ask("bad.example", true)
				ask("bad.example", false)
				ask("other.example", true)
				time.Sleep(upstream.FailureTTL - time.Second)
				ask("bad.example", false)
				time.Sleep(2 * time.Second)
				ask("bad.example", true)
				if fails.Drop {
					return // it takes longer to fail again than the first failure counts for the second
				}
				time.Sleep(2*upstream.FailureTTL - time.Second)
				ask("bad.example", false)
				time.Sleep(2 * time.Second)
				ask("bad.example", true)
			})
		})
	}
}

// TestFlappingServer: one that answers and is silent by turns costs a client the
// hedge time, and not every client; each question is answered.
func TestFlappingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		flapping := func(dnstest.Query) dnstest.Action {
			if up.Load() {
				return oneA()
			}
			return dnstest.Action{Drop: true}
		}
		x, _ := group(t, upstream.FailoverOptions{}, flapping, good())
		late := 0
		const rounds = 40
		for i := range rounds {
			up.Store(i/5%2 == 0) // five seconds up, five down
			start := time.Now()
			r, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
			took := time.Since(start)
			if err != nil || answers(t, r) != 1 || took > upstream.DefaultHedge+2*rtt {
				t.Errorf("question %d: %+v, %v after %v", i, r, err, took)
			}
			if took > 2*rtt {
				late++
			}
			time.Sleep(time.Second - took)
		}
		if late > rounds/4 {
			t.Errorf("%d of %d questions waited for the flapping server", late, rounds)
		}
	})
}
