package mptcp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// diagAnswer is struct inet_diag_msg between [fd00:1::2]:59592 and
// [fd00:11::2]:7000, or between the two IPv4 addresses behind mapped1 and
// mapped2, and attributes.
func diagAnswer(family, state uint8, local, remote [16]byte, attributes ...[]byte) []byte {
	b := make([]byte, diagMessageSize)
	b[0], b[1] = family, state
	copy(b[4:], []byte{0xe8, 0xc8, 0x1b, 0x58})
	copy(b[8:], local[:])
	copy(b[24:], remote[:])
	binary.NativeEndian.PutUint32(b[64:], 1000)
	binary.NativeEndian.PutUint32(b[68:], 4711)
	return append(b, attrs(attributes...)...)
}

// nested is an attribute that holds others.
func nested(typ uint16, inner ...[]byte) []byte { return attr(typ, attrs(inner...)...) }

// mptcpInfo is struct mptcp_info with a token and flags.
func mptcpInfo(flags uint32) []byte {
	b := make([]byte, infoSize)
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], 0x172d266a)
	return attr(diagInfo, b...)
}

// v4in16 is an IPv4 address as struct inet_diag_sockid has it.
func v4in16(s string) (b [16]byte) {
	a := netip.MustParseAddr(s).As4()
	copy(b[:], a[:])
	return b
}

var (
	diagIPv6   = diagAnswer(familyINET6, 1, v6addr1, v6addr2, mptcpInfo(InfoRemoteKey))
	diagMapped = diagAnswer(familyINET6, 1, mapped1, mapped2, mptcpInfo(InfoRemoteKey|InfoFallback))
	diagIPv4   = diagAnswer(familyINET, 2, v4in16("10.0.1.2"), v4in16("10.1.1.2"), mptcpInfo(0))
	diagJoined = diagAnswer(familyINET, 1, v4in16("10.0.1.2"), v4in16("10.1.1.2"),
		nested(diagULPInfo, attr(1, []byte("mptcp\x00")...), nested(ulpMPTCP,
			attr(subflowTokenLocal, u32(0x172d266a)...), attr(subflowFlags, u32(subflowJoinRequest|subflowBackupPeer)...),
			attr(subflowLocalID, 3), attr(subflowRemoteID, 4))))
	diagFirst = diagAnswer(familyINET6, 8, v6addr1, v6addr2,
		nested(diagULPInfo, nested(ulpMPTCP, attr(subflowFlags, u32(subflowCapable|subflowCapableRequest)...))))
	diagTLS = diagAnswer(familyINET, 1, v4in16("10.0.1.2"), v4in16("10.1.1.2"), nested(diagULPInfo, attr(1, []byte("tls\x00")...)))
)

func TestParseConnection(t *testing.T) {
	end := netip.MustParseAddrPort
	for _, test := range []struct {
		name string
		in   []byte
		want Connection
	}{
		{"IPv6", diagIPv6, Connection{
			Local: end("[fd00:1::2]:59592"), Remote: end("[fd00:11::2]:7000"), DualFamily: true, State: 1,
			Info: Info{Token: 0x172d266a, Flags: InfoRemoteKey},
		}},
		{"IPv4-mapped, fallen back", diagMapped, Connection{
			Local: end("10.0.1.2:59592"), Remote: end("10.1.1.2:7000"), DualFamily: true, State: 1,
			Info: Info{Token: 0x172d266a, Flags: InfoRemoteKey | InfoFallback},
		}},
		{"IPv4, connecting", diagIPv4, Connection{
			Local: end("10.0.1.2:59592"), Remote: end("10.1.1.2:7000"), State: StateSynSent,
			Info: Info{Token: 0x172d266a},
		}},
	} {
		test.want.UID, test.want.Inode = 1000, 4711
		if got, err := parseConnection(test.in); err != nil || got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", test.name, got, err, test.want)
		}
	}
}

