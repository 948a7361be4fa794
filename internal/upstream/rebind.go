package upstream

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/mpaddr"
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
// addresses in its records. Without any it is msg itself.
func withoutPrivate(q dnswire.Question, msg []byte) []byte {
	p := dnswire.NewParser(msg)
	rr, found := p.Next()
	for found && len(public(msg, rr)) == rr.DataLen {
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
		data := public(msg, rr)
		switch {
		case rr.Type == dnswire.TypeOPT, data == nil:
			continue
		case len(data) == rr.DataLen:
			out = s.add(out, rr)
		default:
			out = s.addAs(out, rr, data)
		}
		left = left || rr.Section == dnswire.SectionAnswer && hasAddresses(rr.Type)
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

// hasAddresses reports whether public looks into records of a type.
func hasAddresses(t dnswire.Type) bool {
	switch t {
	case dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeHTTPS, dnswire.TypeSVCB:
		return true
	}
	return isPrivateUse(t)
}

// isPrivateUse reports whether a type is one of those for private use (RFC 6895
// section 3.1): one of them is AF_MULTIPATH, and which one the configuration says.
func isPrivateUse(t dnswire.Type) bool { return t >= 65280 && t <= 65534 }

// public is the rdata of rr less the addresses that are not of the public
// network; nil if the record is of no use without them. Where there are none it
// is the rdata as it is.
func public(msg []byte, rr dnswire.RR) []byte {
	data := rr.Data(msg)
	switch {
	case rr.Class != dnswire.ClassINET:
	case rr.Type == dnswire.TypeA, rr.Type == dnswire.TypeAAAA:
		if a, ok := netip.AddrFromSlice(data); ok && isPrivateAddr(embedded(a)) {
			return nil
		}
	case rr.Type == dnswire.TypeHTTPS, rr.Type == dnswire.TypeSVCB:
		return publicService(data)
	case isPrivateUse(rr.Type):
		return publicMultipath(data)
	}
	return data
}

// publicMultipath is public for an AF_MULTIPATH record of any layout. Other
// octets, which nobody takes for one, are left as they are.
func publicMultipath(data []byte) []byte {
	codec, _ := mpaddr.Codec{}.Detect(data)
	all, err := codec.Parse(data)
	if err != nil {
		return data
	}
	left := all.Filter(func(e mpaddr.Endpoint) bool { return !isPrivateAddr(embedded(e.Addr())) })
	switch {
	case left.Len() == all.Len():
		return data
	case left.IsEmpty():
		return nil
	}
	if data, err = codec.Append(nil, left); err != nil {
		return nil // never: less than what was read
	}
	return data
}

// The parameters of a service that matter here (RFC 9460 section 14.3.2).
const (
	paramMandatory = 0
	paramIPv4Hint  = 4
	paramIPv6Hint  = 6
)

// publicService is public for an SVCB or HTTPS record (RFC 9460 section 2.2): a
// hint that has no address left goes, and the record with it if the hint is
// mandatory in it (section 8). What is malformed is of no use to anybody.
func publicService(data []byte) []byte {
	name := 2
	for name < len(data) && data[name] != 0 && data[name] < 64 { // a name without pointers
		name += 1 + int(data[name])
	}
	if name >= len(data) || data[name] != 0 {
		return nil
	}
	out := bytes.Clone(data[:name+1])
	var mandatory []byte
	for rest := data[name+1:]; len(rest) > 0; {
		key, value, after, ok := dnswire.CutOption(rest)
		if !ok {
			return nil
		}
		rest = after
		if key == paramMandatory {
			mandatory = value
		}
		left, ok := publicParam(key, value)
		switch {
		case !ok, len(left) == 0 && len(value) > 0 && isMandatory(mandatory, key):
			return nil
		case len(left) > 0 || len(value) == 0:
			out = dnswire.AppendOption(out, key, left)
		}
	}
	return out
}

// isMandatory reports whether a key is in the value of mandatory, which comes
// before all others (RFC 9460 sections 2.2 and 8).
func isMandatory(mandatory []byte, key dnswire.Option) bool {
	for len(mandatory) >= 2 {
		if dnswire.Option(binary.BigEndian.Uint16(mandatory)) == key {
			return true
		}
		mandatory = mandatory[2:]
	}
	return false
}

// publicParam is the value of a service's parameter less the addresses that are
// not of the public network; false if it is malformed.
func publicParam(key dnswire.Option, value []byte) (left []byte, ok bool) {
	size := 0
	switch key {
	case paramIPv4Hint:
		size = 4
	case paramIPv6Hint:
		size = 16
	default:
		return value, true
	}
	if len(value)%size != 0 {
		return nil, false
	}
	for octets := range slices.Chunk(value, size) {
		if a, ok := netip.AddrFromSlice(octets); ok && !isPrivateAddr(embedded(a)) {
			left = append(left, octets...)
		}
	}
	return left, true
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
