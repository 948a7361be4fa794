package addrsel

import (
	"context"
	"net"
	"net/netip"
)

// probePort is the port of the sockets that [Sources] connects. It decides
// nothing, as nothing is sent; discard (RFC 863) says as much.
const probePort = 9

// Sources returns, for each of dests, the source address that the kernel would
// choose to reach it, in the same order; the zero Source where it has no route
// or where ctx ended first. It connects a UDP socket to each and looks at its
// local end: no packet is sent. The prefix length comes from the interfaces;
// interface index, deprecated, home, temporary and tunnel are known on Linux
// and for IPv6 only.
func Sources(ctx context.Context, dests []netip.Addr) []Source {
	out := make([]Source, len(dests))
	found := false
	for i, d := range dests {
		out[i].Addr = sourceOf(ctx, netip.AddrPortFrom(d.Unmap(), probePort))
		found = found || out[i].Addr.IsValid()
	}
	if !found {
		return out
	}
	local := localAddrs()
	for i := range out {
		a := out[i].Addr
		s, ok := local[a]
		if !ok {
			s = local[a.WithZone("")]
		}
		s.Addr = a
		out[i] = s
	}
	return out
}

// sourceOf returns the address that the kernel would send from to reach dest.
func sourceOf(ctx context.Context, dest netip.AddrPort) netip.Addr {
	if !dest.IsValid() { // the dialer would take it for this host
		return netip.Addr{}
	}
	var d net.Dialer
	c, err := d.DialUDP(ctx, "udp", netip.AddrPort{}, dest)
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
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
