package hostid

import (
	"net/netip"
	"time"
)

// RecheckAfter is how long two addresses are believed different before a join may
// look again, whatever the belief rests on: what a look-up says does not expire
// while it is said.
const RecheckAfter = time.Hour

// Recheck is for an address that is believed to be another host's than first: it
// tells whether one join may look again, because for RecheckAfter it was so believed
// and no join has looked. The first call of a pair begins that time, and so does
// each that is told yes: however many ask, a pair costs one join in RecheckAfter.
// Snapshot leaves these times out.
func (m *Memory) Recheck(name string, first, addr netip.Addr, now time.Time) bool {
	k, ok := newPair(name, first, addr)
	if !ok {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.believed.take(k, func() time.Time { return now })
	if settled := m.look(k).settled; settled.After(*since) {
		*since = settled
	}
	if now.Before(since.Add(RecheckAfter)) {
		return false
	}
	*since = now
	return true
}
