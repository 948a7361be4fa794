package dialer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/af-multipath/mpresolve/internal/netmon"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// ErrNoPathLeft is matched by the error of [Conn.Reconnect] and [Conn.Rebind]
// for a set with which no path would work: nothing was changed.
var ErrNoPathLeft = errors.New("no path would be left")

var errNetworkUnknown = errors.New("the addresses of this machine are not followed: the connection is over loopback, or the system does not tell")

// SetResult is what became of one address of a set given to [Conn.Reconnect] or
// [Conn.Rebind].
type SetResult struct {
	Addr  netip.AddrPort // as given; the port of a local address has no meaning
	Paths int            // that use it now
	Err   error          // why none does; nil where one does
}

// Reconnect replaces the set of remote addresses, as connecting again does
// (draft-sarolahti-mptcp-af-multipath-01, section 4.2). New addresses are joined
// first; when each has its verdict, the paths to those that are not in the set
// are closed. The result tells of each address of the set. It fails when none
// of them has a path, with [ErrNoPathLeft], or when ctx ends first; nothing is
// changed then. The look-up's late answers are not taken in any more.
func (c *Conn) Reconnect(ctx context.Context, set mpaddr.Addr) ([]SetResult, error) {
	wants := addrPorts(set)
	return c.replace(ctx, "reconnect", wants, func(s *subflows) error {
		s.remotes, s.replaced = wants, true
		return nil
	}, func(p Path, a netip.AddrPort) bool { return p.Remote == a })
}

// Rebind replaces the set of local addresses, as binding again does (draft
// section 4.1). A wildcard stands for all addresses of its family; the ports are
// not used. Paths from new addresses are made first; then those from addresses
// that are not in the set are closed, and the peer is told (REMOVE_ADDR). Results
// and errors are those of [Conn.Reconnect].
func (c *Conn) Rebind(ctx context.Context, set mpaddr.Addr) ([]SetResult, error) {
	wants := addrPorts(set)
	return c.replace(ctx, "rebind", wants, func(s *subflows) error {
		if !s.known {
			return errNetworkUnknown
		}
		s.local, s.joiner.reroute = newLocalRule(set, nil), false
		return nil
	}, func(p Path, a netip.AddrPort) bool {
		local := p.Local.Addr()
		return local == a.Addr() || a.Addr().IsUnspecified() && local.Is4() == a.Addr().Is4()
	})
}

// addrPorts returns a set's addresses, unmapped.
func addrPorts(set mpaddr.Addr) (out []netip.AddrPort) {
	for _, e := range set.All() {
		out = append(out, e.Target())
	}
	return out
}

