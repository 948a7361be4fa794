package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// joinTimes is what a child prints: of each run, in milliseconds.
type joinTimes struct {
	Manager string    `json:"manager"` // who added the subflows
	Connect []float64 `json:"connect"` // from connect's return until the last join
	Full    []float64 `json:"full"`    // from the first reply until the last join
	Trip    []float64 `json:"trip"`    // net.Dialer's connect: one round trip
}

// measureJoin finds when the last of three joins is complete, in round trips: in
// a process with the right to add subflows, and through the broker in one
// without.
func measureJoin(ctx context.Context, b *bench, runs int) ([]figure, error) {
	br, err := b.startBroker(ctx)
	if err != nil {
		return nil, err
	}
	defer br.stop()
	var all []figure
	for _, way := range []struct{ name, broker string }{{"direct", dialer.BrokerOff}, {"broker", br.socket}} {
		var times joinTimes
		args := []string{joinChild, way.broker, strconv.Itoa(runs), b.record(echoPort).String()}
		if err := b.ask(ctx, way.name == "direct", &times, args...); err != nil {
			return all, err
		}
		if times.Manager != way.name {
			return all, fmt.Errorf("the subflows were added by %q, not %q", times.Manager, way.name)
		}
		for _, since := range []struct {
			when  string
			times []float64
		}{{"after full establishment", times.Full}, {"after connect", times.Connect}} {
			all = append(all, figure{
				name: fmt.Sprintf("last of 3 joins %s, %s", since.when, way.name),
				unit: "ms", against: "a round trip", bound: ratioAtMost(2),
				ours: since.times, baseline: times.Trip,
			})
		}
	}
	b.note("A connection is fully established (RFC 8684 section 3.1) when data was acknowledged: here when the first")
	b.note("reply is read, a round trip after connect. Joins begin then, so from connect they take 2 round trips at least.")
	return all, nil
}

// runJoinChild dials runs times and prints joinTimes.
func runJoinChild(ctx context.Context, broker string, runs int, set mpaddr.Addr, stdout io.Writer) error {
	d := dialer.Dialer{Broker: broker}
	var times joinTimes
	first := set.At(0).Target()
	for range runs {
		trip, err := timeDial(ctx, netDialer().DialContext, first.String())
		if err != nil {
			return err
		}
		times.Trip = append(times.Trip, trip)
		if err := times.joinOnce(ctx, &d, set); err != nil {
			return err
		}
	}
	return json.NewEncoder(stdout).Encode(times)
}

// joinOnce connects, speaks, waits for the reply and the joins, and closes.
func (t *joinTimes) joinOnce(ctx context.Context, d *dialer.Dialer, set mpaddr.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	c, err := d.Connect(ctx, set)
	if err != nil {
		return err
	}
	defer c.Close()
	connected := time.Now()
	if err := c.SetDeadline(connected.Add(joinTimeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{0}); err != nil {
		return err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return err
	}
	full := time.Since(connected)
	if err := c.WaitJoins(ctx); err != nil {
		return err
	}
	r := c.Report()
	for _, j := range r.Joins {
		if j.Verdict != dialer.Joined {
			return fmt.Errorf("%v: %s: %w", j.Remote, j.Verdict, j.Err)
		}
	}
	t.Manager = r.Manager
	t.Connect = append(t.Connect, millis(r.Joined))
	t.Full = append(t.Full, millis(r.Joined-full))
	return nil
}

// joinTimeout bounds the joins of one connection.
const joinTimeout = 20 * time.Second

// connectAll connects, sends an octet and waits for the joins.
func connectAll(ctx context.Context, d *dialer.Dialer, set mpaddr.Addr) (*dialer.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	c, err := d.Connect(ctx, set)
	if err != nil {
		return nil, err
	}
	_, err = c.Write([]byte{0})
	if err == nil {
		err = c.WaitJoins(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
