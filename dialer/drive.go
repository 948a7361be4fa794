package dialer

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// errLost is the error of an attempt that was stopped because another address
// connected first.
var errLost = errors.New("another address connected first")

// connectFunc makes one connection attempt. It returns when ctx is done. Where
// success takes more than a TCP connection, it calls established in between.
type connectFunc[C io.Closer] func(ctx context.Context, remote netip.AddrPort, established func()) (C, error)

// driver runs a race: it owns the attempts' goroutines, the timer and the log.
// All of its fields belong to the goroutine that calls run.
type driver[C io.Closer] struct {
	race    *race
	connect connectFunc[C]
	begin   time.Time // of the dial: the log's times count from here

	log     []Attempt
	cancels map[netip.AddrPort]context.CancelFunc
	results chan result[C]
	running int
	timer   *time.Timer
	group   errgroup.Group

	winner  C
	decided bool // the race is over
	won     bool
}

// result is how one attempt ended, or that it has a TCP connection.
type result[C io.Closer] struct {
	remote      netip.AddrPort
	conn        C
	err         error
	established bool // not the end: success is still to come
}

// newDriver returns a driver for r. begin is when the dial began.
func newDriver[C io.Closer](r *race, begin time.Time, connect connectFunc[C]) *driver[C] {
	return &driver[C]{
		race: r, connect: connect, begin: begin,
		cancels: make(map[netip.AddrPort]context.CancelFunc),
		results: make(chan result[C]),
		timer:   stoppedTimer(),
	}
}

// stoppedTimer returns a timer that fires only once it is reset.
func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// run races the addresses that arrive on answers until one connects, all have
// failed, or ctx is done. When it returns, every attempt has ended and every
// connection but the one returned is closed. A run without a winner returns
// ctx's error, or nil when every address was tried; the log has the rest.
func (d *driver[C]) run(ctx context.Context, answers <-chan answered) (conn C, won bool, err error) {
	defer d.timer.Stop()
	for !d.decided && err == nil {
		select {
		case ev, ok := <-answers:
			if !ok {
				answers, ev = nil, answered{candidates: d.race.candidates, complete: true}
			}
			d.feed(ctx, ev)
		case res := <-d.results:
			d.settle(ctx, res)
		case <-d.timer.C:
			d.feed(ctx, ticked{})
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	d.stop(err)
	return d.winner, d.won, err
}

// feed gives the race one event and does what it asks for.
func (d *driver[C]) feed(ctx context.Context, ev event) {
	d.timer.Stop()
	for _, a := range d.race.step(time.Now(), ev) {
		switch a.kind {
		case startAttempt:
			d.start(ctx, a.remote)
		case cancelAttempt:
			d.cancels[a.remote]()
		case setTimer:
			d.timer.Reset(time.Until(a.at))
		case finish:
			d.decided, d.won = true, true
		case giveUp:
			d.decided = true
		}
	}
}

// start runs one attempt in a goroutine of its own.
func (d *driver[C]) start(ctx context.Context, remote netip.AddrPort) {
	ctx, d.cancels[remote] = context.WithCancel(ctx)
	d.log = append(d.log, Attempt{Remote: remote, Started: time.Since(d.begin)})
	d.running++
	d.group.Go(func() error {
		conn, err := d.connect(ctx, remote, func() {
			d.results <- result[C]{remote: remote, established: true}
		})
		d.results <- result[C]{remote: remote, conn: conn, err: err}
		return nil
	})
}

// settle takes in the result of one attempt: the first success is the winner,
// a later one is closed.
func (d *driver[C]) settle(ctx context.Context, res result[C]) {
	if res.established {
		if !d.decided {
			d.feed(ctx, established{res.remote})
		}
		return
	}
	d.running--
	d.cancels[res.remote]()
	at := d.attempt(res.remote)
	at.Elapsed = time.Since(d.begin) - at.Started
	switch {
	case res.err != nil && d.decided:
		at.Err = mapContextError(res.err)
	case res.err != nil:
		at.Err = mapContextError(res.err)
		d.feed(ctx, failed{res.remote})
	case d.decided:
		at.Err = errLost
		_ = res.conn.Close() // nothing was written to it
	default:
		d.winner = res.conn
		d.feed(ctx, succeeded{res.remote})
	}
}

// stop ends every attempt still running and waits for it. cause is why there
// is no winner, nil when there is one.
func (d *driver[C]) stop(cause error) {
	stopped := errLost
	if cause != nil {
		stopped = mapContextError(cause)
	}
	d.decided = true
	for _, cancel := range d.cancels {
		cancel()
	}
	for d.running > 0 {
		res := <-d.results
		d.settle(context.Background(), res)
		if at := d.attempt(res.remote); !res.established && errors.Is(at.Err, context.Canceled) {
			at.Err = stopped
		}
	}
	_ = d.group.Wait() // the attempts return nil; their results have been read
}

// attempt returns the log's entry for remote.
func (d *driver[C]) attempt(remote netip.AddrPort) *Attempt {
	for i := range d.log {
		if d.log[i].Remote == remote {
			return &d.log[i]
		}
	}
	return nil
}
