package resolver

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// Host is a set of addresses that may be one machine's.
type Host struct {
	Addrs   mpaddr.Addr `json:"addresses"`
	Verdict string      `json:"verdict"` // "unknown", "likely" or "proven": how sure it is that they are one host
	Why     []string    `json:"why"`     // what decides, the strongest first: (+) speaks for one host, (-) against
}

// Pair is what is known of two addresses of an answer.
type Pair struct {
	A          netip.Addr `json:"a"`
	B          netip.Addr `json:"b"`
	Verdict    string     `json:"verdict"`    // "same", "different" or "unknown"
	Confidence float64    `json:"confidence"` // the probability that they are one host
	// Inferred: it follows from what is known of other addresses.
	Inferred bool       `json:"inferred,omitempty"`
	Until    time.Time  `json:"until,omitzero"` // when the first of what the verdict rests on expires
	Evidence []Evidence `json:"evidence"`       // about the two themselves, the strongest first
}

// Evidence is one reason to believe that addresses are one host, or are not.
type Evidence struct {
	Kind     string    `json:"kind"`     // "embedded-octets"
	Strength float64   `json:"strength"` // log-odds in nats, below zero against
	Says     string    `json:"says"`     // what was seen of the two: "have different reverse names (a.example, b.example)"
	Source   string    `json:"source,omitempty"`
	Expires  time.Time `json:"expires"`
}

// judging is how an answer's hosts are found: when somebody first asks, for most
// look-ups are for addresses alone.
type judging struct {
	ranking  ranking
	families []FamilyResult
	nat64    []netip.Prefix
	targets  []hostid.Service // of SRV, with their addresses
	now      time.Time

	mu      sync.Mutex // guards what follows
	reverse []hostid.Reverse
	memory  *hostid.Memory // may be nil
	joins   string         // the name under which it has joins
	done    bool
	judged  hostid.Judgement
}

// Hosts divides Record by host, in the order of each host's first address. What
// look-ups tell makes two hosts or one, never for sure; "proven" needs a join.
func (a *Answer) Hosts() []Host {
	judged := a.judgement()
	out := make([]Host, len(judged.Hosts()))
	for i, h := range judged.Hosts() {
		out[i] = Host{Addrs: a.Record, Verdict: verdict(h), Why: why(judged, i)}
		if len(out) > 1 {
			out[i].Addrs = a.Record.Filter(func(e mpaddr.Endpoint) bool { return slices.Contains(h.Addrs, e.Addr()) })
		}
	}
	return out
}

// Pairs explains Hosts: each two addresses of Record, in its order.
func (a *Answer) Pairs() []Pair {
	judged := a.judgement()
	var out []Pair
	for i, x := range judged.Addrs() {
		for _, y := range judged.Addrs()[i+1:] {
			p := judged.Pair(x, y)
			pair := Pair{
				A: x, B: y, Verdict: p.Verdict.String(), Confidence: p.Odds.Probability(),
				Inferred: p.Inferred, Until: p.Until, Evidence: []Evidence{},
			}
			for _, e := range p.Evidence {
				pair.Evidence = append(pair.Evidence, Evidence{e.Kind.String(), float64(e.Strength()) / 100, says(e), e.Source, e.Expires})
			}
			out = append(out, pair)
		}
	}
	return out
}

// says is the sentence of e without the addresses that it begins with.
func says(e hostid.Evidence) string {
	_, text, _ := strings.Cut(e.String(), ": ")
	return text
}

// Remember has the hosts judged by what m keeps too: joins, and what other
// look-ups saw, to which this one is added. It is for this module's own parts,
// which share a memory.
func (a *Answer) Remember(m *hostid.Memory) { a.RememberAs(m, a.Name) }

// RememberAs is Remember where the joins are kept under another name than the
// answer's, as a dialer keeps them by name and port. Look-ups are the same for all
// ports.
func (a *Answer) RememberAs(m *hostid.Memory, joins string) {
	j := a.judging
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.memory, j.joins, j.done = m, joins, false
}

