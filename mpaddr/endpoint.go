package mpaddr

import (
	"math"
	"net/netip"
	"strconv"
)

// Endpoint is one transport address of a host: an IP address with its zone, a
// port and, for IPv6, the flow information of a sockaddr_in6. It is one
// "Address" of section 3 of the draft.
//
// Endpoint is comparable: a == b holds when both have the same octets. Whether
// two endpoints lead to the same place is for [Endpoint.SameTarget]. The zero
// Endpoint holds no address and is not valid.
type Endpoint struct {
	ap   netip.AddrPort
	flow uint32 // sin6_flowinfo; zero unless ap is IPv6
}

// EndpointFrom returns the endpoint of ap, without flow information. A numeric
// zone is brought to normal form: decimal without leading zeros, none for 0.
// An IPv4-mapped IPv6 address stays one. An ap that is not valid gives the zero
// Endpoint.
func EndpointFrom(ap netip.AddrPort) Endpoint {
	if !ap.IsValid() {
		return Endpoint{}
	}
	ip := ap.Addr()
	if zone := ip.Zone(); zone != "" {
		ip = ip.WithZone(normalZone(zone))
	}
	return Endpoint{ap: netip.AddrPortFrom(ip, ap.Port())}
}

// WithFlowinfo returns e with the flow information v, in host byte order: the
// traffic class and flow label of RFC 3493, section 3.3. All 32 bits are kept.
// An IPv4 endpoint has no flow information and is returned as it is.
func (e Endpoint) WithFlowinfo(v uint32) Endpoint {
	if e.Addr().Is6() {
		e.flow = v
	}
	return e
}

// WithPort returns e with the given port.
func (e Endpoint) WithPort(port uint16) Endpoint {
	if e.IsValid() {
		e.ap = netip.AddrPortFrom(e.Addr(), port)
	}
	return e
}

// IsValid reports whether e holds an address. Only the zero Endpoint does not.
func (e Endpoint) IsValid() bool { return e.ap.IsValid() }

// AddrPort returns the address and port of e, an IPv4-mapped address as such.
func (e Endpoint) AddrPort() netip.AddrPort { return e.ap }

// Addr returns the IP address of e with its zone.
func (e Endpoint) Addr() netip.Addr { return e.ap.Addr() }

// Port returns the port of e.
func (e Endpoint) Port() uint16 { return e.ap.Port() }

// Flowinfo returns the flow information of e, in host byte order. It is 0 for
// IPv4.
func (e Endpoint) Flowinfo() uint32 { return e.flow }

// Zone returns the zone of e, a name or a decimal number, or "".
func (e Endpoint) Zone() string { return e.Addr().Zone() }

// ScopeID returns the zone of e as the number of sin6_scope_id, 0 for none. It
// reports false when the zone is a name, or a number above 32 bits.
func (e Endpoint) ScopeID() (id uint32, ok bool) {
	zone := e.Zone()
	if zone == "" {
		return 0, true
	}
	return scopeID(zone)
}

// Unmap returns e with an IPv4-mapped IPv6 address turned into the IPv4
// address, which has neither zone nor flow information. Every other endpoint
// is returned as it is.
func (e Endpoint) Unmap() Endpoint {
	if !e.Addr().Is4In6() {
		return e
	}
	return Endpoint{ap: e.Target()}
}

// Target returns where a connection to e goes: its address and port, an
// IPv4-mapped address as IPv4. Endpoints are the same target when their Target
// is equal, so it serves as the key of a map.
func (e Endpoint) Target() netip.AddrPort {
	return netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
}

// SameTarget reports whether e and f lead to the same place. Flow information
// makes no difference, nor does writing an IPv4 address as IPv4-mapped.
func (e Endpoint) SameTarget(f Endpoint) bool { return e.Target() == f.Target() }

// normalZone returns zone in the form that a scope id decodes to, if it is
// one, and otherwise as it is.
func normalZone(zone string) string {
	id, ok := scopeID(zone)
	switch {
	case !ok:
		return zone
	case id == 0:
		return ""
	case zone[0] != '0':
		return zone
	default:
		return strconv.FormatUint(uint64(id), 10)
	}
}

// scopeID returns the number that zone is in decimal. Unlike strconv it makes
// no error value, and so does not allocate for a zone that is a name.
func scopeID(zone string) (id uint32, ok bool) {
	n := uint64(0)
	for i := range len(zone) {
		digit := zone[i] - '0'
		if digit > 9 {
			return 0, false
		}
		n = n*10 + uint64(digit)
		if n > math.MaxUint32 {
			return 0, false
		}
	}
	return uint32(n), zone != ""
}
