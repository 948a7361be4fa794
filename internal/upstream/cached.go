package upstream

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
)

const (
	// FailureTTL is how long a question that no server answered is not asked
	// again (RFC 9520 section 3.2: at least 1 s, at most 5 min).
	FailureTTL = 5 * time.Second
	// maxFailures bounds how many such questions are remembered.
	maxFailures = 4096
	// cachedRoom holds most cached replies without growing.
	cachedRoom = 512
)

// Cached answers from c what it has, and puts there what next returns. What
// next failed to get (a time-out of all servers, a network error) fails again
// at once for [FailureTTL], with the same error; an exchange that its caller
// gave up is not a failure. now is the clock.
func Cached(c *dnscache.Cache, now func() time.Time, next Exchanger) Exchanger {
	return &cached{cache: c, now: now, next: next}
}

type cached struct {
	cache    *dnscache.Cache
	now      func() time.Time
	next     Exchanger
	failures failures
}

func (c *cached) Exchange(ctx context.Context, q Query) (Reply, error) {
	if reply, ok, err := c.known(q, c.now()); ok {
		return reply, err
	}
	reply, err := c.next.Exchange(ctx, q)
	c.learn(ctx, q, reply.Msg, err)
	return reply, err
}

// known is what the cache has on q. (It is apart from Exchange so that its
// buffers do not lie on the stack while an upstream is asked: that of a young
// goroutine is small.)
func (c *cached) known(q Query, now time.Time) (reply Reply, ok bool, err error) {
	var keyRoom [dnswire.MaxKeyLen]byte
	var msgRoom [cachedRoom]byte
	key := q.AppendKey(keyRoom[:0], q.DO, q.CD)
	if msg, info, ok := c.cache.Get(msgRoom[:0], key, now); ok {
		return Reply{Msg: bytes.Clone(msg), Proto: "cache", Age: info.Age}, true, nil
	}
	err = c.failures.get(q, now)
	return Reply{}, err != nil, err
}

// learn keeps what next returned.
func (c *cached) learn(ctx context.Context, q Query, msg []byte, err error) {
	var keyRoom [dnswire.MaxKeyLen]byte
	switch {
	case err == nil:
		c.cache.Put(q.AppendKey(keyRoom[:0], q.DO, q.CD), msg, c.now())
	case ended(ctx) == nil:
		c.failures.put(q, err, c.now())
	}
}

// failures remembers errors for a short time.
type failures struct {
	mu   sync.Mutex // guards errs
	errs map[Query]failed
}

type failed struct {
	err   error
	until time.Time
}

func (f *failures) get(q Query, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.errs[q]
	if ok && !now.Before(e.until) {
		delete(f.errs, q)
		return nil
	}
	return e.err
}

func (f *failures) put(q Query, err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.errs == nil {
		f.errs = map[Query]failed{}
	}
	if len(f.errs) >= maxFailures {
		f.makeRoom(now)
	}
	f.errs[q] = failed{err, now.Add(FailureTTL)}
}

// makeRoom drops what has expired; if nothing has, all: it is 5 s of memory.
func (f *failures) makeRoom(now time.Time) {
	for q, e := range f.errs {
		if !now.Before(e.until) {
			delete(f.errs, q)
		}
	}
	if len(f.errs) >= maxFailures {
		clear(f.errs)
	}
}
