package hostid

import (
	"net/netip"
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
	for el := m.recent.Front(); el != nil && len(out) < limit; el = el.Next() {
		e := el.Value.(*entry)
		proven := now.Before(e.expires())
		if name != "" && e.pair.name != name || !proven && !now.Before(e.resumes()) {
			continue
		}
		r := Remembered{Name: e.pair.name, A: e.pair.a, B: e.pair.b, Last: e.last, Settled: e.settled, Resumes: e.resumes()}
		if proven {
			r.Proof, r.Proven, r.Expires = e.proof, e.proven, e.expires()
		}
		out = append(out, r)
	}
	return out
}
