package testlab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	addr4a = netip.MustParseAddr("10.0.1.2")
	addr4b = netip.MustParseAddr("10.1.1.2")
	addr6a = netip.MustParseAddr("fd00:1::2")
	addr6b = netip.MustParseAddr("fd00:11::2")
)

// Options as Linux sends them.
var (
	optMSS     = []byte{2, 4, 5, 0xb4}
	optCapable = []byte{30, 4, 1, 1}
	optJoin    = []byte{30, 12, 0x10, 1, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4}
	optJoinACK = append([]byte{30, 24, 0x10, 0}, make([]byte, 20)...)
	optDSS     = []byte{30, 8, 0x20, 1, 0, 0, 0, 9}
)

// segment builds a TCP packet, with right checksums.
func segment(src, dst netip.Addr, flags byte, payload int, options ...[]byte) []byte {
	opts := bytes.Join(options, nil)
	for len(opts)%4 != 0 {
		opts = append(opts, optionNOP)
	}
	seg := make([]byte, tcpHeader, 128)
	binary.BigEndian.PutUint16(seg, 4321)
	binary.BigEndian.PutUint16(seg[2:], 7000)
	binary.BigEndian.PutUint32(seg[4:], 1000)
	binary.BigEndian.PutUint32(seg[8:], 2000)
	seg[12] = byte((tcpHeader + len(opts)) / 4 << 4)
	seg[13] = flags
	seg = append(append(seg, opts...), bytes.Repeat([]byte{'x'}, payload)...)
	binary.BigEndian.PutUint16(seg[16:], transportChecksum(src, dst, protoTCP, seg))
	return append(appendIPHeader(nil, src, dst, protoTCP, len(seg)), seg...)
}

func datagram(src, dst netip.Addr) []byte {
	udp := []byte{0x10, 0xe1, 0, 53, 0, 8, 0, 0}
	return append(appendIPHeader(nil, src, dst, protoUDP, len(udp)), udp...)
}

// mustParse parses a packet that the test made.
func mustParse(t *testing.T, b []byte) packet {
	t.Helper()
	p, ok := parsePacket(b)
	if !ok {
		t.Fatalf("packet %x is not accepted", b)
	}
	return p
}

// checksumOK verifies the checksum of a TCP segment or an ICMP message.
func checksumOK(p packet) bool {
	if p.proto == protoICMP {
		return sum(0, p.payload) == 0xffff
	}
	acc := sum(0, p.src.AsSlice())
	acc = sum(acc, p.dst.AsSlice())
	return sum(fold(acc+uint32(p.proto)+uint32(len(p.payload))), p.payload) == 0xffff
}

func TestSYNKind(t *testing.T) {
	tests := []struct {
		name    string
		options [][]byte
		kind    SYNKind
		token   uint32
	}{
		{"no options", nil, Plain, 0},
		{"other options", [][]byte{optMSS, {optionNOP}, {3, 3, 7}}, Plain, 0},
		{"capable", [][]byte{optMSS, optCapable}, Capable, 0},
		{"join", [][]byte{optMSS, optJoin}, Join, 0xdeadbeef},
		{"join cut short", [][]byte{{30, 4, 0x10, 0}}, Join, 0},
		{"other subtype first", [][]byte{optDSS, optJoin}, Join, 0xdeadbeef},
		{"behind the end of the list", [][]byte{{optionEnd}, optCapable}, Plain, 0},
		{"behind a broken option", [][]byte{{5, 1}, optCapable}, Plain, 0},
		{"longer than the header", [][]byte{{30, 40, 0}}, Plain, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := mustParse(t, segment(addr4a, addr4b, flagSYN, 0, tt.options...))
			if !p.isSYN() {
				t.Fatal("not a SYN")
			}
			kind, token := p.synKind()
			if kind != tt.kind || token != tt.token {
				t.Errorf("got %s, %#x; want %s, %#x", kind, token, tt.kind, tt.token)
			}
		})
	}
}

