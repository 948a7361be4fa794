package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// These are measured with servers of their own, fresh ones.

// settle is what a server has to come to rest before its memory is looked at.
const settle = time.Second

// fresh runs something with a new server on cores.
func (b *bench) fresh(ctx context.Context, p peer, cores []int, run func(*server) error) error {
	s, err := b.startServer(ctx, p, cores)
	if err != nil {
		return err
	}
	defer s.stop()
	return run(s)
}

// measureStart gives the time from the start to the first forwarded answer, and
// the resident memory then.
func measureStart(ctx context.Context, b *bench, s *server, _ int) ([]float64, error) {
	var values []float64
	err := b.fresh(ctx, s.peer, b.cores[:1], func(f *server) error {
		octets, err := f.rss()
		values = []float64{float64(f.ready.Sub(f.began).Microseconds()) / 1e3, float64(octets) / 1e6}
		return err
	})
	return values, err
}

var errNoGrowth = errors.New("its memory does not grow with the cache: all is taken at the start")

// measureMemory fills the cache of a fresh server, and divides what its memory
// grew by the RRsets. What it did not keep does not count: the upstream is
// stopped, and a sample asked for again.
func measureMemory(ctx context.Context, b *bench, s *server, _ int) ([]float64, error) {
	var octets float64
	err := b.fresh(ctx, s.peer, b.cores[:1], func(f *server) error {
		if err := warmHot(ctx, b, f); err != nil { // what grows once has grown
			return err
		}
		before, err := f.restingRSS(ctx)
		if err != nil {
			return err
		}
		l := load{server: f.addr, links: 4, next: wild(memorySalt, dnswire.TypeA, dnswire.TypeAAAA), queries: 2 * b.names}
		if _, err := l.mustRun(ctx); err != nil {
			return err
		}
		after, err := f.restingRSS(ctx)
		if err != nil {
			return err
		}
		held, err := b.held(ctx, f, every(2*b.names/heldSample, wild(memorySalt, dnswire.TypeA, dnswire.TypeAAAA)))
		if err != nil {
			return err
		}
		if held < enoughHeld {
			b.note("memory: %s kept %.0f %% of %d RRsets; what it keeps is divided by these", s.name, held*100, 2*b.names)
		}
		if after <= before {
			return errNoGrowth
		}
		octets = float64(after-before) / (float64(2*b.names) * held)
		return nil
	})
	return []float64{octets}, err
}

func (s *server) restingRSS(ctx context.Context) (int, error) {
	if err := pause(ctx, settle); err != nil {
		return 0, err
	}
	return s.rss()
}

// measureCores gives the answers per millisecond of servers on one core and on
// two, then what each costs. Where the machine has but two, the load has a part of the second.
func measureCores(ctx context.Context, b *bench, s *server, round int) (values []float64, err error) {
	var costs []float64
	for n := 1; n <= 2; n++ {
		err := b.fresh(ctx, s.peer, b.cores[:n], func(f *server) error {
			if err := warmHot(ctx, b, f); err != nil {
				return err
			}
			l := overUDP
			l.server, l.next, l.time = f.addr, inOrder(hot()), b.duration
			mine := ownCPU()
			used, t, err := f.cpuDuring(func() (tally, error) { return l.mustRun(ctx) })
			if err != nil {
				return err
			}
			values = append(values, float64(t.answered)/1e3/t.took.Seconds())
			costs = append(costs, perQuery(used, t))
			if round == 0 {
				b.note("on %d core(s): the server used %.2f of a core, the load %.2f, of the machine's %d; %.2f µs CPU/query",
					n, used.Seconds()/t.took.Seconds(), (ownCPU()-mine).Seconds()/t.took.Seconds(), len(b.cores), perQuery(used, t))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return append(values, costs...), nil
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
