// Package mpaddr defines the AF_MULTIPATH address of
// draft-sarolahti-mptcp-af-multipath-01: one value that holds every transport
// address of one host, IPv4 and IPv6 mixed, where a traditional socket address
// holds one.
//
// An [Addr] is an ordered set of [Endpoint] values. It cannot be changed after
// it is made, its zero value is the empty set, and it is a [net.Addr] of the
// network "multipath". Make one with [New], [FromAddrPorts], [FromAddrs] or
// [Parse]. The package does no input or output and knows no transport: what
// binds, connects or resolves (sections 4.1 to 4.3 of the draft) takes and
// returns these values.
//
// # Targets
//
// Two endpoints are one target when a connection to either goes to the same
// place: same address, zone and port, where an IPv4 address and its
// IPv4-mapped IPv6 form are the same address (section 1 of the draft lets a
// record use either). Flow information is not part of a target. A set never
// holds one target twice, and the set operations go by target, so binding to
// 192.0.2.1:443 and then to [::ffff:192.0.2.1]:443 changes nothing.
// [Addr.Equal] is stricter: equal sets have the same octets.
//
// # Octets
//
// A [Codec] turns a set into octets and back. Section 3 of the draft fixes
// the fields and section 5.3 leaves their layout open, so there are three:
// [LayoutDraft], the one on the wire and the default, [LayoutWide] and
// [LayoutLinux]. What parses encodes to the same octets again. For that reason
// padding must be zero, no target may stand twice, and an IPv4-mapped element
// stays an IPv6 element until [Addr.Unmap] is asked for. What does not parse
// gives a [*SyntaxError] with the offset, and a set that does not fit gives
// [ErrTooLong]: nothing is ever cut off.
//
// # Text
//
// The text form lists the endpoints, separated by commas, and loses nothing:
//
//	192.0.2.1:443,[2001:db8::1]:443/flowinfo=0x12345,[fe80::1%2]:443
//
// An endpoint is written as [netip.AddrPort] writes it. Non-zero flow
// information follows as a hexadecimal number, and octets of a zone other than
// letters, digits, "-", ".", "_" and "~" are percent-encoded, as in section 2
// of RFC 6874. JSON is an array of such endpoints.
//
// # Zones
//
// A sockaddr_in6 has a number for the zone of an address, its scope id
// (RFC 4007, section 11.2; RFC 3493, section 3.3). An endpoint keeps a numeric
// zone in its one normal form, decimal without leading zeros, and scope id 0
// as no zone. A zone that is a name, as in fe80::1%eth0, stays a name in
// memory, text and JSON; encoding it to octets is an error ([ErrZone]), because
// only the system that has the interface knows the number.
package mpaddr
