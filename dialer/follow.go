package dialer

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/netmon"
)

// This file keeps a connection's paths what the plan says while the record, the
// peer's announcements and this machine's network change.

// errNotWanted: the path is not in the sets of the connection any more.
var errNotWanted = errors.New("not wanted any more")

// watch begins to follow this machine's network. Without a monitor paths begin
// where routing lets them. The function it returns ends that.
func (s *subflows) watch() (release func()) {
	if s.monitors == nil || s.first.Addr().IsLoopback() {
		return func() {}
	}
	states, release, err := s.monitors.watch()
	if err != nil {
		return func() {}
	}
	if state, ok := <-states; ok { // the first is there already
		s.states = states
		s.see(state)
	}
	return release
}

// see takes in the state of the network.
func (s *subflows) see(state netmon.State) {
	s.update(func() {
		s.network, s.known = state, true
		s.listed = s.listed || s.has(s.began.Addr())
	})
}

// has reports whether a local address is there and may be used.
func (s *subflows) has(a netip.Addr) bool {
	there := slices.ContainsFunc(s.network.Addresses, func(n netmon.Address) bool { return n.Addr == a })
	return there && s.local.allowsAddr(s.network, a)
}

// moved takes in a change of the network: paths from addresses that are gone are
// given up, those that new addresses allow are added.
func (s *subflows) moved(ctx context.Context, state netmon.State, ok bool) {
	if !ok {
		s.states = nil // what is known stays
		return
	}
	if s.known && state.Equal(s.network) {
		return
	}
	s.see(state)
	s.replan(ctx, wanted{reason: errSourceGone, again: true})
	s.leaveFirst()
}

// tidy gives up what was only kept until another path carried data.
func (s *subflows) tidy(ctx context.Context) {
	s.mu.Lock()
	spared := s.joiner.spared
	s.mu.Unlock()
	if spared {
		s.replan(ctx, wanted{reason: errSourceGone})
	}
	s.leaveFirst()
}

// leaveFirst gives up the path that the connection began with when its address
// is gone and another path carries data. The last path is never given up.
func (s *subflows) leaveFirst() {
	s.mu.Lock()
	others := s.joiner.count(joinActive)
	s.mu.Unlock()
	if !s.listed || s.has(s.began.Addr()) || others == 0 || !s.firstUp() {
		return
	}
	s.destroyFirst()
}

// destroyFirst closes the subflow that the connection began with. Where its FIN
// has no answer the kernel keeps it for a while; it counts as closed at once.
func (s *subflows) destroyFirst() {
	_ = s.pm.DestroySubflow(s.token, mptcp.Subflow{Local: s.began, Remote: s.first}) // or it has ended by itself
	s.update(func() { s.left = true })
}

// settleStates marks the first subflow as closed when it was given up.
func (s *subflows) settleStates(infos []mptcp.SubflowInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range infos {
		if s.left && infos[i].Local == s.began {
			infos[i].TCP.State = mptcp.StateClosed
		}
	}
}

// firstUp reports whether the subflow that the connection began with is there.
func (s *subflows) firstUp() bool {
	infos, err := s.wire.subflowInfos()
	return err == nil && slices.ContainsFunc(infos, func(i mptcp.SubflowInfo) bool {
		return (i.ID == firstSubflowID || i.ID == 0 && i.Local == s.began) && carriesData(i.TCP.State)
	})
}

// firstWanted reports whether that subflow's ends are there and in the sets.
func (s *subflows) firstWanted() bool {
	return s.wants(ends{s.began, s.first}) && (!s.listed || s.has(s.began.Addr()))
}

// offer adds addresses of the peer.
func (s *subflows) offer(ctx context.Context, candidates []netip.AddrPort) {
	s.addRemotes(candidates)
	s.consult(candidates)
	s.replan(ctx, wanted{reason: errNotWanted})
}

func (s *subflows) addRemotes(candidates []netip.AddrPort) {
	for _, c := range candidates {
		c = netip.AddrPortFrom(c.Addr().Unmap(), c.Port())
		if !slices.Contains(s.remotes, c) {
			s.remotes = append(s.remotes, c)
		}
	}
}

// replan makes the joins what they should be now.
func (s *subflows) replan(ctx context.Context, w wanted) {
	p := s.plan()
	w.choices, w.firstUp = p.choices(), p.first.up
	s.feed(ctx, w)
}

// plan returns what the paths are decided by.
func (s *subflows) plan() plan {
	p := plan{
		policy: s.policy, remotes: s.choices(s.remotes), known: s.known, network: s.network, local: s.local,
		first:      held{local: s.began.Addr(), remote: s.first, up: s.firstWanted() && s.firstUp()},
		unwanted:   s.replaced && !slices.Contains(s.remotes, s.first) || s.denies(),
		routedFrom: routedFrom,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.joiner.joins {
		p.have = append(p.have, held{from: n.from, local: n.local.Addr(), remote: n.remote, up: n.state == joinActive})
	}
	return p
}
