package testlab

import (
	"encoding/binary"
	"net/netip"
)

// Limits of the packets that the router makes.
const (
	replyTTL     = 64
	quotedIPv4   = 548  // of the offending packet: 576 octets in all (RFC 1812 section 4.3.2.3)
	quotedIPv6   = 1232 // 1280 octets in all (RFC 4443 section 2.4)
	icmpHeader   = 8
	maxReplySize = 1280
)

// appendReset appends the reset with which a host without the connection
// answers a TCP segment (RFC 9293 section 3.5.2). Nothing is appended for a
// reset and for what is not TCP.
func appendReset(dst []byte, p packet) []byte {
	if p.tcp == nil || p.flags()&flagRST != 0 {
		return dst
	}
	seg := make([]byte, tcpHeader)
	copy(seg[0:2], p.tcp[2:4])
	copy(seg[2:4], p.tcp[0:2])
	seg[12] = tcpHeader / 4 << 4
	if p.flags()&flagACK != 0 {
		copy(seg[4:8], p.tcp[8:12])
		seg[13] = flagRST
	} else {
		binary.BigEndian.PutUint32(seg[8:], p.nextSequence())
		seg[13] = flagRST | flagACK
	}
	binary.BigEndian.PutUint16(seg[16:], transportChecksum(p.dst, p.src, protoTCP, seg))
	return append(appendIPHeader(dst, p.dst, p.src, protoTCP, len(seg)), seg...)
}

// nextSequence is the sequence number after the segment's last octet.
func (p packet) nextSequence() uint32 {
	n := binary.BigEndian.Uint32(p.tcp[4:]) + uint32(len(p.tcp)-dataOffset(p.tcp))
	if p.flags()&flagSYN != 0 {
		n++
	}
	if p.flags()&flagFIN != 0 {
		n++
	}
	return n
}

// unreachableCodes are the codes of destination unreachable, ICMP type 3
// (RFC 792, RFC 1812) and ICMPv6 type 1 (RFC 4443 section 3.1).
func unreachableCodes(b Behaviour) (v4, v6 byte) {
	switch b {
	case NetUnreachable:
		return 0, 0
	case PortUnreachable, Refused:
		return 3, 4
	case AdminProhibited:
		return 13, 1
	default:
		return 1, 3
	}
}

// appendUnreachable appends the ICMP error for a packet, from the address that
// the packet was sent to. ICMP messages get none, so that errors never answer
// errors (RFC 1122 section 3.2.2).
func appendUnreachable(dst []byte, p packet, b Behaviour) []byte {
	if p.proto == protoICMP || p.proto == protoICMPv6 {
		return dst
	}
	code4, code6 := unreachableCodes(b)
	if p.dst.Is4() {
		return appendICMP(dst, p, protoICMP, 3, code4, quotedIPv4)
	}
	return appendICMP(dst, p, protoICMPv6, 1, code6, quotedIPv6)
}

func appendICMP(dst []byte, p packet, proto, kind, code byte, quoted int) []byte {
	msg := make([]byte, icmpHeader, maxReplySize)
	msg[0], msg[1] = kind, code
	msg = append(msg, p.ip[:min(len(p.ip), quoted)]...)
	check := ^uint16(sum(0, msg))
	if proto == protoICMPv6 {
		check = transportChecksum(p.dst, p.src, proto, msg)
	}
	binary.BigEndian.PutUint16(msg[2:], check)
	return append(appendIPHeader(dst, p.dst, p.src, proto, len(msg)), msg...)
}

func appendIPHeader(dst []byte, from, to netip.Addr, proto byte, length int) []byte {
	if from.Is4() {
		h := [ipv4Header]byte{0: 0x45, 6: 0x40, 8: replyTTL, 9: proto}
		binary.BigEndian.PutUint16(h[2:], uint16(ipv4Header+length))
		copy(h[12:], from.AsSlice())
		copy(h[16:], to.AsSlice())
		binary.BigEndian.PutUint16(h[10:], ^uint16(sum(0, h[:])))
		return append(dst, h[:]...)
	}
	h := [ipv6Header]byte{0: 0x60, 6: proto, 7: replyTTL}
	binary.BigEndian.PutUint16(h[4:], uint16(length))
	copy(h[8:], from.AsSlice())
	copy(h[24:], to.AsSlice())
	return append(dst, h[:]...)
}

// transportChecksum sums the pseudo-header and the segment, whose checksum
// field must be zero (RFC 9293 section 3.1, RFC 8200 section 8.1).
func transportChecksum(from, to netip.Addr, proto byte, segment []byte) uint16 {
	acc := sum(0, from.AsSlice())
	acc = sum(acc, to.AsSlice())
	acc += uint32(proto) + uint32(len(segment))
	return ^uint16(sum(fold(acc), segment))
}
