package upstream

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// NoRebinding removes addresses of private networks, of links and of the machine
// itself from what next answers: a public name that has one may be someone's
// try to make a browser talk to the network's own machines (DNS rebinding).
// Names at or below one of except may have them. When nothing is left of the
// addresses, the reply says so with the extended error Filtered (RFC 8914
// section 4.18).
func NoRebinding(next Exchanger, except []dnswire.Name) Beginner {
	return Map(next, func(q Query, reply Reply, err error) (Reply, error) {
		if err == nil && !slices.ContainsFunc(except, q.Name.IsSubdomainOf) {
			reply.Msg = withoutPrivate(q.Question, reply.Msg)
		}
		return reply, err
	})
}

// withoutPrivate returns msg, a reply that was scrubbed, without the private
// addresses in its answer section. Without any it is msg itself.
func withoutPrivate(q dnswire.Question, msg []byte) []byte {
	p := dnswire.NewParser(msg)
	rr, found := p.Next()
	for found && !isPrivate(msg, rr) {
		rr, found = p.Next()
	}
	if !found {
		return msg
	}
	s := scrubber{q: q, msg: msg}
	out := bytes.Clone(msg[:p.QuestionEnd()])
	clear(out[6:dnswire.HeaderLen])            // the counts of the other sections
	dnswire.PatchFlags(out, dnswire.FlagAD, 0) // what is left was not what was signed
	left := false
	for _, rr := range records(msg) {
		if rr.Type == dnswire.TypeOPT || isPrivate(msg, rr) {
			continue
		}
		left = left || rr.Section == dnswire.SectionAnswer && (rr.Type == dnswire.TypeA || rr.Type == dnswire.TypeAAAA)
		out = s.add(out, rr)
	}
	if left {
		return s.withOPT(out)
	}
	return dnswire.AddOPT(out, dnswire.OPT{
		UDPSize: DefaultEDNSSize,
		Options: dnswire.AppendEDE(nil, dnswire.EDEFiltered, "only addresses of private networks (rebinding)"),
	})
}

// records are all records of a message.
func records(msg []byte) []dnswire.RR {
	var all []dnswire.RR
	p := dnswire.NewParser(msg)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		all = append(all, rr)
	}
	return all
}

// isPrivate reports whether rr is an address that is not of the public network.
func isPrivate(msg []byte, rr dnswire.RR) bool {
	if rr.Class != dnswire.ClassINET || rr.Type != dnswire.TypeA && rr.Type != dnswire.TypeAAAA {
		return false
	}
	a, ok := netip.AddrFromSlice(rr.Data(msg))
	return ok && isPrivateAddr(embedded(a))
}

// isPrivateAddr: RFC 1918, RFC 4193, RFC 6598, loopback, link-local, unspecified.
func isPrivateAddr(a netip.Addr) bool {
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
		return true
	}
	if !a.Is4() {
		return false
	}
	b := a.As4()
	return b[0] == 0 || b[0] == 100 && b[1]&0xc0 == 64
}

// embedded is the IPv4 address that an IPv6 address stands for: a mapped one (RFC
// 4291 section 2.5.5.2) or one of the well-known prefix of NAT64 (RFC 6052).
func embedded(a netip.Addr) netip.Addr {
	b := a.As16()
	if a.Is6() && [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b} {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.Unmap()
}
