package mpdnsd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	figures "github.com/af-multipath/mpresolve/internal/mpdnsd/metrics"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/server"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/verdicts"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// admin lets the daemon be asked about itself, over the control socket and the
// metrics listener. Its methods run on their servers' goroutines; what they need
// of the daemon they have done by its loop, which owns it.
type admin struct {
	d       *daemon
	calls   chan func() // to be called by the daemon's loop
	ended   chan struct{}
	started time.Time
	reloads control.Reloads // owned by the daemon's loop
	// answered is set once an upstream server has answered since the last reload.
	answered *atomic.Bool
	control  *control.Server // nil where it is off
	metrics  *figures.Server // nil where it is off
}

func newAdmin(d *daemon) *admin {
	return &admin{d: d, calls: make(chan func()), ended: make(chan struct{}), started: time.Now()}
}

// open opens what the configuration turns on. Requests wait for the loop.
func (a *admin) open(ctx context.Context, set *setup) error {
	context.AfterFunc(ctx, func() { close(a.ended) })
	if err := a.openControl(set); err != nil {
		return err
	}
	listen := set.config.Metrics
	if !listen.IsValid() {
		return nil
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(listen))
	if err != nil {
		return fmt.Errorf("metrics: listening on %v: %w", listen, reasonOf(err))
	}
	a.metrics = figures.Serve(l, a, a.d.log)
	a.d.log.Info("metrics", "address", l.Addr())
	return nil
}

// openControl opens the control socket. Where the default one cannot be made,
// the daemon does without: it does not need it to answer questions.
func (a *admin) openControl(set *setup) error {
	c := set.config.Control
	if c.Socket == "" {
		return nil
	}
	l, err := control.Listen(c.Socket, c.Mode, set.controlGroup)
	if err != nil && c == config.Default().Control {
		a.d.log.Info("no control socket", "error", err)
		return nil
	}
	if err != nil {
		return &controlError{c, err}
	}
	a.control = control.Serve(l, a, a.d.log)
	a.d.log.Info("control socket", "socket", c.Socket, "mode", octal(c.Mode), "group", c.Group)
	return nil
}

func (a *admin) close() error {
	var errs []error
	if a.control != nil {
		errs = append(errs, a.control.Close())
	}
	if a.metrics != nil {
		errs = append(errs, a.metrics.Close())
	}
	return errors.Join(errs...)
}

// controlError is a control socket that cannot be made, with what to do.
type controlError struct {
	config config.Control
	err    error
}

func (e *controlError) Unwrap() error { return e.err }

func (e *controlError) Error() string {
	text := fmt.Sprintf("control socket: listening on %s: %v", e.config.Socket, reasonOf(e.err))
	if errors.Is(e.err, syscall.EADDRINUSE) {
		return text + "\nanother daemon has it, or the file is no socket; see which:\n  ss -xlp | grep -F " + e.config.Socket
	}
	return text + "\ntake another with socket = in [control], or none with \"\""
}

// reasonOf is an error of a system call without the address that it repeats.
func reasonOf(err error) error {
	if oe := (*net.OpError)(nil); errors.As(err, &oe) {
		return oe.Err
	} else if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return err
}

// errEnding is what requests get that come too late.
var errEnding = errors.New("the daemon is ending")

// do has f called by the daemon's loop.
func (a *admin) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.calls <- func() { defer close(done); f() }:
	case <-a.ended:
		return errEnding
	case <-ctx.Done():
		return errors.New("the daemon is busy: ask again")
	}
	<-done // the loop has it: it will be done
	return nil
}

// count counts a reload.
func (a *admin) count(err error) {
	if err != nil {
		a.reloads.Failed++
		return
	}
	a.reloads.Done++
}

// observe notes whether anyone answers below.
func (a *admin) observe(next upstream.Exchanger) upstream.Exchanger {
	answered := new(atomic.Bool)
	a.answered = answered
	return upstream.Map(next, func(_ upstream.Query, reply upstream.Reply, err error) (upstream.Reply, error) {
		if err == nil && !answered.Load() {
			answered.Store(true)
		}
		return reply, err
	})
}

// readyTimeout bounds the question that Ready asks.
const readyTimeout = 3 * time.Second

// Ready implements metrics.Daemon. A daemon that nobody has asked yet asks a
// question of its own, or else nobody would ever ask it.
func (a *admin) Ready(ctx context.Context) error {
	var next upstream.Exchanger
	var answered *atomic.Bool
	if err := a.do(ctx, func() { next, answered = a.d.upstream, a.answered }); err != nil {
		return err
	}
	if answered.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	root := dnswire.Question{Name: dnswire.Root, Type: dnswire.TypeNS, Class: dnswire.ClassINET}
	_, err := next.Exchange(ctx, upstream.Query{Question: root})
	if errors.Is(err, upstream.ErrNoServers) {
		return nil // local names only: that is all there is to be ready for
	}
	return err
}

