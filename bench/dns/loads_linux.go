package main

import (
	"context"
	"fmt"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// measurement is one row of the table.
type measurement struct {
	name  string // of -only
	title string
	unit  string
	floor bool // the echoes take part
	goals []goal
	// warm prepares a server; measure makes one figure.
	warm    func(ctx context.Context, b *bench, s *server) error
	measure func(ctx context.Context, b *bench, s *server, round int) (float64, error)
}

// goal is what mpdnsd is to reach: at most limit times another's figure of the
// same run; "" is the best peer's.
type goal struct {
	of    string
	limit float64
}

func measurements() []measurement {
	return []measurement{
		{
			name: "hot", title: "1,000 names, cached, UDP", unit: "µs CPU/query", floor: true,
			goals:   []goal{{"", 0.80}, {cEcho, 1.3}},
			warm:    warmWith(func() []query { return existing(1000) }),
			measure: cpuOf(udp(func(_ int) source { return inOrder(existing(1000)) })),
		},
		{
			name: "many", title: "100,000 names in random order, cached, with CNAME and NXDOMAIN", unit: "µs CPU/query",
			goals:   []goal{{"", 0.90}},
			warm:    warmWith(func() []query { return all(manyNames) }),
			measure: cpuOf(udp(func(round int) source { return inRandomOrder(all(manyNames), uint64(round)) })),
		},
		{
			name: "tcp", title: "TCP, 4 pipelined connections, cached", unit: "µs CPU/query",
			goals:   []goal{{"", 0.90}},
			warm:    warmWith(func() []query { return existing(1000) }),
			measure: cpuOf(load{tcp: true, links: 4, window: window}, func(_ int) source { return inOrder(existing(1000)) }),
		},
		{
			name: "new", title: "a new name each time, forwarded", unit: "µs CPU/query",
			goals: []goal{{"unbound", 0.45}},
			measure: cpuOf(udp(func(round int) source {
				return wild(fmt.Sprintf("r%d-%d-", round, time.Now().UnixNano()), dnswire.TypeA)
			})),
		},
	}
}

// udp is the load of most rows.
func udp(next func(round int) source) (load, func(int) source) {
	return load{links: 8, window: window}, next
}

// warmWith asks each query twice: the second time all must be cached.
func warmWith(list func() []query) func(context.Context, *bench, *server) error {
	return func(ctx context.Context, b *bench, s *server) error {
		l := load{server: s.addr, links: 4, window: 8, next: s.source(inOrder(list())), queries: 2 * len(list())}
		_, err := l.run(ctx)
		return err
	}
}

// source is next, without expectations where the server is an echo.
func (s *server) source(next source) source {
	if !s.floor {
		return next
	}
	return func(dst []byte) ([]byte, expectation) {
		packet, _ := next(dst)
		return packet, expectation{}
	}
}

// cpuOf measures the server's CPU time per answered query under a load.
func cpuOf(l load, next func(round int) source) func(context.Context, *bench, *server, int) (float64, error) {
	return func(ctx context.Context, b *bench, s *server, round int) (float64, error) {
		l := l
		l.server, l.next, l.time = s.addr, s.source(next(round)), b.duration
		before, err := s.cpu()
		if err != nil {
			return 0, err
		}
		t, err := l.run(ctx)
		if err != nil {
			return 0, err
		}
		after, err := s.cpu()
		return float64((after - before).Nanoseconds()) / 1e3 / float64(t.answered), err
	}
}
