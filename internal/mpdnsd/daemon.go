package mpdnsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/server"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// drainTime is how long the daemon goes on answering what was asked before it
// was told to end.
const drainTime = 5 * time.Second

// daemon is the running program. One goroutine, that of run, owns it.
type daemon struct {
	flags    *flags
	confined bool // the process is the daemon's alone: it may give up what it has
	level    *slog.LevelVar
	log      *slog.Logger
	system   *sysconf.System
	mux      *upstream.Mux // nil where the system has none
	server   *server.Server
	setup    *setup
	cache    *dnscache.Cache    // of setup
	upstream upstream.Exchanger // of setup, below the cache
	cached   *upstream.Cache    // of setup, between the two
	forwards *forwards          // of setup, below upstream
	admin    *admin
	// memoryBefore is the Go runtime's memory limit before the daemon set its own;
	// 0 where it has not.
	memoryBefore int64
	paths        *pathBroker // nil where it is off
	verdicts     *pathVerdicts
	handed       []netip.AddrPort                      // where the service manager opened sockets for questions
	listeners    map[netip.AddrPort][]*server.Listener // by the address configured, which several may share if its port is 0
}

func newDaemon(f *flags, confined bool, stderr io.Writer) *daemon {
	d := &daemon{
		flags:     f,
		confined:  confined,
		level:     new(slog.LevelVar),
		system:    sysconf.Default(),
		listeners: make(map[netip.AddrPort][]*server.Listener),
	}
	d.log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: d.level}))
	d.admin = newAdmin(d)
	return d
}

// run serves until ctx ends, and then answers what was asked.
func (d *daemon) run(ctx context.Context, set *setup, reload <-chan os.Signal) error {
	d.level.Set(set.config.LogLevel)
	d.limitMemory(&set.config)
	d.limitFiles(&set.config)
	handed, others, err := d.takeHanded(set)
	if err != nil {
		return err
	}
	if err := d.openVerdicts(set); err != nil {
		return err
	}
	d.openMux()
	s := set.config.Server
	queries := newQueryLog(set.config.LogQueries, d.log)
	defer queries.close()
	d.server = server.New(d.source(set), server.Options{
		Loops:          s.Loops,
		TCPPerClient:   s.TCPPerClient,
		Limit:          s.Rate,
		Version:        s.Version,
		Hostname:       s.Hostname,
		CookieSecret:   s.Cookie(),
		Query:          queries.hook(),
		Allow:          set.config.Allow,
		UDPSize:        s.UDPSize,
		Outstanding:    s.Outstanding,
		TCPConnections: s.TCPConnections,
		TCPIdle:        s.TCPIdle,
		Log:            d.log,
	})
	if d.mux != nil {
		d.mux.OnBatch(d.server.Flush)
	}
	d.setup = set
	defer d.shutdown()
	d.loadCache(set)
	if err := d.listenHanded(handed); err != nil {
		return err
	}
	if err := d.relisten(set.config.Listen); err != nil {
		return err
	}
	if err := d.openPaths(set, others); err != nil {
		return err
	}
	if err := d.admin.open(ctx, set); err != nil {
		return err
	}
	d.logZones(set)
	d.dropPrivileges(set)
	d.log.Info("ready")
	d.notify("READY=1")
	d.loop(ctx, reload)
	d.log.Info("ending: answering what was asked")
	d.notify("STOPPING=1")
	return nil
}

// openMux has replies waited for in one place. Without it each question that
// waits has a goroutine.
func (d *daemon) openMux() {
	mux, err := upstream.NewMux(runtime.GOMAXPROCS(0))
	if err != nil {
		d.log.Debug("upstream servers", "error", err)
		return
	}
	d.mux = mux
}

// loop does what it is told until ctx ends.
func (d *daemon) loop(ctx context.Context, reload <-chan os.Signal) {
	alive, stop := d.watchdog()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
			_ = d.reload() // its error was logged
		case call := <-d.admin.calls:
			call()
		case <-alive:
			d.notify("WATCHDOG=1")
		}
	}
}

