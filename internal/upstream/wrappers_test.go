package upstream_test

import (
	"context"
	"errors"
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

// gate is an exchanger whose exchanges wait until it is opened or canceled.
type gate struct {
	open     chan struct{}
	calls    atomic.Int32
	canceled atomic.Int32
	err      error
}

func (g *gate) Exchange(ctx context.Context, _ upstream.Query) (upstream.Reply, error) {
	g.calls.Add(1)
	select {
	case <-g.open:
		return upstream.Reply{Proto: "test"}, g.err
	case <-ctx.Done():
		g.canceled.Add(1)
		return upstream.Reply{}, ctx.Err()
	}
}

func TestCoalesceSharesOneExchange(t *testing.T) {
	const callers = 60
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		x := upstream.Coalesce(g)
		q := question(t, "www.example", dnswire.TypeA)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				if r, err := x.Exchange(t.Context(), q); err != nil || r.Proto != "test" {
					t.Errorf("got %+v, %v", r, err)
				}
			})
		}
		synctest.Wait()
		close(g.open)
		wg.Wait()
		if n := g.calls.Load(); n != 1 {
			t.Errorf("%d exchanges, want 1", n)
		}
		if _, err := x.Exchange(t.Context(), q); err != nil || g.calls.Load() != 2 {
			t.Errorf("after the first is done: %v, %d exchanges in all, want 2", err, g.calls.Load())
		}
	})
}

// beginner answers what is begun on a goroutine of its own.
type beginner struct{ gate }

func (b *beginner) Begin(ctx context.Context, q upstream.Query, done upstream.Done) bool {
	go func() { done(b.Exchange(ctx, q)) }()
	return true
}

// TestCoalesceBegunAtOnce: of those who begin at the same time each is answered once,
// whether he was begun or had to wait. A subject for the race detector.
func TestCoalesceBegunAtOnce(t *testing.T) {
	const clients, rounds = 4, 500
	g := &beginner{gate{open: make(chan struct{})}}
	close(g.open)
	x := upstream.Coalesce(g).(upstream.Beginner)
	q := question(t, "www.example", dnswire.TypeA)
	var clientsDone sync.WaitGroup
	for range clients {
		clientsDone.Go(func() {
			for range rounds {
				answered := make(chan error, 2)
				if !x.Begin(t.Context(), q, func(_ upstream.Reply, err error) { answered <- err }) {
					_, err := x.Exchange(t.Context(), q)
					answered <- err
				}
				if err := <-answered; err != nil || len(answered) != 0 {
					t.Errorf("%v, and %d answers more", err, len(answered))
				}
			}
		})
	}
	clientsDone.Wait()
}

// TestCoalesceTellsQueriesApart: an answer fetched with CD is not for those who
// asked without (AdGuardHome#4942).
func TestCoalesceTellsQueriesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		x := upstream.Coalesce(g)
		base := question(t, "www.example", dnswire.TypeA)
		do, cd, class := base, base, base
		do.DO, cd.CD, class.Class = true, true, dnswire.ClassCHAOS
		queries := []upstream.Query{base, do, cd, class, question(t, "www.example", dnswire.TypeAAAA), question(t, "example", dnswire.TypeA)}
		var wg sync.WaitGroup
		for _, q := range queries {
			wg.Go(func() { _, _ = x.Exchange(t.Context(), q) })
		}
		synctest.Wait()
		close(g.open)
		wg.Wait()
		if n := int(g.calls.Load()); n != len(queries) {
			t.Errorf("%d exchanges, want %d", n, len(queries))
		}
	})
}

