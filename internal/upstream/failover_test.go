package upstream_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

const rtt = 20 * time.Millisecond

// group is a failover over servers in memory, in the order of the addresses
// above.
func group(t *testing.T, o upstream.FailoverOptions, scripts ...dnstest.Script) (upstream.Exchanger, *dnstest.Net) {
	t.Helper()
	addrs := []string{serverAddr, otherAddr, thirdAddr}[:len(scripts)]
	byAddr := map[string]dnstest.Script{}
	for i, a := range addrs {
		if scripts[i] != nil {
			byAddr[a] = scripts[i]
		}
	}
	n := inMemory(t, byAddr)
	var servers []upstream.Exchanger
	for _, a := range addrs {
		servers = append(servers, newServer(a, upstream.Options{Dial: n.Dial, Attempts: 1}))
	}
	return upstream.Failover(servers, o), n
}

func good() dnstest.Script {
	return func(dnstest.Query) dnstest.Action {
		a := oneA()
		a.Delay = rtt
		return a
	}
}

func does(a dnstest.Action) dnstest.Script { return dnstest.Always(a) }

var silent = does(dnstest.Action{Drop: true})

func TestFailover(t *testing.T) {
	lame := dnstest.Action{NoRA: true, Authority: []string{". 60 IN NS a.root-servers.net."}}
	tests := map[string]struct {
		scripts []dnstest.Script // nil: nothing listens there
		server  string
		took    time.Duration
		rcode   dnswire.RCode
		asked   int // servers that got a query
	}{
		"first answers":          {[]dnstest.Script{good(), good()}, serverAddr, rtt, 0, 1},
		"first silent":           {[]dnstest.Script{silent, good()}, otherAddr, upstream.DefaultHedge + rtt, 0, 2},
		"two silent":             {[]dnstest.Script{silent, silent, good()}, thirdAddr, 2*upstream.DefaultHedge + rtt, 0, 3},
		"first not there":        {[]dnstest.Script{nil, good()}, otherAddr, rtt, 0, 1},
		"SERVFAIL":               {[]dnstest.Script{does(dnstest.Action{RCode: 2}), good()}, otherAddr, rtt, 0, 2},
		"REFUSED":                {[]dnstest.Script{does(dnstest.Action{RCode: 5}), good()}, otherAddr, rtt, 0, 2},
		"lame":                   {[]dnstest.Script{does(lame), good()}, otherAddr, rtt, 0, 2},
		"malformed":              {[]dnstest.Script{does(dnstest.Action{Raw: malformed(), PatchID: true}), good()}, otherAddr, rtt, 0, 2},
		"NXDOMAIN is an answer":  {[]dnstest.Script{does(dnstest.NXDomain()), good()}, serverAddr, 0, 3, 1},
		"no data is an answer":   {[]dnstest.Script{does(dnstest.NoData()), good()}, serverAddr, 0, 0, 1},
		"no data without an SOA": {[]dnstest.Script{does(dnstest.Action{}), good()}, serverAddr, 0, 0, 1},
		"all SERVFAIL":           {[]dnstest.Script{does(dnstest.Action{RCode: 5}), does(dnstest.Action{RCode: 2})}, otherAddr, 0, 2, 2},
		"SERVFAIL and silence":   {[]dnstest.Script{silent, does(dnstest.Action{RCode: 2})}, otherAddr, upstream.DefaultTimeout, 2, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, n := group(t, upstream.FailoverOptions{}, tc.scripts...)
				start := time.Now()
				r, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
				if err != nil || r.Server != tc.server || r.RCode() != tc.rcode || time.Since(start) != tc.took {
					t.Errorf("got %+v, %v after %v", r, err, time.Since(start))
				}
				asked := 0
				for _, a := range []string{serverAddr, otherAddr, thirdAddr} {
					if s := n.Server(a); s != nil && len(s.Queries()) > 0 {
						asked++
					}
				}
				if asked != tc.asked {
					t.Errorf("%d servers asked, want %d", asked, tc.asked)
				}
			})
		})
	}
}

// TestSlowServerIsNotCutOff: the first may still win after the second has been
// asked.
func TestSlowServerIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(dnstest.Query) dnstest.Action {
			a := oneA()
			a.Delay = upstream.DefaultHedge + rtt
			return a
		}
		x, n := group(t, upstream.FailoverOptions{}, slow, silent)
		r, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
		if err != nil || r.Server != serverAddr || r.RTT != upstream.DefaultHedge+rtt {
			t.Errorf("got %+v, %v", r, err)
		}
		if len(n.Server(otherAddr).Queries()) != 1 {
			t.Error("the second server was not asked")
		}
	})
}

func TestNoHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := group(t, upstream.FailoverOptions{Hedge: -1}, silent, good())
		start := time.Now()
		r, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
		if err != nil || r.Server != otherAddr || time.Since(start) != upstream.DefaultTimeout+rtt {
			t.Errorf("got %+v, %v after %v", r, err, time.Since(start))
		}
	})
}

// TestPenalty: a server that does not answer is asked last, for a while.
func TestPenalty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alive atomic.Bool
		flapping := func(dnstest.Query) dnstest.Action {
			a := oneA()
			a.Drop = !alive.Load()
			return a
		}
		x, _ := group(t, upstream.FailoverOptions{}, flapping, good())
		ask := func() (string, time.Duration) {
			t.Helper()
			start := time.Now()
			r, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
			if err != nil {
				t.Fatal(err)
			}
			return r.Server, time.Since(start)
		}
		// Overtaken once could be chance; twice is a habit.
		for range 2 {
			if s, d := ask(); s != otherAddr || d != upstream.DefaultHedge+rtt {
				t.Errorf("at first: %s after %v", s, d)
			}
		}
		if s, d := ask(); s != otherAddr || d != rtt {
			t.Errorf("with the penalty: %s after %v", s, d)
		}
		time.Sleep(upstream.DefaultPenalty)
		alive.Store(true)
		for range 2 {
			if s, _ := ask(); s != serverAddr {
				t.Errorf("after the penalty: %s", s)
			}
		}
	})
}

func TestRotate(t *testing.T) {
	x, n := group(t, upstream.FailoverOptions{Strategy: upstream.Rotated}, does(oneA()), does(oneA()), does(oneA()))
	for range 6 {
		if _, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []string{serverAddr, otherAddr, thirdAddr} {
		if got := len(n.Server(a).Queries()); got != 2 {
			t.Errorf("%s was asked %d times, want 2", a, got)
		}
	}
}

// TestRounds: when no one answers the list is gone through again, and the
// error names them all.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lossy := func(q dnstest.Query) dnstest.Action {
			a := oneA()
			a.Drop = true
			return a
		}
		x, n := group(t, upstream.FailoverOptions{Rounds: 3, Hedge: -1}, lossy, silent)
		_, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
		var e *upstream.Error
		if !errors.As(err, &e) || !e.Timeout || e.Tries != 6 || e.Server != serverAddr+", "+otherAddr {
			t.Errorf("got %+v", e)
		}
		if got := len(n.Dials()); got != 6 {
			t.Errorf("%d sockets, want 6", got)
		}
	})
}

func TestRoundsAfterQuickFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, _ := group(t, upstream.FailoverOptions{Rounds: 2}, nil, nil)
		start := time.Now()
		_, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
		var e *upstream.Error
		if !errors.As(err, &e) || e.Timeout || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < 50*time.Millisecond || took > 100*time.Millisecond {
			t.Errorf("took %v, want a short pause between the rounds", took)
		}
	})
}

func TestFailoverCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, n := group(t, upstream.FailoverOptions{Rounds: 3}, silent, silent, silent)
		ctx, cancel := context.WithTimeout(t.Context(), upstream.DefaultHedge+rtt)
		defer cancel()
		_, err := x.Exchange(ctx, question(t, "www.example", dnswire.TypeA))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if got := len(n.Server(thirdAddr).Queries()); got != 0 {
			t.Errorf("the third server was asked")
		}
	})
}

func TestNoServers(t *testing.T) {
	_, err := upstream.Failover(nil, upstream.FailoverOptions{}).Exchange(t.Context(), question(t, "www.example", dnswire.TypeA))
	if !errors.Is(err, upstream.ErrNoServers) {
		t.Errorf("got %v", err)
	}
}

// TestEmptyAnswerIsNotPassedOn: golang#64783.
func TestEmptyAnswerIsNotPassedOn(t *testing.T) {
	x, n := group(t, upstream.FailoverOptions{}, does(dnstest.Action{RCode: dns.RcodeSuccess}), does(oneA()))
	if _, err := x.Exchange(t.Context(), question(t, "www.example", dnswire.TypeAAAA)); err != nil {
		t.Fatal(err)
	}
	if got := len(n.Server(otherAddr).Queries()); got != 0 {
		t.Errorf("the second server was asked %d times", got)
	}
}
