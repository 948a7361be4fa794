package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Lookup returns the addresses of a name, or of an address literal, as one
// record in dial order. All families are asked at once. It returns when all
// have answered; or, once one has a usable address or A says that the name does
// not exist, after the ResolutionDelay, unless WaitAll is set. A family that is
// still out then has [ErrPending] in Answer.Families, and what it brings goes to
// the cache.
//
// The error is an [*Error]. With it comes the Answer, as far as there is one:
// what was asked, of whom, and which addresses were left out.
func (r *Resolver) Lookup(ctx context.Context, name string) (*Answer, error) {
	a, err := r.lookup(ctx, name, r.types())
	if err == nil && r.Reverse {
		r.reverse(ctx, a)
	}
	return a, err
}

func (r *Resolver) lookup(ctx context.Context, name string, types []dnswire.Type) (*Answer, error) {
	start := time.Now()
	p, err := r.plan(name)
	if err != nil {
		return nil, err
	}
	families := only(p.ready, types)
	if p.ready == nil {
		families = r.search(ctx, p, p.engine.allowed(types))
	}
	onlySix := len(types) == 1 && types[0] == dnswire.TypeAAAA
	a := r.merge(ctx, name, 0, families, MergeOptions{KeepNAT64: onlySix})
	if err := a.failure(); err != nil {
		err.Elapsed = time.Since(start)
		if why := context.Cause(ctx); why != nil {
			err.Kind, err.Err, err.Hint = kindOf(why), why, ""
		}
		return a, err
	}
	return a, nil
}

// types are the questions of a look-up, in the order of Happy Eyeballs v3:
// HTTPS, AAAA, A.
func (r *Resolver) types() []dnswire.Type {
	if r.HTTPS {
		return []dnswire.Type{dnswire.TypeHTTPS, dnswire.TypeAAAA, dnswire.TypeA}
	}
	return []dnswire.Type{dnswire.TypeAAAA, dnswire.TypeA}
}

// allowed leaves AAAA out where resolv.conf says no-aaaa, unless nothing else is
// asked for.
func (e *engine) allowed(types []dnswire.Type) []dnswire.Type {
	if !e.conf.NoAAAA || len(types) == 1 {
		return types
	}
	return slices.DeleteFunc(types, func(t dnswire.Type) bool { return t == dnswire.TypeAAAA })
}

// only keeps the results of these types.
func only(results []FamilyResult, types []dnswire.Type) []FamilyResult {
	var out []FamilyResult
	for _, t := range types {
		for _, f := range results {
			if f.Type == typeName(t) {
				out = append(out, f)
			}
		}
	}
	return out
}

// search goes through the names of the plan until one has addresses. Like the C
// library it goes on after SERVFAIL and REFUSED, and stops where no server can
// be asked. What it returns when none has is that of the name that says most.
func (r *Resolver) search(ctx context.Context, p plan, types []dnswire.Type) []FamilyResult {
	var best []FamilyResult
	var room [1]dnswire.Name
	for i, name := range p.names(room[:0]) {
		out := r.start(ctx, p.engine, p.asked, name, types)
		results := r.gather(ctx, out)
		if i == 0 || telling(results) > telling(best) {
			best = results
		}
		if telling(results) >= tellsEnd || ctx.Err() != nil {
			return results
		}
	}
	return best
}

// How much a name's results tell: the greatest wins where no name has
// addresses, and from tellsEnd on the search is over.
const (
	tellsNothing  = iota // does not exist
	tellsNoData          // exists, without addresses
	tellsFailure         // the servers could not find out
	tellsEnd             // no server can be asked, or
	tellsPositive        // addresses
)

func telling(results []FamilyResult) int {
	most := tellsNothing
	for _, f := range results {
		most = max(most, f.telling())
	}
	return most
}

func (f FamilyResult) telling() int {
	if f.found() {
		return tellsPositive
	}
	if e := new(Error); errors.As(f.Err, &e) {
		return e.telling()
	}
	return tellsNothing
}

func (e *Error) telling() int {
	switch {
	case errors.Is(e.Kind, ErrNoSuchName), errors.Is(e.Kind, ErrPending):
		return tellsNothing
	case errors.Is(e.Kind, ErrNoData):
		return tellsNoData
	case errors.Is(e.Kind, ErrTimeout), errors.Is(e.Kind, ErrUnreachable):
		return tellsEnd
	}
	return tellsFailure
}

// LookupNetIP has the signature of net.Resolver's method: network is "ip",
// "ip4" or "ip6", and only the families meant are asked. The addresses are in
// dial order, and fit to connect to: "ip" has an IPv4 address that this host has
// no way to as the network's NAT64 translates it.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var types []dnswire.Type
	switch network {
	case "ip":
		types = []dnswire.Type{dnswire.TypeAAAA, dnswire.TypeA}
	case "ip4":
		types = []dnswire.Type{dnswire.TypeA}
	case "ip6":
		types = []dnswire.Type{dnswire.TypeAAAA}
	default:
		return nil, net.UnknownNetworkError(network)
	}
	a, err := r.lookup(ctx, host, types)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, a.Record.Len())
	for _, e := range a.Record.All() {
		addr := e.Addr()
		if network == "ip" && addr.Is4() {
			if v6, ok := r.Synthesize(ctx, addr); ok {
				addr = v6
			}
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}
