package resolver

import (
	"context"
	"net/netip"

	"github.com/af-multipath/mpresolve/internal/sysconf"
)

// UseFiles makes r read these files instead of the system's.
func UseFiles(r *Resolver, resolvConf, hosts, gaiConf string) {
	r.state.system = sysconf.NewSystem(resolvConf, hosts, gaiConf)
}

// UseSources makes r believe that this host sends from these addresses: for each
// destination a source, invalid where there is no way.
func UseSources(r *Resolver, source func(netip.Addr) netip.Addr) {
	r.state.sources.look = func(_ context.Context, dest netip.Addr) Source {
		return Source{Addr: source(dest)}
	}
}
