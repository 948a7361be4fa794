package broker

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// refusals are the joins that the broker made for one client, by where to, and
// whether the kernel says that they were refused.
type refusals map[netip.AddrPort]*attempt

// attempt is one join or, from several sources, the earliest of those under way.
type attempt struct {
	begun   time.Time
	refused bool
}

// begin notes a join that is about to be made. Of more than maxJoinedAddrs nothing
// is known.
func (r refusals) begin(remote netip.AddrPort, now time.Time) {
	a, known := r[remote]
	if !known && len(r) >= maxJoinedAddrs || known && !a.refused {
		return
	}
	r[remote] = &attempt{begun: now}
}

// note takes in an event of the connection. Where some joins to an address are
// refused and others end in another way, what came last counts.
func (r refusals) note(e mptcp.Event) {
	switch e.Type {
	case mptcp.SubflowClosed:
		if e.HasError && e.Errno == syscall.ECONNREFUSED {
			if a := r[e.Remote]; a != nil {
				a.refused = true
			}
			return
		}
		delete(r, e.Remote)
	case mptcp.SubflowEstablished:
		delete(r, e.Remote)
	case mptcp.EventsLost:
		clear(r) // one of them may have been a success
	}
}

// take returns when a join began that was refused. It tells of each once.
func (r refusals) take(remote netip.AddrPort) (begun time.Time, refused bool) {
	a := r[remote]
	if a == nil || !a.refused {
		return time.Time{}, false
	}
	delete(r, remote)
	return a.begun, true
}
