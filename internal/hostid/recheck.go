package hostid

import (
	"net/netip"
	"time"
)

// RecheckAfter is how long two addresses are believed different before a join may
// look again, whatever the belief rests on: what a look-up says does not expire
// while it is said.
const RecheckAfter = time.Hour

// belief is that two addresses are different.
type belief struct {
	pair  pair
	since time.Time
}

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
	b := m.believe(k, now)
	if settled := m.look(k).settled; settled.After(b.since) {
		b.since = settled
	}
	if now.Before(b.since.Add(RecheckAfter)) {
		return false
	}
	b.since = now
	return true
}

// believe returns the belief about k, a new one if need be, as the last used. The
// lock is held.
func (m *Memory) believe(k pair, now time.Time) *belief {
	if el, ok := m.believed[k]; ok {
		m.beliefs.MoveToFront(el)
		return el.Value.(*belief)
	}
	for len(m.believed) >= m.capacity {
		delete(m.believed, m.beliefs.Remove(m.beliefs.Back()).(*belief).pair)
	}
	b := &belief{k, now}
	m.believed[k] = m.beliefs.PushFront(b)
	return b
}
