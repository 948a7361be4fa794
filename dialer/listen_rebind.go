package dialer

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// Rebind replaces the set of addresses, as binding again does (draft section
// 4.1): sockets that the new set does not need are closed, new ones are opened,
// and those in both go on undisturbed. It returns what became of each address
// of the new set, and fails only when none of them could be bound: then nothing
// has changed. Port 0 is the port that the system chose for this listener
// before, if it did.
//
// Where a new socket takes over from old ones, as when a wildcard takes the
// place of a specific address, the old ones are closed first: what waits there
// to be accepted is reset. They are opened again if the new one fails.
//
// Connections stay. With permission (see [Listener.Report]) they are told of new
// addresses (ADD_ADDR), and what was dropped is withdrawn (RM_ADDR), which
// closes their subflows there. A connection's first address is never withdrawn,
// nor is the address of its last subflow.
func (l *Listener) Rebind(ctx context.Context, set mpaddr.Addr) ([]ListenResult, error) {
	results, err := l.rebind(ctx, set)
	if err != nil {
		return results, listenError("rebind", set, err)
	}
	return results, nil
}

func (l *Listener) rebind(ctx context.Context, set mpaddr.Addr) ([]ListenResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, net.ErrClosed
	case ctx.Err() != nil:
		return nil, mapContextError(ctx.Err())
	case set.IsEmpty():
		return nil, errNothingToListen
	case set.Len() > MaxListen:
		return nil, errListenTooMany
	}
	r := l.newRebinding(ctx, set)
	r.bindAll(r.undisturbed())
	if !r.replace() {
		l.restore(r)
		return r.results, &ListenError{Results: r.results}
	}
	l.commit(r)
	return slices.Clone(r.results), nil
}

// listenRebinding is the change from the sockets in use to those of another set.
type listenRebinding struct {
	*listenBinder
	kept    []*listenSocket // serve the new set as they are
	dropped []*listenSocket // do not
	fresh   []listenPlan    // sockets to open
	closed  []*listenSocket // of dropped: closed for those that take over
}

// newRebinding compares the sockets in use with those that set needs.
func (l *Listener) newRebinding(ctx context.Context, set mpaddr.Addr) *listenRebinding {
	r := &listenRebinding{listenBinder: &listenBinder{
		open:  func(at listenBind) (*listenSocket, error) { return l.config.openListener(ctx, at) },
		probe: probeListen, port: l.port,
	}}
	r.ask(set)
	r.compare(l.sockets)
	return r
}

// ask begins a result for each address of set.
func (b *listenBinder) ask(set mpaddr.Addr) {
	for _, e := range set.All() {
		b.want = append(b.want, b.resolve(e.Target()))
		b.results = append(b.results, ListenResult{Asked: e, Err: syscall.EADDRNOTAVAIL})
	}
}

// compare sorts the sockets in use into those kept and those dropped, and finds
// the ones to open.
func (r *listenRebinding) compare(sockets []*listenSocket) {
	all := make([]int, len(r.want))
	for i := range all {
		all[i] = i
	}
	plans := planListen(r.want, all)
	for len(plans) > 0 {
		p := plans[0]
		plans = plans[1:]
		n := slices.IndexFunc(sockets, func(s *listenSocket) bool { return s.addr == p.addr })
		if n < 0 {
			r.fresh = append(r.fresh, p)
			continue
		}
		r.kept = append(r.kept, sockets[n])
		plans = append(plans, planListen(r.want, r.assign(sockets[n], p.entries))...)
	}
	for _, s := range sockets {
		if !slices.Contains(r.kept, s) {
			r.dropped = append(r.dropped, s)
		}
	}
}

// blockers returns the sockets that must be closed before p's can be opened.
func (r *listenRebinding) blockers(p listenPlan) (list []*listenSocket) {
	for _, s := range r.dropped {
		if s.overlaps(p.listenBind) {
			list = append(list, s)
		}
	}
	return list
}

// undisturbed returns the sockets that can be opened beside those in use.
func (r *listenRebinding) undisturbed() (list []listenPlan) {
	for _, p := range r.fresh {
		if len(r.blockers(p)) == 0 {
			list = append(list, p)
		}
	}
	return list
}

// replace opens the sockets that take over from others, which are closed for
// that, and reports whether any address of the set is bound. An address that
// this machine has not closes nothing.
func (r *listenRebinding) replace() bool {
	var plans []listenPlan
	for _, p := range r.fresh {
		blockers := r.blockers(p)
		if len(blockers) == 0 {
			continue
		}
		if err := r.canBind(p); err != nil {
			for _, i := range p.entries {
				r.results[i].fail(err)
			}
			continue
		}
		plans = append(plans, p)
		for _, s := range blockers {
			if !slices.Contains(r.closed, s) {
				r.closed = append(r.closed, s)
			}
		}
	}
	closeListeners(r.closed)
	r.bindAll(plans)
	return r.bound()
}

// canBind reports why a specific address cannot be bound to.
func (r *listenRebinding) canBind(p listenPlan) error {
	if p.addr.Addr().IsUnspecified() {
		return nil
	}
	return r.probe(p.addr.Addr())
}

// restore opens again what was closed for nothing.
func (l *Listener) restore(r *listenRebinding) {
	for n, s := range l.sockets {
		if !slices.Contains(r.closed, s) {
			continue
		}
		again, err := r.open(s.listenBind)
		if err != nil {
			l.lose(s, err)
			continue
		}
		l.sockets[n] = again
		l.group.Go(func() { l.run(again) })
	}
	l.sockets = slices.DeleteFunc(l.sockets, func(s *listenSocket) bool { return slices.Contains(r.closed, s) })
	l.addr = listenBoundSet(l.results, l.sockets)
}

// lose notes that a socket could not be opened again.
func (l *Listener) lose(s *listenSocket, err error) {
	for i := range l.results {
		if l.results[i].Err == nil && l.results[i].Socket == s.addr {
			l.results[i].fail(err)
		}
	}
}

// commit makes the new set the one in use.
func (l *Listener) commit(r *listenRebinding) {
	closeListeners(r.dropped) // those closed already do not mind
	l.sockets = slices.Concat(r.kept, r.sockets)
	l.port, l.results = r.port, r.results
	for _, s := range r.sockets {
		l.group.Go(func() { l.run(s) })
	}
	l.addr = listenBoundSet(r.results, l.sockets)
	l.announcer.update(l.sockets, l.addr)
}

// listenBoundSet returns the addresses that are bound: those asked for, and 0.0.0.0
// of each dual-stack socket.
func listenBoundSet(results []ListenResult, sockets []*listenSocket) mpaddr.Addr {
	var list []mpaddr.Endpoint
	for _, r := range results {
		if r.Err == nil {
			list = append(list, r.Bound)
		}
	}
	for _, s := range sockets {
		if s.dual {
			any4 := netip.AddrPortFrom(netip.IPv4Unspecified(), s.addr.Port())
			list = append(list, mpaddr.EndpointFrom(any4))
		}
	}
	return mpaddr.New(list...)
}