// Evidence is what the look-up, and with Remember those before it, say of which
// addresses are one host. It is for this module's own parts.
func (a *Answer) Evidence() []hostid.Evidence {
	if a.judging == nil {
		return nil
	}
	j := a.judging
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.observe(a).Evidence(j.now)
}

// addrs are the addresses of Record, in its order.
func (a *Answer) addrs() []netip.Addr {
	out := make([]netip.Addr, 0, a.Record.Len())
	for _, e := range a.Record.All() {
		out = append(out, e.Addr())
	}
	return out
}

func (a *Answer) judgement() hostid.Judgement {
	j := a.judging
	if j == nil { // made by hand
		return hostid.Judge(a.addrs(), nil, time.Time{})
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.done {
		evidence := j.observe(a).Evidence(j.now)
		if j.memory != nil {
			evidence = append(evidence, j.memory.Evidence(j.joins, a.addrs(), j.now)...)
			j.memory.Note(a.Name, hostid.Sighting{At: j.now, Server: j.server(), Addrs: a.addrs()})
		}
		j.judged, j.done = hostid.Judge(a.addrs(), evidence, j.now), true
	}
	return j.judged
}

// observe is what is known of the name, in hostid's terms. The lock is held.
func (j *judging) observe(a *Answer) hostid.Observation {
	o := hostid.Observation{Name: a.Name, Server: j.server(), Reverse: j.reverse, NAT64: j.nat64}
	for _, e := range a.Record.All() {
		if f := j.origin(e.Addr()); f != nil {
			o.Addrs = append(o.Addrs, hostid.Address{Addr: e.Addr(), Canonical: j.canonicalIn(f), TTL: f.ttl()})
		}
	}
	o.Services = append(o.Services, j.targets...)
	for _, f := range j.families {
		for _, s := range f.Services {
			if f.Type == typeSRV {
				break
			}
			o.Services = append(o.Services, hostid.Service{Target: s.Target, Addrs: s.Hints, Hints: true, OneHost: s.OneHost})
		}
	}
	if j.memory != nil {
		o.Past = j.memory.Sightings(a.Name, j.now)
		o.Names = j.memory.Names(a.addrs(), j.now)
	}
	return o
}

// origin is the result that brought an address: as it is, or IPv4-mapped.
func (j *judging) origin(addr netip.Addr) *FamilyResult {
	for i := range j.families {
		if slices.Contains(j.families[i].Addrs, addr) {
			return &j.families[i]
		}
	}
	for i := range j.families {
		if slices.ContainsFunc(j.families[i].Addrs, func(a netip.Addr) bool { return a.Unmap() == addr }) {
			return &j.families[i]
		}
	}
	return nil
}

// ttl is that of the records, 0 where they have none.
func (f *FamilyResult) ttl() time.Duration {
	if f.TTL == Forever {
		return 0
	}
	return f.TTL
}

// server is who answered.
func (j *judging) server() string {
	for _, f := range j.families {
		if len(f.Addrs) > 0 && f.Server != "" {
			return f.Proto + " " + f.Server
		}
	}
	return ""
}

// verdict is how sure it is that the addresses are one host.
func verdict(h hostid.Host) string {
	switch {
	case h.Proven:
		return "proven"
	case h.Verdict == hostid.Same && len(h.Addrs) > 1:
		return "likely"
	}
	return "unknown"
}

// why says what a host rests on.
func why(j hostid.Judgement, host int) []string {
	if len(j.Addrs()) == 1 {
		return []string{"the only address"}
	}
	var out []string
	for _, e := range j.Reasons(host) {
		sign := " (+)"
		if e.Strength() < 0 {
			sign = " (-)"
		}
		out = append(out, e.String()+sign)
	}
	if len(out) == 0 {
		out = []string{"nothing is known; only a join can tell"}
	}
	return out
}