func TestParsePacketRejects(t *testing.T) {
	good4 := segment(addr4a, addr4b, flagSYN, 0)
	good6 := segment(addr6a, addr6b, flagSYN, 0)
	edit := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	tests := []struct {
		name string
		in   []byte
	}{
		{"empty", nil},
		{"version 5", edit(good4, 0, 0x55)},
		{"IPv4 header of 4 octets", edit(good4, 0, 0x41)},
		{"IPv4 cut short", good4[:len(good4)-1]},
		{"IPv4 length below header", edit(edit(good4, 2, 0), 3, 19)},
		{"IPv6 cut in header", good6[:39]},
		{"IPv6 cut short", good6[:len(good6)-1]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if p, ok := parsePacket(tt.in); ok {
				t.Errorf("accepted as %+v", p)
			}
		})
	}
}

func TestParsePacketWithoutTCP(t *testing.T) {
	fragment := segment(addr4a, addr4b, flagSYN, 0, optCapable)
	fragment[6] = 0x20 // more fragments
	offset := segment(addr6a, addr6b, flagSYN, 0)
	offset[ipv6Header+12] = 0xf0 // data offset beyond the segment
	for name, b := range map[string][]byte{"fragment": fragment, "offset": offset, "udp": datagram(addr4a, addr4b)} {
		if p := mustParse(t, b); p.tcp != nil || p.isSYN() || p.handshakeOption() != nil || p.stripMPTCP() != 0 {
			t.Errorf("%s: taken for a TCP segment", name)
		}
	}
}

func TestParsePacketIgnoresPadding(t *testing.T) {
	b := segment(addr4a, addr4b, flagACK, 0)
	p := mustParse(t, append(b, make([]byte, 6)...))
	if len(p.tcp) != tcpHeader {
		t.Errorf("segment of %d octets, want %d", len(p.tcp), tcpHeader)
	}
}

