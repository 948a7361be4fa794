package dialer

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// errWithdrawn: the peer took its address back.
var errWithdrawn = errors.New("the peer withdrew the address")

// learn keeps which of the peer's address ids stands for which address.
func (s *subflows) learn(e mptcp.Event) {
	if e.RemoteID != 0 && e.Remote.IsValid() {
		s.remoteIDs[e.RemoteID] = netip.AddrPortFrom(e.Remote.Addr().Unmap(), e.Remote.Port())
	}
}

// offeredByPeer takes in an address that the peer announces: authenticated by the
// connection's keys, it is the host's own word. What a join then proves is
// remembered as for any other address.
func (s *subflows) offeredByPeer(ctx context.Context, e mptcp.Event) {
	s.learn(e)
	remote := e.Remote
	if remote.Port() == 0 {
		remote = netip.AddrPortFrom(remote.Addr(), s.first.Port())
	}
	s.tell(PathAnnounced, netip.AddrPort{}, remote, nil)
	if s.announced == JoinAnnounced && !s.replaced && len(s.remotes) < maxCandidates {
		s.offer(ctx, []netip.AddrPort{remote})
	}
}

// withdrawnByPeer gives up the address that the peer takes back. The kernel
// closes its subflows.
func (s *subflows) withdrawnByPeer(ctx context.Context, e mptcp.Event) {
	remote, ok := s.remoteIDs[e.RemoteID]
	if !ok {
		return
	}
	delete(s.remoteIDs, e.RemoteID)
	s.tell(PathWithdrawn, netip.AddrPort{}, remote, nil)
	s.remotes = slices.DeleteFunc(s.remotes, func(a netip.AddrPort) bool { return a.Addr() == remote.Addr() && a != s.first })
	s.replan(ctx, wanted{reason: errWithdrawn})
}
