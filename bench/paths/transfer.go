package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// The times of one transfer. Nothing is counted while it settles.
const (
	settleTime = 800 * time.Millisecond
	windowTime = 2 * time.Second
	outageTime = 1500 * time.Millisecond
	shortTime  = 200 * time.Millisecond // each of them, for -short
)

// time returns a duration of a transfer.
func (b *bench) time(d time.Duration) time.Duration {
	if b.short {
		return shortTime
	}
	return d
}

// direction is that of a transfer, seen from the client.
type direction string

const (
	up   direction = "up"
	down direction = "down"
)

// meter counts the octets that a reader gets, and its longest pause.
type meter struct {
	mu      sync.Mutex // guards all below
	octets  int64
	last    time.Time
	longest time.Duration
}

// Write implements io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.octets += int64(len(p))
	m.longest, m.last = max(m.longest, now.Sub(m.last)), now
	return len(p), nil
}

// reset begins to count anew.
func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.octets, m.longest, m.last = 0, 0, time.Now()
}

// read returns the octets since reset and the longest pause, the one that lasts
// included.
func (m *meter) read() (octets int64, longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.octets, max(m.longest, time.Since(m.last))
}

// transfer is one connection with data going one way.
type transfer struct {
	conn  *dialer.Conn
	meter *meter // at the receiving end
	moved sync.WaitGroup
}

// begin connects, waits for the paths, and lets the data run until it is steady.
func (b *bench) begin(ctx context.Context, d *dialer.Dialer, set mpaddr.Addr, way direction) (*transfer, error) {
	c, err := d.Connect(ctx, set)
	if err != nil {
		return nil, err
	}
	t := &transfer{conn: c, meter: &b.sunk}
	if way == up {
		t.moved.Go(func() { _, _ = io.Copy(c, zeros{}) }) // ends with the connection
	} else {
		t.meter = &meter{}
		t.moved.Go(func() { _, _ = io.Copy(t.meter, c) }) // as above
	}
	err = c.WaitJoins(ctx)
	if err == nil {
		err = pause(ctx, b.time(settleTime))
	}
	if err != nil {
		t.end()
		return nil, err
	}
	t.meter.reset()
	return t, nil
}

// end closes the connection and waits for what used it. Unsent data is not
// waited for.
func (t *transfer) end() {
	_ = t.conn.SetLinger(0) // otherwise the next run would share the path with it
	t.conn.Close()
	t.moved.Wait()
}

// paths says which paths there are.
func (t *transfer) paths() string {
	var list []string
	for _, p := range t.conn.Paths() {
		if p.State == dialer.StateActive {
			list = append(list, fmt.Sprintf("%v > %v", p.Local.Addr(), p.Remote.Addr()))
		}
	}
	return strings.Join(list, ", ")
}

// twoPaths are the server's addresses of two links, for one direction.
func (b *bench) twoPaths(way direction) mpaddr.Addr {
	port := uint16(sinkPort)
	if way == down {
		port = sourcePort
	}
	return mpaddr.FromAddrs(port, b.server[0].v6, b.server[1].v6)
}

// from returns a dialer for these addresses of the client, as the caller of
// this module would set it.
func from(locals ...netip.Addr) *dialer.Dialer {
	return &dialer.Dialer{Local: mpaddr.FromAddrs(0, locals...)}
}

// onePath returns the same dialer without further subflows: the baseline.
func onePath(locals ...netip.Addr) *dialer.Dialer {
	d := from(locals...)
	d.MaxSubflows = -1
	return d
}

// limit gives links a rate in bit/s, 0 for none.
func limit(rate int64, links [2]*testlab.Link) {
	for _, l := range links {
		l.SetRate(rate)
	}
}

// measureAggregate compares the goodput of two paths with that of one: of a
// client with one fast link, and of one with two slow ones.
func measureAggregate(ctx context.Context, b *bench, runs int) ([]figure, error) {
	limit(pathRate, b.serverLinks)
	defer limit(0, b.serverLinks)
	var all []figure
	for _, client := range []struct {
		name   string
		rate   int64
		locals []netip.Addr
	}{
		{"client of one link", 0, []netip.Addr{b.client[0].v6}},
		{"client of two links", pathRate, []netip.Addr{b.client[0].v6, b.client[1].v6}},
	} {
		limit(client.rate, b.clientLinks)
		for _, way := range []direction{up, down} {
			f := figure{name: fmt.Sprintf("two paths, %s, %s", client.name, way), bound: ratioAtLeast(1.85)}
			f.unit, f.against = "Mbit/s", "one path"
			err := b.compareRates(ctx, &f, client.name, client.locals, way, runs)
			all = append(all, f)
			if err != nil {
				limit(0, b.clientLinks)
				return all, err
			}
		}
	}
	limit(0, b.clientLinks)
	return all, nil
}

// compareRates adds the runs of one row.
func (b *bench) compareRates(ctx context.Context, f *figure, client string, locals []netip.Addr, way direction, runs int) error {
	used := ""
	for run := range runs {
		ours, baseline, err := inTurns(run, func() (rate float64, err error) {
			rate, used, err = b.rate(ctx, from(locals...), way)
			return rate, err
		}, func() (float64, error) {
			rate, _, err := b.rate(ctx, onePath(locals...), way)
			return rate, err
		})
		if err != nil {
			return err
		}
		f.add(ours, baseline)
	}
	if way == up {
		b.note("Paths used with the %s: %s.", client, used)
	}
	return nil
}

// rate is the goodput of one transfer in Mbit/s, and the paths that it had.
func (b *bench) rate(ctx context.Context, d *dialer.Dialer, way direction) (float64, string, error) {
	t, err := b.begin(ctx, d, b.twoPaths(way), way)
	if err != nil {
		return 0, "", err
	}
	defer t.end()
	begin := time.Now()
	if err := pause(ctx, b.time(windowTime)); err != nil {
		return 0, "", err
	}
	octets, _ := t.meter.read()
	return float64(octets) * 8 / 1e6 / time.Since(begin).Seconds(), t.paths(), nil
}

// measureCut finds the receiver's longest pause when the first subflow's link
// begins to lose everything, with both paths active, and with one path.
func measureCut(ctx context.Context, b *bench, runs int) ([]figure, error) {
	limit(pathRate, b.serverLinks)
	defer limit(0, b.serverLinks)
	var all []figure
	for _, way := range []direction{up, down} {
		f := figure{name: "longest pause when a path is cut, " + string(way), unit: "s", against: "one path: until it is back", bound: atMost(0.5)}
		for run := range runs {
			ours, baseline, err := inTurns(run, func() (float64, error) {
				return b.stall(ctx, from(b.client[0].v6), way)
			}, func() (float64, error) {
				return b.stall(ctx, onePath(b.client[0].v6), way)
			})
			if err != nil {
				return append(all, f), err
			}
			f.add(ours, baseline)
		}
		all = append(all, f)
		b.note("Longest of the %d pauses, %s: %.2f s.", len(f.ours), way, slices.Max(f.ours))
	}
	return all, nil
}

// stall is the longest pause of a transfer while a link is cut, in seconds.
func (b *bench) stall(ctx context.Context, d *dialer.Dialer, way direction) (float64, error) {
	t, err := b.begin(ctx, d, b.twoPaths(way), way)
	if err != nil {
		return 0, err
	}
	defer t.end()
	b.serverLinks[0].Cut()
	defer b.serverLinks[0].Heal()
	if err := pause(ctx, b.time(outageTime)); err != nil {
		return 0, err
	}
	_, longest := t.meter.read()
	return longest.Seconds(), nil
}