func TestStripMPTCP(t *testing.T) {
	nops := func(n int) []byte { return bytes.Repeat([]byte{optionNOP}, n) }
	tests := []struct {
		name     string
		options  [][]byte
		want     [][]byte
		stripped int
	}{
		{"none", [][]byte{optMSS}, [][]byte{optMSS}, 0},
		{"one", [][]byte{optMSS, optCapable}, [][]byte{optMSS, nops(4)}, 1},
		{"two, one at an odd offset", [][]byte{{optionNOP}, {3, 3, 7}, optDSS, {optionNOP}, optJoin}, [][]byte{{optionNOP}, {3, 3, 7}, nops(8), {optionNOP}, nops(12)}, 2},
	}
	for _, tt := range tests {
		for _, ends := range [][2]netip.Addr{{addr4a, addr4b}, {addr6a, addr6b}} {
			t.Run(tt.name, func(t *testing.T) {
				b := segment(ends[0], ends[1], flagSYN, 3, tt.options...)
				p := mustParse(t, b)
				if got := p.stripMPTCP(); got != tt.stripped {
					t.Errorf("stripped %d options, want %d", got, tt.stripped)
				}
				want := segment(ends[0], ends[1], flagSYN, 3, tt.want...)
				if diff := cmp.Diff(want, b); diff != "" {
					t.Errorf("packet (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestDecide(t *testing.T) {
	syn := func(options ...[]byte) []byte { return segment(addr4a, addr4b, flagSYN, 0, options...) }
	ack := func(flags byte, options ...[]byte) []byte { return segment(addr4a, addr4b, flags, 0, options...) }
	const synACK = flagSYN | flagACK
	tests := []struct {
		name     string
		packet   []byte
		src, dst Behaviour
		want     action
		stripped bool
	}{
		{"up", syn(optCapable), Up, Up, pass, false},
		{"refused TCP", syn(), Up, Refused, answerReset, false},
		{"refused UDP", datagram(addr4a, addr4b), Up, Refused, answerUnreachable, false},
		{"blackholed", syn(), Up, Blackholed, discard, false},
		{"from blackholed", syn(), Blackholed, Up, pass, false},
		{"unreachable", syn(), Up, Unreachable, answerUnreachable, false},
		{"net", syn(), Up, NetUnreachable, answerUnreachable, false},
		{"port", syn(), Up, PortUnreachable, answerUnreachable, false},
		{"admin", syn(), Up, AdminProhibited, answerUnreachable, false},
		{"strip SYN", syn(optCapable), Up, StripSYN, pass, true},
		{"strip SYN, join", syn(optJoin), Up, StripSYN, pass, true},
		{"strip SYN, other segment", ack(flagACK, optDSS), Up, StripSYN, pass, false},
		{"strip SYN, from the address", syn(optCapable), StripSYN, Up, pass, false},
		{"strip SYN/ACK", ack(synACK, optCapable), StripSYNACK, Up, pass, true},
		{"strip SYN/ACK, to the address", ack(synACK, optCapable), Up, StripSYNACK, pass, false},
		{"strip third ACK", ack(flagACK, optJoinACK), Up, StripThirdACK, pass, true},
		{"strip third ACK, data", ack(flagACK, optDSS), Up, StripThirdACK, pass, false},
		{"strip third ACK, SYN", syn(optJoin), Up, StripThirdACK, pass, false},
		{"strip later", ack(flagACK, optDSS), Up, StripLater, pass, true},
		{"strip later, from the address", ack(flagACK, optDSS), StripLater, Up, pass, true},
		{"strip later, third ACK", ack(flagACK, optJoinACK), Up, StripLater, pass, false},
		{"strip later, reset", ack(flagRST, []byte{30, 4, 0x80, 6}), Up, StripLater, pass, false},
		{"block MPTCP", syn(optCapable), Up, BlockMPTCP, discard, false},
		{"block MPTCP, plain", syn(optMSS), Up, BlockMPTCP, pass, false},
		{"block MPTCP, data", ack(flagACK, optDSS), Up, BlockMPTCP, pass, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := bytes.Clone(tt.packet)
			if got := decide(mustParse(t, tt.packet), tt.src, tt.dst); got != tt.want {
				t.Errorf("action %d, want %d", got, tt.want)
			}
			if stripped := !bytes.Equal(before, tt.packet); stripped != tt.stripped {
				t.Errorf("stripped %v, want %v", stripped, tt.stripped)
			}
		})
	}
}

func TestBehaviourString(t *testing.T) {
	for b := Up; b <= BlockMPTCP; b++ {
		if b.String() == "" {
			t.Errorf("behaviour %d has no name", uint8(b))
		}
	}
	if got := (BlockMPTCP + 1).String(); got != "behaviour 12" {
		t.Errorf("unknown behaviour is %q", got)
	}
}

func TestLinkSpecCheck(t *testing.T) {
	tests := []struct {
		name string
		spec LinkSpec
		ok   bool
	}{
		{"zero", LinkSpec{}, true},
		{"all", LinkSpec{Name: "fifteen-letters", MTU: 1280, Loss: 1, Rate: 1, Delay: 1, Addrs: []netip.Prefix{netip.PrefixFrom(addr4a, 24)}}, true},
		{"name", LinkSpec{Name: "sixteen-letters!"}, false},
		{"small MTU", LinkSpec{MTU: 1279}, false},
		{"large MTU", LinkSpec{MTU: MaxMTU + 1}, false},
		{"loss", LinkSpec{Loss: 1.1}, false},
		{"rate", LinkSpec{Rate: -1}, false},
		{"delay", LinkSpec{Delay: -1}, false},
		{"no address", LinkSpec{Addrs: []netip.Prefix{{}}}, false},
		{"mapped address", LinkSpec{Addrs: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.1/128")}}, false},
	}
	for _, tt := range tests {
		if err := tt.spec.check(); (err == nil) != tt.ok {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

func BenchmarkParseAndDecide(b *testing.B) {
	data := segment(addr6a, addr6b, flagACK, 1000, optDSS)
	for b.Loop() {
		p, _ := parsePacket(data)
		if decide(p, Up, Up) != pass {
			b.Fatal("not passed")
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	data := segment(addr6a, addr6b, flagSYN, 0, optMSS, optJoin)
	n := testing.AllocsPerRun(100, func() {
		p, _ := parsePacket(data)
		p.synKind()
		decide(p, Up, StripSYN)
	})
	if n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
