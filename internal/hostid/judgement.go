package hostid

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"
)

// MaxReasons is how many reasons [Judgement.Reasons] gives.
const MaxReasons = 6

// Host is one part of the partition. No two of its addresses are believed to be
// of different hosts.
type Host struct {
	Addrs []netip.Addr // in the order given
	// Verdict is Same where all are believed to be one host, as one address
	// alone is, and Unknown where they may be.
	Verdict Verdict
	// Confidence is the probability that its least certain pair is one host.
	Confidence float64
	// Proven says that the transport has shown each pair to be one host, by
	// itself or by a chain of such pairs.
	Proven bool
}

// Hosts is the partition of the addresses, in the order of each host's first
// address. An address goes with those that it is the same as; else, where
// nothing makes it different, with those that it is most likely the same as, the
// first among equals. So addresses of which nothing is known are one Host,
// Unknown.
func (j Judgement) Hosts() []Host { return j.hosts }

// Addrs returns the addresses that the judgement divides.
func (j Judgement) Addrs() []netip.Addr { return j.addrs }

// partition divides the addresses.
func (j *Judgement) partition() {
	var members [][]int
	for i := range j.size() {
		if m := j.home(i, members); m < len(members) {
			members[m] = append(members[m], i)
		} else {
			members = append(members, []int{i})
		}
	}
	for _, m := range members {
		j.hosts = append(j.hosts, j.host(m))
	}
	if rest := j.addrs[j.size():]; len(rest) > 0 {
		h := &j.hosts[0]
		h.Addrs = append(h.Addrs, rest...)
		h.Verdict, h.Confidence, h.Proven = Unknown, min(h.Confidence, Prior.Probability()), false
	}
}

// home returns which of members address i belongs to; len(members) is a new one.
func (j *Judgement) home(i int, members [][]int) int {
	home, best := len(members), -2*certain
	for m, others := range members {
		odds, apart := -certain, false
		for _, k := range others {
			p := j.at(i, k)
			odds, apart = max(odds, p.odds), apart || p.verdict == Different
		}
		if !apart && odds > best {
			home, best = m, odds
		}
	}
	return home
}

// host makes a host of addresses.
func (j *Judgement) host(members []int) Host {
	h := Host{Verdict: Same, Proven: len(members) > 1}
	weakest := certain
	for x, i := range members {
		h.Addrs = append(h.Addrs, j.addrs[i])
		for _, k := range members[:x] {
			p := j.at(i, k)
			weakest = min(weakest, p.odds)
			h.Proven = h.Proven && p.verdict == Same && p.chain > Believed
			if p.verdict != Same {
				h.Verdict = Unknown
			}
		}
	}
	h.Confidence = weakest.Probability()
	return h
}

// Probability returns the probability that log-odds stand for.
func (s Strength) Probability() float64 { return 1 / (1 + math.Exp(-float64(s)/100)) }

// Pair is what is known of two addresses.
type Pair struct {
	A, B     netip.Addr
	Verdict  Verdict
	Odds     Strength // log-odds of being one host
	Inferred bool     // the verdict follows from other pairs
	// By is where Inferred and the verdict is Different the pair that it follows
	// from.
	By [2]netip.Addr
	// Until is when the first of what the verdict rests on expires; zero where
	// it is Unknown or follows from a chain of same pairs.
	Until    time.Time
	Evidence []Evidence // about the pair itself, that counts: the strongest first
}

// Pair returns what is known of a and b; of an address that is not judged, that
// nothing is.
func (j Judgement) Pair(a, b netip.Addr) Pair {
	out := Pair{A: a.Unmap(), B: b.Unmap(), Odds: Prior}
	i, ok := j.index[out.A]
	k, ok2 := j.index[out.B]
	if !ok || !ok2 || i == k || max(i, k) >= j.size() {
		return out
	}
	p := j.at(i, k)
	out.Verdict, out.Odds, out.Inferred = p.verdict, p.odds, p.inferred
	out.Evidence = j.about(i, k)
	switch {
	case p.verdict == Unknown:
	case !p.inferred:
		out.Until = until(out.Evidence, p.verdict)
	case p.verdict == Different:
		w := j.witness(i, k)
		out.By = [2]netip.Addr{j.addrs[w.a], j.addrs[w.b]}
		out.Until = until(j.about(int(w.a), int(w.b)), Different)
	}
	return out
}

// about returns the evidence about two addresses that counts, once for each kind,
// the strongest first.
func (j *Judgement) about(i, k int) []Evidence {
	p := j.at(i, k)
	if p.shown != 0 {
		return []Evidence{j.evidence[p.shown-1]}
	}
	var out []Evidence
	for _, e := range j.evidence {
		if e.Kind < kinds && !e.Kind.shown() && j.now.Before(e.Expires) && j.touches(&e, i, k) {
			out = append(out, e)
		}
	}
	return strongest(out)
}

// touches tells whether e is about two addresses.
func (j *Judgement) touches(e *Evidence, i, k int) bool {
	a, b := j.addrs[i], j.addrs[k]
	others := e.B
	if len(others) == 0 {
		others = e.A
	}
	return has(e.A, a) && has(others, b) || has(e.A, b) && has(others, a)
}

// has tells whether addrs has a.
func has(addrs []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(addrs[:min(len(addrs), MaxAddrs)], func(x netip.Addr) bool { return x.Unmap() == a })
}

// strongest sorts evidence and leaves one of each kind: the one that counts for
// longest.
func strongest(all []Evidence) []Evidence {
	slices.SortStableFunc(all, func(a, b Evidence) int {
		return cmp.Or(cmp.Compare(abs(b.Strength()), abs(a.Strength())), cmp.Compare(a.Kind, b.Kind), b.Expires.Compare(a.Expires))
	})
	return slices.CompactFunc(all, func(a, b Evidence) bool { return a.Kind == b.Kind })
}

func abs(s Strength) Strength { return max(s, -s) }

// until is when the first of the evidence for a verdict expires.
func until(evidence []Evidence, v Verdict) time.Time {
	var out time.Time
	for _, e := range evidence {
		if e.Strength() != 0 && (e.Strength() > 0) == (v == Same) && (out.IsZero() || e.Expires.Before(out)) {
			out = e.Expires
		}
	}
	return out
}

// Reasons returns what decides that the host, one of Hosts by its place, is one:
// the strongest evidence about its own addresses and, against, about one of them
// and one of another host; one of each kind, at most MaxReasons.
func (j Judgement) Reasons(host int) []Evidence {
	inside := j.hosts[host].Addrs
	var out []Evidence
	for _, e := range j.evidence {
		if e.Kind < kinds && e.Strength() != 0 && j.now.Before(e.Expires) && j.decides(&e, inside) {
			out = append(out, e)
		}
	}
	out = strongest(out)
	return out[:min(len(out), MaxReasons)]
}

// decides tells whether e speaks of a pair that makes inside a host.
func (j *Judgement) decides(e *Evidence, inside []netip.Addr) bool {
	others := e.B
	if len(others) == 0 {
		others = e.A
	}
	for _, a := range e.A {
		for _, b := range others {
			if a = a.Unmap(); a == b.Unmap() || !has(inside, a) && !has(inside, b.Unmap()) {
				continue
			}
			both := has(inside, a) && has(inside, b.Unmap())
			if both || e.Strength() < 0 && has(j.addrs, a) && has(j.addrs, b.Unmap()) {
				return true
			}
		}
	}
	return false
}
