package mpdnsd

import (
	"net/netip"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/hostid"
)

const (
	// maxHintUsers bounds the users whose hints are kept; of more, any one's are
	// forgotten.
	maxHintUsers = 64
	// hintCapacity is how many pairs of addresses one user's hints may be about.
	hintCapacity = 1024
)

// pathVerdicts is the memory of the broker: what was proven, for all programs,
// and what each user's programs say, for that user.
type pathVerdicts struct {
	proven *hostid.Memory

	mu    sync.Mutex // guards hints
	hints map[uint32]*hostid.Memory
}

func newPathVerdicts() *pathVerdicts {
	return &pathVerdicts{proven: hostid.NewMemory(0), hints: make(map[uint32]*hostid.Memory)}
}

// Record is [broker.Memory].Record.
func (v *pathVerdicts) Record(f broker.Finding) {
	m := v.proven
	if !f.Proven {
		m = v.ofUser(f.UID)
	}
	m.Record(f.Name, f.First, f.Addr, outcomeOf(f.Outcome), f.Time)
}

// ofUser returns the memory of a user's hints.
func (v *pathVerdicts) ofUser(uid uint32) *hostid.Memory {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.hints[uid]
	if m != nil {
		return m
	}
	for other := range v.hints {
		if len(v.hints) >= maxHintUsers {
			delete(v.hints, other)
		}
	}
	m = hostid.NewMemory(hintCapacity)
	v.hints[uid] = m
	return m
}

// LookUp is [broker.Memory].LookUp: a proof stands above a hint. Outcomes that
// say nothing of the host are kept, but not told.
func (v *pathVerdicts) LookUp(name string, first, addr netip.Addr, uid uint32) (broker.Finding, bool) {
	if f, ok := lookUpIn(v.proven, name, first, addr); ok {
		f.Proven = true
		return f, true
	}
	v.mu.Lock()
	m := v.hints[uid]
	v.mu.Unlock()
	if m == nil {
		return broker.Finding{}, false
	}
	f, ok := lookUpIn(m, name, first, addr)
	f.UID = uid
	return f, ok
}

// lookUpIn asks one memory for a verdict that has not expired.
func lookUpIn(m *hostid.Memory, name string, first, addr netip.Addr) (broker.Finding, bool) {
	for _, e := range m.Evidence(name, []netip.Addr{first, addr}, time.Now()) {
		f := broker.Finding{Name: name, First: first, Addr: addr, Time: e.Seen}
		switch e.Kind {
		case hostid.Join:
			f.Outcome = broker.Joined
		case hostid.Announcement:
			f.Outcome = broker.Announced
		case hostid.OtherPeer:
			f.Outcome = broker.OtherHost
		default:
			continue
		}
		return f, true
	}
	return broker.Finding{}, false
}

// outcomeOf is the broker's outcome in the terms of hostid.
func outcomeOf(o broker.Outcome) hostid.Outcome {
	switch o {
	case broker.Joined:
		return hostid.Joined
	case broker.LimitReached:
		return hostid.LimitReached
	case broker.Announced:
		return hostid.Announced
	case broker.OtherHost:
		return hostid.OtherHost
	case broker.Refused:
		return hostid.Refused
	case broker.ClosedPort:
		return hostid.ClosedPort
	case broker.NotMPTCP:
		return hostid.NotMPTCP
	case broker.TimedOut:
		return hostid.TimedOut
	case broker.Unreachable:
		return hostid.Unreachable
	}
	return hostid.NotTried
}
