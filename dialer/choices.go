package dialer

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// choices puts candidates in the order of the memory, with the reason for those
// not to be joined. The first subflow's address is left out.
func (s *subflows) choices(candidates []netip.AddrPort) []choice {
	var addrs []netip.Addr
	var out []choice
	for _, c := range candidates {
		if c.Port() == s.first.Port() {
			addrs = append(addrs, c.Addr())
		} else {
			out = append(out, choice{remote: c, skip: errOtherPort})
		}
	}
	used, tried, insist := s.used(), s.tried(), s.insist || s.unknown == JoinAny
	for _, c := range s.memory.Order(s.key, s.first.Addr(), addrs, time.Now(), s.evidence(addrs)...) {
		n := choice{remote: netip.AddrPortFrom(c.Addr, s.first.Port()), why: c.Why, believed: c.Verdict, backup: s.use.backupAtFirst()}
		switch {
		case !belongsBeside(s.first.Addr(), c.Addr):
			n.skip = errMisplaced
		case used[c.Addr]:
			n.skip = errInUse
		case !c.Try && !tried[c.Addr] && !insist && !s.recheck(c):
			n.skip = notTried(c)
		case c.Verdict != hostid.Same && s.unknown == LeaveUnknown && !tried[c.Addr] && !insist:
			n.skip = errUnknownHost
		}
		out = append(out, n)
	}
	return out
}

// recheck reports whether an address that is believed to be another host's is
// joined all the same, to see whether it still is: one of a connection at most, and
// each once in hostid.RecheckAfter.
func (s *subflows) recheck(c hostid.Choice) bool {
	if c.Verdict != hostid.Different || s.unknown == LeaveUnknown || !belongsBeside(s.first.Addr(), c.Addr) {
		return false
	}
	if !s.rechecked.IsValid() && s.memory.Recheck(s.key, s.first.Addr(), c.Addr, time.Now()) {
		s.rechecked = c.Addr
	}
	return s.rechecked == c.Addr
}

// errUnknownHost: Dialer.Unknown leaves such addresses alone.
var errUnknownHost = errors.New("not known to be the same host, and Dialer.Unknown is LeaveUnknown")

// notTried says why an address is left alone: its host is another, or it failed
// lately.
func notTried(c hostid.Choice) error {
	if c.Verdict == hostid.Different {
		return fmt.Errorf("another host: %s", c.Why)
	}
	return fmt.Errorf("remembered: %s", c.Why)
}

// belongsBeside reports whether addr may be joined to a connection to first. The
// resolver leaves such addresses out of what it finds; a record in hand may have
// them.
func belongsBeside(first, addr netip.Addr) bool {
	switch {
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast():
		return false
	}
	return addr.IsLoopback() == first.IsLoopback()
}

// used returns the remote addresses that have a subflow which was not made here.
func (s *subflows) used() map[netip.Addr]bool {
	infos, err := s.wire.subflowInfos()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	used := make(map[netip.Addr]bool, len(infos))
	for _, i := range infos {
		if inUse(i.TCP.State) && s.joiner.match(i.Local, i.Remote.Addr()) == nil {
			used[i.Remote.Addr()] = true
		}
	}
	return used
}

// tried returns the remote addresses for which a join was sent.
func (s *subflows) tried() map[netip.Addr]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	tried := make(map[netip.Addr]bool)
	for _, n := range s.joiner.joins {
		if !n.begun.IsZero() {
			tried[n.remote.Addr()] = true
		}
	}
	return tried
}
