// Package hosts makes labelled names: what a look-up would see of each, and which
// of its addresses are one host. The names are drawn from a model of how hosts
// are set up, not from how they are judged: operators with habits of their own
// (numbering, reverse names, TTLs, rotation) run the deployments that published
// measurements describe. The two parts have different operators. Numbers from
// measurements: about 40 % of the A and AAAA pairs of popular names are one
// machine (Scheitle et al. 2017); address patterns find about 27 % of the pairs
// of single machines and 0.2 % of different hosts of one prefix; content
// networks embed IPv4 addresses too. All other numbers are assumptions, spread
// widely from operator to operator.
package hosts

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// Names is how many names a part has.
const Names = 3000

// Part is one half of the corpus.
type Part uint64

// The parts: strengths are derived from Train and measured on Test.
const (
	Train Part = 20260101
	Test  Part = 20260102
)

// Now is when all names are looked up.
func Now() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Case is one name.
type Case struct {
	Kind        string // of the deployment
	Observation hostid.Observation
	Host        map[netip.Addr]int // the truth: addresses of one number are one host
}

// Addrs returns the addresses of the name, in order.
func (c *Case) Addrs() []netip.Addr {
	var out []netip.Addr
	for _, a := range c.Observation.Addrs {
		out = append(out, a.Addr)
	}
	return out
}

// Generate returns n names of a part, the same at each call.
func Generate(p Part, n int) []Case {
	w := newWorld(p)
	out := make([]Case, n)
	for i := range out {
		out[i] = w.name(i)
	}
	return out
}

// deployment is a way to set up a name, and how many of a hundred names have it.
type deployment struct {
	kind   string
	weight int
	build  func(w *world, b *builder)
}

func deployments() []deployment {
	return []deployment{
		{"single", 26, (*world).single},
		{"multihomed", 7, (*world).multihomed},
		{"several", 3, (*world).several},
		{"pool", 12, (*world).pool},
		{"sites", 8, (*world).sites},
		{"cdn", 14, (*world).cdn},
		{"anycast", 5, (*world).anycast},
		{"rotating", 8, (*world).rotating},
		{"srv", 5, (*world).srv},
		{"balancer", 7, (*world).balancer},
		{"split", 5, (*world).split},
		{"two-names", 4, (*world).twoNames},
		{"published", 3, (*world).published},
		{"shared", 5, (*world).shared},
		{"nat64", 2, (*world).nat64},
	}
}

// world is all operators of a part.
type world struct {
	*rand.Rand
	operators []*operator
	networks  []*network // content networks
	table     *hostid.Prefixes
}

// newWorld makes the operators.
func newWorld(p Part) *world {
	w := &world{Rand: rand.New(rand.NewPCG(uint64(p), 1))}
	for i := range 80 {
		w.operators = append(w.operators, w.operator(i))
	}
	for i := range 12 {
		w.networks = append(w.networks, w.network(i))
	}
	w.table = w.prefixTable()
	return w
}

// yes is true with probability p.
func (w *world) yes(p float64) bool { return w.Float64() < p }

// among returns a number from low to high.
func (w *world) among(low, high int) int { return low + w.IntN(high-low+1) }

// about returns a habit's probability that is p on average and spread from
// operator to operator.
func (w *world) about(p float64) float64 { return min(1, p*2*w.Float64()) }

// name makes one name.
func (w *world) name(i int) Case {
	all := deployments()
	total := 0
	for _, d := range all {
		total += d.weight
	}
	at := w.IntN(total)
	for _, d := range all {
		if at -= d.weight; at < 0 {
			b := &builder{w: w, op: w.operators[w.IntN(len(w.operators))], host: map[netip.Addr]int{}}
			b.name = fmt.Sprintf("www%d.%s", i, b.op.domain)
			b.kind = d.kind
			d.build(w, b)
			return b.finish()
		}
	}
	panic("hosts: no deployment was drawn")
}

// builder gathers one name.
type builder struct {
	w         *world
	op        *operator
	kind      string
	name      string
	canonical [2]string // of A and AAAA; empty: the name
	ttl       [2]time.Duration
	addrs     []netip.Addr
	host      map[netip.Addr]int
	services  []hostid.Service
	reverse   []hostid.Reverse
	past      []hostid.Sighting
	names     map[netip.Addr]int
}

// add gives the name an address of a host.
func (b *builder) add(a netip.Addr, host int) {
	if _, known := b.host[a]; !known {
		b.addrs = append(b.addrs, a)
		b.host[a] = host
	}
}

// finish makes the case: TTLs, counted down where a cache was on the way, and a
// past in which nothing or one renumbering happened where none was made.
func (b *builder) finish() Case {
	if b.ttl[0] == 0 {
		b.ttl = [2]time.Duration{b.op.ttl, b.op.ttl}
	}
	if b.w.yes(0.5) {
		age := b.w.Float64()
		for f := range b.ttl {
			if b.w.yes(0.2) {
				age = b.w.Float64()
			}
			b.ttl[f] = (b.ttl[f] - time.Duration(age*float64(b.ttl[f]))).Truncate(time.Second)
		}
	}
	if b.past == nil {
		b.quietPast()
	}
	o := hostid.Observation{
		Name: b.name, Server: "corpus", Services: b.services, Reverse: b.reverse, Past: b.past, Names: b.names, Prefixes: b.w.table,
	}
	for _, a := range b.addrs {
		f := 0
		if a.Is6() {
			f = 1
		}
		canonical := b.canonical[f]
		if canonical == "" {
			canonical = b.name
		}
		o.Addrs = append(o.Addrs, hostid.Address{Addr: a, Canonical: canonical, TTL: b.ttl[f]})
	}
	return Case{b.kind, o, b.host}
}

// quietPast is the past of a name whose set does not rotate.
func (b *builder) quietPast() {
	switch {
	case b.w.yes(0.05):
		old := b.op.host(b.w)
		b.past = []hostid.Sighting{b.sighting(1, []netip.Addr{old.four, old.six})}
	case b.w.yes(0.5):
		b.past = []hostid.Sighting{b.sighting(1, b.addrs)}
	}
}

// sighting is a set seen so many minutes ago.
func (b *builder) sighting(minutes int, addrs []netip.Addr) hostid.Sighting {
	return hostid.Sighting{At: Now().Add(-time.Duration(minutes) * time.Minute), Server: "corpus", Addrs: addrs}
}
