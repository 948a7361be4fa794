package dialer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// The bounds of looking after the paths.
const (
	// steerInterval is how often the subflows are looked at while there are
	// several: a path that dies silently makes no event.
	steerInterval = 250 * time.Millisecond

	// deadBackoff is the number of doublings of the retransmission timeout after
	// which a path counts as dead: three transmissions without an answer.
	deadBackoff = 2

	// A path takes over from the one used by Interactive when its round trip is
	// shorter by a quarter in interactiveLooks looks in a row.
	interactiveShare = 0.75
	interactiveLooks = 4
)

// pathLook is what one look at a subflow says.
type pathLook struct {
	ends
	up  bool // carries data
	tcp mptcp.TCPInfo
}

// setBackup is one thing for the driver to do.
type setBackup struct {
	ends
	backup bool
	dead   bool // because the path seems dead
}

// steered is what is known of a path.
type steered struct {
	backup bool   // as it is set now
	dead   bool   // seems dead
	acked  uint64 // octets acknowledged when it died
}

// steerer decides which paths carry data. It has no clock and no I/O.
type steerer struct {
	use     PathUse
	paths   map[ends]*steered
	leader  ends // of Handover and Interactive: the path that carries data
	rival   ends // of Interactive: the path that has been better lately
	streak  int  // in how many looks
	primary ends // the subflow that the connection began with
}

// begun notes a new path, and whether it began as a backup path.
func (s *steerer) begun(p ends, backup bool) {
	if s.paths == nil {
		s.paths = make(map[ends]*steered)
	}
	s.paths[p] = &steered{backup: backup}
}

// step takes one look at all subflows and returns what to change. A path that
// the kernel refused to change is tried at the next look again: see refused.
func (s *steerer) step(looks []pathLook) (out []setBackup) {
	looks = slices.DeleteFunc(slices.Clone(looks), func(l pathLook) bool { return !l.up })
	s.keep(looks)
	alive := 0
	for _, l := range looks {
		if s.paths[l.ends].judge(l.tcp); !s.paths[l.ends].dead {
			alive++
		}
	}
	s.lead(looks)
	for _, l := range looks {
		p := s.paths[l.ends]
		want := s.use != Aggregate && l.ends != s.leader
		if p.dead && alive > 0 {
			want = true
		}
		if want != p.backup {
			p.backup = want
			out = append(out, setBackup{l.ends, want, p.dead})
		}
	}
	// First what is to carry data, then what is not to any more.
	slices.SortStableFunc(out, func(a, b setBackup) int { return order(a.backup) - order(b.backup) })
	return out
}

func order(backup bool) int {
	if backup {
		return 1
	}
	return 0
}

// refused notes that a change was not made.
func (s *steerer) refused(c setBackup) {
	if p := s.paths[c.ends]; p != nil {
		p.backup = !c.backup
	}
}

// keep forgets the paths that are gone and takes in those that are new.
func (s *steerer) keep(looks []pathLook) {
	for p := range s.paths {
		if !slices.ContainsFunc(looks, func(l pathLook) bool { return l.ends == p }) {
			delete(s.paths, p)
		}
	}
	for _, l := range looks {
		if s.paths[l.ends] == nil {
			s.begun(l.ends, l.ends != s.primary && s.use.backupAtFirst())
		}
	}
}

// judge notes whether a path seems dead: its retransmissions have no answer. It
// is alive again when the peer has acknowledged more.
func (p *steered) judge(tcp mptcp.TCPInfo) {
	switch {
	case !p.dead && tcp.Backoff >= deadBackoff:
		p.dead, p.acked = true, tcp.BytesAcked
	case p.dead && tcp.Backoff == 0 && (tcp.BytesAcked > p.acked || tcp.Unacked == 0):
		p.dead = false
	}
}

// lead chooses the path that carries data: the first one, and for Interactive
// the one with the shortest round trip.
func (s *steerer) lead(looks []pathLook) {
	alive := slices.DeleteFunc(slices.Clone(looks), func(l pathLook) bool { return s.paths[l.ends].dead })
	if len(alive) == 0 || s.use == Aggregate {
		return
	}
	at := slices.IndexFunc(alive, func(l pathLook) bool { return l.ends == s.leader })
	if first := slices.IndexFunc(alive, func(l pathLook) bool { return l.ends == s.primary }); first >= 0 && (at < 0 || s.use == Handover) {
		at = first
	}
	at = max(at, 0)
	s.leader = alive[at].ends
	if s.use == Interactive {
		s.compare(alive[at], alive)
	}
}

// compare lets another path take the lead that has been clearly faster for some
// time.
func (s *steerer) compare(leader pathLook, alive []pathLook) {
	best := leader
	for _, l := range alive {
		if l.tcp.RTT > 0 && l.tcp.RTT < best.tcp.RTT {
			best = l
		}
	}
	if float64(best.tcp.RTT) >= interactiveShare*float64(leader.tcp.RTT) {
		s.streak = 0
		return
	}
	if best.ends != s.rival {
		s.rival, s.streak = best.ends, 0
	}
	if s.streak++; s.streak >= interactiveLooks {
		s.leader, s.streak = best.ends, 0
	}
}

// backup reports whether a path is a backup path now.
func (s *steerer) isBackup(local, remote netip.AddrPort) bool {
	p := s.paths[ends{local, remote}]
	return p != nil && p.backup
}

// steer looks at the subflows and changes what is to change.
func (s *subflows) steer() {
	infos, err := s.wire.subflowInfos()
	if err != nil {
		return
	}
	looks := make([]pathLook, 0, len(infos))
	for _, i := range infos {
		looks = append(looks, pathLook{ends{i.Local, i.Remote}, carriesData(i.TCP.State), i.TCP})
	}
	var changes []setBackup
	s.update(func() { changes = s.steerer.step(looks) })
	for _, c := range changes {
		err := s.pm.SetBackup(s.token, mptcp.Subflow{Local: c.Local, Remote: c.Remote}, c.backup)
		if err != nil {
			s.update(func() { s.steerer.refused(c) })
			continue
		}
		s.tellBackup(c)
	}
}

func (s *subflows) tellBackup(c setBackup) {
	change, reason := PathActive, error(nil)
	if c.backup {
		change = PathBackup
	}
	if c.backup && c.dead {
		reason = errSilent
	}
	s.tell(change, c.Local, c.Remote, reason)
}

// isBackup reports whether a path is a backup path.
func (s *subflows) isBackup(p Path) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.steerer.isBackup(p.Local, p.Remote)
}
