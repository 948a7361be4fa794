package mpdnsd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
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

// others drops the daemon's own addresses from a list.
func (o own) others(all []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(all), o.is)
}

// failover asks servers one after another, as the configuration says.
func failover(servers []netip.AddrPort, c config.Upstream) upstream.Exchanger {
	all := make([]upstream.Exchanger, len(servers))
	for i, a := range servers {
		all[i] = upstream.NewServer(a, upstream.Options{Timeout: c.Timeout, Attempts: 1, UseTCP: c.TCP, Keep: upstream.DefaultKeep})
	}
	strategy := upstream.InOrder
	if c.Strategy == config.Rotate {
		strategy = upstream.Rotated
	}
	return upstream.Failover(all, upstream.FailoverOptions{Strategy: strategy, Rounds: c.Attempts})
}

// systemServers asks the servers of resolv.conf, as it stands at the time.
type systemServers struct {
	system *sysconf.System
	config config.Upstream
	own    own
	log    *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	conf *sysconf.ResolvConf // what next was made of; guarded by mu
	next upstream.Exchanger  // guarded by mu
}

// Exchange implements upstream.Exchanger.
func (s *systemServers) Exchange(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	return s.current().Exchange(ctx, q)
}

// current is the failover over the servers that resolv.conf has now. A change
// is logged.
func (s *systemServers) current() upstream.Exchanger {
	conf := s.system.Resolv(s.now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if conf == s.conf {
		return s.next
	}
	servers := s.own.servers(conf.Servers, conf.Path, s.log)
	c := s.config
	c.TCP = c.TCP || conf.UseTCP
	if conf.Rotate {
		c.Strategy = config.Rotate
	}
	s.conf, s.next = conf, failover(servers, c)
	logServers(s.log, servers, conf.Path, c)
	return s.next
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
