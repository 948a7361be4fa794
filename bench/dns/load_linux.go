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
	maxLost = 2000
	// fullCheckEvery is which share of the answers has its records looked at.
	fullCheckEvery = 64
)

// tally is what became of a load's queries.
type tally struct {
	answered, wrong, lost int
	took                  time.Duration
}

func (t tally) err() error {
	if t.wrong > 0 || t.lost > t.answered/1000 {
		return fmt.Errorf("%d answers, %d wrong, %d lost", t.answered, t.wrong, t.lost)
	}
	return nil
}

// load is a closed loop: each link keeps its window full.
type load struct {
	server netip.AddrPort
	tcp    bool
	links  int
	window int // queries outstanding on a link
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
	due   [window]int
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
		k, err := dialLink(l.server, l.tcp)
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
		for i := range g.window {
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
		for i := range k.slots {
			if k.slots[i].busy {
				n++
			}
		}
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
		s := k.match(msg)
		if s == nil {
			g.wrong++
			return
		}
		s.busy = false
		if checkAnswer(s.packet[:s.length], msg, s.want, g.answered%fullCheckEvery == 0) {
			g.answered++
		} else {
			g.wrong++
		}
		due = append(due, int(msg[1]%window))
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
