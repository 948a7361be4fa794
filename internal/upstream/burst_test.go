package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// behaviour is a server that does something, anew each time that script is called,
// and how it is asked.
type behaviour struct {
	script func() dnstest.Script
	o      upstream.Options
}

// behaviours are what servers do to one question.
func behaviours() map[string]behaviour {
	twice := func(first, then dnstest.Action) dnstest.Script {
		var n atomic.Int32
		return func(dnstest.Query) dnstest.Action {
			if n.Add(1) == 1 {
				return first
			}
			return then
		}
	}
	big := dnstest.Action{Truncate: true}
	for i := range 200 {
		big.Answer = append(big.Answer, fmt.Sprintf("@ 60 IN A 192.0.2.%d", i))
	}
	flooded := oneA()
	for range 150 {
		flooded.Before = append(flooded.Before, dnstest.Action{WrongID: true})
	}
	code := func(rcode dnswire.RCode) dnstest.Action { return dnstest.Action{RCode: int(rcode)} }
	noEDNS := func(rcode dnswire.RCode) dnstest.Script {
		return func(q dnstest.Query) dnstest.Action {
			if q.EDNS {
				return code(rcode)
			}
			return oneA()
		}
	}
	return map[string]behaviour{
		"an answer":       {script: func() dnstest.Script { return dnstest.Always(oneA()) }},
		"no such name":    {script: func() dnstest.Script { return dnstest.Always(code(dnswire.RCodeNameError)) }},
		"failure":         {script: func() dnstest.Script { return dnstest.Always(code(dnswire.RCodeServerFailure)) }},
		"refused":         {script: func() dnstest.Script { return dnstest.Always(code(dnswire.RCodeRefused)) }},
		"truncated":       {script: func() dnstest.Script { return dnstest.Always(big) }},
		"without edns":    {script: func() dnstest.Script { return noEDNS(dnswire.RCodeFormatError) }},
		"bad version":     {script: func() dnstest.Script { return noEDNS(dnswire.RCodeNotImplemented) }},
		"flood":           {script: func() dnstest.Script { return dnstest.Always(flooded) }},
		"malformed, good": {script: func() dnstest.Script { return twice(dnstest.Action{Raw: malformed(), PatchID: true}, oneA()) }},
		"mixed case":      {script: func() dnstest.Script { return dnstest.Always(oneA()) }, o: upstream.Options{MixCase: true}},
	}
}

// result is what asking one question led to.
type result struct {
	reply upstream.Reply
	err   error
	took  time.Duration
}

// burst asks as a look-up does: what the burst leaves unfinished is asked of x. It
// returns false where that does not begin.
func burst(ctx context.Context, x upstream.Exchanger, queries ...upstream.Query) (results []result, ok bool) {
	start := time.Now()
	b := new(upstream.Burst)
	if !b.Begin(ctx, x, queries) {
		return nil, false
	}
	results = make([]result, len(queries))
	var resumed sync.WaitGroup
	for b.Open() > 0 {
		i, reply, err := b.Next(time.Time{})
		reply.Msg = bytes.Clone(reply.Msg)
		results[i] = result{reply, err, time.Since(start)}
		if errors.Is(err, upstream.ErrUnfinished) {
			ctx := b.Resume(ctx, i)
			resumed.Go(func() {
				reply, err := x.Exchange(ctx, queries[i])
				results[i] = result{reply, err, time.Since(start)}
			})
		}
	}
	resumed.Wait()
	b.Close()
	return results, true
}

