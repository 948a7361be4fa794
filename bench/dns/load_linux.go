package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lossAfter is how long an answer is waited for before it counts as lost.
	lossAfter = 2 * time.Second
	// maxLost ends a load whose server does not answer.
	maxLost = 500
	// fullCheckEvery is which share of the answers has its records looked at.
	fullCheckEvery = 64
)

// tally is what became of a load's queries.
type tally struct {
	answered int
	wrong    int // other than expected
	lost     int // not answered in time
	late     int // answers to nothing outstanding: to what was given up, or twice
	took     time.Duration
}

// err is an error where answers were wrong, or more than one of a thousand lost.
func (t tally) err() error {
	if t.wrong > 0 || t.lost > t.answered/1000 || t.late > t.lost {
		return fmt.Errorf("%d answers, %d wrong, %d lost, %d late or double", t.answered, t.wrong, t.lost, t.late)
	}
	return nil
}

// take counts an answer, and returns its slot, -1 if it has none.
func (t *tally) take(k *link, msg []byte) int {
	i := k.match(msg)
	if i < 0 {
		t.late++
		return i
	}
	s := &k.slots[i]
	s.busy = false
	if checkAnswer(s.packet[:s.length], msg, s.want, t.answered%fullCheckEvery == 0) {
		t.answered++
	} else {
		t.wrong++
	}
	return i
}

// window is how many queries a closed loop has outstanding on a link.
const window = batch

// load is a closed loop: each link keeps its window full.
type load struct {
	server netip.AddrPort
	tcp    bool
	links  int
	next   source
	// The load ends after this many queries, or this long where queries is 0.
	queries int
	time    time.Duration
}

// generator is a load that runs. It is used by one goroutine.
type generator struct {
	load
	tally
	list  []*link
	left  int
	since time.Time
	due   [window]int // the slots to be filled anew
}

// mustRun is run; an error too where answers were wrong or more than a few lost.
func (l load) mustRun(ctx context.Context) (tally, error) {
	t, err := l.run(ctx)
	return t, errors.Join(err, t.err())
}

// run asks, and counts what comes back.
func (l load) run(ctx context.Context) (t tally, err error) {
	g := &generator{load: l, left: l.queries}
	if l.queries == 0 {
		g.left = int(^uint(0) >> 1)
	}
	defer g.close()
	for range l.links {
		k, err := dialLink(l.server, l.tcp, window)
		if err != nil {
			return t, err
		}
		g.list = append(g.list, k)
	}
	begin := time.Now()
	g.since = begin
	for _, k := range g.list {
		if err := g.refill(k, g.due[:0], true); err != nil {
			return g.tally, err
		}
	}
	err = g.loop(ctx, begin)
	g.took = time.Since(begin)
	return g.tally, err
}

func (g *generator) close() {
	for _, k := range g.list {
		k.close()
	}
}

// refill sends a new query for each slot in due; for all slots at the start.
func (g *generator) refill(k *link, due []int, start bool) error {
	if start {
		for i := range window {
			due = append(due, i)
		}
	}
	due = due[:min(len(due), g.left)]
	g.left -= len(due)
	for _, i := range due {
		k.fill(i, g.next)
	}
	if len(due) == 0 && len(k.out) == 0 {
		return nil
	}
	return k.send(due)
}

func (g *generator) outstanding() (n int) {
	for _, k := range g.list {
		n += k.outstanding()
	}
	return n
}

// loop serves the links until the load is done and all answers are in.
func (g *generator) loop(ctx context.Context, begin time.Time) error {
	for ctx.Err() == nil {
		before := g.answered + g.wrong
		for _, k := range g.list {
			if err := g.serve(k); err != nil {
				return err
			}
		}
		if g.answered+g.wrong > before {
			g.since = time.Now()
			if g.queries == 0 && g.since.Sub(begin) > g.time {
				g.left = 0
			}
			continue
		}
		if g.left == 0 && g.outstanding() == 0 {
			return nil
		}
		if err := g.wait(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// serve takes the answers of one link and refills it.
func (g *generator) serve(k *link) error {
	due := g.due[:0]
	err := k.receive(func(msg []byte) {
		if i := g.take(k, msg); i >= 0 {
			due = append(due, i)
		}
	})
	if err != nil {
		return err
	}
	return g.refill(k, due, false)
}

// wait waits for an answer; when none comes for long, what is outstanding is
// lost, and asked for anew.
func (g *generator) wait() error {
	fds := make([]unix.PollFd, len(g.list))
	for i, k := range g.list {
		fds[i] = unix.PollFd{Fd: int32(k.fd), Events: unix.POLLIN}
	}
	if err := waitFor(fds, lossAfter/10); err != nil {
		return err
	}
	if time.Since(g.since) < lossAfter {
		return nil
	}
	g.since = time.Now()
	for _, k := range g.list {
		due := g.due[:0]
		for i := range k.slots {
			if k.slots[i].busy {
				k.slots[i].busy = false
				g.lost++
				due = append(due, i)
			}
		}
		if g.lost > maxLost {
			return fmt.Errorf("%v does not answer: %d lost", g.server, g.lost)
		}
		if err := g.refill(k, due, false); err != nil {
			return err
		}
	}
	return nil
}
