package main

import (
	"context"
	"fmt"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// measurement is one row of the table, or several that are measured at once.
type measurement struct {
	name     string // of -only
	floor    bool   // the echoes take part
	oursOnly bool
	once     bool // one round: it takes long, and varies little
	figures  []figure
	// warm prepares a server once, in the first round; nil: nothing to prepare.
	warm func(ctx context.Context, b *bench, s *server) error
	// measure gives a value for each of the figures.
	measure func(ctx context.Context, b *bench, s *server, round int) ([]float64, error)
}

// figure is one row.
type figure struct {
	title, unit string
	goals       []goal
}

// goal is what mpdnsd is to reach: a figure at most limit times another's of
// the same run; "" is the best peer's. Where absolute, limit is the figure.
type goal struct {
	of       string
	limit    float64
	absolute bool
}

const cpuUnit = "µs CPU/query"

// The salts of names that are new: every load has its own.
const (
	newSalt    = "new"
	memorySalt = "memory"
)

func measurements() []measurement {
	return append(saturated(), []measurement{
		{
			name: "slow", floor: true,
			figures: []figure{
				{"5,000 queries per second, cached: CPU", cpuUnit, []goal{{of: "unbound", limit: 1}}},
				{"the same: time to the answer, median", "µs", nil},
				{"the same: 99th percentile", "µs", []goal{{of: "dnsdist", limit: 1}}},
			},
			warm: warmHot, measure: measureSlow,
		},
		{
			name: "memory", once: true,
			figures: []figure{{"memory of a cached RRset of two records", "octets", []goal{{limit: 200, absolute: true}}}},
			measure: measureMemory,
		},
		{
			name: "start",
			figures: []figure{
				{"start to the first forwarded answer", "ms", []goal{{limit: 25, absolute: true}}},
				{"resident memory then", "MB", []goal{{limit: 20, absolute: true}}},
			},
			measure: measureStart,
		},
		{
			name: "cores", oursOnly: true,
			figures: []figure{
				{"1,000 names, cached, UDP: server on one core", "queries/ms", nil},
				{"the same: server on two cores", "queries/ms", nil},
				{"the same: CPU of the server on one core", cpuUnit, nil},
				{"the same: CPU of the server on two cores", cpuUnit, nil},
			},
			measure: measureCores,
		},
	}...)
}

// saturated are the loads that give a server as much as it takes.
func saturated() []measurement {
	best := func(limit float64) []goal { return []goal{{limit: limit}} }
	hotSource := func(*bench, int) source { return inOrder(hot()) }
	return []measurement{
		{
			name: "hot", floor: true,
			figures: []figure{{"1,000 names, cached, UDP", cpuUnit, append(best(0.80), goal{of: cEcho, limit: 1.3})}},
			warm:    warmHot, measure: cpuOf(overUDP, hotSource),
		},
		{
			name:    "many",
			figures: []figure{{"100,000 names in random order, cached, with CNAME and NXDOMAIN", cpuUnit, best(0.90)}},
			warm: func(ctx context.Context, b *bench, s *server) error {
				return b.warm(ctx, s, all(b.many))
			},
			measure: cpuOf(overUDP, func(b *bench, round int) source {
				return inRandomOrder(all(b.many), uint64(round))
			}),
		},
		{
			name:    "tcp",
			figures: []figure{{"TCP, 4 pipelined connections, cached", cpuUnit, best(0.90)}},
			warm:    warmHot, measure: cpuOf(load{tcp: true, links: 4}, hotSource),
		},
		{
			name:    "new",
			figures: []figure{{"a new name each time, forwarded", cpuUnit, []goal{{of: "unbound", limit: 0.45}}}},
			measure: cpuOf(overUDP, func(_ *bench, round int) source {
				return wild(fmt.Sprintf("%s-%d-", newSalt, round), dnswire.TypeA)
			}),
		},
	}
}

// overUDP is the load of most rows: 128 queries outstanding, of 8 ports.
var overUDP = load{links: 8}

// figuresOf makes one round with one server.
func (m measurement) figuresOf(ctx context.Context, b *bench, s *server, round int) ([]float64, error) {
	if round == 0 && m.warm != nil {
		if err := m.warm(ctx, b, s); err != nil {
			return nil, fmt.Errorf("fill the cache: %w", err)
		}
	}
	return m.measure(ctx, b, s, round)
}

func warmHot(ctx context.Context, b *bench, s *server) error { return b.warm(ctx, s, hot()) }

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
func cpuOf(l load, next func(b *bench, round int) source) func(context.Context, *bench, *server, int) ([]float64, error) {
	return func(ctx context.Context, b *bench, s *server, round int) ([]float64, error) {
		l := l
		l.server, l.next, l.time = s.addr, s.source(next(b, round)), b.duration
		used, t, err := s.cpuDuring(func() (tally, error) { return l.mustRun(ctx) })
		return []float64{perQuery(used, t)}, err
	}
}

// cpuDuring is the CPU time that a server uses while something runs.
func (s *server) cpuDuring(run func() (tally, error)) (time.Duration, tally, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, tally{}, err
	}
	t, err := run()
	if err != nil {
		return 0, t, err
	}
	after, err := s.cpu()
	return after - before, t, err
}

// perQuery is a time in microseconds, divided by the answers.
func perQuery(d time.Duration, t tally) float64 { return micros(d) / float64(max(t.answered, 1)) }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
