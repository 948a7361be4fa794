package main

import (
	"context"
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/resolver"
)

// The names that are dialled.
const (
	oneName   = "one.example."   // one address
	dualName  = "dual.example."  // an IPv6 and an IPv4 address of one host
	aliasName = "alias.example." // another name of the same addresses
)

// dialBatch is how many dials over loopback make a run: less than a listener's
// backlog, as nobody accepts them.
const dialBatch = 400

// dialFunc is DialContext of this module's dialer or of package net's.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// netDialer is the baseline: package net's dialer with Multipath TCP on.
func netDialer() *net.Dialer {
	d := &net.Dialer{}
	d.SetMultipathTCP(true)
	return d
}

// measureDial compares the cost of a dial over loopback.
func measureDial(ctx context.Context, b *bench, runs int) ([]figure, error) {
	took := figure{name: "dial over loopback", unit: "µs", against: "net.Dialer", bound: ratioAtMost(1.1)}
	allocs := figure{name: "allocations of a dial", unit: "allocs", against: "net.Dialer", bound: ratioAtMost(1.1)}
	var d dialer.Dialer
	n := dialBatch
	if b.short {
		n /= 20
	}
	for run := range runs + 1 {
		ours, baseline, err := inTurns(run, func() (cost, error) {
			return dialMany(ctx, n, d.DialContext)
		}, func() (cost, error) {
			return dialMany(ctx, n, netDialer().DialContext)
		})
		if err != nil {
			return nil, err
		}
		if run > 0 { // the first one warms up
			took.add(ours.micros, baseline.micros)
			allocs.add(ours.allocs, baseline.allocs)
		}
	}
	return []figure{took, allocs}, nil
}

// inTurns makes one run of both sides; every other one begins with the baseline.
func inTurns[T any](run int, ours, baseline func() (T, error)) (a, b T, err error) {
	if run%2 == 0 {
		if a, err = ours(); err == nil {
			b, err = baseline()
		}
		return a, b, err
	}
	if b, err = baseline(); err == nil {
		a, err = ours()
	}
	return a, b, err
}

// cost is that of one dial with its close.
type cost struct{ micros, allocs float64 }

// dialMany dials n times over loopback. The kernel completes the connections;
// nobody accepts them, so that only the dialling side is in the figures.
func dialMany(ctx context.Context, n int, dial dialFunc) (cost, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return cost{}, err
	}
	defer l.Close()
	address := l.Addr().String()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	for range n {
		if _, err := timeDial(ctx, dial, address); err != nil {
			return cost{}, err
		}
	}
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	return cost{
		micros: float64(took.Nanoseconds()) / 1e3 / float64(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, nil
}

// timeDial dials, closes and returns how long the dial took, in milliseconds.
func timeDial(ctx context.Context, dial dialFunc, address string) (float64, error) {
	begin := time.Now()
	c, err := dial(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	took := millis(time.Since(begin))
	return took, c.Close()
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// byName returns both dialers with the lab's name server, without caches.
func (b *bench) byName() (*dialer.Dialer, *net.Dialer) {
	server := b.names.addr()
	ours := &dialer.Dialer{Resolver: &resolver.Resolver{
		Servers: []string{server}, NoHosts: true, NoSearch: true, CacheOctets: -1,
	}}
	baseline := netDialer()
	baseline.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}}
	return ours, baseline
}

// at is a name with the sink's port.
func at(name string) string { return net.JoinHostPort(name, strconv.Itoa(sinkPort)) }

// measureRecord dials a name with one address, whose record is made of an answer
// with it and one without any. A round trip more would double the time.
func measureRecord(ctx context.Context, b *bench, runs int) ([]figure, error) {
	f := figure{name: "dial of a record with one address", unit: "ms", against: "net.Dialer", bound: ratioAtMost(1.5)}
	ours, baseline := b.byName()
	defer ours.Resolver.Close()
	for run := range runs {
		a, n, err := inTurns(run, func() (float64, error) {
			return timeDial(ctx, ours.DialContext, at(oneName))
		}, func() (float64, error) {
			return timeDial(ctx, baseline.DialContext, at(oneName))
		})
		if err != nil {
			return nil, err
		}
		f.add(a, n)
	}
	b.note("A round trip is %v; one more would show as a ratio of 2.", roundTrip)
	return []figure{f}, nil
}

// measureBlackhole dials names whose IPv6 address swallows everything: with a
// dialer that knows nothing yet, then again, then by another name.
func measureBlackhole(ctx context.Context, b *bench, runs int) ([]figure, error) {
	first := millis(dialer.DefaultConnectionAttemptDelay + 2*roundTrip)
	figures := []figure{
		{name: "IPv6 blackholed, first dial", bound: atMost(first)},
		{name: "IPv6 blackholed, second dial", bound: atMost(millis(2 * roundTrip))},
		{name: "IPv6 blackholed, another name of the address", bound: atMost(millis(2 * roundTrip))},
	}
	b.lab.Behave(b.server[0].v6, testlab.Blackholed)
	defer b.lab.Behave(b.server[0].v6, testlab.Up)
	for range runs {
		ours, baseline := b.byName()
		for i, name := range []string{dualName, dualName, aliasName} {
			a, err := timeDial(ctx, ours.DialContext, at(name))
			if err != nil {
				return nil, err
			}
			n, err := timeDial(ctx, baseline.DialContext, at(name))
			if err != nil {
				return nil, err
			}
			figures[i].unit, figures[i].against = "ms", "net.Dialer"
			figures[i].add(a, n)
		}
		if err := ours.Resolver.Close(); err != nil {
			return nil, err
		}
	}
	return figures, nil
}
