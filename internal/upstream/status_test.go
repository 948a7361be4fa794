package upstream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// after answers with one address after a time that may change.
func after(d *time.Duration) dnstest.Script {
	return func(dnstest.Query) dnstest.Action {
		a := oneA()
		a.Delay = *d
		return a
	}
}

// inTime runs a test of a group in virtual time.
func inTime(t *testing.T, o upstream.FailoverOptions, scripts map[string]dnstest.Script,
	test func(t *testing.T, g *upstream.Group, n *dnstest.Net),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := dnstest.NewNet(scripts)
		defer n.Close()
		var servers []upstream.Exchanger
		for _, a := range []string{serverAddr, otherAddr, thirdAddr} {
			if scripts[a] != nil {
				servers = append(servers, newServer(a, upstream.Options{Dial: n.Dial, Attempts: 1, Timeout: second}))
			}
		}
		test(t, upstream.Failover(servers, o), n)
	})
}

func ask(t *testing.T, x upstream.Exchanger) upstream.Reply {
	t.Helper()
	r, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFastest: after one question each the faster server is asked, the slower
// one is tried again in time, and gets the questions when it has become faster.
func TestFastest(t *testing.T) {
	slow, fast := 40*time.Millisecond, 10*time.Millisecond
	scripts := map[string]dnstest.Script{serverAddr: after(&slow), otherAddr: after(&fast)}
	inTime(t, upstream.FailoverOptions{Strategy: upstream.Fastest}, scripts, func(t *testing.T, g *upstream.Group, n *dnstest.Net) {
		for range 12 {
			ask(t, g)
		}
		if a, b := len(n.Server(serverAddr).Queries()), len(n.Server(otherAddr).Queries()); a != 1 || b != 11 {
			t.Errorf("%d and %d questions, want 1 and 11", a, b)
		}
		slow = time.Millisecond
		for range 20 { // each probe takes an eighth of the difference off
			time.Sleep(31 * time.Second)
			ask(t, g)
			ask(t, g)
		}
		if r := ask(t, g); r.Server != serverAddr {
			t.Errorf("asked %s, which has become the slower one", r.Server)
		}
	})
}

// TestFastestDead: a dead server costs one hedge and is then asked last.
func TestFastestDead(t *testing.T) {
	d := 10 * time.Millisecond
	scripts := map[string]dnstest.Script{serverAddr: silent, otherAddr: after(&d)}
	inTime(t, upstream.FailoverOptions{Strategy: upstream.Fastest}, scripts, func(t *testing.T, g *upstream.Group, _ *dnstest.Net) {
		start := time.Now()
		for range 20 {
			ask(t, g)
		}
		if took := time.Since(start); took > 2*upstream.DefaultHedge+20*d {
			t.Errorf("20 questions took %v", took)
		}
	})
}

// TestParallel: the first useful reply wins, whoever gives it.
func TestParallel(t *testing.T) {
	slow, fast := 40*time.Millisecond, 10*time.Millisecond
	scripts := map[string]dnstest.Script{
		serverAddr: after(&slow), otherAddr: after(&fast), thirdAddr: does(dnstest.Action{RCode: 2}),
	}
	inTime(t, upstream.FailoverOptions{Strategy: upstream.Parallel}, scripts, func(t *testing.T, g *upstream.Group, _ *dnstest.Net) {
		for range 5 {
			start := time.Now()
			if r := ask(t, g); r.Server != otherAddr || time.Since(start) > fast+time.Millisecond {
				t.Errorf("%s answered after %v", r.Server, time.Since(start))
			}
		}
	})
}

func TestStatus(t *testing.T) {
	d := 10 * time.Millisecond
	scripts := map[string]dnstest.Script{serverAddr: silent, otherAddr: after(&d), thirdAddr: after(&d)}
	inTime(t, upstream.FailoverOptions{Hedge: -1}, scripts, func(t *testing.T, g *upstream.Group, _ *dnstest.Net) {
		ask(t, g)
		ask(t, g)
		want := []upstream.ServerStatus{
			{Address: serverAddr, State: upstream.StatePenalised, SRTT: second, RTTVar: second / 2, Queries: 1, Timeouts: 1},
			{Address: otherAddr, State: upstream.StateGood, SRTT: d, RTTVar: d/2 - d/8, Queries: 2},
			{Address: thirdAddr, State: upstream.StateUnknown},
		}
		for i, s := range g.Status() {
			if s != want[i] {
				t.Errorf("got %+v\nwant %+v", s, want[i])
			}
		}
	})
}
