package resolver_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

var (
	drop     = dnstest.Always(dnstest.Action{Drop: true})
	wwwBoth  = []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}
	wwwFour  = []string{"192.0.2.1", "192.0.2.2"}
	wwwSix   = []string{"2001:db8::1"}
	lateness = 400 * time.Millisecond
)

// timed is a look-up and how long it took.
func timed(t *testing.T, r *resolver.Resolver, name string) (*resolver.Answer, time.Duration, error) {
	t.Helper()
	start := time.Now()
	a, err := r.Lookup(t.Context(), name)
	return a, time.Since(start), err
}

// TestOneRoundTrip: A and AAAA are asked at the same moment, from one socket, and
// the look-up takes as long as one of them. With the option for servers that
// cannot bear it, each has a socket of its own.
func TestOneRoundTrip(t *testing.T) {
	for sockets, conf := range map[int]string{1: one, 2: one + "options single-request-reopen\n"} {
		synctest.Test(t, func(t *testing.T) {
			r, n := virtual(t, conf, onServer(late(dual())))
			a, took, err := timed(t, r, "www.example.")
			if err != nil || !same(set(a), wwwBoth) || took != rtt {
				t.Errorf("got %v, %v after %v; want %v after %v", set(a), err, took, wwwBoth, rtt)
			}
			qs := n.Server(serverAddr).Queries()
			if len(qs) != 2 || !qs[0].At.Equal(qs[1].At) || qs[0].Type == qs[1].Type {
				t.Errorf("queries %+v, want A and AAAA at the same moment", qs)
			}
			if len(n.Dials()) != sockets {
				t.Errorf("sockets %v, want %d", n.Dials(), sockets)
			}
			if a.Families[0].Elapsed != rtt || a.Families[1].Elapsed != rtt {
				t.Errorf("families %+v", a.Families)
			}
		})
	}
}

// TestFamilyNeverAnswered: the other family comes after one round trip and the
// Resolution Delay, not after the time-out.
func TestFamilyNeverAnswered(t *testing.T) {
	tests := map[string]struct {
		silent string
		want   []string
		index  int
	}{
		"AAAA": {"AAAA", wwwFour, 0},
		"A":    {"A", wwwSix, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := virtual(t, one, onServer(typed(tc.silent, drop, late(dual()))))
				a, took, err := timed(t, r, "www.example.")
				if err != nil || !same(set(a), tc.want) || took != rtt+resolver.DefaultResolutionDelay {
					t.Errorf("got %v, %v after %v", set(a), err, took)
				}
				f := a.Families[tc.index]
				if f.Type != tc.silent || !errors.Is(f.Err, resolver.ErrPending) {
					t.Errorf("silent family %+v, want ErrPending", f)
				}
			})
		})
	}
}

// TestNoSuchNameIsSaidSoon: the other family need not say it too; but a server
// that denies the name to AAAA only is not believed (RFC 4074 section 4.2).
func TestNoSuchNameIsSaidSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, n := virtual(t, one+"search a.example b.example\n", onServer(typed("AAAA", drop, late(dnstest.Always(dnstest.NXDomain())))))
		_, took, err := timed(t, r, "host")
		if want := 3 * (rtt + resolver.DefaultResolutionDelay); !errors.Is(err, resolver.ErrNoSuchName) || took != want {
			t.Errorf("got %v after %v, want no such name after %v", err, took, want)
		}
		if got := n.Server(serverAddr).Count("", "A"); got != 3 {
			t.Errorf("%d names were asked for, want 3", got)
		}
		start := time.Now()
		last := ""
		for f := range r.Stream(t.Context(), "other.") {
			last = f.Type
		}
		if took := time.Since(start); last != "A" || took != rtt+resolver.DefaultResolutionDelay {
			t.Errorf("stream: took %v", took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		slow := func(q dnstest.Query) dnstest.Action {
			a := dual()(q)
			a.Delay = lateness
			return a
		}
		r, _ := virtual(t, one, onServer(typed("AAAA", dnstest.Always(dnstest.NXDomain()), slow)))
		if a, _, err := timed(t, r, "www.example."); err != nil || !same(set(a), wwwFour) {
			t.Errorf("got %v, %v", set(a), err)
		}
	})
}

// TestLateFamily: what comes after the look-up has returned is in the cache for
// the next.
func TestLateFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(q dnstest.Query) dnstest.Action {
			a := dual()(q)
			a.Delay = lateness
			return a
		}
		r, n := virtual(t, one, onServer(typed("A", slow, late(dual()))))
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwSix) || took != rtt+resolver.DefaultResolutionDelay {
			t.Fatalf("got %v, %v after %v", set(a), err, took)
		}
		time.Sleep(lateness)
		a, took, err = timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwBoth) || took != 0 {
			t.Errorf("second: got %v, %v after %v; want both from the cache", set(a), err, took)
		}
		if len(n.Server(serverAddr).Queries()) != 2 {
			t.Errorf("queries %+v, want two", n.Server(serverAddr).Queries())
		}
	})
}

func TestWaitAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(q dnstest.Query) dnstest.Action {
			a := dual()(q)
			a.Delay = lateness
			return a
		}
		r, _ := virtual(t, one, onServer(typed("AAAA", slow, late(dual()))))
		r.WaitAll = true
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwBoth) || took != lateness {
			t.Errorf("got %v, %v after %v; want both after %v", set(a), err, took, lateness)
		}
	})
}

// TestHTTPSDelay: with WaitAll, HTTPS has so long once both families have come, and
// as long as it takes where nothing is said.
func TestHTTPSDelay(t *testing.T) {
	slowness := 3 * lateness
	for _, tt := range []struct{ delay, aaaa, https, want time.Duration }{
		{0, lateness, slowness, slowness},
		{lateness / 2, lateness, slowness, lateness + lateness/2},
		{-1, lateness, slowness, lateness},
		{-1, lateness, 0, lateness},
		{-1, slowness, lateness, slowness},
		{time.Hour, lateness, slowness, slowness},
	} {
		synctest.Test(t, func(t *testing.T) {
			after := func(d time.Duration) dnstest.Script {
				return func(q dnstest.Query) dnstest.Action {
					a := dual()(q)
					a.Delay = d
					return a
				}
			}
			r, _ := virtual(t, one, onServer(typed("HTTPS", after(tt.https), typed("AAAA", after(tt.aaaa), dual()))))
			r.WaitAll, r.HTTPS, r.HTTPSDelay = true, true, tt.delay
			a, took, err := timed(t, r, "www.example.")
			if err != nil || !same(set(a), wwwBoth) || took != tt.want {
				t.Errorf("%+v: got %v, %v after %v", tt, set(a), err, took)
			}
			if late := errors.Is(a.Families[0].Err, resolver.ErrPending); late != (tt.https > tt.want) {
				t.Errorf("%+v: HTTPS: %v", tt, a.Families[0].Err)
			}
		})
	}
}

// TestNegativeFamilyDoesNotStartTheGrace: an empty AAAA is no reason to give
// the A less time.
func TestNegativeFamilyDoesNotStartTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(q dnstest.Query) dnstest.Action {
			a := dual()(q)
			a.Delay = lateness
			return a
		}
		r, n := virtual(t, two, map[string]dnstest.Script{serverAddr: typed("A", slow, late(dual())), otherAddr: late(dual())})
		a, took, err := timed(t, r, "four.example.")
		if err != nil || !same(set(a), []string{"192.0.2.4"}) || took != lateness {
			t.Errorf("got %v, %v after %v", set(a), err, took)
		}
		if qs := n.Server(otherAddr).Queries(); len(qs) != 0 {
			t.Errorf("the other server was asked %+v: an empty AAAA is an answer", qs)
		}
	})
}

// TestUnusableFamilyDoesNotStartTheGrace: a quick answer of nothing but
// loopback addresses does not shut out the right one.
func TestUnusableFamilyDoesNotStartTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(q dnstest.Query) dnstest.Action {
			a := dual()(q)
			a.Delay = lateness
			return a
		}
		forged := dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN AAAA ::1"}})
		r, _ := virtual(t, one, onServer(typed("A", slow, forged)))
		a, err := r.Lookup(t.Context(), "www.example.")
		if err != nil || !same(set(a), wwwFour) || len(a.Dropped) != 1 {
			t.Errorf("got %v, %v, dropped %v", set(a), err, a.Dropped)
		}
	})
}

// TestFailingFamily: one family's failure is its own.
func TestFailingFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("AAAA", dnstest.Always(dnstest.Action{RCode: 2}), late(dual()))))
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwFour) || took != rtt {
			t.Errorf("got %v, %v after %v", set(a), err, took)
		}
		if !errors.Is(a.Families[0].Err, resolver.ErrServerFailure) {
			t.Errorf("AAAA: %v, want a server failure", a.Families[0].Err)
		}
	})
}

// TestFirstServerDead: the second is asked after the hedge time, and first from
// then on.
func TestFirstServerDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, two, map[string]dnstest.Script{serverAddr: drop, otherAddr: late(dual())})
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwBoth) || took != 500*time.Millisecond+rtt {
			t.Errorf("got %v, %v after %v", set(a), err, took)
		}
		if a.Families[0].Server != otherAddr {
			t.Errorf("answered by %s, want %s", a.Families[0].Server, otherAddr)
		}
		if _, took, err = timed(t, r, "four.example."); err != nil || took != rtt {
			t.Errorf("second look-up: %v after %v, want %v", err, took, rtt)
		}
	})
}

