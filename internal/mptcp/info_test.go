package mptcp

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// sampleInfo is a struct mptcp_info with a different number in each field.
func sampleInfo() []byte {
	ne := binary.NativeEndian
	b := make([]byte, infoSize)
	copy(b, []byte{1, 2, 3, 4, 5, 6})
	ne.PutUint32(b[8:], InfoRemoteKey)
	ne.PutUint32(b[12:], 0xcafe)
	for i, off := range []int{16, 24, 32, 48, 56, 64, 72} {
		ne.PutUint64(b[off:], uint64(1000+i))
	}
	b[40], b[41], b[42] = 7, 8, 1
	ne.PutUint32(b[44:], 9)
	b[80], b[81] = 10, 11
	for i, off := range []int{84, 88, 92} {
		ne.PutUint32(b[off:], uint32(12+i))
	}
	return b
}

var sampleInfoValue = Info{
	Subflows: 1, AddAddrSignal: 2, AddAddrAccepted: 3, SubflowsMax: 4, AddAddrSignalMax: 5, AddAddrAcceptMax: 6,
	Flags: InfoRemoteKey, Token: 0xcafe, WriteSequence: 1000, SendUnacked: 1001, ReceiveNext: 1002,
	LocalAddrUsed: 7, LocalAddrMax: 8, Checksum: true, Retransmits: 9,
	BytesRetrans: 1003, BytesSent: 1004, BytesReceived: 1005, BytesAcked: 1006, SubflowsTotal: 10, LaminarEndpoints: 11,
	LastDataSent: 12 * time.Millisecond, LastDataReceived: 13 * time.Millisecond, LastAckReceived: 14 * time.Millisecond,
}

