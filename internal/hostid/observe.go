package hostid

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// OneHostKey is the SvcParamKey (RFC 9460 section 14.3.2, private use) by which
// an operator says that all addresses of the record's TargetName are one host:
// see docs/same-host.md.
const OneHostKey = 65400

// The TTLs that say something.
const (
	shortTTL = time.Minute
	longTTL  = time.Hour
)

// manyNames is under how many unrelated names an address is one of many names.
const manyNames = 3

// Observation is what one look-up saw of a name, in plain values. Only the first
// MaxAddrs of Addrs are looked at.
type Observation struct {
	Name     string // asked for
	Server   string // who answered: the source of the evidence
	Addrs    []Address
	Services []Service          // of HTTPS, SVCB or SRV
	Reverse  []Reverse          // where it was asked for
	Past     []Sighting         // see Memory.Sightings
	Names    map[netip.Addr]int // see Memory.Names
	NAT64    []netip.Prefix     // besides 64:ff9b::/96: those of this network
	Prefixes *Prefixes          // may be nil
}

// Address is one address and how it was reached.
type Address struct {
	Addr      netip.Addr
	Canonical string        // the end of the alias chain; compared without case and trailing dot; may be empty
	TTL       time.Duration // of the RRset, as answered; zero: not known
}

// Service is one SRV record, or one HTTPS or SVCB record in ServiceMode.
type Service struct {
	Target  string       // TargetName; the owner's name where the record has "."
	Addrs   []netip.Addr // its hints, or the addresses of the target
	Hints   bool         // Addrs are hints of an HTTPS or SVCB record
	OneHost bool         // it has OneHostKey
}

// Reverse is one PTR record of an address.
type Reverse struct {
	Addr      netip.Addr
	Name      string
	Confirmed bool // the name has the address
}

// observer turns an observation into evidence.
type observer struct {
	Observation
	addrs []Address // valid, distinct, bounded
	now   time.Time
	out   []Evidence
}

// Evidence returns what the observation says of which addresses are one host. It
// counts for the kind's lifetime. The time grows with the square of the number of
// addresses.
func (o Observation) Evidence(now time.Time) []Evidence {
	v := &observer{Observation: o, now: now}
	seen := make(map[netip.Addr]bool)
	for _, a := range o.Addrs {
		a.Addr = a.Addr.Unmap()
		if a.Addr.IsValid() && !seen[a.Addr] && len(v.addrs) < MaxAddrs {
			seen[a.Addr] = true
			a.Canonical = fold(a.Canonical)
			v.addrs = append(v.addrs, a)
		}
	}
	v.canonical()
	v.services()
	v.shape()
	v.ttls()
	v.names()
	v.patterns()
	v.reverse()
	v.rotation()
	v.prefixes()
	return v.out
}

// fold returns a name as it is compared.
func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// add notes evidence about pairs within a or, where b is not empty, across.
func (v *observer) add(k Kind, a, b []netip.Addr, detail string) {
	if len(a) == 0 || len(b) == 0 && len(a) < 2 || len(v.out) >= MaxEvidence {
		return
	}
	v.out = append(v.out, Evidence{
		Kind: k, A: a, B: b, Source: v.Server, Seen: v.now, Expires: v.now.Add(k.Lifetime()), Detail: detail,
	})
}

// only returns the addresses for which want holds.
func (v *observer) only(want func(Address) bool) []netip.Addr {
	var out []netip.Addr
	for _, a := range v.addrs {
		if want(a) {
			out = append(out, a.Addr)
		}
	}
	return out
}

func (v *observer) all() []netip.Addr { return v.only(func(Address) bool { return true }) }

// families returns the IPv4 and the IPv6 addresses.
func (v *observer) families() (four, six []netip.Addr) {
	return v.only(func(a Address) bool { return a.Addr.Is4() }), v.only(func(a Address) bool { return !a.Addr.Is4() })
}

// canonical compares the ends of the alias chains. An address that is reached
// through two of them comes once, with the first.
func (v *observer) canonical() {
	var names []string
	for _, a := range v.addrs {
		if a.Canonical != "" && !slices.Contains(names, a.Canonical) {
			names = append(names, a.Canonical)
		}
	}
	groups := make([][]netip.Addr, len(names))
	for i, n := range names {
		groups[i] = v.only(func(a Address) bool { return a.Canonical == n })
		for k := range i {
			v.add(OtherCanonical, groups[k], groups[i], names[k]+", "+n)
		}
	}
	own := domainOf(v.Name)
	foreign := v.only(func(a Address) bool { return a.Canonical != "" && own != "" && domainOf(a.Canonical) != own })
	v.add(ForeignCanonical, foreign, nil, "")
}

