package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/mpaddr"
)

const (
	// heldConns is how many connections the broker is to serve at a time, and
	// heldPaths how many paths each has.
	heldConns = 1000
	heldPaths = 4
	// shortConns is heldConns for -short.
	shortConns = 10
	// dialsAtOnce is how many of them are being set up at a time.
	dialsAtOnce = 64
	// spareFiles is how many descriptors a process needs besides those of the
	// connections: two each, the connection's and the one to the broker.
	spareFiles = 100
)

// held is what a child prints when it has set up its connections.
type held struct {
	Conns   int     `json:"conns"` // with all their paths
	Seconds float64 `json:"seconds"`
	Manager string  `json:"manager"`
	Failure string  `json:"failure,omitempty"` // of one of those that are missing
}

// measureBroker holds many connections of a process without privilege, and for
// comparison of one that adds its subflows itself.
func measureBroker(ctx context.Context, b *bench, runs int) ([]figure, error) {
	n := heldConns
	if b.short {
		n = shortConns
	}
	if most := (maxFiles() - spareFiles) / 2; n > most {
		b.note("The limit of open files allows %d connections in place of %d.", most, n)
		n = most
	}
	count := figure{name: fmt.Sprintf("broker: held, %d paths each", heldPaths), unit: "conns", against: "without broker", bound: atLeast(float64(n))}
	rate := figure{name: "broker: set-up rate", unit: "conn/s", against: "without broker"}
	memory := figure{name: "broker: its memory for each", unit: "KiB"}
	for run := range runs {
		through, direct, err := inTurns(run, func() (h held, err error) {
			h, kib, err := b.holdByBroker(ctx, n)
			memory.ours = append(memory.ours, kib)
			return h, err
		}, func() (held, error) {
			return b.hold(ctx, dialer.BrokerOff, n, func() error { return nil })
		})
		if err != nil {
			return nil, err
		}
		count.add(float64(through.Conns), float64(direct.Conns))
		rate.add(float64(through.Conns)/through.Seconds, float64(direct.Conns)/direct.Seconds)
		for _, h := range []held{through, direct} {
			if h.Failure != "" {
				b.note("Manager %s, one of those that did not get to %d paths: %s.", h.Manager, heldPaths, h.Failure)
			}
		}
	}
	return []figure{count, rate, memory}, nil
}

// holdByBroker holds n connections through a new broker; kib is what each added
// to its resident memory.
func (b *bench) holdByBroker(ctx context.Context, n int) (h held, kib float64, err error) {
	br, err := b.startBroker(ctx)
	if err != nil {
		return h, 0, err
	}
	defer br.stop()
	before, err := br.memory()
	if err != nil {
		return h, 0, err
	}
	after := before
	h, err = b.hold(ctx, br.socket, n, func() (err error) {
		after, err = br.memory()
		return err
	})
	return h, float64(after-before) / float64(n), err
}

// hold lets a child set up n connections and calls look while they are held.
func (b *bench) hold(ctx context.Context, broker string, n int, look func() error) (h held, err error) {
	cmd := b.child(ctx, holdChild, broker, strconv.Itoa(n), b.record(sinkPort).String())
	hold, err := cmd.StdinPipe() // it holds until this is closed
	if err != nil {
		return h, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return h, err
	}
	if err := startChild(cmd, broker == dialer.BrokerOff); err != nil {
		return h, err
	}
	if err = json.NewDecoder(out).Decode(&h); err == nil {
		err = look()
	}
	return h, errors.Join(err, hold.Close(), cmd.Wait())
}

// runHoldChild sets up n connections, prints what came of it, and holds them
// until its standard input ends.
func runHoldChild(ctx context.Context, broker string, n int, set mpaddr.Addr, stdin io.Reader, stdout io.Writer) error {
	d := dialer.Dialer{Broker: broker}
	var mu sync.Mutex // guards conns and h while the group runs
	var conns []*dialer.Conn
	var h held
	begin := time.Now()
	var group errgroup.Group
	group.SetLimit(dialsAtOnce)
	for range n {
		group.Go(func() error {
			c, err := connectAll(ctx, &d, set)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				h.Failure = err.Error()
				return nil
			}
			conns = append(conns, c)
			return nil
		})
	}
	_ = group.Wait() // a failure is in h
	h.Seconds = time.Since(begin).Seconds()
	for _, c := range conns {
		h.take(c)
	}
	err := json.NewEncoder(stdout).Encode(h)
	_, _ = io.Copy(io.Discard, stdin) // its end is the signal
	for _, c := range conns {
		c.Close()
	}
	return err
}

// take counts a connection.
func (h *held) take(c *dialer.Conn) {
	r := c.Report()
	h.Manager = r.Manager
	if c.RemoteAddrs().Len() == heldPaths {
		h.Conns++
		return
	}
	for _, j := range r.Joins {
		if j.Verdict != dialer.Joined {
			h.Failure = fmt.Sprintf("%v: %s: %v", j.Remote, j.Verdict, j.Err)
		}
	}
}

// residentKiB returns the resident memory of a process.
func residentKiB(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseResident(string(text))
}

// parseResident finds VmRSS in a status file of proc(5).
func parseResident(status string) (int, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		}
	}
	return 0, errors.New("no VmRSS in the status of the process")
}
