package hostid

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The bounds of what is kept of past answers.
const (
	// MaxSightings is how many different answers of one name are kept.
	MaxSightings = 8
	// SightingLifetime is how long an answer is kept.
	SightingLifetime = 24 * time.Hour
	// MaxNoted is how many names have answers kept: some megabytes at the worst.
	MaxNoted = 512
	// maxServer is how many octets of a server's name are kept.
	maxServer = 128
)

// Sighting is the set of addresses that a look-up saw, both families at once.
type Sighting struct {
	At     time.Time
	Server string       // who answered
	Addrs  []netip.Addr // sorted; at most MaxAddrs
}

// history is what was seen of a name.
type history struct {
	name string
	seen []Sighting // the oldest first
}

// Note keeps a set of addresses that a look-up of name saw. One that equals the
// last kept replaces it. When a name has MaxSightings the oldest goes; when there
// are MaxNoted names, the one not noted for the longest time.
func (m *Memory) Note(name string, s Sighting) {
	if len(name) > MaxName || len(s.Addrs) == 0 {
		return
	}
	s.Addrs = distinct(s.Addrs)
	s.Addrs = s.Addrs[:min(len(s.Addrs), MaxAddrs)]
	slices.SortFunc(s.Addrs, netip.Addr.Compare)
	s.Server = s.Server[:min(len(s.Server), maxServer)]
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.history(name)
	h.seen = slices.DeleteFunc(h.seen, func(old Sighting) bool { return !s.At.Before(old.At.Add(SightingLifetime)) })
	if n := len(h.seen); n > 0 && slices.Equal(h.seen[n-1].Addrs, s.Addrs) {
		h.seen = h.seen[:n-1]
	}
	h.seen = append(h.seen, s)
	if len(h.seen) > MaxSightings {
		h.seen = slices.Delete(h.seen, 0, len(h.seen)-MaxSightings)
	}
}

// history returns that of a name as the last noted, a new one if need be. The
// lock is held.
func (m *Memory) history(name string) *history {
	return m.noted.take(name, func() history { return history{name: name} })
}

// Sightings returns the answers of name kept, the oldest first, without those
// expired at now.
func (m *Memory) Sightings(name string, now time.Time) []Sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.noted.peek(name)
	if h == nil {
		return nil
	}
	return current(h.seen, now)
}

// current returns a copy of those that are not expired.
func current(seen []Sighting, now time.Time) []Sighting {
	var out []Sighting
	for _, s := range seen {
		if now.Before(s.At.Add(SightingLifetime)) {
			out = append(out, s)
		}
	}
	return out
}

// Names returns under how many unrelated names each of addrs has been seen. Names
// are unrelated when their last two labels differ, which is right for most but
// not all public suffixes.
func (m *Memory) Names(addrs []netip.Addr, now time.Time) map[netip.Addr]int {
	domains := make(map[netip.Addr]map[string]bool)
	for _, a := range addrs[:min(len(addrs), MaxAddrs)] {
		domains[a.Unmap()] = make(map[string]bool)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.noted.newest() {
		gather(domains, h, now)
	}
	out := make(map[netip.Addr]int)
	for a, d := range domains {
		out[a] = len(d)
	}
	return out
}

// gather adds the domain of a history to those of its addresses.
func gather(domains map[netip.Addr]map[string]bool, h *history, now time.Time) {
	for _, s := range current(h.seen, now) {
		for _, a := range s.Addrs {
			if d, ok := domains[a]; ok {
				d[domainOf(h.name)] = true
			}
		}
	}
}

// domainOf returns the last two labels of a name in lower case, without a port.
func domainOf(name string) string {
	name, _, _ = strings.Cut(name, ":")
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name
	}
	return name[strings.LastIndexByte(name[:i], '.')+1:]
}