// TestCoalesceCancel: when the one who asks gives up, another asks anew; one who
// waits leaves alone.
func TestCoalesceCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		x := upstream.Coalesce(g)
		q := question(t, "www.example", dnswire.TypeA)
		ask := func() (context.CancelFunc, chan error) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := x.Exchange(ctx, q)
				done <- err
			}()
			synctest.Wait()
			return cancel, done
		}
		first, firstDone := ask()
		second, secondDone := ask()
		third, thirdDone := ask()
		defer third()
		expect := func(who string, done chan error, want error, calls, canceled int32) {
			t.Helper()
			if err := <-done; !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", who, err, want)
			}
			synctest.Wait()
			if g.calls.Load() != calls || g.canceled.Load() != canceled {
				t.Errorf("%s: %d exchanges, %d canceled; want %d, %d", who, g.calls.Load(), g.canceled.Load(), calls, canceled)
			}
		}
		first()
		expect("first, who asked", firstDone, context.Canceled, 2, 1)
		fourth, fourthDone := ask()
		fourth()
		expect("fourth, who waited", fourthDone, context.Canceled, 2, 1)
		close(g.open)
		expect("third", thirdDone, nil, 2, 1)
		expect("second", secondDone, nil, 2, 1)
		second()
	})
}

func TestCachedFailures(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	g := &gate{open: make(chan struct{}), err: errors.New("no server answered")}
	close(g.open)
	x := upstream.Cached(dnscache.New(dnscache.Config{}), func() time.Time { return now }, g)
	q := question(t, "www.example", dnswire.TypeA)
	for range 3 {
		if _, err := x.Exchange(t.Context(), q); !errors.Is(err, g.err) {
			t.Errorf("got %v, want %v", err, g.err)
		}
	}
	if n := g.calls.Load(); n != 1 {
		t.Errorf("%d exchanges, want 1: the failure is remembered", n)
	}
	now = now.Add(upstream.FailureTTL)
	if _, err := x.Exchange(t.Context(), q); !errors.Is(err, g.err) || g.calls.Load() != 2 {
		t.Errorf("later: %v, %d exchanges, want 2", err, g.calls.Load())
	}
	q.CD = true
	if _, err := x.Exchange(t.Context(), q); !errors.Is(err, g.err) || g.calls.Load() != 3 {
		t.Errorf("with CD: %v, %d exchanges, want 3: another question", err, g.calls.Load())
	}
}

func TestCachedDoesNotKeepACancel(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	x := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, g)
	q := question(t, "www.example", dnswire.TypeA)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Exchange(ctx, q); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(g.open)
	if _, err := x.Exchange(t.Context(), q); err != nil {
		t.Errorf("got %v: the cancellation was kept", err)
	}
}

func TestCachedAnswers(t *testing.T) {
	s := dnstest.Start(t, dnstest.Always(oneA()))
	now := time.Now()
	clock := func() time.Time { return now }
	x := upstream.Cached(dnscache.New(dnscache.Config{}), clock, newServer(s.Addr(), upstream.Options{}))
	q := question(t, "www.example", dnswire.TypeA)
	if r, err := x.Exchange(t.Context(), q); err != nil || r.Proto != "udp" {
		t.Fatalf("got %+v, %v", r, err)
	}
	now = now.Add(30 * second)
	r, err := x.Exchange(t.Context(), q)
	if err != nil || r.Proto != "cache" || r.Server != "" || r.Age != 30*second || answers(t, r) != 1 {
		t.Errorf("got %+v, %v; want it from the cache", r, err)
	}
	if ttl, ok := dnswire.MinTTL(r.Msg); !ok || ttl != 30 {
		t.Errorf("TTL %d, want it counted down to 30", ttl)
	}
	now = now.Add(31 * second)
	if r, err := x.Exchange(t.Context(), q); err != nil || r.Proto != "udp" {
		t.Errorf("expired: got %+v, %v", r, err)
	}
}

// TestFailuresAreBounded: the memory of failed questions does not grow.
func TestFailuresAreBounded(t *testing.T) {
	g := &gate{open: make(chan struct{}), err: errors.New("no server answered")}
	close(g.open)
	x := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, g)
	q := question(t, "www.example", dnswire.TypeA)
	const many = 3 * 4096
	for i := range many {
		q.Type = dnswire.Type(i) //nolint:gosec // far below 65536
		_, _ = x.Exchange(t.Context(), q)
	}
	if n := upstream.Failures(x); n > 4096 {
		t.Errorf("%d failures are kept", n)
	}
}
