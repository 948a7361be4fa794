package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errRefreshOver ends a refresh that takes longer than RefreshTimeout.
var errRefreshOver = errors.New("no answer within the time for a refresh")

// flights are the exchanges that run behind their clients' backs, one for each question.
type flights struct {
	mu      sync.Mutex // guards what is below
	closed  bool
	stop    context.CancelFunc
	base    context.Context
	flying  map[Query]*flight
	running sync.WaitGroup // added to under mu
}

// flight is one of them. out is set when done is closed.
type flight struct {
	query    Query
	patience time.Time // until when clients wait that have a stale answer
	done     chan struct{}
	out      outcome
}

// find returns the flight for q, nil if there is none.
func (f *flights) find(q Query) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flying[q]
}

// begin starts fetch for q, or joins the one that runs; nil if there are too many, or after close.
func (f *flights) begin(q Query, fetch func(context.Context, Query) outcome) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.flying[q]; l != nil {
		return l
	}
	if f.closed || len(f.flying) >= MaxRefreshes {
		return nil
	}
	if f.base == nil {
		f.base, f.stop = context.WithCancel(context.Background()) //nolint:gosec // close calls it
		f.flying = map[Query]*flight{}
	}
	l := &flight{query: q, patience: time.Now().Add(ClientTimeout), done: make(chan struct{})}
	f.flying[q] = l
	f.running.Go(func() { f.fly(l, q, fetch) })
	return l
}

// fly runs one. A panic below is the outcome of this flight, not the end of the program: what is read
// there came from the network.
func (f *flights) fly(l *flight, q Query, fetch func(context.Context, Query) outcome) {
	ctx, cancel := context.WithTimeoutCause(f.base, RefreshTimeout, errRefreshOver)
	defer cancel()
	defer f.land(l, q)
	defer func() {
		if p := recover(); p != nil {
			l.out = outcome{err: &Error{Query: q, Err: fmt.Errorf("panic: %v", p)}}
		}
	}()
	l.out = fetch(ctx, q)
}

func (f *flights) land(l *flight, q Query) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.flying, q)
	close(l.done)
}

// close ends all and waits for them.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	if f.stop != nil {
		f.stop()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// isRefresh reports whether the context of a flight ended because its time was over, which is the
// servers' failure and not a client's wish.
func isRefresh(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errRefreshOver) }

// wait returns the outcome. With a stale reply to fall back on, it waits no longer than patience, and
// gives that in place of a failure.
func (l *flight) wait(ctx context.Context, stale Reply) (Reply, error) {
	var late <-chan time.Time
	if stale.Msg != nil {
		timer := time.NewTimer(time.Until(l.patience))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-l.done:
		if stale.Msg != nil && (l.out.err != nil || isFailure(l.out.reply)) {
			return stale, nil
		}
		return l.out.reply, l.out.err
	case <-late:
		return stale, nil
	case <-ctx.Done():
		if stale.Msg != nil {
			return stale, nil
		}
		return Reply{}, &Error{Query: l.query, Timeout: isTimeout(ctx.Err()), Err: context.Cause(ctx)}
	}
}
