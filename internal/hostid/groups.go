package hostid

import (
	"fmt"
	"net/netip"
	"strings"
)

// Candidate is an address and the name whose record it was: the end of the
// alias chain.
type Candidate struct {
	Addr      netip.Addr
	Canonical string // compared without case and trailing dot; may be empty
}

// Group is a set of addresses that may be one host. Addresses of two groups are
// believed to be of different hosts.
type Group struct {
	Canonical string       // as the first candidate has it
	Addrs     []netip.Addr // in the candidates' order, without duplicates
	Verdict   Verdict      // of the addresses among each other; Unknown until a join tells
	Why       string       // one sentence
}

// Groups divides candidates by canonical name: records at two names are the
// work of two hands, and are not joined to each other. The groups come in the
// order of their first address, and an address that is in several stays in the
// first.
func Groups(candidates []Candidate) []Group {
	var groups []Group
	index := make(map[string]int)
	seen := make(map[netip.Addr]bool)
	for _, c := range candidates {
		addr := c.Addr.Unmap()
		if !addr.IsValid() || seen[addr] {
			continue
		}
		seen[addr] = true
		key := strings.ToLower(strings.TrimSuffix(c.Canonical, "."))
		i, ok := index[key]
		if !ok {
			i = len(groups)
			index[key] = i
			groups = append(groups, Group{Canonical: c.Canonical})
		}
		groups[i].Addrs = append(groups[i].Addrs, addr)
	}
	for i := range groups {
		groups[i].Why = groups[i].reason(len(groups))
	}
	return groups
}

// reason says why the group is one of total.
func (g Group) reason(total int) string {
	switch {
	case total > 1:
		return fmt.Sprintf("the addresses of canonical name %q, one of %d", g.Canonical, total)
	case len(g.Addrs) == 1:
		return "the only address"
	case g.Canonical == "":
		return "all addresses; only a join can tell whether they are one host"
	}
	return fmt.Sprintf("all are addresses of %q; only a join can tell whether they are one host", g.Canonical)
}
