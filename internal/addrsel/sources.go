package addrsel

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// probePort is the port of the sockets that a [Finder] connects. It decides
	// nothing, as nothing is sent; discard (RFC 863) says as much.
	probePort = 9
	// tableTime is how long the table of this host's addresses is taken to be
	// the same: reading it costs more than all else. An address that is newer
	// than the table has no prefix length until then.
	tableTime = 2 * time.Second
)

// Sources is [Finder.Sources] for a single use.
func Sources(ctx context.Context, dests []netip.Addr) []Source {
	return new(Finder).Sources(ctx, dests)
}

// Finder finds the source addresses of this host. It remembers for a moment what
// belongs to each address. The zero value is ready for use, by several goroutines
// at once; it must not be copied.
type Finder struct {
	rooms sync.Pool // of *sockaddrRoom, where the system has it

	mu    sync.Mutex // guards what is below; held while the table is read
	table map[netip.Addr]Source
	until time.Time
}

// Sources returns, for each of dests, the source address that the kernel would
// choose to reach it, in the same order; the zero Source where it has no route
// or where ctx ended first. It connects a UDP socket to each and looks at its
// local end: no packet is sent. The prefix length comes from the interfaces;
// interface index, deprecated, home, temporary and tunnel are known on Linux
// and for IPv6 only.
func (f *Finder) Sources(ctx context.Context, dests []netip.Addr) []Source {
	out := make([]Source, len(dests))
	for i, d := range dests {
		out[i] = f.Source(ctx, d)
	}
	return out
}

// Source is Sources for one destination.
func (f *Finder) Source(ctx context.Context, dest netip.Addr) Source {
	if ctx.Err() != nil || !dest.IsValid() {
		return Source{}
	}
	a := f.sourceOf(netip.AddrPortFrom(dest.Unmap(), probePort))
	if !a.IsValid() {
		return Source{}
	}
	return f.describe(a)
}

// describe is what is known of an address of this host.
func (f *Finder) describe(a netip.Addr) Source {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if !now.Before(f.until) {
		f.table, f.until = localAddrs(), now.Add(tableTime)
	}
	s, ok := f.table[a]
	if !ok {
		s = f.table[a.WithZone("")]
	}
	s.Addr = a
	return s
}

// dialSource is sourceOf by the means that all systems have.
func dialSource(dest netip.AddrPort) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(dest))
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = c.Close() }()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	return local.AddrPort().Addr().Unmap()
}

// localPrefixes returns this host's addresses with the length of the prefix on
// their interfaces, keyed by address without zone. Failure to list them leaves
// lengths unknown.
func localPrefixes() map[netip.Addr]Source {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	out := make(map[netip.Addr]Source, len(addrs))
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok {
			ones, _ := n.Mask.Size()
			out[ip.Unmap()] = Source{Prefix: ones}
		}
	}
	return out
}
