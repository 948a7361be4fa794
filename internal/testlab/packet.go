package testlab

import (
	"encoding/binary"
	"net/netip"
)

// Sizes and numbers of the headers that the router reads.
const (
	etherHeader = 14 // Ethernet: destination, source, type
	ipv4Header  = 20 // RFC 791, without options
	ipv6Header  = 40 // RFC 8200
	tcpHeader   = 20 // RFC 9293, without options

	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10

	optionEnd   = 0
	optionNOP   = 1
	optionMPTCP = 30 // RFC 8684 section 3

	subtypeCapable = 0 // MP_CAPABLE
	subtypeJoin    = 1 // MP_JOIN
)

// packet is an IP packet taken apart in place: its slices are parts of the
// octets that it was parsed from.
type packet struct {
	src, dst netip.Addr
	proto    byte
	ip       []byte // the whole packet, without link-layer padding
	payload  []byte // what follows the IP header
	tcp      []byte // the TCP segment; nil if there is none or it is broken
}

// parsePacket reads an IPv4 or IPv6 packet. Fragments and IPv6 packets with
// extension headers are packets without a TCP segment. ok is false for
// anything that the router cannot forward.
func parsePacket(b []byte) (p packet, ok bool) {
	if len(b) < ipv4Header {
		return packet{}, false
	}
	switch b[0] >> 4 {
	case 4:
		p, ok = parseIPv4(b)
	case 6:
		p, ok = parseIPv6(b)
	}
	if ok && p.proto == protoTCP && validTCP(p.payload) {
		p.tcp = p.payload
	}
	return p, ok
}

func parseIPv4(b []byte) (packet, bool) {
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Header || total < header || total > len(b) {
		return packet{}, false
	}
	p := packet{
		src:   netip.AddrFrom4([4]byte(b[12:])),
		dst:   netip.AddrFrom4([4]byte(b[16:])),
		proto: b[9],
		ip:    b[:total],
	}
	const moreOrOffset = 0x3fff
	if binary.BigEndian.Uint16(b[6:])&moreOrOffset == 0 {
		p.payload = b[header:total]
	}
	return p, true
}

func parseIPv6(b []byte) (packet, bool) {
	if len(b) < ipv6Header {
		return packet{}, false
	}
	total := ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return packet{}, false
	}
	return packet{
		src:     netip.AddrFrom16([16]byte(b[8:])),
		dst:     netip.AddrFrom16([16]byte(b[24:])),
		proto:   b[6],
		ip:      b[:total],
		payload: b[ipv6Header:total],
	}, true
}

func validTCP(b []byte) bool {
	return len(b) >= tcpHeader && dataOffset(b) >= tcpHeader && dataOffset(b) <= len(b)
}

func dataOffset(tcp []byte) int { return int(tcp[12]>>4) * 4 }

func (p packet) flags() byte { return p.tcp[13] }

// isSYN reports a SYN without ACK.
func (p packet) isSYN() bool {
	return p.tcp != nil && p.flags()&(flagSYN|flagACK) == flagSYN
}

func (p packet) isSYNACK() bool {
	return p.tcp != nil && p.flags()&(flagSYN|flagACK) == flagSYN|flagACK
}

// ports returns both ends of a TCP segment.
func (p packet) ports() (src, dst netip.AddrPort) {
	return netip.AddrPortFrom(p.src, binary.BigEndian.Uint16(p.tcp)),
		netip.AddrPortFrom(p.dst, binary.BigEndian.Uint16(p.tcp[2:]))
}

// nextOption returns the option at the start of b and what follows it. It
// ends at the end of the list and at a broken option; NOPs are options of one
// octet.
func nextOption(b []byte) (option, rest []byte, ok bool) {
	if len(b) == 0 || b[0] == optionEnd {
		return nil, nil, false
	}
	if b[0] == optionNOP {
		return b[:1], b[1:], true
	}
	if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
		return nil, nil, false
	}
	n := int(b[1])
	return b[:n], b[n:], true
}

// handshakeOption returns the first MP_CAPABLE or MP_JOIN option, or nil.
func (p packet) handshakeOption() []byte {
	if p.tcp == nil {
		return nil
	}
	options := p.tcp[tcpHeader:dataOffset(p.tcp)]
	for {
		option, rest, ok := nextOption(options)
		if !ok {
			return nil
		}
		if option[0] == optionMPTCP && len(option) > 2 && option[2]>>4 <= subtypeJoin {
			return option
		}
		options = rest
	}
}

// synKind tells what a SYN asks for, and of which connection.
func (p packet) synKind() (SYNKind, uint32) {
	const joinSYN = 12 // octets of MP_JOIN in a SYN, RFC 8684 section 3.2
	option := p.handshakeOption()
	switch {
	case option == nil:
		return Plain, 0
	case option[2]>>4 == subtypeCapable:
		return Capable, 0
	case len(option) < joinSYN:
		return Join, 0
	}
	return Join, binary.BigEndian.Uint32(option[4:])
}

// stripMPTCP overwrites every MPTCP option of a segment with NOPs, corrects
// the checksum, and returns how many there were.
func (p packet) stripMPTCP() int {
	if p.tcp == nil {
		return 0
	}
	options := p.tcp[tcpHeader:dataOffset(p.tcp)]
	before := sum(0, options)
	stripped := 0
	for rest := options; ; {
		option, next, ok := nextOption(rest)
		if !ok {
			break
		}
		if option[0] == optionMPTCP {
			stripped++
			for i := range option {
				option[i] = optionNOP
			}
		}
		rest = next
	}
	if stripped > 0 {
		adjustChecksum(p.tcp[16:18], before, sum(0, options))
	}
	return stripped
}

// sum adds the 16-bit words of b to a ones' complement sum (RFC 1071).
func sum(acc uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	return fold(acc)
}

func fold(acc uint32) uint32 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return acc
}

// adjustChecksum replaces the share of some words in a checksum: equation 3 of
// RFC 1624.
func adjustChecksum(field []byte, before, after uint32) {
	old := ^uint32(binary.BigEndian.Uint16(field)) & 0xffff
	acc := fold(old + (^before & 0xffff) + after)
	binary.BigEndian.PutUint16(field, ^uint16(acc))
}