func TestParseInfo(t *testing.T) {
	got, err := parseInfo(sampleInfo())
	if err != nil || got != sampleInfoValue || !got.Negotiated() {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestParseInfoOfOlderKernels has the lengths the structure has had.
func TestParseInfoOfOlderKernels(t *testing.T) {
	for _, n := range []int{40, 44, 48, 80, 84, 96} {
		got, err := parseInfo(sampleInfo()[:n])
		if err != nil || got.Token != 0xcafe || got.ReceiveNext != 1002 {
			t.Errorf("%d octets: %+v, %v", n, got, err)
		}
		if n < 80 && got.BytesAcked != 0 || n < 96 && got.LastAckReceived != 0 {
			t.Errorf("%d octets: fields beyond the end: %+v", n, got)
		}
	}
	if _, err := parseInfo(sampleInfo()[:39]); err == nil {
		t.Error("39 octets were taken")
	}
}

func TestNegotiated(t *testing.T) {
	for flags, want := range map[uint32]bool{0: false, InfoRemoteKey: true, InfoFallback: false, InfoFallback | InfoRemoteKey: false} {
		if got := (Info{Flags: flags}).Negotiated(); got != want {
			t.Errorf("flags %d: %v", flags, got)
		}
	}
}

// sockaddr is a struct sockaddr_storage.
func sockaddr(ap netip.AddrPort) []byte {
	b := make([]byte, sockaddrSize)
	binary.BigEndian.PutUint16(b[2:], ap.Port())
	if ap.Addr().Is4() {
		binary.NativeEndian.PutUint16(b, familyINET)
		copy(b[4:], ap.Addr().AsSlice())
		return b
	}
	binary.NativeEndian.PutUint16(b, familyINET6)
	copy(b[8:], ap.Addr().AsSlice())
	return b
}

func TestParseSockaddr(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:80":           "192.0.2.1:80",
		"[2001:db8::1]:443":      "[2001:db8::1]:443",
		"[::ffff:192.0.2.1]:443": "192.0.2.1:443",
	} {
		if got := parseSockaddr(sockaddr(netip.MustParseAddrPort(text))); got.String() != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for name, b := range map[string][]byte{"short": make([]byte, 16), "no family": make([]byte, 128)} {
		if got := parseSockaddr(b); got.IsValid() {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// sampleFull is what MPTCP_FULL_INFO gives for two subflows.
func sampleFull() (head, flows, tcps []byte, want []SubflowInfo) {
	ne := binary.NativeEndian
	head = appendFullInfoRequest(nil, 4)
	ne.PutUint32(head[0:], 280)
	ne.PutUint32(head[8:], subflowInfoSize)
	ne.PutUint32(head[16:], 2)
	copy(head[fullInfoHeader:], sampleInfo())
	flows, tcps = make([]byte, 4*subflowInfoSize), make([]byte, 4*tcpInfoSize)
	for i, remote := range []string{"192.0.2.1:80", "[2001:db8::1]:80"} {
		s := SubflowInfo{
			ID: uint32(i + 1), Local: netip.MustParseAddrPort("198.51.100.1:50000"),
			Remote: netip.MustParseAddrPort(remote), TCP: TCPInfo{State: StateEstablished, RTT: 2 * time.Millisecond},
		}
		ne.PutUint32(flows[i*subflowInfoSize:], s.ID)
		copy(flows[i*subflowInfoSize+8:], append(sockaddr(s.Local), sockaddr(s.Remote)...))
		tcps[i*tcpInfoSize] = StateEstablished
		ne.PutUint32(tcps[i*tcpInfoSize+68:], 2000)
		want = append(want, s)
	}
	return head, flows, tcps, want
}

func TestParseFullInfo(t *testing.T) {
	head, flows, tcps, want := sampleFull()
	full, err := parseFullInfo(head)
	if err != nil || full.info != sampleInfoValue || full.count != 2 {
		t.Fatalf("%+v, %v", full, err)
	}
	if got := full.parseSubflows(flows, tcps); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := full.parseSubflows(flows[:subflowInfoSize+1], tcps); len(got) != 1 {
		t.Errorf("%d subflows of room for one", len(got))
	}
	for _, n := range []int{0, 39, 40, 79} {
		if _, err := parseFullInfo(head[:n]); err == nil {
			t.Errorf("%d octets were taken", n)
		}
	}
}

func TestParseArray(t *testing.T) {
	_, flows, tcps, want := sampleFull()
	array := func(size int, elements ...[]byte) []byte {
		b := appendArrayRequest(nil, 4, size)
		binary.NativeEndian.PutUint32(b[4:], uint32(len(elements)))
		binary.NativeEndian.PutUint32(b[8:], uint32(size))
		for i, e := range elements {
			copy(b[subflowDataSize+i*size:], e)
		}
		return b
	}
	addrs, count, err := parseArray(array(addrsSize, flows[8:264], flows[272:528]), addrsSize)
	if err != nil || count != 2 || len(addrs) != 2 {
		t.Fatalf("%d of %d, %v", len(addrs), count, err)
	}
	infos, _, err := parseArray(array(tcpInfoSize, tcps[:tcpInfoSize], tcps[tcpInfoSize:2*tcpInfoSize]), tcpInfoSize)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].ID = 0 // these options do not tell
	}
	if got := joinArrays(addrs, infos); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if _, _, err := parseArray(make([]byte, 15), addrsSize); err == nil {
		t.Error("15 octets were taken")
	}
}

// FuzzParseInfo feeds the same octets to every reader of socket options.
func FuzzParseInfo(f *testing.F) {
	head, flows, tcps, _ := sampleFull()
	if _, err := parseFullInfo(head); err != nil {
		f.Fatal(err)
	}
	f.Add(head, flows, tcps)
	f.Add(sampleInfo(), flows[:300], tcps[:100])
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, head, flows, tcps []byte) {
		if info, err := parseInfo(head); err != nil && info != (Info{}) {
			t.Errorf("info %+v beside %v", info, err)
		}
		full, err := parseFullInfo(head)
		if err == nil {
			if got := full.parseSubflows(flows, tcps); len(got) > full.count || len(got)*tcpInfoSize > len(tcps) {
				t.Errorf("%d subflows", len(got))
			}
		}
		for _, size := range []int{addrsSize, tcpInfoSize} {
			a, count, err := parseArray(flows, size)
			if err == nil && (len(a) > count || len(a)*size > len(flows)) {
				t.Errorf("%d elements of %d", len(a), count)
			}
			joinArrays(a, a)
		}
		parseTCPInfo(tcps)
	})
}
