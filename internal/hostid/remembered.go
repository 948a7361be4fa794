package hostid

import (
	"net/netip"
	"slices"
	"time"
)

// Remembered is what a [Memory] keeps of two addresses of a name.
type Remembered struct {
	Name string
	A, B netip.Addr // A is less
	// Proof is the last outcome with a verdict, and when that was and ends;
	// NotTried and zero if there is none or it has expired.
	Proof           Outcome
	Proven, Expires time.Time
	// Last is the last outcome, and when that was, and until when the pair is
	// not tried again; that is not after Settled where it may be tried.
	Last             Outcome
	Settled, Resumes time.Time
}

// Verdict is what the proof says; Unknown without one.
func (r Remembered) Verdict() Verdict { return r.Proof.Verdict() }

// Remembered returns what is kept of a name, or with "" of all names, the last used
// first, without what has expired at now; at most limit pairs. It uses none.
func (m *Memory) Remembered(name string, now time.Time, limit int) []Remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Remembered
	for _, e := range m.entries.newest() {
		if len(out) >= limit {
			break
		}
		if r, ok := e.remembered(now); ok && (name == "" || name == r.Name) {
			out = append(out, r)
		}
	}
	return out
}

// RememberedPair returns what is kept of two addresses of a name; false if that is
// nothing, or has expired at now.
func (m *Memory) RememberedPair(name string, x, y netip.Addr, now time.Time) (Remembered, bool) {
	k, ok := newPair(name, x, y)
	if !ok {
		return Remembered{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.look(k)
	return e.remembered(now)
}

// remembered is an entry without what has expired; false if nothing is left.
func (e *entry) remembered(now time.Time) (Remembered, bool) {
	r := Remembered{Name: e.pair.name, A: e.pair.a, B: e.pair.b, Last: e.last, Settled: e.settled, Resumes: e.resumes()}
	proven := now.Before(e.expires())
	if proven {
		r.Proof, r.Proven, r.Expires = e.proof, e.proven, e.expires()
	}
	return r, proven || now.Before(e.resumes())
}

// Siblings counts the addresses that are proven at now to be the host of first
// under name, by themselves or by a chain of such pairs; first is not counted.
func (m *Memory) Siblings(name string, first netip.Addr, now time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := make(map[netip.Addr][]netip.Addr)
	for k, e := range m.entries.newest() {
		if k.name == name && e.proof.Verdict() == Same && now.Before(e.expires()) {
			same[k.a], same[k.b] = append(same[k.a], k.b), append(same[k.b], k.a)
		}
	}
	found := []netip.Addr{first.Unmap()}
	for i := 0; i < len(found); i++ {
		for _, a := range same[found[i]] {
			if !slices.Contains(found, a) {
				found = append(found, a)
			}
		}
	}
	return len(found) - 1
}
