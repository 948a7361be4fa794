package mpdnsd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// own tells the daemon's own addresses from upstream servers': a daemon that
// asks itself would only wait for itself.
type own struct {
	listen []netip.AddrPort
	local  []netip.Addr // of this machine's interfaces
}

// newOwn takes down the addresses listened on, and the machine's.
func newOwn(listen []netip.AddrPort) own {
	o := own{listen: listen}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return o // the loopback addresses are known anyway
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			o.local = append(o.local, p.Addr().Unmap())
		}
	}
	return o
}

// is reports whether the daemon itself answers at a.
func (o own) is(a netip.AddrPort) bool {
	for _, l := range o.listen {
		if l == a {
			return true
		}
		if l.Port() == a.Port() && l.Addr().IsUnspecified() && l.Addr().Is4() == a.Addr().Is4() && o.isLocal(a.Addr()) {
			return true
		}
	}
	return false
}

func (o own) isLocal(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, l := range o.local {
		if l == a.WithZone("") {
			return true
		}
	}
	return false
}

// servers drops the daemon's own addresses from a list, with a warning.
func (o own) servers(all []netip.AddrPort, from string, log *slog.Logger) []netip.AddrPort {
	var rest []netip.AddrPort
	for _, a := range all {
		if o.is(a) {
			log.Warn("this daemon is named as its own upstream server; leaving it out", "server", a, "from", from)
			continue
		}
		rest = append(rest, a)
	}
	return rest
}

// group is servers asked as one, with what stands before them.
type group struct {
	upstream.Beginner
	asked  *upstream.Group
	config config.Upstream
}

// strategy is what a word of the configuration means.
func strategy(word string) upstream.Strategy {
	switch word {
	case config.Rotate:
		return upstream.Rotated
	case config.Fastest:
		return upstream.Fastest
	case config.Parallel:
		return upstream.Parallel
	}
	return upstream.InOrder
}

// newGroup asks servers, each once however often it is named, as the
// configuration says. mux may be nil.
func newGroup(servers []netip.AddrPort, c config.Upstream, mux *upstream.Mux) *group {
	var all []upstream.Exchanger
	for i, a := range servers {
		if slices.Contains(servers[:i], a) {
			continue
		}
		all = append(all, upstream.NewServer(a, upstream.Options{Timeout: c.Timeout, Attempts: 1, UseTCP: c.TCP, Mux: mux, MixCase: c.MixedCase}))
	}
	asked := upstream.Failover(all, upstream.FailoverOptions{Strategy: strategy(c.Strategy), Rounds: c.Attempts})
	g := &group{asked, asked, c}
	if c.RebindProtection {
		g.Beginner = upstream.NoRebinding(asked, c.PrivateDomains)
	}
	return g
}

// Close closes the sockets that are kept.
func (g *group) Close() { g.asked.Close() }

func (g *group) route(zone dnswire.Name) control.Route {
	r := control.Route{Zone: zone.String(), Strategy: g.config.Strategy, Servers: []control.Upstream{}}
	proto := "udp"
	if g.config.TCP {
		proto = "tcp"
	}
	for _, s := range g.asked.Status() {
		r.Servers = append(r.Servers, control.Upstream{
			Address: s.Address, Proto: proto, State: string(s.State),
			RTTUS: s.SRTT.Microseconds(), RTTVarUS: s.RTTVar.Microseconds(),
			Queries: s.Queries, Timeouts: s.Timeouts, Errors: s.Errors,
		})
	}
	return r
}

// systemServers asks the servers of resolv.conf, as it stands at the time.
type systemServers struct {
	system *sysconf.System
	config config.Upstream
	own    own
	mux    *upstream.Mux
	log    *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	conf   *sysconf.ResolvConf // what next was made of; guarded by mu
	next   *group              // guarded by mu
	closed bool                // guarded by mu
}

// Exchange implements upstream.Exchanger.
func (s *systemServers) Exchange(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	return s.current().Exchange(ctx, q)
}

// Begin implements upstream.Beginner.
func (s *systemServers) Begin(ctx context.Context, q upstream.Query, done upstream.Done) bool {
	return s.current().Begin(ctx, q, done)
}

// Close closes the sockets that are kept, and has none kept from then on.
func (s *systemServers) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.next != nil {
		s.next.Close()
	}
}

func (s *systemServers) route(zone dnswire.Name) control.Route { return s.current().route(zone) }

// current is the group of the servers that resolv.conf has now. A change is
// logged.
func (s *systemServers) current() *group {
	conf := s.system.Resolv(s.now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if conf == s.conf {
		return s.next
	}
	if s.next != nil {
		s.next.Close()
	}
	servers := s.own.servers(conf.Servers, conf.Path, s.log)
	c := s.config
	c.TCP = c.TCP || conf.UseTCP
	if conf.Rotate {
		c.Strategy = config.Rotate
	}
	c.PrivateDomains = slices.Concat(c.PrivateDomains, searched(conf))
	s.conf, s.next = conf, newGroup(servers, c, s.mux)
	if s.closed { // by a reload; a question from before it is still asked
		s.next.Close()
	}
	logServers(s.log, servers, conf.Path, c)
	return s.next
}

// searched is the search domains of resolv.conf, which are those of the network
// that the machine is in: names there may have its addresses. A domain of one
// label would be too much of the public name space.
func searched(conf *sysconf.ResolvConf) []dnswire.Name {
	var all []dnswire.Name
	for _, s := range conf.Search {
		if name, err := dnswire.ParseName(s); err == nil && name != dnswire.Root && name.Parent() != dnswire.Root {
			all = append(all, name)
		}
	}
	return all
}

// logServers writes a line for each upstream server, or that there is none.
func logServers(log *slog.Logger, servers []netip.AddrPort, from string, c config.Upstream) {
	for _, a := range servers {
		log.Info("upstream server", "address", a, "from", from, "strategy", c.Strategy, "tcp", c.TCP)
	}
	if len(servers) == 0 {
		log.Warn("no upstream server: only local names will be answered", "from", from)
	}
}
