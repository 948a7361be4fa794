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
	look   func(context.Context, netip.Addr) Source // nil: the finder's
	finder addrsel.Finder

	mu   sync.Mutex // guards what is below
	seen map[netip.Addr]knownSource
}

type knownSource struct {
	source Source
	until  time.Time
}

// of returns this host's source address for one destination.
func (m *sourceMemory) of(ctx context.Context, a netip.Addr, now time.Time) Source {
	m.mu.Lock()
	s, ok := m.seen[a]
	m.mu.Unlock()
	if ok && now.Before(s.until) {
		return s.source
	}
	return m.learn(ctx, a, now)
}

// learn looks for the source for a, and remembers it.
func (m *sourceMemory) learn(ctx context.Context, a netip.Addr, now time.Time) Source {
	look := m.look
	if look == nil {
		look = m.finder.Source
	}
	source := look(ctx, a)
	if ctx.Err() == nil { // otherwise none does not say that it is missing
		m.remember(a, knownSource{source, now.Add(sourceTime)})
	}
	return source
}

func (m *sourceMemory) remember(a netip.Addr, s knownSource) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[netip.Addr]knownSource{}
	}
	if len(m.seen) >= maxSources {
		clear(m.seen)
	}
	m.seen[a] = s
}