func TestParseSubflow(t *testing.T) {
	s, ok, err := parseSubflow(diagJoined)
	if err != nil || !ok || s.Token != 0x172d266a || s.LocalID != 3 || s.RemoteID != 4 || s.Initial || !s.Outgoing ||
		!s.Backup || s.TCP.State != 1 || s.Remote != netip.MustParseAddrPort("10.1.1.2:7000") {
		t.Errorf("joined: %+v, %v, %v", s, ok, err)
	}
	s, ok, err = parseSubflow(diagFirst)
	if err != nil || !ok || !s.Initial || !s.Outgoing || s.Backup || s.TCP.State != 8 {
		t.Errorf("first: %+v, %v, %v", s, ok, err)
	}
	if s, ok, err = parseSubflow(diagTLS); err != nil || ok || s != (SubflowState{}) {
		t.Errorf("TLS: %+v, %v, %v", s, ok, err)
	}
}

func TestParseDiagErrors(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":            nil,
		"short":            diagIPv6[:diagMessageSize-1],
		"no mptcp_info":    diagAnswer(familyINET, 1, v6addr1, v6addr2),
		"short mptcp_info": diagAnswer(familyINET, 1, v6addr1, v6addr2, attr(diagInfo, 1, 2, 3)),
		"cut attribute":    diagIPv6[:len(diagIPv6)-1],
	} {
		if c, err := parseConnection(b); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	bad := diagAnswer(familyINET, 1, v6addr1, v6addr2, nested(diagULPInfo, nested(ulpMPTCP, attr(subflowTokenLocal, 1))))
	if s, ok, err := parseSubflow(bad); err == nil || ok {
		t.Errorf("short token: %+v", s)
	}
}

func TestAppendDiagRequest(t *testing.T) {
	b := appendDiagRequest(nil, familyINET6, diagProtocolMPTCP, diagStates)
	if len(b) != diagRequestSize+8 || b[0] != familyINET6 || b[1] != 6 || b[2] != 2 ||
		binary.NativeEndian.Uint32(b[diagRequestSize+4:]) != 262 {
		t.Errorf("%v", b)
	}
	if states := binary.NativeEndian.Uint32(b[4:]); states&(1<<10) != 0 || states&(1<<1) == 0 {
		t.Errorf("states %#x", states)
	}
	if b := appendDiagRequest([]byte{9}, familyINET, diagProtocolTCP, diagStates); len(b) != 1+diagRequestSize || b[2] != 6 {
		t.Errorf("%v", b)
	}
}

// FuzzParseDiag: whatever the octets, no panic, unmapped addresses, and nothing
// beside an error.
func FuzzParseDiag(f *testing.F) {
	for i, seed := range [][]byte{diagIPv6, diagMapped, diagIPv4, diagJoined, diagFirst, diagTLS} {
		_, err := parseConnection(seed)
		_, ok, err2 := parseSubflow(seed)
		if (err == nil) != (i < 3) || err2 != nil || ok != (i == 3 || i == 4) {
			f.Fatalf("seed %d: %v, %v, %v", i, err, ok, err2)
		}
		f.Add(slices.Clone(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConnection(b)
		if err != nil && c != (Connection{}) || c.Local.Addr().Is4In6() || c.Remote.Addr().Is4In6() {
			t.Errorf("%+v, %v", c, err)
		}
		s, ok, err := parseSubflow(b)
		if ok == (s == SubflowState{}) && !ok || err != nil && ok || s.Local.Addr().Is4In6() {
			t.Errorf("%+v, %v, %v", s, ok, err)
		}
	})
}

func TestEndpointFlagsString(t *testing.T) {
	for flags, want := range map[EndpointFlags]string{
		0:                                "",
		EndpointSignal:                   "signal",
		EndpointSubflow | EndpointBackup: "subflow,backup",
		EndpointLaminar | 0x100:          "laminar,0x100",
	} {
		if got := flags.String(); got != want {
			t.Errorf("%#x: %q, want %q", uint32(flags), got, want)
		}
	}
}
