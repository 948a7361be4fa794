package upstream

import (
	"bytes"
	"context"
	"sync"
)

// Coalesce lets equal queries in flight share one exchange: what many ask at
// once is asked once, and a forger finds one query to guess at, not many. The
// first to ask does so in its own name and with its own context; when it gives
// up, the exchange ends and one of the others asks anew. A caller that gives up
// while it waits for another's exchange leaves alone.
func Coalesce(next Exchanger) Exchanger {
	return &coalesce{next: next, calls: map[Query]*call{}}
}

type coalesce struct {
	next Exchanger

	mu    sync.Mutex // guards calls and done of each
	calls map[Query]*call
}

// call is one exchange in flight.
type call struct {
	done chan struct{} // closed when out is set; nil until someone waits
	out  outcome
	// abandoned: out says only that the one who asked gave up.
	abandoned bool
	begun     bool   // by Begin, so that it ends without a caller; guarded by coalesce.mu
	waiting   []Done // of those who began while it was; guarded by coalesce.mu
}

func (c *coalesce) Exchange(ctx context.Context, q Query) (Reply, error) {
	for {
		f, done := c.join(q)
		if done == nil {
			return c.run(ctx, f, q)
		}
		select {
		case <-done:
			if !f.abandoned {
				return f.out.reply, f.out.err
			}
		case <-ctx.Done():
			return Reply{}, &Error{Query: q, Timeout: isTimeout(ctx.Err()), Err: context.Cause(ctx)}
		}
	}
}

// Begin implements Beginner. The exchange of a caller who waits may be given up by
// him, so that one is not shared.
func (c *coalesce) Begin(ctx context.Context, q Query, done Done) bool {
	f, shared := c.begin(q, done)
	if f == nil {
		return shared
	}
	begun := Begin(ctx, c.next, q, func(reply Reply, err error) {
		f.out, f.abandoned = outcome{reply, err}, false
		c.end(f, q)
		done(reply, err)
		for _, also := range f.waiting {
			also(reply, err)
		}
	})
	if !begun {
		c.end(f, q)
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.begun = true
	return true
}

// begin makes an exchange for q, which the caller is to begin. Where there is one
// already it makes none and says whether done will be told of that one's end.
func (c *coalesce) begin(q Query, done Done) (f *call, shared bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.calls[q]; other != nil {
		if other.begun {
			other.waiting = append(other.waiting, done)
		}
		return nil, other.begun
	}
	f = &call{abandoned: true}
	c.calls[q] = f
	return f, false
}

// join finds the exchange for q and returns the end to wait for, or begins one,
// which the caller is to run.
func (c *coalesce) join(q Query) (*call, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.calls[q]
	if f == nil {
		f = &call{abandoned: true} // until it has ended well
		c.calls[q] = f
		return f, nil
	}
	if f.done == nil {
		f.done = make(chan struct{})
	}
	return f, f.done
}

// run is the exchange, for all who wait for it.
func (c *coalesce) run(ctx context.Context, f *call, q Query) (Reply, error) {
	defer c.end(f, q)
	reply, err := c.next.Exchange(ctx, q)
	f.out = outcome{reply, err}
	f.abandoned = err != nil && ended(ctx) != nil
	return reply, err
}

// enter makes f the exchange for q; false: there is one. Without a coalesce there
// is none.
func (c *coalesce) enter(q Query, f *call) bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[q] != nil {
		return false
	}
	f.abandoned = true
	c.calls[q] = f
	return true
}

// leave ends what enter began. Those who wait get out, or ask anew after an error.
func (c *coalesce) leave(q Query, f *call, out outcome) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, q)
	if f.done == nil {
		return
	}
	out.reply.Msg = bytes.Clone(out.reply.Msg)
	f.out, f.abandoned = out, out.err != nil
	close(f.done)
}

func (c *coalesce) end(f *call, q Query) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, q)
	if f.done != nil {
		close(f.done)
	}
}