// TestBurstIsExchange: whatever the server does, a burst of two questions, of which
// the other has a plain answer, leads to what Exchange leads to, as soon, with as
// many queries.
func TestBurstIsExchange(t *testing.T) {
	all := behaviours()
	delayed := oneA()
	delayed.Delay = 1300 * time.Millisecond
	drop := dnstest.Action{Drop: true}
	all["slow"] = behaviour{script: func() dnstest.Script { return dnstest.Always(delayed) }}
	all["silent"] = behaviour{script: func() dnstest.Script { return dnstest.Always(drop) }, o: upstream.Options{Attempts: 1}}
	all["silent twice"] = behaviour{script: func() dnstest.Script { return dnstest.Always(drop) }, o: upstream.Options{Timeout: 300 * time.Millisecond}}
	all["unreachable"] = behaviour{}
	for name, tt := range all {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, other := question(t, "www.example", dnswire.TypeA), question(t, "www.example", dnswire.TypeAAAA)
				ask := func(with func(x upstream.Exchanger) result) (result, int) {
					scripts := map[string]dnstest.Script{}
					if tt.script != nil {
						scripts[serverAddr] = dnstest.Overlay(tt.script(), func(q dnstest.Query) bool { return q.Type == "AAAA" }, dnstest.Always(dnstest.NoData()))
					}
					n := inMemory(t, scripts)
					o := tt.o
					o.Dial = n.Dial
					cached := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, upstream.Coalesce(upstream.Failover([]upstream.Exchanger{newServer(serverAddr, o)}, upstream.FailoverOptions{})))
					out := with(cached)
					if tt.script == nil {
						return out, 0
					}
					return out, n.Server(serverAddr).Count("www.example.", "A")
				}
				want, wantAsked := ask(func(x upstream.Exchanger) result {
					start := time.Now()
					r, err := x.Exchange(t.Context(), q)
					return result{r, err, time.Since(start)}
				})
				got, asked := ask(func(x upstream.Exchanger) result {
					results, ok := burst(t.Context(), x, q, other)
					if !ok {
						t.Fatal("not begun")
					}
					if kept := results[0].err == nil && answers(t, results[0].reply) > 0; kept {
						if again, err := x.Exchange(t.Context(), q); err != nil || again.Proto != "cache" {
							t.Errorf("not kept: %+v, %v", again, err)
						}
					}
					return results[0]
				})
				if fmt.Sprint(got.err) != fmt.Sprint(want.err) || got.reply.RCode() != want.reply.RCode() ||
					got.reply.Proto != want.reply.Proto || got.reply.Tries != want.reply.Tries ||
					(got.took-want.took).Abs() > 500*time.Millisecond || (got.reply.RTT-want.reply.RTT).Abs() > 500*time.Millisecond {
					t.Fatalf("got %+v\nExchange has %+v", got, want)
				}
				if asked != wantAsked {
					t.Errorf("%d queries, Exchange sends %d", asked, wantAsked)
				}
				if got.err == nil && answers(t, got.reply) != answers(t, want.reply) {
					t.Errorf("%d records, Exchange has %d", answers(t, got.reply), answers(t, want.reply))
				}
			})
		})
	}
}

// TestBurst: the questions leave at once, by one socket, and a slow one does not
// hold up the others.
func TestBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := inMemory(t, map[string]dnstest.Script{serverAddr: func(q dnstest.Query) dnstest.Action {
			a := dnstest.NoData()
			a.Delay = map[string]time.Duration{"A": 10 * time.Millisecond, "AAAA": 30 * time.Millisecond, "HTTPS": 20 * time.Millisecond}[q.Type]
			return a
		}})
		f := upstream.Failover([]upstream.Exchanger{newServer(serverAddr, upstream.Options{Dial: n.Dial})}, upstream.FailoverOptions{})
		results, ok := burst(t.Context(), f, question(t, "www.example", dnswire.TypeHTTPS), question(t, "www.example", dnswire.TypeAAAA), question(t, "www.example", dnswire.TypeA))
		if !ok || results[0].took != 20*time.Millisecond || results[1].took != 30*time.Millisecond || results[2].took != 10*time.Millisecond {
			t.Errorf("got %v, %+v", ok, results)
		}
		qs := n.Server(serverAddr).Queries()
		if len(qs) != 3 || !qs[0].At.Equal(qs[2].At) || len(n.Dials()) != 1 {
			t.Errorf("%d sockets, queries %+v", len(n.Dials()), qs)
		}
		if s := f.Status()[0]; s.Queries != 3 || s.State != upstream.StateGood || s.SRTT == 0 {
			t.Errorf("the server is known as %+v", s)
		}
	})
}

// TestBurstTwoServers: what the first does not answer well, the second does, after
// no more than the hedge time.
func TestBurstTwoServers(t *testing.T) {
	tests := map[string]struct {
		first  dnstest.Action
		server string
		took   time.Duration
	}{
		"good":    {oneA(), serverAddr, 0},
		"failure": {dnstest.Action{RCode: int(dnswire.RCodeServerFailure)}, otherAddr, 0},
		"silent":  {dnstest.Action{Drop: true}, otherAddr, upstream.DefaultHedge},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(tt.first), otherAddr: dnstest.Always(oneA())})
				o := upstream.Options{Dial: n.Dial, Attempts: 1}
				f := upstream.Failover([]upstream.Exchanger{newServer(serverAddr, o), newServer(otherAddr, o)}, upstream.FailoverOptions{})
				q, other := question(t, "www.example", dnswire.TypeA), question(t, "www.example", dnswire.TypeAAAA)
				results, ok := burst(t.Context(), f, q, other)
				if !ok {
					t.Fatal("not begun")
				}
				for _, r := range results {
					if r.err != nil || r.reply.Server != tt.server || r.took != tt.took {
						t.Errorf("got %+v, want an answer of %s after %v", r, tt.server, tt.took)
					}
				}
			})
		})
	}
}