// Version implements control.Daemon.
func (a *admin) Version() control.Version {
	return control.Version{Version: version(), Go: runtime.Version(), PID: os.Getpid()}
}

// Stats implements control.Daemon and metrics.Daemon.
func (a *admin) Stats(ctx context.Context) (s control.Stats, err error) {
	s = control.Stats{Version: a.Version(), Started: a.started, UptimeMS: time.Since(a.started).Milliseconds(), Process: processFigures()}
	return s, a.do(ctx, func() {
		c, q := a.d.cache.Stats(), a.d.server.Stats()
		s.Answered = a.answered.Load()
		s.Listeners = a.d.addresses()
		s.Zones = len(a.d.setup.zones.All())
		s.Reloads = a.reloads
		s.Routes = a.d.forwards.routes()
		s.Cache = control.Cache{
			Entries: c.Entries, Octets: c.Octets, MaxOctets: a.d.setup.cacheOctets(),
			Hits: c.Hits, Misses: c.Misses, Evictions: c.Evictions, Stale: q.UDP.Stale + q.TCP.Stale,
		}
		s.UDP, s.TCP = transport(&q.UDP), transport(&q.TCP)
		s.Clients = control.Clients{TCPConnections: q.TCPConnections, TCPRefused: q.TCPRefused, Working: q.Working, Unsent: q.Unsent}
	})
}

// transport is the counts of one transport, those that are not zero by name.
func transport(c *server.Counts) control.Transport {
	t := control.Transport{
		Queries: c.Queries, Hits: c.Hits, Misses: c.Misses, Slipped: c.Slipped, Panics: c.Panics,
		RCodes: map[string]uint64{}, Dropped: map[string]uint64{},
	}
	for code, n := range c.RCodes {
		if n > 0 {
			t.RCodes[dnswire.RCode(code).String()] = n
		}
	}
	for reason, n := range c.Dropped {
		if n > 0 {
			t.Dropped[server.Drop(reason).String()] = n
		}
	}
	return t
}

// addresses lists where questions are taken.
func (d *daemon) addresses() []string {
	all := []string{}
	for _, listeners := range d.listeners {
		for _, l := range listeners {
			all = append(all, l.Addr().String())
		}
	}
	slices.Sort(all)
	return all
}

// Names of the Go runtime's own figures.
const (
	heapMetric     = "/memory/classes/heap/objects:bytes"
	totalMetric    = "/memory/classes/total:bytes"
	releasedMetric = "/memory/classes/heap/released:bytes"
)

// processFigures reads them without stopping the world.
func processFigures() control.Process {
	samples := []metrics.Sample{{Name: heapMetric}, {Name: totalMetric}, {Name: releasedMetric}}
	metrics.Read(samples)
	open, most := files()
	return control.Process{
		Goroutines:  runtime.NumGoroutine(),
		HeapOctets:  samples[0].Value.Uint64(),
		TotalOctets: samples[1].Value.Uint64() - samples[2].Value.Uint64(),
		LimitOctets: debug.SetMemoryLimit(-1), // less than 0 only reads it
		OpenFiles:   open, MaxFiles: most,
	}
}

// Upstreams implements control.Daemon.
func (a *admin) Upstreams(ctx context.Context) (u control.Upstreams, err error) {
	return u, a.do(ctx, func() { u.Routes = a.d.forwards.routes() })
}

// Lookup implements control.Daemon.
func (a *admin) Lookup(ctx context.Context, name dnswire.Name) (h control.Held, err error) {
	return h, a.do(ctx, func() { h = held(a.d.cache, name, time.Now()) })
}

// Verdicts implements control.Daemon.
func (a *admin) Verdicts(_ context.Context, name string) (v control.Verdicts, err error) {
	if name != "" {
		name = verdicts.Name(name)
	}
	v.Verdicts = []control.Verdict{}
	all, more := a.d.verdicts.remembered(name, time.Now(), control.MaxVerdicts)
	v.Verdicts, v.Truncated = append(v.Verdicts, all...), more
	return v, nil
}

// Flush implements control.Daemon.
func (a *admin) Flush(ctx context.Context, s control.Scope) (f control.Flushed, err error) {
	return f, a.do(ctx, func() {
		f.Entries = flush(a.d.cache, s)
		a.d.log.Info("flushed", "name", s.Name, "below", s.Below, "entries", f.Entries)
	})
}

// Reload implements control.Daemon.
func (a *admin) Reload(ctx context.Context) error {
	var failure error
	if err := a.do(ctx, func() { failure = a.d.reload() }); err != nil {
		return err
	}
	return failure
}
