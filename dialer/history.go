package dialer

import (
	"net/netip"
	"sync"
	"time"
)

// The bounds of a history.
const (
	// historyAttachments is how many network attachments are remembered: home,
	// work, the telephone's own network and one more. Beyond, the one not used
	// for the longest time is forgotten.
	historyAttachments = 4
	// historyEntries is how many endpoints are remembered of each.
	historyEntries = 1024

	// goodLifetime is how long a success and its round-trip time count, from when
	// they were first seen, however often they are seen again: then the order is
	// what it would be without a history, so that other addresses get their turn.
	goodLifetime = 10 * time.Minute

	// The pauses during which an address goes last. Each silence after the end of
	// one doubles the next, up to maxSilentPause, so that a network without IPv6
	// costs a Connection Attempt Delay now and then.
	minSilentPause   = 2 * time.Minute
	maxSilentPause   = 32 * time.Minute
	unreachablePause = time.Minute
	refusedPause     = 2 * time.Minute
)

// attemptOutcome is how a connection attempt went.
type attemptOutcome uint8

const (
	attemptUndecided   attemptOutcome = iota // nothing can be said
	attemptConnected                         // in round-trip time rtt
	attemptSilent                            // no answer in the Connection Attempt Delay
	attemptUnreachable                       // the network says so
	attemptRefused                           // there is no such service
)

// attachment says how this machine is attached to the network, for one address
// family. "" stands for one of which nothing is known.
type attachment string

// history remembers how connection attempts went, for each attachment of this
// machine to the network: what was seen on one says nothing of another, and
// counts again when the machine is back (Happy Eyeballs v3, section 3: two rules
// of address order, "kept per network attachment"). It has no clock. Its methods
// are safe for concurrent use; the zero value is empty.
type history struct {
	mu          sync.Mutex // guards all below
	attachments map[attachment]*attached
}

// attached is what is remembered of one attachment.
type attached struct {
	used    time.Time                     // the last time
	entries map[netip.AddrPort]experience // port 0: of the way to the address
}

// experience is what is remembered of the way to an address, or of a service
// there.
type experience struct {
	rtt    time.Duration // 0: unknown
	good   time.Time     // until when the success counts; zero: there is none
	pause  time.Duration // the length of the last pause; zero: the last attempt succeeded
	paused time.Time     // when it ends
	seen   time.Time     // the last time
}

// known is what a history says of an endpoint.
type known struct {
	used bool
	rtt  time.Duration
	last bool // it failed lately: to be tried after the others
}

// record takes in how an attempt to connect to remote went. Silence is of the way
// to the address, and counts for every service there; a refusal is of the service
// alone; a success is of both.
func (h *history) record(at attachment, remote netip.AddrPort, o attemptOutcome, rtt time.Duration, now time.Time) {
	if o == attemptUndecided || !remote.Addr().IsValid() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	entries := h.attach(at, now)
	way := netip.AddrPortFrom(remote.Addr(), 0)
	switch o {
	case attemptConnected:
		delete(entries, remote)
		keep(entries, way, entries[way].succeed(rtt, now))
	case attemptRefused: // by a host that answers
		e := entries[remote]
		keep(entries, remote, e.fail(refusedPause, refusedPause, now))
	case attemptUnreachable:
		keep(entries, way, entries[way].fail(unreachablePause, unreachablePause, now))
	case attemptSilent:
		keep(entries, way, entries[way].fail(minSilentPause, maxSilentPause, now))
	}
}

// tell returns what is known of remote.
func (h *history) tell(at attachment, remote netip.AddrPort, now time.Time) known {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.attachments[at]
	if a == nil {
		return known{}
	}
	way, service := a.entries[netip.AddrPortFrom(remote.Addr(), 0)], a.entries[remote]
	k := known{last: now.Before(way.paused) || now.Before(service.paused)}
	if now.Before(way.good) {
		k.used, k.rtt = true, way.rtt
	}
	return k
}

// succeed returns e with a success.
func (e experience) succeed(rtt time.Duration, now time.Time) experience {
	if !now.Before(e.good) {
		e.good, e.rtt = now.Add(goodLifetime), 0
	}
	if rtt > 0 {
		e.rtt = rtt
	}
	e.pause, e.paused, e.seen = 0, time.Time{}, now
	return e
}

// fail returns e with a failure. Those during a pause, of dials that ran at the
// same time, do not make it longer.
func (e experience) fail(shortest, longest time.Duration, now time.Time) experience {
	e.good, e.rtt, e.seen = time.Time{}, 0, now
	if !now.Before(e.paused) {
		e.pause = min(max(shortest, 2*e.pause), longest)
		e.paused = now.Add(e.pause)
	}
	return e
}

// attach returns the entries of an attachment. The lock is held.
func (h *history) attach(at attachment, now time.Time) map[netip.AddrPort]experience {
	a := h.attachments[at]
	if a == nil {
		if h.attachments == nil {
			h.attachments = make(map[attachment]*attached)
		}
		evict(h.attachments, historyAttachments-1, func(a *attached) time.Time { return a.used })
		a = &attached{entries: make(map[netip.AddrPort]experience)}
		h.attachments[at] = a
	}
	a.used = now
	return a.entries
}

// keep puts e into entries.
func keep(entries map[netip.AddrPort]experience, key netip.AddrPort, e experience) {
	if _, ok := entries[key]; !ok {
		evict(entries, historyEntries-1, func(e experience) time.Time { return e.seen })
	}
	entries[key] = e
}

// evict removes the oldest of m while there are more than room.
func evict[K comparable, V any](m map[K]V, room int, age func(V) time.Time) {
	for len(m) > room {
		var oldest K
		first := true
		for k, v := range m {
			if first || age(v).Before(age(m[oldest])) {
				oldest, first = k, false
			}
		}
		delete(m, oldest)
	}
}