// TestBurstShares: who asks what a burst has in flight gets its reply; when the
// burst is given up he asks himself. No burst begins with what is in flight.
func TestBurstShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := oneA()
		a.Delay = 100 * time.Millisecond
		n := inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(a)})
		x := upstream.Coalesce(upstream.Failover([]upstream.Exchanger{newServer(serverAddr, upstream.Options{Dial: n.Dial})}, upstream.FailoverOptions{}))
		q, other := question(t, "www.example", dnswire.TypeA), question(t, "www.example", dnswire.TypeAAAA)
		waiter := func() {
			if r, err := x.Exchange(t.Context(), q); err != nil || answers(t, r) != 1 {
				t.Errorf("who waited got %+v, %v", r, err)
			}
		}
		for _, givenUp := range []bool{false, true} {
			before := n.Server(serverAddr).Count("www.example.", "A")
			b := new(upstream.Burst)
			if !b.Begin(t.Context(), x, []upstream.Query{q, other}) {
				t.Fatal("not begun")
			}
			var waiting sync.WaitGroup
			waiting.Go(waiter)
			synctest.Wait()
			if third := question(t, "other.example", dnswire.TypeA); new(upstream.Burst).Begin(t.Context(), x, []upstream.Query{third, q}) {
				t.Error("another has begun")
			} else if _, err := x.Exchange(t.Context(), third); err != nil {
				t.Errorf("what was withdrawn: %v", err)
			}
			if givenUp {
				b.Interrupt()
			}
			for b.Open() > 0 {
				if _, _, err := b.Next(time.Time{}); (err != nil) != givenUp {
					t.Errorf("given up %v: %v", givenUp, err)
				}
			}
			b.Close()
			waiting.Wait()
			if got := n.Server(serverAddr).Count("www.example.", "A") - before; got != 1 {
				t.Errorf("given up %v: asked %d times", givenUp, got)
			}
		}
	})
}

// TestBurstWaits: Next returns at the time given, and goes on after it.
func TestBurstWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := oneA()
		a.Delay = 100 * time.Millisecond
		n := inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(a)})
		b := new(upstream.Burst)
		if !b.Begin(t.Context(), upstream.Failover([]upstream.Exchanger{newServer(serverAddr, upstream.Options{Dial: n.Dial})}, upstream.FailoverOptions{}), []upstream.Query{question(t, "www.example", dnswire.TypeA)}) {
			t.Fatal("not begun")
		}
		defer b.Close()
		start := time.Now()
		if _, _, err := b.Next(start.Add(60 * time.Millisecond)); !errors.Is(err, upstream.ErrNothingYet) || time.Since(start) != 60*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if i, r, err := b.Next(time.Time{}); i != 0 || err != nil || answers(t, r) != 1 || time.Since(start) != 100*time.Millisecond || b.Open() != 0 {
			t.Errorf("%d, %+v, %v after %v", i, r, err, time.Since(start))
		}
	})
}

// TestBurstCannot: what only Exchange can ask.
func TestBurstCannot(t *testing.T) {
	q := []upstream.Query{question(t, "www.example", dnswire.TypeA)}
	group := func(o upstream.Options, f upstream.FailoverOptions) upstream.Exchanger {
		return upstream.Failover([]upstream.Exchanger{newServer(serverAddr, o)}, f)
	}
	lost := group(upstream.Options{Dial: inMemory(t, map[string]dnstest.Script{serverAddr: dnstest.Always(dnstest.Action{Drop: true})}).Dial, Timeout: time.Millisecond, Attempts: 1}, upstream.FailoverOptions{Penalty: -1})
	if _, err := lost.Exchange(t.Context(), question(t, "other.example", dnswire.TypeA)); err == nil {
		t.Error("a server that is silent over UDP has answered")
	}
	for name, x := range map[string]upstream.Exchanger{
		"udp is lost":  lost,
		"no servers":   upstream.Failover(nil, upstream.FailoverOptions{}),
		"over tcp":     group(upstream.Options{UseTCP: true}, upstream.FailoverOptions{}),
		"all at once":  group(upstream.Options{}, upstream.FailoverOptions{Strategy: upstream.Parallel}),
		"another":      upstream.ExchangerFunc(nil),
		"not a server": upstream.Failover([]upstream.Exchanger{upstream.ExchangerFunc(nil)}, upstream.FailoverOptions{}),
		"no socket":    group(upstream.Options{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("none") }}, upstream.FailoverOptions{}),
	} {
		if new(upstream.Burst).Begin(t.Context(), x, q) {
			t.Errorf("%s: has begun", name)
		}
	}
}