// openPaths begins to serve other programs' connections, if that is on. files are
// those handed over that are not for questions.
func (d *daemon) openPaths(set *setup, files []*os.File) error {
	handed, err := pathsSocket(files)
	switch {
	case err != nil:
		return fmt.Errorf("service manager: %w", err)
	case set.config.Paths.Enabled:
		d.paths, err = openPaths(set, handed, d.verdicts, d.log)
		return err
	case handed != nil:
		_ = handed.Close() // not served
		return errors.New("service manager: a socket for the path broker, which is off: set enabled = true in [paths]")
	}
	d.log.Info("path broker off")
	return nil
}

// shutdown answers what was asked, for a bounded time, and closes everything.
func (d *daemon) shutdown() {
	if err := d.admin.close(); err != nil {
		d.log.Warn("ending the control socket and the metrics listener", "error", err)
	}
	if d.paths != nil {
		if err := d.paths.close(); err != nil {
			d.log.Warn("ending the path broker", "error", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.log.Warn("ending", "error", err)
	}
	d.cached.Close()
	d.forwards.Close()
	if d.mux != nil {
		d.mux.Close()
	}
	d.saveCache()
	d.verdicts.store.Close()
	d.unlimitMemory()
}

// source makes what questions are answered from. The cache goes on from the
// setup before, if it may.
func (d *daemon) source(set *setup) *server.Source {
	c := &set.config
	if d.setup == nil || !d.setup.fillsAlike(set) {
		d.cache = dnscache.New(c.Cache.Config)
	}
	own := newOwn(c.Listen)
	d.forwards = newForwards(c, own, d.general(c, own), d.mux, d.log)
	d.upstream = d.admin.observe(d.forwards)
	d.cached = upstream.Cached(d.cache, time.Now, d.upstream)
	s := &server.Source{
		Zones:    set.zones,
		Special:  c.SpecialNames,
		Forwards: elsewhere(c),
		Cache:    d.cache,
		// The cache stands within what is coalesced: a question that comes while
		// the reply to another like it is put there would else be asked again.
		Upstream: upstream.Coalesce(d.cached),
		Pair:     c.Cache.Pair,
		Verdicts: d.verdicts.store.Memory(),
		Recall:   d.verdicts.store.Recall,
	}
	if c.Cache.Prefetch {
		s.Refresh = d.cached.Refresh
	}
	if c.Multipath.Enabled {
		s.Multipath = c.Multipath.Type
	}
	if c.Hosts.Enabled {
		s.Hosts = d.hosts(c.Hosts.File)
	}
	return s
}

// elsewhere are the zones that have servers of their own, so that special names in
// them are asked. home.arpa is the network's (RFC 8375), and so are the servers of
// resolv.conf.
func elsewhere(c *config.Config) []dnswire.Name {
	zones := c.ForwardZones()
	if len(c.Upstream.Servers) == 0 {
		home, _ := dnswire.ParseName("home.arpa") // it is one
		zones = append(zones, home)
	}
	return zones
}

// hosts is the hosts file's content as of a time.
func (d *daemon) hosts(file string) func(time.Time) *sysconf.Hosts {
	if file == "" {
		return d.system.Hosts
	}
	return sysconf.NewSystem("", file, "").Hosts
}

// general is who is asked for what has no servers of its own.
func (d *daemon) general(c *config.Config, own own) servers {
	if len(c.Upstream.Servers) == 0 {
		s := &systemServers{system: d.system, config: c.Upstream, own: own, mux: d.mux, log: d.log, now: time.Now}
		s.current() // so that the servers are logged at the start
		return s
	}
	from := d.flags.config
	if len(d.flags.upstreams) > 0 {
		from = "--upstream"
	}
	asked := own.servers(c.Upstream.Servers, from, d.log)
	logServers(d.log, asked, from, c.Upstream)
	return newGroup(asked, c.Upstream, d.mux)
}

// listen opens addresses. On an error it closes those that it has opened.
func (d *daemon) listen(addrs []netip.AddrPort) error {
	var opened []netip.AddrPort
	for _, a := range addrs {
		l, err := d.server.Listen(a)
		if err != nil && d.mayLack(a, err) {
			d.log.Warn("this machine lacks a default address; going on without it", "address", a, "error", err)
			continue
		}
		if err != nil {
			for _, a := range opened {
				d.unlisten(a)
			}
			return &listenError{a, err}
		}
		opened = append(opened, a)
		d.listeners[a] = append(d.listeners[a], l)
		d.log.Info("listening", "address", l.Addr(), "transports", "udp,tcp")
	}
	if len(opened) == 0 && len(addrs) > 0 {
		return errors.New("no address to listen on")
	}
	return nil
}

// unlisten closes the newest listener of a configured address.
func (d *daemon) unlisten(a netip.AddrPort) {
	have := d.listeners[a]
	l := have[len(have)-1]
	l.Close()
	d.log.Info("no longer listening", "address", l.Addr())
	if d.listeners[a] = have[:len(have)-1]; len(have) == 1 {
		delete(d.listeners, a)
	}
}

// mayLack reports whether a may be missing: one of the default addresses, of a
// family that this machine does not have.
func (d *daemon) mayLack(a netip.AddrPort, err error) bool {
	return slices.Contains(config.Default().Listen, a) &&
		(errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT))
}

// listenError is an address that cannot be listened on, with what to do.
type listenError struct {
	addr netip.AddrPort
	err  error
}

func (e *listenError) Unwrap() error { return e.err }

func (e *listenError) Error() string {
	text := e.err.Error()
	switch {
	case errors.Is(e.err, fs.ErrPermission):
		text += fmt.Sprintf(`
ports below 1024 need a privilege. One of these gives it:
  sudo setcap cap_net_bind_service=+ep "$(command -v mpdnsd)"
  AmbientCapabilities=CAP_NET_BIND_SERVICE   (in the systemd unit's [Service])
or take another port:
  mpdnsd --listen %v`, netip.AddrPortFrom(e.addr.Addr(), 5353))
	case errors.Is(e.err, syscall.EADDRINUSE):
		text += fmt.Sprintf(`
another program has this address; see which:
  ss -tulnp sport = :%d
or take another port:
  mpdnsd --listen %v`, e.addr.Port(), netip.AddrPortFrom(e.addr.Addr(), 5353))
	}
	return text
}

// logZones writes a line for each zone.
func (d *daemon) logZones(set *setup) {
	for _, z := range set.zones.All() {
		d.log.Info("zone", "origin", z.Origin(), "records", z.Len())
	}
}

// reload reads configuration and zones again, and tells the service manager so.
// Whatever is wrong, what was in effect stays so; the error, which is logged
// too, says it.
func (d *daemon) reload() error {
	d.log.Info("reloading")
	d.notify(reloading())
	defer d.notify("READY=1")
	err := d.applyReload()
	d.admin.count(err)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			d.log.Error("reload: the old configuration stays", "error", strings.TrimSpace(line))
		}
	}
	return err
}

