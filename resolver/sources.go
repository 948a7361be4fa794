package resolver

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/addrsel"
)

const (
	// sourceTime is how long the source address for a destination is taken to
	// be the same. Finding it costs system calls; a change of the network is
	// noticed soon enough.
	sourceTime = 2 * time.Second
	// maxSources bounds how many are remembered.
	maxSources = 1024
)

// sourceMemory remembers the source addresses of this host for a moment: names
// are looked up in bursts.
type sourceMemory struct {
	look   func(context.Context, []netip.Addr) []Source // nil: the finder's
	finder addrsel.Finder

	mu   sync.Mutex // guards what is below
	seen map[netip.Addr]knownSource
}

type knownSource struct {
	source Source
	until  time.Time
}

// find returns this host's source address for each address of the families.
func (m *sourceMemory) find(ctx context.Context, families []FamilyResult, now time.Time) map[netip.Addr]Source {
	n := 0
	for _, f := range families {
		n += len(f.Addrs)
	}
	found := make(map[netip.Addr]Source, n)
	unknown := make([]netip.Addr, 0, n)
	m.mu.Lock()
	for _, f := range families {
		for _, a := range f.Addrs {
			a = a.Unmap()
			if s, ok := m.seen[a]; ok && now.Before(s.until) {
				found[a] = s.source
			} else {
				unknown = append(unknown, a)
			}
		}
	}
	m.mu.Unlock()
	if len(unknown) == 0 {
		return found
	}
	for i, s := range m.learn(ctx, unknown, now) {
		found[unknown[i]] = s
	}
	return found
}

// of returns this host's source address for one destination.
func (m *sourceMemory) of(ctx context.Context, a netip.Addr, now time.Time) Source {
	m.mu.Lock()
	s, ok := m.seen[a]
	m.mu.Unlock()
	if ok && now.Before(s.until) {
		return s.source
	}
	return m.learn(ctx, []netip.Addr{a}, now)[0]
}

// learn looks for the sources of addrs, and remembers them.
func (m *sourceMemory) learn(ctx context.Context, addrs []netip.Addr, now time.Time) []Source {
	look := m.finder.Sources
	if m.look != nil {
		look = m.look
	}
	sources := look(ctx, addrs)
	if ctx.Err() == nil { // otherwise none says that it is missing
		m.remember(addrs, sources, now.Add(sourceTime))
	}
	return sources
}

func (m *sourceMemory) remember(addrs []netip.Addr, sources []Source, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil || len(m.seen)+len(addrs) > maxSources {
		m.seen = make(map[netip.Addr]knownSource, len(addrs))
	}
	for i, a := range addrs {
		m.seen[a] = knownSource{sources[i], until}
	}
}
