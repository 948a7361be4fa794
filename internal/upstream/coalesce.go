package upstream

import (
	"context"
	"sync"
)

// Coalesce lets equal queries in flight share one exchange: what many ask at
// once is asked once, and a forger finds one query to guess at, not many. A
// caller that gives up leaves the exchange to the others; when the last one
// has left it is cancelled. The exchange has the values of the first caller's
// context, and no one's deadline.
func Coalesce(next Exchanger) Exchanger {
	return &coalesce{next: next, calls: map[Query]*call{}}
}

type coalesce struct {
	next Exchanger

	mu    sync.Mutex // guards calls and the waiters of each
	calls map[Query]*call
}

// call is one exchange in flight. Its goroutine belongs to the callers: the
// last to leave waits for it.
type call struct {
	waiters int
	cancel  context.CancelFunc
	done    chan struct{} // closed when out is set
	out     outcome
}

func (c *coalesce) Exchange(ctx context.Context, q Query) (Reply, error) {
	f := c.join(ctx, q)
	select {
	case <-f.done:
		return f.out.reply, f.out.err
	case <-ctx.Done():
		c.leave(f, q)
		return Reply{}, &Error{Query: q, Timeout: isTimeout(ctx.Err()), Err: context.Cause(ctx)}
	}
}

// join finds the exchange for q or begins one.
func (c *coalesce) join(ctx context.Context, q Query) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.calls[q]
	if f == nil {
		f = &call{done: make(chan struct{})}
		ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		c.calls[q] = f
		go c.run(ctx, f, q)
	}
	f.waiters++
	return f
}

func (c *coalesce) run(ctx context.Context, f *call, q Query) {
	defer close(f.done)
	defer f.cancel()
	f.out.reply, f.out.err = c.next.Exchange(ctx, q)
	c.mu.Lock()
	c.forget(f, q)
	c.mu.Unlock()
}

// leave takes a caller off the exchange, and ends it when that was the last.
func (c *coalesce) leave(f *call, q Query) {
	c.mu.Lock()
	f.waiters--
	last := f.waiters == 0
	if last {
		c.forget(f, q)
	}
	c.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
}

// forget takes the exchange out of the map, unless a newer one is there. The
// lock is held.
func (c *coalesce) forget(f *call, q Query) {
	if c.calls[q] == f {
		delete(c.calls, q)
	}
}