func TestTruncatedAndEDNSAndForgeries(t *testing.T) {
	tests := map[string]struct {
		change func(*dnstest.Action, dnstest.Query)
		took   time.Duration
	}{
		"truncated": {func(a *dnstest.Action, _ dnstest.Query) { a.Truncate = true }, 2 * rtt},
		"chokes on EDNS": {func(a *dnstest.Action, q dnstest.Query) {
			if q.EDNS {
				*a = dnstest.Action{RCode: 1, Delay: rtt}
			}
		}, 2 * rtt},
		"forged first": {func(a *dnstest.Action, _ dnstest.Query) {
			f := dnstest.Action{Answer: []string{"@ 60 IN A 198.51.100.66", "@ 60 IN AAAA 2001:db8::66"}}
			id, question, source := f, f, f
			id.WrongID, question.WrongQuestion, source.WrongSource = true, true, true
			a.Before = []dnstest.Action{id, question, source}
		}, rtt},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _ := virtual(t, one, onServer(func(q dnstest.Query) dnstest.Action {
					a := late(dual())(q)
					tc.change(&a, q)
					return a
				}))
				a, took, err := timed(t, r, "www.example.")
				if err != nil || !same(set(a), wwwBoth) || took != tc.took {
					t.Errorf("got %v, %v after %v, want %v", set(a), err, took, tc.took)
				}
			})
		})
	}
}

// TestTruncatedRoundTrips: a truncated reply costs at most 2.2 round trips more than
// a whole one, where a connection costs one. Both families go through it at once.
func TestTruncatedRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, n := virtual(t, one, onServer(func(q dnstest.Query) dnstest.Action {
			a := late(dual())(q)
			a.Truncate = true
			return a
		}))
		n.Delay(serverAddr, rtt/2)
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwBoth) {
			t.Fatalf("got %v, %v", set(a), err)
		}
		if more := took - rtt; more > 22*rtt/10 || more < rtt {
			t.Errorf("took %v, %.1f round trips more than one", took, float64(more)/float64(rtt))
		}
	})
}

// TestCoalescing: many callers, one query for each family (CVE-2023-30464).
func TestCoalescing(t *testing.T) {
	const callers = 60
	synctest.Test(t, func(t *testing.T) {
		r, n := virtual(t, one, onServer(late(dual())))
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if a, err := r.Lookup(t.Context(), "www.example."); err != nil || !same(set(a), wwwBoth) {
					t.Errorf("got %v, %v", set(a), err)
				}
			})
		}
		wg.Wait()
		if qs := n.Server(serverAddr).Queries(); len(qs) != 2 {
			t.Errorf("%d queries, want 2", len(qs))
		}
	})
}

func TestCancelAndDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(drop))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := r.Lookup(ctx, "www.example.")
		if !errors.Is(err, resolver.ErrCanceled) || !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("canceled: got %v after %v", err, time.Since(start))
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = r.Lookup(ctx, "www.example.")
		var e *resolver.Error
		if !errors.Is(err, resolver.ErrTimeout) || !errors.As(err, &e) || !e.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline: got %v", err)
		}
	})
}

// TestDeadlineWithOneFamily: what has come by the deadline is an answer.
func TestDeadlineWithOneFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("AAAA", drop, late(dual()))))
		r.WaitAll = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a, err := r.Lookup(ctx, "www.example."); err != nil || !same(set(a), wwwFour) {
			t.Errorf("got %v, %v", set(a), err)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("AAAA", drop, late(dual()))))
		if _, err := r.Lookup(t.Context(), "www.example."); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := r.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("close: %v after %v, want it to cancel what is out", err, time.Since(start))
		}
		if _, err := r.Lookup(t.Context(), "www.example."); !errors.Is(err, resolver.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

// TestEndedBesideCached: a look-up whose context has ended ends, also where the
// cache has one of two families.
func TestEndedBesideCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("AAAA", drop, dual())))
		if _, err := r.Lookup(t.Context(), "www.example."); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // virtual: the question for AAAA is over
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 { // which of the two is seen first is random
			if _, took, _ := timed(t, r, "www.example."); took > resolver.DefaultResolutionDelay {
				t.Errorf("beside the cache: %v", took)
			}
			start := time.Now()
			if a, _ := r.Lookup(ctx, "www.example."); time.Since(start) != 0 {
				t.Errorf("ended: %v after %v", set(a), time.Since(start))
			}
		}
	})
}

// TestPatientLookupEnds: a look-up that reads its socket itself ends with its
// context all the same, and with Close.
func TestPatientLookupEnds(t *testing.T) {
	for name, end := range map[string]func(*resolver.Resolver, context.CancelFunc){
		"context": func(_ *resolver.Resolver, cancel context.CancelFunc) { cancel() },
		"Close":   func(r *resolver.Resolver, _ context.CancelFunc) { _ = r.Close() },
	} {
		for _, network := range []string{"ip4", "ip"} {
			synctest.Test(t, func(t *testing.T) {
				r, _ := virtual(t, one, onServer(drop))
				r.WaitAll = true
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var ending sync.WaitGroup
				ending.Go(func() {
					time.Sleep(rtt)
					end(r, cancel)
				})
				start := time.Now()
				_, err := r.LookupNetIP(ctx, network, "www.example.")
				if took := time.Since(start); err == nil || took != rtt {
					t.Errorf("%s, %s: %v after %v, want an error after %v", name, network, err, took, rtt)
				}
				ending.Wait()
			})
		}
	}
}
