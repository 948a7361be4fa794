package hostid

import (
	"fmt"
	"net/netip"
	"time"
)

// graph is what is known at one time of some addresses of a name. Node 0 is the
// address the connection began with.
type graph struct {
	nodes []netip.Addr
	// edges[i*len(nodes)+j] is the entry of nodes i and j.
	edges []entry
	// hosts[i] is the lowest node that is the same host as i.
	hosts []int
}

// graph gathers the entries of all pairs of nodes. The lock is held.
func (m *Memory) graph(name string, nodes []netip.Addr, now time.Time) graph {
	n := len(nodes)
	g := graph{nodes: nodes, edges: make([]entry, n*n), hosts: make([]int, n)}
	for i := range n {
		g.hosts[i] = i
		for j := range i {
			k, ok := newPair(name, nodes[i], nodes[j])
			if !ok {
				continue
			}
			e := m.look(k)
			g.edges[i*n+j], g.edges[j*n+i] = e, e
		}
	}
	for i := range n {
		for j := range i {
			if g.edge(i, j).verdict(now) == Same {
				g.merge(i, j)
			}
		}
	}
	return g
}

func (g graph) edge(i, j int) entry { return g.edges[i*len(g.nodes)+j] }

// merge makes one host of those of i and j.
func (g graph) merge(i, j int) {
	from, to := max(g.hosts[i], g.hosts[j]), min(g.hosts[i], g.hosts[j])
	for k, h := range g.hosts {
		if h == from {
			g.hosts[k] = to
		}
	}
}

// choose judges node i.
func (g graph) choose(i int, now time.Time) Choice {
	e := g.edge(0, i)
	c := Choice{Addr: g.nodes[i], Try: true, Last: e.last, Why: "nothing is known"}
	if e.last != NotTried {
		c.Why = describe(e, now)
	}
	if c.Verdict = e.verdict(now); c.Verdict != Unknown {
		c.Until = e.expires()
	} else {
		g.infer(&c, i, now)
	}
	switch {
	case c.Verdict == Different:
		c.Try = false
	case e.last.Failed() && now.Before(e.resumes()): // what joined after the caller took now is no pause
		c.Try, c.Until = false, e.resumes()
	}
	return c
}

// infer judges node i by what is known of others: the same as an address that is
// the same as node 0, or not the same as one of those.
func (g graph) infer(c *Choice, i int, now time.Time) {
	if g.hosts[i] == g.hosts[0] {
		c.Verdict, c.Why = Same, "the same host by way of another address"
		return
	}
	for a := range g.nodes {
		for b := range g.nodes {
			e := g.edge(a, b)
			if g.hosts[a] == g.hosts[0] && g.hosts[b] == g.hosts[i] && e.verdict(now) == Different {
				c.Verdict, c.Until = Different, e.expires()
				c.Why = fmt.Sprintf("%s and %s are different hosts", g.nodes[a], g.nodes[b])
				return
			}
		}
	}
}
