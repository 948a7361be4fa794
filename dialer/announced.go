package dialer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
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
// connection's keys, it is the host's own word.
func (s *subflows) offeredByPeer(ctx context.Context, e mptcp.Event) {
	s.learn(e)
	remote := e.Remote
	if remote.Port() == 0 {
		remote = netip.AddrPortFrom(remote.Addr(), s.first.Port())
	}
	s.tell(PathAnnounced, netip.AddrPort{}, remote, nil)
	s.noteAnnounced(remote)
	if s.announced == JoinAnnounced && !s.replaced && len(s.remotes) < maxCandidates {
		s.offer(ctx, []netip.AddrPort{remote})
	}
}

// noteAnnounced remembers the peer's word that an address is its own, joined or
// not: its word is authentic (RFC 8684 section 3.4.1), but not tried. Private addresses are the peer's own in its network, and not in
// this one's, unless the connection goes to one. What a join has shown before is
// not put in doubt: it was seen, and this was said.
func (s *subflows) noteAnnounced(remote netip.AddrPort) {
	first, addr := s.first.Addr(), remote.Addr().Unmap()
	if remote.Port() != s.first.Port() || !belongsBeside(first, addr) || addr.IsPrivate() && !first.IsPrivate() {
		return
	}
	now := time.Now()
	for _, c := range s.memory.Order(s.key, first, []netip.Addr{addr}, now) {
		if c.Last == hostid.NotTried || c.Last == hostid.Announced && c.Verdict != hostid.Same {
			s.remember(addr, hostid.Announced)
		}
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
