package upstream_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// origin answers every question with one address after delay, or fails.
type origin struct {
	delay atomic.Int64
	rcode atomic.Uint32
	err   atomic.Pointer[error]
	calls atomic.Int32
}

func (o *origin) Exchange(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	o.calls.Add(1)
	select {
	case <-time.After(time.Duration(o.delay.Load())):
	case <-ctx.Done():
		return upstream.Reply{}, ctx.Err()
	}
	if err := o.err.Load(); err != nil {
		return upstream.Reply{}, *err
	}
	rcode := dnswire.RCode(o.rcode.Load())
	query, err := dnswire.ParseQuery(dnswire.AppendQuery(nil, 1, q.Question, dnswire.QueryOptions{RD: true}))
	if err != nil {
		return upstream.Reply{}, err
	}
	msg := dnswire.AppendReply(nil, &query, dnswire.FlagRA, rcode)
	switch rcode {
	case dnswire.RCodeSuccess:
		msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, dnswire.TypeA, dnswire.ClassINET, 60, []byte{192, 0, 2, 1})
	case dnswire.RCodeNameError:
		soa := append([]byte{0, 0}, make([]byte, 20)...)
		soa[len(soa)-1] = 60
		msg = dnswire.AddRR(msg, dnswire.SectionAuthority, nil, dnswire.TypeSOA, dnswire.ClassINET, 60, soa)
	}
	return upstream.Reply{Msg: msg, Proto: "test"}, nil
}

func (o *origin) fail() {
	err := errors.New("no server answered")
	o.err.Store(&err)
}

// withStale runs f in virtual time with a cache that keeps stale answers for an hour and holds one that
// has expired.
func withStale(t *testing.T, rcode dnswire.RCode, f func(t *testing.T, o *origin, x *upstream.Cache, q upstream.Query)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.rcode.Store(uint32(rcode))
		x := upstream.Cached(dnscache.New(dnscache.Config{MaxStale: time.Hour}), time.Now, o)
		defer x.Close()
		q := question(t, "www.example", dnswire.TypeA)
		if r, err := x.Exchange(t.Context(), q); err != nil || r.Proto != "test" {
			t.Fatalf("first: %+v, %v", r, err)
		}
		time.Sleep(2 * time.Minute)
		o.calls.Store(0)
		f(t, o, x, q)
	})
}

// checkExchange checks where an answer comes from, after how long, with which extended error.
func checkExchange(t *testing.T, x *upstream.Cache, q upstream.Query, proto string, after time.Duration, ede int) {
	t.Helper()
	start := time.Now()
	r, err := x.Exchange(t.Context(), q)
	if err != nil || r.Proto != proto || time.Since(start) != after {
		t.Errorf("got %q, %v after %v; want %q after %v", r.Proto, err, time.Since(start), proto, after)
		return
	}
	_, edns, has := dnswire.FindOPT(r.Msg)
	data, _ := dnswire.FindOption(edns.Options, dnswire.OptionEDE)
	if has != (ede != 0) || has && (len(data) < 2 || int(data[1]) != ede) {
		t.Errorf("extended error %x, want %d", data, ede)
	}
	if ttl, _ := dnswire.MinTTL(r.Msg); has && ttl != dnscache.StaleTTL {
		t.Errorf("stale with TTL %d", ttl)
	}
}

func TestStaleAfterClientTimeout(t *testing.T) {
	withStale(t, dnswire.RCodeSuccess, func(t *testing.T, o *origin, x *upstream.Cache, q upstream.Query) {
		o.delay.Store(int64(5 * time.Second))
		checkExchange(t, x, q, "stale", upstream.ClientTimeout, 3)
		checkExchange(t, x, q, "stale", 0, 3) // the first one's refresh is over its time already
		time.Sleep(5 * time.Second)
		checkExchange(t, x, q, "cache", 0, 0)
		if n := o.calls.Load(); n != 1 {
			t.Errorf("%d exchanges, want 1", n)
		}
	})
}

func TestFreshWithinClientTimeout(t *testing.T) {
	withStale(t, dnswire.RCodeSuccess, func(t *testing.T, o *origin, x *upstream.Cache, q upstream.Query) {
		o.delay.Store(int64(time.Second))
		checkExchange(t, x, q, "test", time.Second, 0)
	})
}

// TestStaleWhileDead: a dead upstream is asked once in 30 s and then less often, and a stale answer ends
// at its limit however often it was given.
func TestStaleWhileDead(t *testing.T) {
	for what, servfail := range map[string]bool{"error": false, "SERVFAIL": true} {
		withStale(t, dnswire.RCodeSuccess, func(t *testing.T, o *origin, x *upstream.Cache, q upstream.Query) {
			if servfail {
				o.rcode.Store(uint32(dnswire.RCodeServerFailure))
			} else {
				o.fail()
			}
			for range 30 {
				checkExchange(t, x, q, "stale", 0, 3)
				time.Sleep(time.Second)
			}
			if n := o.calls.Load(); n != 1 {
				t.Errorf("%s: %d exchanges in 30 s, want 1", what, n)
			}
			checkExchange(t, x, q, "stale", 0, 3)
			if n := o.calls.Load(); n != 2 {
				t.Errorf("%s: %d exchanges after 30 s, want 2", what, n)
			}
			for range 57 { // from minute 2.5 of the entry to 59.5
				time.Sleep(time.Minute)
				checkExchange(t, x, q, "stale", 0, 3)
			}
			if n := o.calls.Load(); n > 20 {
				t.Errorf("%s: %d exchanges in an hour", what, n)
			}
			time.Sleep(10 * time.Minute)
			if r, err := x.Exchange(t.Context(), q); r.Proto == "stale" || err == nil && !servfail {
				t.Errorf("%s: beyond the limit: %+v, %v", what, r, err)
			}
		})
	}
}

