package upstream

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
)

const (
	// ClientTimeout is how long an answer is waited for where a stale one could be given (the client
	// response timer of RFC 8767 section 5).
	ClientTimeout = 1800 * time.Millisecond
	// FailureRecheck is how long after a failure a stale answer is given without asking (the failure
	// recheck timer of RFC 8767 section 5: at least 30 s).
	FailureRecheck = 30 * time.Second
	// RefreshTimeout bounds a refresh behind the client's back (the query resolution timer of
	// RFC 8767 section 5).
	RefreshTimeout = 10 * time.Second
	// MaxRefreshes bounds the refreshes in flight.
	MaxRefreshes = 256

	// protoCache and protoStale say that a reply comes from the cache, the latter after its expiry.
	protoCache = "cache"
	protoStale = "stale"
	// cachedRoom holds most cached replies without growing.
	cachedRoom = 512
)

// Cache answers from a cache what that has, and puts there what comes from the next exchanger:
//   - below a cached NXDOMAIN the answer is NXDOMAIN too (RFC 8020);
//   - what failed (an error or a failure code) fails again at once for [FailureTTL], and for twice
//     as long each time that it fails again, at most [MaxFailureTTL] (RFC 9520 section 3.2); an
//     exchange that its caller gave up is not a failure;
//   - where the cache holds an expired answer that may be given as stale, a failure, or silence for
//     [ClientTimeout], is answered with that, Proto "stale", an extended error in its OPT record;
//     the question goes on behind the client's back, and after a failure is not asked again for
//     [FailureRecheck] (RFC 8767).
//
// Close must be called where the cache has a MaxStale or Refresh is used.
type Cache struct {
	cache    *dnscache.Cache
	now      func() time.Time
	next     Exchanger
	failures failures
	flights  flights
}

// Cached puts c before next. now is the clock.
func Cached(c *dnscache.Cache, now func() time.Time, next Exchanger) *Cache {
	return &Cache{cache: c, now: now, next: next}
}

// Exchange implements Exchanger.
func (c *Cache) Exchange(ctx context.Context, q Query) (Reply, error) {
	known, ok := c.known(q, c.now())
	if ok {
		return known.reply, known.err
	}
	stale := known.reply
	f := c.flights.find(q)
	if f == nil && stale.Msg != nil {
		f = c.flights.begin(q, c.fetch)
	}
	switch {
	case f != nil:
		return f.wait(ctx, stale)
	case stale.Msg != nil: // no room for a refresh: the servers are silent
		return stale, nil
	}
	out := c.fetch(ctx, q)
	return out.reply, out.err
}

// Begin implements Beginner. What is known, and what may be answered with a stale
// reply, is left to Exchange.
func (c *Cache) Begin(ctx context.Context, q Query, done Done) bool {
	if known, ok := c.known(q, c.now()); ok || known.reply.Msg != nil || c.flights.find(q) != nil {
		return false
	}
	var told atomic.Bool
	next := Map(c.next, func(q Query, reply Reply, err error) (Reply, error) {
		c.keep(q, outcome{reply, err}, ended(ctx) == nil)
		return reply, err
	})
	return next.Begin(ctx, q, func(reply Reply, err error) {
		if told.CompareAndSwap(false, true) {
			done(reply, err)
		}
	})
}

// Refresh fetches the answer to q anew behind the caller's back, whether it is in the cache or not.
// It does not where that is going on, failed lately, or MaxRefreshes are in flight; it says whether.
func (c *Cache) Refresh(q Query) bool {
	if _, failed := c.failures.get(q, c.now()); failed || c.flights.find(q) != nil {
		return false
	}
	return c.flights.begin(q, c.fetch) != nil
}

// Close ends the refreshes and waits for them. Exchange may still be called.
func (c *Cache) Close() { c.flights.close() }

// known is the answer to q without asking; if there is none, what is returned is the stale one to
// fall back on, or nothing. (It is apart from Exchange so that its buffers do not lie on the stack
// while an upstream is asked: that of a young goroutine is small.)
func (c *Cache) known(q Query, now time.Time) (out outcome, ok bool) {
	var keyRoom [dnswire.MaxKeyLen]byte
	var msgRoom [cachedRoom]byte
	key := q.AppendKey(keyRoom[:0], q.DO, q.CD)
	msg, info, ok := c.cache.GetStale(msgRoom[:0], key, now)
	if ok && !info.Stale {
		return outcome{reply: Reply{Msg: bytes.Clone(msg), Proto: protoCache, Age: info.Age}}, true
	}
	if ok {
		out.reply = staleReply(msg, info)
	}
	if msg, info, ok := c.cache.GetCut(msgRoom[:0], key, now); ok {
		return outcome{reply: Reply{Msg: bytes.Clone(msg), Proto: protoCache, Age: info.Age}}, true
	}
	failed, ok := c.failures.get(q, now)
	if ok && out.reply.Msg == nil {
		return failed, true
	}
	return out, ok
}

// staleReply marks a reply as stale (RFC 8914 sections 4.4 and 4.20).
func staleReply(msg []byte, info dnscache.Info) Reply {
	code := dnswire.EDEStaleAnswer
	if info.RCode == dnswire.RCodeNameError {
		code = dnswire.EDEStaleNXDomain
	}
	opt := dnswire.OPT{Options: dnswire.AppendEDE(nil, code, "")}
	return Reply{Msg: dnswire.AddOPT(bytes.Clone(msg), opt), Proto: protoStale, Age: info.Age}
}

// fetch asks next and keeps what it returns.
func (c *Cache) fetch(ctx context.Context, q Query) outcome {
	reply, err := c.next.Exchange(ctx, q)
	out := outcome{reply, err}
	c.keep(q, out, ended(ctx) == nil || isRefresh(ctx))
	return out
}

// keep takes down what came of asking; failed is whether an error is the servers'
// doing.
func (c *Cache) keep(q Query, out outcome, failed bool) {
	now := c.now()
	if out.err == nil {
		var keyRoom [dnswire.MaxKeyLen]byte
		c.cache.Put(q.AppendKey(keyRoom[:0], q.DO, q.CD), out.reply.Msg, now)
	}
	switch {
	case out.err == nil && !isFailure(out.reply):
		c.failures.forget(q)
	case out.err == nil || failed:
		c.failures.put(q, out, now, c.recheck(q, now))
	}
}

// recheck is the least time until q is asked again after a failure.
func (c *Cache) recheck(q Query, now time.Time) time.Duration {
	var keyRoom [dnswire.MaxKeyLen]byte
	var msgRoom [cachedRoom]byte
	if _, info, ok := c.cache.GetStale(msgRoom[:0], q.AppendKey(keyRoom[:0], q.DO, q.CD), now); ok && !info.Failure {
		return FailureRecheck
	}
	return FailureTTL
}

// isFailure reports whether a reply says that the question was not answered.
func isFailure(r Reply) bool {
	switch r.RCode() {
	case dnswire.RCodeSuccess, dnswire.RCodeNameError:
		return false
	}
	return len(r.Msg) > 0
}
