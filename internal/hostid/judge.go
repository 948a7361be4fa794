package hostid

import (
	"cmp"
	"math"
	"net/netip"
	"time"
)

// MaxAddrs is how many addresses of one name are judged together. Those beyond
// are kept, as ones of which nothing is known.
const MaxAddrs = 64

// Decisive is the log-odds at which a pair is believed to be one host, and below
// whose negative it is believed to be two: odds of 99 to 1.
const Decisive Strength = 460

// Believed bounds the log-odds of what is not shown by the transport, however
// much there is of it: proof outranks it.
const Believed Strength = 1000

// certain bounds log-odds: more is not told apart.
const certain Strength = math.MaxInt16

// Judgement is what the evidence says of a set of addresses at one time.
type Judgement struct {
	addrs    []netip.Addr
	index    map[netip.Addr]int // the place of each of addrs; the first are judged, see size
	evidence []Evidence
	now      time.Time
	pairs    []pairSum // see at
	clusters []int     // the lowest address that is the same, by itself or by others
	// witnesses are the pairs by which two clusters differ, see apart.
	witnesses []witness
	hosts     []Host
}

// pairSum is what is known of one pair.
type pairSum struct {
	kinds    uint64   // the kinds counted
	pro, con Strength // the sums for and against, both at least zero
	joined   int64    // when the transport last showed sameness, in microseconds since 1970
	apart    int64    // and difference
	shown    int32    // 1 + the index of the evidence of the transport that counts; 0: none
	own      Strength // log-odds by the pair's own evidence
	chain    Strength // log-odds by the best chain of pairs, itself one
	odds     Strength // the final log-odds
	verdict  Verdict
	inferred bool // the verdict follows from other pairs
}

// Judge says which of addrs are one host by the evidence that counts at now. It
// is a function of its arguments; the order of the evidence does not matter as
// long as there are no more than MaxEvidence pieces. IPv4-mapped addresses are
// their IPv4 address. Invalid addresses and duplicates are left out; evidence
// about others is ignored. Of n addresses the time grows with n² and with the
// number of pairs that the evidence is about.
func Judge(addrs []netip.Addr, evidence []Evidence, now time.Time) Judgement {
	j := Judgement{evidence: evidence[:min(len(evidence), MaxEvidence)], now: now}
	j.addrs, j.index = number(addrs)
	n := j.size()
	j.pairs = make([]pairSum, n*(n-1)/2)
	for i := range j.pairs {
		j.pairs[i].joined, j.pairs[i].apart = math.MinInt64, math.MinInt64
	}
	j.gather()
	for i := range n {
		for k := range i {
			j.weigh(j.at(i, k))
		}
	}
	j.link()
	j.settle()
	j.infer()
	j.partition()
	return j
}

// distinct returns the valid addresses that differ from each other.
func distinct(addrs []netip.Addr) []netip.Addr {
	out, _ := number(addrs)
	return out
}

// number is distinct with the place of each address.
func number(addrs []netip.Addr) ([]netip.Addr, map[netip.Addr]int) {
	out := make([]netip.Addr, 0, len(addrs))
	index := make(map[netip.Addr]int, len(addrs))
	for _, a := range addrs {
		a = a.Unmap()
		if _, known := index[a]; !known && a.IsValid() {
			index[a] = len(out)
			out = append(out, a)
		}
	}
	return out, index
}

// size is the number of addresses that are judged.
func (j *Judgement) size() int { return min(len(j.addrs), MaxAddrs) }

// at returns the pair of two different addresses.
func (j *Judgement) at(i, k int) *pairSum {
	high := max(i, k)
	return &j.pairs[high*(high-1)/2+min(i, k)]
}

// gather takes each piece of evidence into the pairs that it is about.
func (j *Judgement) gather() {
	for n := range j.evidence {
		if e := &j.evidence[n]; e.Kind.shown() {
			j.each(e, func(p *pairSum) { p.see(e) })
		}
	}
	for n := range j.evidence {
		e := &j.evidence[n]
		switch {
		case e.Kind >= kinds || !j.now.Before(e.Expires):
		case e.Kind.shown():
			j.each(e, func(p *pairSum) { j.prove(p, n) })
		default:
			j.each(e, func(p *pairSum) { p.count(e.Kind) })
		}
	}
}

// each calls f for each pair that e is about, some perhaps twice.
func (j *Judgement) each(e *Evidence, f func(*pairSum)) {
	var room [2][MaxAddrs]int
	a, b := j.indices(room[0][:0], e.A), j.indices(room[1][:0], e.B)
	for x, i := range a {
		others := b
		if len(e.B) == 0 {
			others = a[:x]
		}
		for _, k := range others {
			if i != k {
				f(j.at(i, k))
			}
		}
	}
}

// indices appends the places of those of addrs that are judged.
func (j *Judgement) indices(out []int, addrs []netip.Addr) []int {
	for _, a := range addrs[:min(len(addrs), MaxAddrs)] {
		if i, ok := j.index[a.Unmap()]; ok && i < j.size() {
			out = append(out, i)
		}
	}
	return out
}

// count adds a kind, once.
func (p *pairSum) count(k Kind) {
	if p.kinds&(1<<k) != 0 {
		return
	}
	p.kinds |= 1 << k
	if s := k.Strength(); s > 0 {
		p.pro += s
	} else {
		p.con -= s
	}
}

