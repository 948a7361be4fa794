package main

import (
	"cmp"
	"math"
	"slices"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/testdata/hosts"
)

// The derivation: logistic regression of "one host" on the kinds of evidence
// about a pair, with the sign of each strength held to the kind's, and a penalty
// that keeps the strength of a kind finite which is never wrong.
const (
	penalty   = 0.1  // on half the square of each strength in nats
	sweeps    = 2000 // over all strengths, at most
	tolerance = 1e-7 // of the largest step of a sweep
)

// pattern is a set of kinds, how many pairs have it, and how many of those are
// one host.
type pattern struct {
	kinds       uint64
	same, pairs float64
}

// patterns gathers the pairs of a corpus by the kinds of evidence that there are
// about them.
func patterns(cases []hosts.Case) []pattern {
	found := map[uint64]*pattern{}
	for _, c := range cases {
		for _, p := range pairs(c) {
			var kinds uint64
			for _, e := range p.Evidence {
				if e.Kind.Derived() {
					kinds |= 1 << e.Kind
				}
			}
			if found[kinds] == nil {
				found[kinds] = &pattern{kinds: kinds}
			}
			found[kinds].pairs++
			if c.Host[p.A] == c.Host[p.B] {
				found[kinds].same++
			}
		}
	}
	var out []pattern
	for _, p := range found {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b pattern) int { return cmp.Compare(a.kinds, b.kinds) })
	return out
}

// pairs judges each pair of a name's addresses by DNS alone.
func pairs(c hosts.Case) []hostid.Pair {
	addrs := c.Addrs()
	j := hostid.Judge(addrs, c.Observation.Evidence(hosts.Now()), hosts.Now())
	var out []hostid.Pair
	for i, a := range addrs {
		for _, b := range addrs[:i] {
			out = append(out, j.Pair(b, a))
		}
	}
	return out
}

// strengths are what the derivation finds.
type strengths struct {
	prior hostid.Strength
	kinds map[hostid.Kind]hostid.Strength
}

// derive fits the strengths to a corpus.
func derive(cases []hosts.Case) strengths {
	m := model{data: patterns(cases)}
	m.scores = make([]float64, len(m.data))
	for range sweeps {
		step := m.improve(-1)
		for _, k := range hostid.Kinds() {
			if k.Derived() {
				step = max(step, m.improve(int(k)))
			}
		}
		if step < tolerance {
			break
		}
	}
	out := strengths{round(m.prior), map[hostid.Kind]hostid.Strength{}}
	for _, k := range hostid.Kinds() {
		if k.Derived() {
			out.kinds[k] = round(m.weights[k])
		}
	}
	return out
}

// round turns nats into hundredths.
func round(nats float64) hostid.Strength { return hostid.Strength(math.Round(nats * 100)) }

// model is a regression under way.
type model struct {
	data    []pattern
	scores  []float64 // log-odds of each pattern so far
	prior   float64
	weights [64]float64
}

// improve takes one Newton step for the strength of a kind, or for the prior
// where kind is -1, and returns its size.
func (m *model) improve(kind int) float64 {
	weight, gradient, curvature := &m.prior, 0.0, 1e-9
	if kind >= 0 {
		weight = &m.weights[kind]
		gradient, curvature = -penalty**weight, penalty
	}
	for i, p := range m.data {
		if kind >= 0 && p.kinds&(1<<kind) == 0 {
			continue
		}
		q := 1 / (1 + math.Exp(-m.scores[i]))
		gradient += p.same - p.pairs*q
		curvature += p.pairs * q * (1 - q)
	}
	step := min(max(gradient/curvature, -1), 1)
	if kind >= 0 {
		step = hold(*weight+step, hostid.Kind(kind).Sign()) - *weight
	}
	*weight += step
	for i, p := range m.data {
		if kind < 0 || p.kinds&(1<<kind) != 0 {
			m.scores[i] += step
		}
	}
	return math.Abs(step)
}

// hold keeps a strength at its kind's side of zero.
func hold(weight float64, sign int) float64 {
	switch {
	case sign > 0:
		return max(weight, 0)
	case sign < 0:
		return min(weight, 0)
	}
	return 0
}