// replace changes a set and reports on each of its addresses; uses tells whether
// a path uses one.
func (c *Conn) replace(ctx context.Context, op string, set []netip.AddrPort, apply func(*subflows) error, uses func(Path, netip.AddrPort) bool) ([]SetResult, error) {
	err := errNoAddress
	switch {
	case len(set) == 0:
	case c.ID() == 0:
		err = errPlain
	case c.subflows == nil:
		err = errNoSubflows
	default:
		err = c.subflows.replace(ctx, apply)
	}
	if err != nil && !errors.Is(err, ErrNoPathLeft) {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	results := c.results(set, uses)
	if err != nil {
		return results, fmt.Errorf("%s: %w", op, err)
	}
	return results, nil
}

// results tells which paths use each address of a set.
func (c *Conn) results(set []netip.AddrPort, uses func(Path, netip.AddrPort) bool) (out []SetResult) {
	paths := c.Paths()
	for _, a := range set {
		r := SetResult{Addr: a}
		for _, p := range paths {
			if p.State != StateClosed && p.State != StateJoining && uses(p, a) {
				r.Paths++
			}
		}
		if r.Paths == 0 {
			r.Err = c.subflows.whyUnused(func(n *join) bool {
				return uses(Path{Local: netip.AddrPortFrom(n.from.addr, 0), Remote: n.remote}, a)
			}, a)
		}
		out = append(out, r)
	}
	return out
}

// whyUnused says why an address has no path.
func (s *subflows) whyUnused(is func(*join) bool, a netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.refused {
		if is(n) && n.err != nil {
			return n.err
		}
	}
	for _, n := range s.joiner.joins {
		if is(n) && n.err != nil {
			return n.err
		}
	}
	if a.Port() == 0 && !s.present(a.Addr()) {
		return syscall.EADDRNOTAVAIL
	}
	return errUnplanned
}

// present reports whether this machine has an address. The lock is held.
func (s *subflows) present(a netip.Addr) bool {
	return a.IsUnspecified() || slices.ContainsFunc(s.network.Addresses, func(n netmon.Address) bool { return n.Addr == a })
}

// sets are what a connection's paths are planned by.
type sets struct {
	remotes  []netip.AddrPort
	replaced bool
	local    localRule
	reroute  bool
}

func (s *subflows) sets() sets { return sets{s.remotes, s.replaced, s.local, s.joiner.reroute} }

func (s *subflows) setSets(x sets) {
	s.remotes, s.replaced, s.local, s.joiner.reroute = x.remotes, x.replaced, x.local, x.reroute
}

// replace changes the sets: the paths of the new ones are made beside those
// there are; when they have their verdicts, the change is kept if one works, or
// taken back.
func (s *subflows) replace(ctx context.Context, apply func(*subflows) error) error {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	var before sets
	err := s.call(ctx, func(ctx context.Context) error {
		s.mu.Lock()
		before = s.sets()
		err := apply(s)
		s.mu.Unlock()
		if err == nil {
			s.widen(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	failure := s.waitFor(ctx, func() bool { return s.joiner.settled() })
	// The end is not to be interrupted: the goroutine does it at once.
	return s.call(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return s.narrow(ctx, before, failure)
	})
}

// call has the goroutine do something.
func (s *subflows) call(ctx context.Context, f func(context.Context) error) error {
	result := make(chan error, 1)
	for {
		s.mu.Lock()
		failure, changed := s.failure, s.changed
		s.mu.Unlock()
		if failure != nil {
			return failure
		}
		select {
		case s.calls <- func(ctx context.Context) { result <- f(ctx) }:
			return <-result
		case <-changed:
		case <-s.done:
			return errConnEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// widen adds what the new sets allow.
func (s *subflows) widen(ctx context.Context) {
	s.closeLookup()
	s.update(func() {
		s.joiner.forget()
		s.refused = nil
	})
	s.insist = true
	list := s.plan().choices()
	s.insist = false
	s.update(func() { s.joiner.extra = len(list) })
	s.feed(ctx, offered{list})
}

// narrow gives up what the new sets leave out, or, if nothing of them works or
// the wait for it failed, the new sets.
func (s *subflows) narrow(ctx context.Context, before sets, failure error) error {
	live, err := s.live()
	if err == nil && failure == nil {
		if _, ok := leaveOut(live, s.wants); !ok {
			failure = ErrNoPathLeft
		}
	}
	if err == nil {
		err = failure
	}
	s.update(func() { s.joiner.extra = 0 })
	if err != nil {
		s.update(func() {
			s.refused = slices.Clone(s.joiner.joins)
			s.setSets(before)
		})
		s.replan(ctx, wanted{reason: errNotWanted})
		return err
	}
	drop, _ := leaveOut(live, s.wants)
	s.withdraw(drop)
	s.replan(ctx, wanted{reason: errNotWanted})
	for _, p := range drop {
		if p.Local == s.began && !s.hasLeft() {
			s.destroyFirst()
		}
	}
	return nil
}

// ends are the two ends of a subflow.
type ends struct{ Local, Remote netip.AddrPort }

// leaveOut decides which of the working paths to give up for sets that want only
// some of them. Not ok means that none would be left: then none is to be given
// up.
func leaveOut(live []ends, wants func(ends) bool) (drop []ends, ok bool) {
	for _, p := range live {
		if wants(p) {
			ok = true
		} else {
			drop = append(drop, p)
		}
	}
	if !ok {
		return nil, false
	}
	return drop, true
}

// wants reports whether the sets have both ends of a path.
func (s *subflows) wants(p ends) bool {
	remote := !s.replaced || slices.Contains(s.remotes, p.Remote)
	return remote && (!s.local.restricts() || s.local.allowsAddr(s.network, p.Local.Addr()))
}

// live returns the paths that carry data.
func (s *subflows) live() (out []ends, err error) {
	infos, err := s.wire.subflowInfos()
	for _, i := range infos {
		if carriesData(i.TCP.State) {
			out = append(out, ends{i.Local, i.Remote})
		}
	}
	return out, err
}

// withdraw tells the peer of the local addresses that the set leaves out, which
// closes their subflows.
func (s *subflows) withdraw(drop []ends) {
	gone := make(map[netip.Addr]bool)
	for _, p := range drop {
		if !s.local.restricts() || s.local.allowsAddr(s.network, p.Local.Addr()) {
			continue
		}
		gone[p.Local.Addr()] = true
		if p.Local != s.began {
			s.destroyed[p.Local.Port()] = true
		}
	}
	for a := range gone {
		if id, ok := s.ids[a]; ok {
			_ = s.pm.Remove(s.token, id) // or its subflows have ended by themselves
		}
		if a == s.began.Addr() && !s.hasLeft() {
			if s.pm.Remove(s.token, 0) == nil {
				s.update(func() { s.left = true })
			}
		}
	}
}

func (s *subflows) hasLeft() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}
