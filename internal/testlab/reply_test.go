package testlab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

func TestAppendReset(t *testing.T) {
	tests := []struct {
		name     string
		flags    byte
		payload  int
		want     byte // flags
		seq, ack uint32
	}{
		{"SYN", flagSYN, 0, flagRST | flagACK, 0, 1001},
		{"SYN with data", flagSYN, 5, flagRST | flagACK, 0, 1006},
		{"FIN without ACK", flagFIN, 5, flagRST | flagACK, 0, 1006},
		{"ACK", flagACK, 5, flagRST, 2000, 0},
	}
	for _, tt := range tests {
		for _, ends := range [][2]netip.Addr{{addr4a, addr4b}, {addr6a, addr6b}} {
			t.Run(tt.name, func(t *testing.T) {
				p := mustParse(t, segment(ends[0], ends[1], tt.flags, tt.payload, optCapable))
				reply := mustParse(t, appendReset(nil, p))
				src, dst := reply.ports()
				if src != netip.AddrPortFrom(ends[1], 7000) || dst != netip.AddrPortFrom(ends[0], 4321) {
					t.Errorf("from %v to %v", src, dst)
				}
				if reply.flags() != tt.want || !checksumOK(reply) {
					t.Errorf("flags %#x, want %#x; checksum right: %v", reply.flags(), tt.want, checksumOK(reply))
				}
				seq, ack := binary.BigEndian.Uint32(reply.tcp[4:]), binary.BigEndian.Uint32(reply.tcp[8:])
				if seq != tt.seq || ack != tt.ack {
					t.Errorf("sequence %d, acknowledgement %d; want %d, %d", seq, ack, tt.seq, tt.ack)
				}
			})
		}
	}
}

func TestNoReplyToReplies(t *testing.T) {
	reset := mustParse(t, segment(addr4a, addr4b, flagRST, 0))
	if b := appendReset(nil, reset); len(b) != 0 {
		t.Errorf("a reset is answered with %x", b)
	}
	icmp := mustParse(t, appendUnreachable(nil, reset, Unreachable))
	if b := appendUnreachable(nil, icmp, Unreachable); len(b) != 0 {
		t.Errorf("an ICMP error is answered with %x", b)
	}
	if b := appendReset(nil, mustParse(t, datagram(addr4a, addr4b))); len(b) != 0 {
		t.Errorf("a datagram is answered with a reset: %x", b)
	}
}

func TestAppendUnreachable(t *testing.T) {
	tests := []struct {
		behaviour Behaviour
		v4, v6    byte
	}{
		{Unreachable, 1, 3},
		{NetUnreachable, 0, 0},
		{PortUnreachable, 3, 4},
		{AdminProhibited, 13, 1},
		{Refused, 3, 4},
		{Up, 1, 3}, // an address that no host has
	}
	for _, tt := range tests {
		t.Run(tt.behaviour.String(), func(t *testing.T) {
			for _, payload := range []int{0, 1400} {
				checkUnreachable(t, segment(addr4a, addr4b, flagSYN, payload), tt.behaviour, 3, tt.v4, 576)
				checkUnreachable(t, segment(addr6a, addr6b, flagSYN, payload), tt.behaviour, 1, tt.v6, 1280)
			}
		})
	}
}

// checkUnreachable checks the ICMP error that a packet gets.
func checkUnreachable(t *testing.T, b []byte, behaviour Behaviour, kind, code byte, limit int) {
	t.Helper()
	p := mustParse(t, b)
	reply := mustParse(t, appendUnreachable(nil, p, behaviour))
	if reply.src != p.dst || reply.dst != p.src || !checksumOK(reply) {
		t.Errorf("from %v to %v, checksum right: %v", reply.src, reply.dst, checksumOK(reply))
	}
	if reply.payload[0] != kind || reply.payload[1] != code {
		t.Errorf("type %d code %d, want %d, %d", reply.payload[0], reply.payload[1], kind, code)
	}
	if len(reply.ip) > limit || !bytes.HasPrefix(b, reply.payload[icmpHeader:]) {
		t.Errorf("%d octets that do not quote the packet within %d", len(reply.ip), limit)
	}
}

// FuzzPacket checks that no packet is read beyond its end, that stripping
// keeps a right checksum right, and that replies are well-formed.
func FuzzPacket(f *testing.F) {
	seeds := [][]byte{
		segment(addr4a, addr4b, flagSYN, 0, optMSS, optCapable),
		segment(addr6a, addr6b, flagSYN, 0, optMSS, optJoin),
		segment(addr6a, addr6b, flagSYN|flagACK, 0, optCapable),
		segment(addr4a, addr4b, flagACK, 11, []byte{optionNOP}, optDSS, optJoinACK[:4]),
		segment(addr4a, addr4b, flagACK, 0, optJoinACK),
		datagram(addr6a, addr6b),
	}
	for _, s := range seeds {
		if _, ok := parsePacket(s); !ok {
			f.Fatalf("seed %x is not accepted", s)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parsePacket(b)
		if !ok {
			return
		}
		for _, reply := range [][]byte{appendReset(nil, p), appendUnreachable(nil, p, Unreachable)} {
			if len(reply) == 0 {
				continue
			}
			if r, ok := parsePacket(reply); !ok || r.dst != p.src || !checksumOK(r) {
				t.Fatalf("packet %x gets the broken reply %x", b, reply)
			}
		}
		if p.tcp == nil {
			return
		}
		p.synKind()
		right := checksumOK(p)
		p.stripMPTCP()
		if p.handshakeOption() != nil {
			t.Fatalf("an MPTCP option is left in %x", b)
		}
		if right && !checksumOK(p) {
			t.Fatalf("stripping broke the checksum of %x", b)
		}
	})
}
