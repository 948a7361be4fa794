// Package zone holds the daemon's local zones: it reads zone files (RFC 1035
// section 5) and answers questions from them with authority, as RFC 1034
// section 4.3.2 says: aliases followed within the zone, wildcards (RFC 4592),
// renamed subtrees (RFC 6672), referrals with glue below a delegation, and
// names that do not exist told apart from those without such data (RFC 2308).
//
// A Zone never changes after it was loaded, so any number of goroutines may
// ask it.
package zone

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Zone is one zone's data. It is immutable.
type Zone struct {
	origin   dnswire.Name
	nodes    map[dnswire.Name]node
	negative []dns.RR // the SOA as negative answers carry it (RFC 2308 section 3)
	records  int
}

// node is what stands at one name, by type; a node without RRsets is an empty
// non-terminal (RFC 4592 section 2.2.2).
type node map[dnswire.Type][]dns.RR

// Origin returns the zone's name.
func (z *Zone) Origin() dnswire.Name { return z.origin }

// Len returns the number of records.
func (z *Zone) Len() int { return z.records }

// Set is the zones that a daemon serves. The zero value has none.
type Set struct {
	zones map[dnswire.Name]*Zone
}

// NewSet returns the set of zones. Two zones of one origin are an error.
func NewSet(zones ...*Zone) (Set, error) {
	s := Set{zones: make(map[dnswire.Name]*Zone, len(zones))}
	for _, z := range zones {
		if _, ok := s.zones[z.origin]; ok {
			return Set{}, fmt.Errorf("zone %v is given twice", z.origin)
		}
		s.zones[z.origin] = z
	}
	return s, nil
}

// Find returns the zone that has the data for a question: the one with the
// longest origin that name is at or below, and for DS the parent's side of a
// delegation where both sides are here (RFC 4035 section 3.1.4.1). It returns
// nil where there is none.
func (s Set) Find(name dnswire.Name, t dnswire.Type) *Zone {
	if len(s.zones) == 0 {
		return nil
	}
	var child *Zone
	for n := range ancestors(name) {
		z, ok := s.zones[n]
		if !ok {
			continue
		}
		if n == name && t == dnswire.TypeDS && child == nil {
			child = z
			continue
		}
		return z
	}
	return child
}

// All returns the zones in the order of their origins' text.
func (s Set) All() []*Zone {
	all := make([]*Zone, 0, len(s.zones))
	for _, z := range s.zones {
		all = append(all, z)
	}
	slices.SortFunc(all, func(a, b *Zone) int {
		return cmp.Compare(a.origin.String(), b.origin.String())
	})
	return all
}

// RRsets returns every name of the zone with the types that stand at it, for
// tests and listings, in no order. Empty non-terminals have no types.
func (z *Zone) RRsets() map[dnswire.Name]map[dnswire.Type][]dns.RR {
	all := make(map[dnswire.Name]map[dnswire.Type][]dns.RR, len(z.nodes))
	for name, n := range z.nodes {
		all[name] = n
	}
	return all
}
