package upstream

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Strategy says which of several servers is asked first.
type Strategy uint8

// Strategies of a group. In each of them servers that do not answer come last,
// and one that keeps silent for the hedge time is not waited for alone.
const (
	InOrder  Strategy = iota // as listed
	Rotated                  // beginning with another at each question (resolv.conf's rotate)
	Fastest                  // by smoothed round-trip time
	Parallel                 // all at once, the first useful reply winning
)

const (
	// srttShare and varShare are the shares of a new sample in the smoothed
	// round-trip time and in its variation (RFC 6298 section 2.3).
	srttShare = 8
	varShare  = 4
	// probeAfter is how long a slower server is left alone before one question
	// goes to it first, to see whether it has become faster.
	probeAfter = 30 * time.Second
)

// record is what a server has done so far.
type record struct {
	queries, timeouts, errors atomic.Uint64

	srtt   atomic.Int64 // ns; 0 before the first sample
	rttvar atomic.Int64 // ns
	asked  atomic.Int64 // unix time in ns of the last question
}

func (r *record) begin(now time.Time) {
	r.queries.Add(1)
	r.asked.Store(now.UnixNano())
}

// end notes how a question went. One that was called off, because another server
// was faster, tells that the server is no faster than that.
func (r *record) end(took time.Duration, err error, calledOff bool) {
	switch {
	case err == nil, calledOff && int64(took) > r.srtt.Load():
		r.sample(took)
	case calledOff:
	case isTimeout(err):
		r.timeouts.Add(1)
		r.sample(took)
	default:
		r.errors.Add(1)
	}
}

// sample smooths (RFC 6298 section 2). Of two at the same time one may be lost.
func (r *record) sample(took time.Duration) {
	now := max(int64(took), 1)
	old := r.srtt.Load()
	if old == 0 {
		r.rttvar.Store(now / 2)
		r.srtt.Store(now)
		return
	}
	off := max(old-now, now-old)
	r.rttvar.Add((off - r.rttvar.Load()) / varShare)
	r.srtt.Store(max(old+(now-old)/srttShare, 1))
}

// byRTT returns the servers, the fastest first, those with a penalty or that failed for q last. A
// server not measured yet, or not asked for long, comes first once: the next one
// is asked soon if it is silent.
func (f *Group) byRTT(now time.Time, q Query) []*member {
	members := slices.Clone(f.members)
	rank := func(m *member) int64 {
		if m.isLast(now, q) {
			return int64(time.Hour) + m.srtt.Load()
		}
		return m.srtt.Load()
	}
	slices.SortStableFunc(members, func(a, b *member) int { return cmp.Compare(rank(a), rank(b)) })
	for i, m := range members[1:] {
		asked := m.asked.Load()
		if !m.isLast(now, q) && now.UnixNano()-asked > int64(probeAfter) && m.asked.CompareAndSwap(asked, now.UnixNano()) {
			copy(members[1:i+2], members[:i+1])
			members[0] = m
			break
		}
	}
	return members
}

// State is how a server stands with its group.
type State string

// States of a server.
const (
	StateUnknown   State = "unknown"   // not asked yet
	StateGood      State = "good"      // answers
	StatePenalised State = "penalised" // has not answered of late, and is asked last
)

// ServerStatus is what a group knows of one of its servers.
type ServerStatus struct {
	Address  string        // "192.0.2.53:53"
	State    State         // at the time asked
	SRTT     time.Duration // smoothed round-trip time (RFC 6298); 0 before the first reply
	RTTVar   time.Duration // its variation
	Queries  uint64        // questions put to it, each counted once however often it was sent
	Timeouts uint64        // of these, those without a reply in time
	Errors   uint64        // of these, those that failed otherwise
}

// Status returns what is known of each server, in the order of the list.
func (f *Group) Status() []ServerStatus {
	now := time.Now()
	all := make([]ServerStatus, len(f.members))
	for i, m := range f.members {
		all[i] = ServerStatus{
			State: m.state(now), SRTT: time.Duration(m.srtt.Load()), RTTVar: time.Duration(m.rttvar.Load()),
			Queries: m.queries.Load(), Timeouts: m.timeouts.Load(), Errors: m.errors.Load(),
		}
		if s, ok := m.Exchanger.(fmt.Stringer); ok {
			all[i].Address = s.String()
		}
	}
	return all
}

func (m *member) state(now time.Time) State {
	switch {
	case m.punished(now):
		return StatePenalised
	case m.queries.Load() == 0:
		return StateUnknown
	}
	return StateGood
}

// Close closes the sockets that the servers keep. The group may be used on.
func (f *Group) Close() {
	for _, m := range f.members {
		if s, ok := m.Exchanger.(*Server); ok {
			s.Close()
		}
	}
}
