package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
)

// watchInterval is the time between two looks at the paths.
const watchInterval = time.Second

// maxHistory is how many looks a sparkline shows.
const maxHistory = 20

// watchView is one look at a connection's paths.
type watchView struct {
	ElapsedMS float64         `json:"elapsed_ms"`
	Paths     []watchPathView `json:"paths"`
}

// watchPathView is one path with what it carried since the look before.
type watchPathView struct {
	pathView
	SendRate    float64 `json:"send_rate"`    // octets per second
	ReceiveRate float64 `json:"receive_rate"` // octets per second

	history []float64
}

// pathKey tells the paths of a connection apart.
type pathKey struct{ local, remote netip.AddrPort }

// traffic is what a path had carried at a look, and its rates so far.
type traffic struct {
	sent, received uint64
	history        []float64
}

// watcher turns looks at the paths into rates. It is used by one goroutine.
type watcher struct {
	start, last time.Time
	paths       map[pathKey]traffic
}

// look adds one look at the paths.
func (w *watcher) look(now time.Time, paths []dialer.Path) watchView {
	seconds := now.Sub(w.last).Seconds()
	view := watchView{ElapsedMS: milliseconds(now.Sub(w.start)), Paths: []watchPathView{}}
	next := make(map[pathKey]traffic, len(paths))
	for _, p := range paths {
		key := pathKey{p.Local, p.Remote}
		before, known := w.paths[key]
		row := watchPathView{pathView: newPathView(p)}
		if known && seconds > 0 {
			row.SendRate = rate(before.sent, p.BytesSent, seconds)
			row.ReceiveRate = rate(before.received, p.BytesReceived, seconds)
		}
		row.history = slices.Concat(before.history, []float64{row.SendRate + row.ReceiveRate})
		row.history = row.history[max(0, len(row.history)-maxHistory):]
		next[key] = traffic{p.BytesSent, p.BytesReceived, row.history}
		view.Paths = append(view.Paths, row)
	}
	w.last, w.paths = now, next
	return view
}

// rate is octets per second; a counter that went back is a new subflow.
func rate(before, after uint64, seconds float64) float64 {
	if after < before {
		return 0
	}
	return float64(after-before) / seconds
}

// watch shows the paths once a second until ctx ends: redrawn in place on a
// terminal, otherwise a JSON line each.
func watch(ctx context.Context, w io.Writer, conn *dialer.Conn, st style, terminal bool) error {
	now := time.Now()
	state := &watcher{start: now, last: now}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	lines := 0
	for {
		view := state.look(time.Now(), conn.Paths())
		if terminal {
			if lines > 0 {
				fmt.Fprintf(w, "\x1b[%dA\x1b[J", lines) // up, and clear to the end
			}
			lines = writeWatch(w, view, st)
		} else if err := json.NewEncoder(w).Encode(view); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// writeWatch draws one look and returns the number of lines.
func writeWatch(w io.Writer, view watchView, st style) int {
	top := 0.0
	for _, p := range view.Paths {
		for _, v := range p.history {
			top = max(top, v)
		}
	}
	fmt.Fprintln(w, st.paint(st.dim, fmt.Sprintf("  %-9s %-25s %-25s %9s %12s %12s", "state", "local", "remote", "rtt", "sending", "receiving")))
	for _, p := range view.Paths {
		fmt.Fprintf(w, "  %-9s %-25s %-25s %9s %10s/s %10s/s  %s\n", p.State, addressOf(p.Local), p.Remote,
			ms(p.RTTMS), octets(p.SendRate), octets(p.ReceiveRate), sparkline(p.history, top))
	}
	return len(view.Paths) + 1
}

// sparkline draws values from 0 to top, a character each.
func sparkline(values []float64, top float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	runes := []rune(levels)
	var b strings.Builder
	for _, v := range values {
		level := 0
		if top > 0 {
			level = min(int(v/top*float64(len(runes))), len(runes)-1)
		}
		b.WriteRune(runes[level])
	}
	return b.String()
}
