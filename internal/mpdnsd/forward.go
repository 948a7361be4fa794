package mpdnsd

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// forwards asks for each name the servers of the closest zone at or above it
// (split DNS), and others where there is none. It does not change once made.
type forwards struct {
	zones  map[dnswire.Name]*group
	others servers
}

// servers are those that are asked for some of all names.
type servers interface {
	upstream.Exchanger
	route(zone dnswire.Name) control.Route // how they are shown
	Close()                                // closes the sockets that they keep
}

// newForwards makes the routes of a configuration; others is who is asked for
// what has none.
func newForwards(c *config.Config, o own, others servers, mux *upstream.Mux, log *slog.Logger) *forwards {
	f := &forwards{make(map[dnswire.Name]*group), others}
	for _, one := range c.Forwards {
		u := c.Upstream
		u.Strategy, u.RebindProtection = one.Strategy, false // who has a zone routed knows its addresses
		from := "forward " + one.Zone.String()
		servers := o.servers(one.Servers, from, log)
		logServers(log, servers, from, u)
		f.zones[one.Zone] = newGroup(servers, u, mux)
	}
	return f
}

// Exchange implements upstream.Exchanger. The servers of a zone that do not
// answer are not made up for by others: what is asked of them may be nobody
// else's business.
func (f *forwards) Exchange(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	return f.find(q.Name, q.Type).Exchange(ctx, q)
}

// Begin implements upstream.Beginner.
func (f *forwards) Begin(ctx context.Context, q upstream.Query, done upstream.Done) bool {
	return upstream.Begin(ctx, f.find(q.Name, q.Type), q, done)
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

// Close closes the sockets that are kept.
func (f *forwards) Close() {
	for _, g := range f.zones {
		g.Close()
	}
	f.others.Close()
}

// routes is whom the daemon asks for what.
func (f *forwards) routes() []control.Route {
	all := []control.Route{f.others.route(dnswire.Root)}
	for zone, g := range f.zones {
		all = append(all, g.route(zone))
	}
	slices.SortFunc(all, func(a, b control.Route) int { return strings.Compare(a.Zone, b.Zone) })
	return all
}
