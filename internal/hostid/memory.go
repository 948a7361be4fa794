package hostid

import (
	"cmp"
	"container/list"
	"fmt"
	"net/netip"
	"slices"
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
	// MaxAddrs is how many addresses of one name are judged together. Those
	// beyond are tried last, as unknown ones.
	MaxAddrs = 32
)

// Memory keeps what became of joins, per name and pair of addresses: the one
// that the connection began with and the one that was to join. The name is
// whatever the caller dials, with the port if that matters to it. When it is
// full, the pair not used for the longest time is forgotten.
//
// A proof is overruled only by a later one: a failure that proves nothing puts
// the next try off, and leaves the verdict. Among the addresses that are asked
// for together sameness carries over: if a and b are the same, and b and c, then
// so are a and c. What was seen of a pair itself goes before what follows from
// others.
//
// The methods are safe for concurrent use. The zero value is not usable; see
// [NewMemory].
type Memory struct {
	mu       sync.Mutex // guards all below
	capacity int
	entries  map[pair]*list.Element
	recent   list.List // of *entry, the last used first
}

// pair is the key: a is less than b.
type pair struct {
	name string
	a, b netip.Addr
}

// entry is what is known of a pair.
type entry struct {
	pair    pair
	proof   Outcome   // the last outcome with a verdict
	proven  time.Time // when that was
	last    Outcome   // the last outcome
	settled time.Time // when that was
}

// NewMemory returns a memory for capacity pairs of addresses; zero or less
// means DefaultCapacity.
func NewMemory(capacity int) *Memory {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	return &Memory{capacity: capacity, entries: make(map[pair]*list.Element)}
}

// Record keeps that joining addr to a connection to name that began with first
// had the outcome o at now. NotTried, a pair of equal or invalid addresses and
// names over MaxName are not kept.
func (m *Memory) Record(name string, first, addr netip.Addr, o Outcome, now time.Time) {
	k, ok := newPair(name, first, addr)
	if !ok || o == NotTried || o >= outcomes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.take(k)
	if now.Before(e.settled) {
		return // joins of an earlier dial can be told later
	}
	e.last, e.settled = o, now
	if o.Verdict() != Unknown {
		e.proof, e.proven = o, now
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
	if el, ok := m.entries[k]; ok {
		m.recent.MoveToFront(el)
		return el.Value.(*entry)
	}
	for len(m.entries) >= m.capacity {
		oldest := m.recent.Back()
		delete(m.entries, m.recent.Remove(oldest).(*entry).pair)
	}
	e := &entry{pair: k}
	m.entries[k] = m.recent.PushFront(e)
	return e
}

// look returns the entry of k, zero if there is none. The lock is held.
func (m *Memory) look(k pair) entry {
	el, ok := m.entries[k]
	if !ok {
		return entry{pair: k}
	}
	m.recent.MoveToFront(el)
	return *el.Value.(*entry)
}

// Len returns how many pairs are kept.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

// Forget drops all that is kept of name.
func (m *Memory) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, el := range m.entries {
		if k.name == name {
			m.recent.Remove(el)
			delete(m.entries, k)
		}
	}
}

// verdict is what the pair's own outcomes say at now.
func (e entry) verdict(now time.Time) Verdict {
	if now.Before(e.expires()) {
		return e.proof.Verdict()
	}
	return Unknown
}

// expires is when the verdict ends.
func (e entry) expires() time.Time { return e.proven.Add(e.proof.Lifetime()) }

// resumes is when the pair may be tried again.
func (e entry) resumes() time.Time { return e.settled.Add(e.last.Pause()) }

// Choice is one address of [Memory.Order].
type Choice struct {
	Addr    netip.Addr
	Try     bool      // send a join; else it is too soon, or the host is another
	Verdict Verdict   // about Addr and the address the connection began with
	Last    Outcome   // the pair's last outcome, however old; NotTried if none is kept
	Until   time.Time // when the verdict ends, or, where Try is false, the pause
	Why     string    // one clause: "proven the same host 3m0s ago"
}

// Order judges addrs for a connection to name that began with first, and puts
// them in the order in which to join them: the proven same first, then the
// unknown, then those that failed before and may be tried again, each in the
// order given. After them, with Try false, those whose turn it is not. first
// itself, duplicates and invalid addresses are left out.
func (m *Memory) Order(name string, first netip.Addr, addrs []netip.Addr, now time.Time) []Choice {
	m.mu.Lock()
	defer m.mu.Unlock()
	first = first.Unmap()
	nodes := distinct(first, addrs)
	judged := min(len(nodes), MaxAddrs)
	g := m.graph(name, nodes[:judged], now)
	choices := make([]Choice, 0, len(nodes))
	for i, addr := range nodes[1:] {
		if i+1 < judged {
			choices = append(choices, g.choose(i+1, now))
			continue
		}
		choices = append(choices, Choice{Addr: addr, Try: true, Why: "nothing is known"})
	}
	slices.SortStableFunc(choices, func(a, b Choice) int { return cmp.Compare(a.rank(), b.rank()) })
	return choices
}

// distinct returns first and the valid addresses that differ from it and each other.
func distinct(first netip.Addr, addrs []netip.Addr) []netip.Addr {
	nodes := []netip.Addr{first}
	seen := map[netip.Addr]bool{first: true}
	for _, a := range addrs {
		a = a.Unmap()
		if a.IsValid() && !seen[a] {
			seen[a] = true
			nodes = append(nodes, a)
		}
	}
	return nodes
}

// rank is the place among the choices.
func (c Choice) rank() int {
	switch {
	case !c.Try:
		return 3
	case c.Verdict == Same:
		return 0
	case c.Last.Failed():
		return 2
	}
	return 1
}

// describe says what a verdict or a pause rests on.
func describe(e entry, now time.Time) string {
	return fmt.Sprintf("%s %s ago", e.last, max(now.Sub(e.settled), 0).Round(time.Second))
}