func TestStaleNXDOMAIN(t *testing.T) {
	withStale(t, dnswire.RCodeNameError, func(t *testing.T, o *origin, x *upstream.Cache, q upstream.Query) {
		o.fail()
		checkExchange(t, x, q, "stale", 0, 19)
	})
}

// TestStaleIsNotForOtherFlags: what was fetched with CD or DO is not given to those without, nor the
// reverse, stale or cut (AdGuardHome#4942).
func TestStaleIsNotForOtherFlags(t *testing.T) {
	for _, rcode := range []dnswire.RCode{dnswire.RCodeSuccess, dnswire.RCodeNameError} {
		withStale(t, rcode, func(t *testing.T, o *origin, x *upstream.Cache, q upstream.Query) {
			o.fail()
			cd, do := q, q
			cd.CD, do.DO = true, true
			for _, other := range []upstream.Query{cd, do} {
				if r, err := x.Exchange(t.Context(), other); err == nil {
					t.Errorf("given %+v", r)
				}
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		x := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, o)
		q := question(t, "www.example", dnswire.TypeA)
		checkExchange(t, x, q, "test", 0, 0)
		time.Sleep(55 * time.Second)
		o.delay.Store(int64(time.Second))
		if !x.Refresh(q) || x.Refresh(q) {
			t.Error("want one refresh")
		}
		checkExchange(t, x, q, "cache", 0, 0)
		time.Sleep(30 * time.Second) // the first has expired, the refresh has not
		checkExchange(t, x, q, "cache", 0, 0)
		o.fail()
		x.Refresh(q)
		time.Sleep(2 * time.Second)
		if x.Refresh(q) {
			t.Error("refreshed at once after a failure")
		}
		x.Close()
		if q.Type = dnswire.TypeTXT; x.Refresh(q) {
			t.Error("refreshed after Close")
		}
	})
}

func TestRefreshesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.delay.Store(int64(time.Hour))
		x := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, o)
		q := question(t, "www.example", dnswire.TypeA)
		begun := 0
		for i := range 2 * upstream.MaxRefreshes {
			if q.Type = dnswire.Type(1 + i); x.Refresh(q) {
				begun++
			}
		}
		if begun != upstream.MaxRefreshes {
			t.Errorf("%d in flight", begun)
		}
		time.Sleep(upstream.RefreshTimeout + time.Second)
		if !x.Refresh(question(t, "other.example", dnswire.TypeA)) {
			t.Error("none is possible after the others' time is over")
		}
		x.Close()
	})
}

// TestFailureBackOff: 5 s, then twice as long each time, at most 5 min, and anew after a success.
func TestFailureBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.fail()
		x := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, o)
		q := question(t, "www.example", dnswire.TypeA)
		lasts := upstream.FailureTTL
		for i := range 10 {
			_, _ = x.Exchange(t.Context(), q)
			time.Sleep(lasts - time.Second)
			if _, err := x.Exchange(t.Context(), q); err == nil || int(o.calls.Load()) != i+1 {
				t.Fatalf("failure %d: %v, %d exchanges before %v are over", i+1, err, o.calls.Load(), lasts)
			}
			time.Sleep(time.Second)
			lasts = min(2*lasts, upstream.MaxFailureTTL)
		}
		o.err.Store(nil)
		checkExchange(t, x, q, "test", 0, 0)
	})
}

func TestCutAnswersBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{}
		o.rcode.Store(uint32(dnswire.RCodeNameError))
		x := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, o)
		checkExchange(t, x, question(t, "no.example", dnswire.TypeA), "test", 0, 0)
		checkExchange(t, x, question(t, "a.b.no.example", dnswire.TypeAAAA), "cache", 0, 0)
		checkExchange(t, x, question(t, "yes.example", dnswire.TypeA), "test", 0, 0)
	})
}

// TestPanicBehindIsContained: what panics behind the client's back costs a refresh, not the program.
func TestPanicBehindIsContained(t *testing.T) {
	broken := upstream.ExchangerFunc(func(context.Context, upstream.Query) (upstream.Reply, error) { panic("broken") })
	x := upstream.Cached(dnscache.New(dnscache.Config{}), time.Now, broken)
	if !x.Refresh(question(t, "www.example", dnswire.TypeA)) {
		t.Error("no refresh")
	}
	x.Close()
}