func (d *daemon) applyReload() error {
	set, err := d.flags.load()
	if err != nil {
		return err
	}
	d.replaceListen(set)
	if err := d.relisten(set.config.Listen); err != nil {
		return err
	}
	old := &d.setup.config
	if set.config.Server != old.Server || !slices.Equal(set.config.Allow, old.Allow) {
		d.log.Warn("reload: allow and the settings of [server] need a restart")
	}
	if set.config.Control != old.Control || set.config.Metrics != old.Metrics || set.config.LogQueries != old.LogQueries || set.config.Verdicts != old.Verdicts {
		d.log.Warn("reload: the settings of [verdicts], [control] and [metrics], and log.queries, need a restart")
	}
	if d.paths != nil {
		d.paths.reload(set)
	} else if set.config.Paths.Enabled {
		d.log.Warn("reload: turning the path broker on needs a restart")
	}
	d.level.Set(set.config.LogLevel)
	d.limitMemory(&set.config)
	before, cached, forwards := d.cache, d.cached, d.forwards
	d.server.SetSource(d.source(set))
	cached.Close()
	forwards.Close()
	d.setup = set
	d.logZones(set)
	if d.cache == before {
		d.log.Info("reloaded; the cache is kept")
	} else {
		d.log.Info("reloaded; the cache is empty, for other settings fill it or stand before it")
	}
	return nil
}

// relisten opens addresses that are new and closes those that are gone.
func (d *daemon) relisten(want []netip.AddrPort) error {
	missing := slices.Clone(want)
	var gone []netip.AddrPort
	for a, have := range d.listeners {
		for range have {
			if i := slices.Index(missing, a); i >= 0 {
				missing = slices.Delete(missing, i, i+1)
			} else {
				gone = append(gone, a)
			}
		}
	}
	if err := d.listen(missing); err != nil {
		return err
	}
	for _, a := range gone {
		d.unlisten(a)
	}
	return nil
}
