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
	slowLinks  = 8
	slowWindow = 256 // of each: at 5,000 per second an answer may take 410 ms
)

// measureSlow gives the CPU time per query and the latencies at a low rate.
func measureSlow(ctx context.Context, b *bench, s *server, _ int) ([]float64, error) {
	o := openLoop{server: s, next: s.source(inOrder(hot())), interval: time.Second / time.Duration(b.rate), queries: int(2*b.duration.Seconds()*float64(b.rate) + 0.5)}
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
	server   *server
	next     source
	queries  int
	interval time.Duration // between two

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
		k, err := dialLink(o.server.addr, false, slowWindow)
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
	due := o.begin.Add(time.Duration(o.sent) * o.interval)
	if o.sent == o.queries {
		due = due.Add(lossAfter)
		left := o.outstanding()
		if left == 0 || time.Now().After(due) {
			o.lost += left
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
	k, i := o.links[o.sent%slowLinks], o.sent/slowLinks%slowWindow
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
		if i := o.tally.take(k, msg); i >= 0 {
			o.latencies = append(o.latencies, time.Since(o.begin)-k.slots[i].sentAt)
		}
	})
}

func (o *openLoop) outstanding() (n int) {
	for _, k := range o.links {
		n += k.outstanding()
	}
	return n
}