// see notes when the transport last showed each direction, expired or not: what a
// later one overruled does not come back when that expires.
func (p *pairSum) see(e *Evidence) {
	at := e.Seen.UnixMicro()
	if e.Kind.Sign() > 0 {
		p.joined = max(p.joined, at)
	} else {
		p.apart = max(p.apart, at)
	}
}

// prove takes in evidence n, which the transport shows and no later evidence of
// the other direction overrules; at the same time the one for sameness counts. Of
// what is left the strongest counts, and of equals the one that does so for
// longest.
func (j *Judgement) prove(p *pairSum, n int) {
	e := &j.evidence[n]
	at := e.Seen.UnixMicro()
	if e.Kind.Sign() > 0 && at < p.apart || e.Kind.Sign() < 0 && at <= p.joined {
		return
	}
	if p.shown != 0 {
		o := &j.evidence[p.shown-1]
		if cmp.Or(cmp.Compare(abs(e.Strength()), abs(o.Strength())), e.Expires.Compare(o.Expires)) <= 0 {
			return
		}
	}
	p.shown = int32(n + 1)
}

// weigh sets the log-odds by the pair's own evidence.
func (j *Judgement) weigh(p *pairSum) {
	p.own = min(max(Prior+p.pro-p.con, -Believed), Believed)
	if p.pro >= Decisive && p.con >= Decisive {
		p.own = indecisive(p.own)
	}
	if p.shown != 0 {
		p.own = j.evidence[p.shown-1].Strength()
	}
}

// indecisive returns s, moved to where it decides nothing.
func indecisive(s Strength) Strength { return min(max(s, 1-Decisive), Decisive-1) }

// link finds for each pair the best chain of pairs, as strong as its weakest
// link, by growing a maximum spanning tree (Prim).
func (j *Judgement) link() {
	n := j.size()
	best := make([]Strength, n) // the strongest pair of an address outside and one inside
	from := make([]int, n)
	tree := make([]int, 0, n)
	for i := range n {
		best[i] = -certain - 1
	}
	for next := 0; len(tree) < n; {
		for _, i := range tree {
			p := j.at(next, i)
			p.chain = p.own
			if i != from[next] {
				p.chain = max(p.own, min(best[next], j.at(from[next], i).chain))
			}
		}
		tree = append(tree, next)
		next = j.grow(tree[len(tree)-1], best, from)
	}
}

// inTree marks an address of the tree in link's best.
const inTree = -certain - 2

// grow takes last into the tree and returns the address to take next.
func (j *Judgement) grow(last int, best []Strength, from []int) int {
	best[last] = inTree
	next := -1
	for i := range best {
		if best[i] == inTree {
			continue
		}
		if s := j.at(last, i).own; s > best[i] {
			best[i], from[i] = s, last
		}
		if next < 0 || best[i] > best[next] {
			next = i
		}
	}
	return next
}

// settle names each cluster by its lowest address.
func (j *Judgement) settle() {
	j.clusters = make([]int, j.size())
	for i := range j.clusters {
		j.clusters[i] = i
		for k := range i {
			if j.at(i, k).chain >= Decisive {
				j.clusters[i] = j.clusters[k]
				break
			}
		}
	}
}

// infer sets the verdict of each pair, by its own evidence or by what follows
// from others.
func (j *Judgement) infer() {
	n := j.size()
	j.witnesses = j.apart()
	for i := range n {
		for k := range i {
			p := j.at(i, k)
			far := certain // the log-odds by which others make it different
			if w := j.witness(i, k); w != (witness{}) {
				far = max(j.at(int(w.a), int(w.b)).own, -j.chained(i, int(w.a)), -j.chained(k, int(w.b)))
			}
			j.decide(p, far)
		}
	}
}

// witness is a pair of addresses of two clusters, the first of the first, that
// are different by their own evidence; a == b means that there is none.
type witness struct{ a, b uint8 }

// witness returns what makes two addresses different by way of their clusters.
func (j *Judgement) witness(i, k int) witness {
	return j.witnesses[j.clusters[i]*j.size()+j.clusters[k]]
}

// apart finds for each two clusters the pair that is most different.
func (j *Judgement) apart() []witness {
	n := j.size()
	out := make([]witness, n*n)
	for i := range n {
		for k := range n {
			if i == k || j.at(i, k).own > -Decisive {
				continue
			}
			w := &out[j.clusters[i]*n+j.clusters[k]]
			if *w == (witness{}) || j.at(i, k).own < j.at(int(w.a), int(w.b)).own {
				*w = witness{uint8(i), uint8(k)}
			}
		}
	}
	return out
}

// chained is how surely two addresses of a cluster are the same.
func (j *Judgement) chained(i, k int) Strength {
	if i == k {
		return certain
	}
	return j.at(i, k).chain
}

// decide sets the verdict of p; far is the log-odds by which other pairs make it
// different. The pair's own evidence goes before what follows from others.
func (j *Judgement) decide(p *pairSum, far Strength) {
	same, different := p.chain >= Decisive, far <= -Decisive
	switch {
	case p.own >= Decisive:
		p.verdict, p.odds = Same, p.chain
	case p.own <= -Decisive:
		p.verdict, p.odds = Different, min(p.own, far)
	case same && different, !same && !different:
		p.odds = p.own
	case same:
		p.verdict, p.odds, p.inferred = Same, p.chain, true
	default:
		p.verdict, p.odds, p.inferred = Different, far, true
	}
}
