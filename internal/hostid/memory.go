package hostid

import (
	"net/netip"
	"sync"
	"time"
)

// The bounds of a [Memory].
const (
	// DefaultCapacity is how many pairs of addresses a Memory keeps by default:
	// about a megabyte.
	DefaultCapacity = 4096
	// MaxName is the longest name, in octets, of which anything is kept: a
	// domain name in presentation form with a port.
	MaxName = 1024
)

// Memory keeps what became of joins, per name and pair of addresses: the one
// that the connection began with and the one that was to join. The name is
// whatever the caller dials, with the port if that matters to it. When it is
// full, the pair not used for the longest time is forgotten.
//
// A proof is overruled only by a later one: a failure that proves nothing puts
// the next try off, and leaves the verdict. Who has seen more of a failure can take
// a proof back, see [Memory.Withdraw].
//
// It also keeps the last answers of each name, see [Memory.Note], and the keys met
// at its addresses, see [Memory.Meet].
//
// The methods are safe for concurrent use. The zero value is not usable; see
// [NewMemory].
type Memory struct {
	mu       sync.Mutex // guards all below
	entries  lru[pair, entry]
	noted    lru[string, history]    // by name
	met      lru[string, []Identity] // by name; of each the key met last is last
	believed lru[pair, time.Time]    // since when a pair is believed different
}

// pair is the key: a is less than b.
type pair struct {
	name string
	a, b netip.Addr
}

// entry is what is known of a pair.
type entry struct {
	pair      pair
	proof     Outcome   // the last outcome with a verdict
	proven    time.Time // when that was
	port      uint16    // at which that was; 0: not known
	last      Outcome   // the last outcome
	settled   time.Time // when that was
	withdrawn time.Time // until when outcomes were taken back
}

// NewMemory returns a memory for capacity pairs of addresses; zero or less
// means DefaultCapacity.
func NewMemory(capacity int) *Memory {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	return &Memory{
		entries: newLRU[pair, entry](capacity), noted: newLRU[string, history](MaxNoted),
		met: newLRU[string, []Identity](MaxKeyed), believed: newLRU[pair, time.Time](capacity),
	}
}

// Record keeps that joining addr to a connection to name that began with first
// had the outcome o at now. NotTried, a pair of equal or invalid addresses and
// names over MaxName are not kept.
func (m *Memory) Record(name string, first, addr netip.Addr, o Outcome, now time.Time) {
	m.RecordAt(name, netip.AddrPortFrom(first, 0), addr, o, now)
}

// RecordAt is Record where the port of the connection is known, 0 if it is not.
func (m *Memory) RecordAt(name string, first netip.AddrPort, addr netip.Addr, o Outcome, now time.Time) {
	k, ok := newPair(name, first.Addr(), addr)
	if !ok || o == NotTried || o >= outcomes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.take(k)
	if now.Before(e.settled) || now.Before(e.withdrawn) {
		return // joins of an earlier dial can be told later
	}
	e.last, e.settled = o, now
	e.prove(o, first.Port(), now)
}

// prove keeps o as the pair's proof if it has a verdict. It does not end sooner
// what it only confirms.
func (e *entry) prove(o Outcome, port uint16, now time.Time) {
	confirms := o.Verdict() == e.proof.Verdict() && now.Add(o.Lifetime()).Before(e.expires())
	if o.Verdict() != Unknown && !confirms {
		e.proof, e.port, e.proven = o, port, now
	}
}

// newPair orders the two addresses.
func newPair(name string, x, y netip.Addr) (pair, bool) {
	x, y = x.Unmap(), y.Unmap()
	if y.Less(x) {
		x, y = y, x
	}
	return pair{name, x, y}, x.IsValid() && y.IsValid() && x != y && len(name) <= MaxName
}

// take returns the entry of k, a new one if need be, as the last used. The lock
// is held.
func (m *Memory) take(k pair) *entry {
	return m.entries.take(k, func() entry { return entry{pair: k} })
}

// look returns the entry of k, zero if there is none. The lock is held.
func (m *Memory) look(k pair) entry {
	if e := m.entries.touch(k); e != nil {
		return *e
	}
	return entry{pair: k}
}

// Len returns how many pairs are kept.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries.len()
}

// Forget drops all that is kept of name.
func (m *Memory) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := func(k pair) bool { return k.name == name }
	m.entries.dropAll(of)
	m.believed.dropAll(of)
	m.noted.drop(name)
	m.met.drop(name)
}

// expires is when the verdict ends.
func (e entry) expires() time.Time { return e.proven.Add(e.proof.Lifetime()) }

// resumes is when the pair may be tried again.
func (e entry) resumes() time.Time { return e.settled.Add(e.last.Pause()) }

// Evidence returns what joins and keys have shown of addrs under name, at most
// MaxAddrs of them. It holds what is not expired at now.
func (m *Memory) Evidence(name string, addrs []netip.Addr, now time.Time) []Evidence {
	m.mu.Lock()
	defer m.mu.Unlock()
	addrs = distinct(addrs)
	addrs = addrs[:min(len(addrs), MaxAddrs)]
	var out []Evidence
	for i, a := range addrs {
		for _, b := range addrs[:i] {
			if k, ok := newPair(name, a, b); ok {
				if e := m.look(k); now.Before(e.expires()) {
					out = append(out, e.evidence())
				}
			}
		}
	}
	return append(out, m.keys(name, addrs, now)...)
}

// evidence returns the pair's proof, which it has.
func (e entry) evidence() Evidence {
	kind := Join
	switch e.proof {
	case OtherHost:
		kind = OtherPeer
	case Announced:
		kind = Announcement
	}
	return Evidence{
		Kind: kind, A: []netip.Addr{e.pair.a, e.pair.b}, Source: "memory",
		Seen: e.proven, Expires: e.expires(),
	}
}
