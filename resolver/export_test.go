package resolver

import "github.com/af-multipath/mpresolve/internal/sysconf"

// UseFiles makes r read these files instead of the system's.
func UseFiles(r *Resolver, resolvConf, hosts, gaiConf string) {
	r.state.system = sysconf.NewSystem(resolvConf, hosts, gaiConf)
}
