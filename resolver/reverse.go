package resolver

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/hostid"
)

// Bounds of the look-ups of Resolver.Reverse.
const (
	// reverseParallel is how many addresses are looked up at once.
	reverseParallel = 8
	// maxReverseNames is how many PTR names of one address are looked up in turn.
	// RFC 1035 section 3.5 has one; names beyond a few are no names of hosts.
	maxReverseNames = 4
	// reverseTime bounds all of it: many reverse zones have servers that do not
	// answer (RFC 8501 section 2).
	reverseTime = 5 * time.Second
)

// reverse asks for the PTR names of the answer's addresses, and whether each
// name has its address. What cannot be found out in time is left out. One address
// is the same host as itself without questions.
func (r *Resolver) reverse(ctx context.Context, a *Answer) {
	ctx, cancel := context.WithTimeout(ctx, reverseTime)
	defer cancel()
	addrs := a.addrs()
	if len(addrs) < 2 {
		return
	}
	addrs = addrs[:min(len(addrs), hostid.MaxAddrs)]
	found := make([][]hostid.Reverse, len(addrs))
	places := make(chan int)
	var asking sync.WaitGroup
	for range min(len(addrs), reverseParallel) {
		asking.Go(func() {
			for i := range places {
				found[i] = r.reverseOf(ctx, addrs[i])
			}
		})
	}
	for i := range addrs {
		places <- i
	}
	close(places)
	asking.Wait()
	a.judging.reverse = slices.Concat(found...)
}

// reverseOf returns the PTR names of one address.
func (r *Resolver) reverseOf(ctx context.Context, addr netip.Addr) []hostid.Reverse {
	names, err := r.LookupAddr(ctx, addr.WithZone("").String())
	if err != nil {
		return nil
	}
	slices.Sort(names) // servers rotate them
	names = slices.Compact(names)
	var out []hostid.Reverse
	for _, name := range names[:min(len(names), maxReverseNames)] {
		out = append(out, hostid.Reverse{Addr: addr, Name: name, Confirmed: r.leadsTo(ctx, name, addr)})
	}
	return out
}

// leadsTo tells whether name has the address.
func (r *Resolver) leadsTo(ctx context.Context, name string, addr netip.Addr) bool {
	typ := dnswire.TypeAAAA
	if addr.Is4() {
		typ = dnswire.TypeA
	}
	a, _ := r.lookup(ctx, name, []dnswire.Type{typ}) // without an answer it does not
	if a == nil {
		return false
	}
	return slices.ContainsFunc(a.Families, func(f FamilyResult) bool {
		return slices.Contains(f.Addrs, addr.WithZone(""))
	})
}
