package mpdnsd

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// forwards asks for each name the servers of the closest zone at or above it
// (split DNS), and others where there is none. It does not change once made.
type forwards struct {
	zones  map[dnswire.Name]upstream.Exchanger
	others upstream.Exchanger
}

// newForwards makes the routes of a configuration; others is who is asked for
// what has none.
func newForwards(c *config.Config, o own, others upstream.Exchanger, log *slog.Logger) upstream.Exchanger {
	if len(c.Forwards) == 0 {
		return others
	}
	f := &forwards{make(map[dnswire.Name]upstream.Exchanger), others}
	for _, one := range c.Forwards {
		u := c.Upstream
		u.Strategy = one.Strategy
		from := "forward " + one.Zone.String()
		servers := o.servers(one.Servers, from, log)
		logServers(log, servers, from, u)
		f.zones[one.Zone] = failover(servers, u)
	}
	return f
}

// Exchange implements upstream.Exchanger. The servers of a zone that do not
// answer are not made up for by others: what is asked of them may be nobody
// else's business.
func (f *forwards) Exchange(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	return f.find(q.Name, q.Type).Exchange(ctx, q)
}

// find is who is asked for a name. DS records stand above their zone's cut
// (RFC 4035 section 3.1.4.1), so the zone's own name is not below it for them.
func (f *forwards) find(name dnswire.Name, t dnswire.Type) upstream.Exchanger {
	if t == dnswire.TypeDS {
		name = name.Parent()
	}
	for ; name != ""; name = name.Parent() {
		if e, ok := f.zones[name]; ok {
			return e
		}
	}
	return f.others
}

// route is how a route is shown.
func route(zone dnswire.Name, strategy string, servers []netip.AddrPort, tcp bool) control.Route {
	r := control.Route{Zone: zone.String(), Strategy: strategy, Servers: []control.Upstream{}}
	proto := "udp"
	if tcp {
		proto = "tcp"
	}
	for _, a := range servers {
		r.Servers = append(r.Servers, control.Upstream{Address: a.String(), Proto: proto})
	}
	return r
}
