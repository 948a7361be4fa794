package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// pool is a bounded set of workers. A worker is started when there is work and
// none is idle, and ends after workerIdle without work. There is no queue
// besides the workers: it would only make answers late.
type pool[T any] struct {
	work chan T        // unbuffered: a send succeeds when a worker is idle
	room chan struct{} // one element for each running worker
	done chan struct{}
	new  func() func(T)
	busy atomic.Int64 // workers with work
	wg   sync.WaitGroup
}

// newPool makes a pool of at most the given number of workers; each gets a
// function of its own from start.
func newPool[T any](most int, start func() func(T)) *pool[T] {
	return &pool[T]{
		work: make(chan T),
		room: make(chan struct{}, most),
		done: make(chan struct{}),
		new:  start,
	}
}

// try gives t to a worker; false if all are busy.
func (p *pool[T]) try(t T) bool {
	select {
	case p.work <- t:
		return true
	default:
	}
	select {
	case p.room <- struct{}{}:
		p.start(t)
		return true
	default:
		return false
	}
}

// wait gives t to a worker as soon as one is idle; false if ctx ends first.
func (p *pool[T]) wait(ctx context.Context, t T) bool {
	if p.try(t) {
		return true
	}
	select {
	case p.work <- t:
		return true
	case p.room <- struct{}{}:
		p.start(t)
		return true
	case <-ctx.Done():
		return false
	}
}

// start runs a new worker, for which room was taken.
func (p *pool[T]) start(first T) {
	p.wg.Go(func() {
		defer func() { <-p.room }()
		work := p.new()
		do := func(t T) {
			p.busy.Add(1)
			defer p.busy.Add(-1)
			work(t)
		}
		do(first)
		idle := time.NewTimer(workerIdle)
		defer idle.Stop()
		for {
			idle.Reset(workerIdle)
			select {
			case t := <-p.work:
				do(t)
			case <-idle.C:
				return
			case <-p.done:
				return
			}
		}
	})
}

// close ends the workers, after the work that they have. No work may be given
// to the pool any more.
func (p *pool[T]) close() {
	close(p.done)
	p.wg.Wait()
}