// services compares the targets of service records.
func (v *observer) services() {
	targets := v.targets()
	for i, s := range targets {
		switch {
		case s.OneHost:
			v.add(Published, s.Addrs, nil, s.Target)
		case len(targets) > 1:
			v.add(SameTarget, s.Addrs, nil, s.Target)
		case s.Hints && mixed(s.Addrs):
			v.add(HintsTogether, s.Addrs, nil, s.Target)
		}
		for _, other := range targets[:i] {
			a, b := without(other.Addrs, s.Addrs), without(s.Addrs, other.Addrs)
			if len(a) > 0 && len(b) > 0 {
				v.add(OtherTarget, a, b, other.Target+", "+s.Target)
			}
		}
	}
}

// targets merges the service records by target, of those addresses that were
// answered.
func (v *observer) targets() []Service {
	var out []Service
	for _, s := range v.Services[:min(len(v.Services), MaxAddrs)] {
		s.Target = fold(s.Target)
		known := v.only(func(a Address) bool { return has(s.Addrs, a.Addr) })
		if i := slices.IndexFunc(out, func(o Service) bool { return o.Target == s.Target }); i >= 0 {
			out[i].Addrs = append(out[i].Addrs, without(known, out[i].Addrs)...)
			out[i].OneHost = out[i].OneHost || s.OneHost
			continue
		}
		s.Addrs = known
		out = append(out, s)
	}
	return slices.DeleteFunc(out, func(s Service) bool { return len(s.Addrs) == 0 })
}

// mixed tells whether there are addresses of both families.
func mixed(addrs []netip.Addr) bool {
	return slices.ContainsFunc(addrs, netip.Addr.Is4) && slices.ContainsFunc(addrs, netip.Addr.Is6)
}

// without returns those of addrs that are not among others.
func without(addrs, others []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(others, a) })
}

// shape looks at how many addresses of each family there are.
func (v *observer) shape() {
	four, six := v.families()
	v.add(OneFamily, four, nil, "")
	v.add(OneFamily, six, nil, "")
	switch n := max(len(four), len(six)); {
	case n >= 4:
		v.add(Many, v.all(), nil, "")
	case n >= 2:
		v.add(Several, v.all(), nil, "")
	case len(four) == 1 && len(six) == 1:
		v.add(OneOfEach, v.all(), nil, "")
	}
}

// ttls looks at the TTLs. They may have been counted down by a cache on the way.
func (v *observer) ttls() {
	v.add(ShortTTL, v.only(func(a Address) bool { return a.TTL > 0 && a.TTL <= shortTTL }), nil, "")
	v.add(LongTTL, v.only(func(a Address) bool { return a.TTL > longTTL }), nil, "")
	if len(v.addrs) == 0 || v.addrs[0].TTL == 0 {
		return
	}
	first := v.addrs[0].TTL
	rest := v.only(func(a Address) bool { return a.TTL > 0 && a.TTL != first })
	if len(rest) > 0 {
		v.add(UnequalTTL, v.only(func(a Address) bool { return a.TTL == first }), rest, "")
	}
}

// names looks for addresses that serve many unrelated names.
func (v *observer) names() {
	shared := v.only(func(a Address) bool { return v.Names[a.Addr] >= manyNames })
	v.add(ManyNames, shared, nil, "")
	if rest := without(v.all(), shared); len(rest) > 0 {
		v.add(ManyNames, shared, rest, "")
	}
}

// prefixes looks the addresses up in the table.
func (v *observer) prefixes() {
	for _, c := range []struct {
		class Class
		kind  Kind
	}{{Anycast, AnycastPrefix}, {CDN, CDNPrefix}} {
		inside := v.only(func(a Address) bool { e, ok := v.Prefixes.Lookup(a.Addr); return ok && e.Class == c.class })
		v.add(c.kind, inside, nil, "")
		if rest := without(v.all(), inside); len(rest) > 0 {
			v.add(c.kind, inside, rest, "")
		}
	}
}
