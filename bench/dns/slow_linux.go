package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The open loop: queries leave by the clock, whatever comes back.
const (
	slowRate  = 5000 // queries per second
	slowLinks = 16   // with a window each, so that an answer may take 51 ms
)

// measureSlow gives the CPU time per query and the latencies at a low rate.
func measureSlow(ctx context.Context, b *bench, s *server, _ int) ([]float64, error) {
	o := openLoop{server: s, next: s.source(inOrder(existing(hotNames))), queries: int(2*b.duration.Seconds()*slowRate + 0.5)}
	used, t, err := s.cpuDuring(func() (tally, error) {
		t, err := o.run(ctx)
		if err == nil {
			err = t.err()
		}
		return t, err
	})
	if err != nil {
		return nil, err
	}
	return []float64{perQuery(used, t), micros(percentile(o.latencies, 50)), micros(percentile(o.latencies, 99))}, nil
}

// openLoop is a load by the clock. It is used by one goroutine.
type openLoop struct {
	server  *server
	next    source
	queries int

	tally
	latencies []time.Duration
	links     []*link
	fds       []unix.PollFd
	begin     time.Time
	sent      int
}

func (o *openLoop) run(ctx context.Context) (tally, error) {
	runtime.LockOSThread() // the timer's slack is a thread's
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return o.tally, fmt.Errorf("ask for exact timers: %w", err)
	}
	defer func() {
		for _, k := range o.links {
			k.close()
		}
	}()
	for range slowLinks {
		k, err := dialLink(o.server.addr, false)
		if err != nil {
			return o.tally, err
		}
		o.links = append(o.links, k)
		o.fds = append(o.fds, unix.PollFd{Fd: int32(k.fd), Events: unix.POLLIN})
	}
	o.begin = time.Now()
	for ctx.Err() == nil {
		done, err := o.turn()
		if done || err != nil {
			o.took = time.Since(o.begin)
			return o.tally, err
		}
	}
	return o.tally, ctx.Err()
}

// turn sends what is due, waits until the next is, and takes what came.
func (o *openLoop) turn() (done bool, err error) {
	const interval = time.Second / slowRate
	due := o.begin.Add(time.Duration(o.sent) * interval)
	if o.sent == o.queries {
		due = due.Add(lossAfter)
		if o.answered+o.wrong+o.lost == o.queries {
			return true, nil
		}
		if time.Now().After(due) {
			o.lost = o.queries - o.answered - o.wrong
			return true, nil
		}
	} else if !time.Now().Before(due) {
		return false, o.ask()
	}
	if err := waitFor(o.fds, time.Until(due)); err != nil {
		return false, err
	}
	for i := range o.fds {
		if o.fds[i].Revents != 0 {
			if err := o.take(o.links[i]); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// ask sends the next query. One whose slot it takes is lost.
func (o *openLoop) ask() error {
	k, i := o.links[o.sent%slowLinks], o.sent/slowLinks%window
	if k.slots[i].busy {
		o.lost++
	}
	k.fill(i, o.next)
	k.slots[i].sentAt = time.Since(o.begin)
	o.sent++
	return k.sendOne(i)
}

func (o *openLoop) take(k *link) error {
	return k.receive(func(msg []byte) {
		s := k.match(msg)
		if s == nil || !checkAnswer(s.packet[:s.length], msg, s.want, o.answered%fullCheckEvery == 0) {
			o.wrong++
			return
		}
		s.busy = false
		o.answered++
		o.latencies = append(o.latencies, time.Since(o.begin)-s.sentAt)
	})
}
