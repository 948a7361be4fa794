package mptcp

import (
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestTCPInfoLayout fills the system's structure and reads it by our offsets.
func TestTCPInfoLayout(t *testing.T) {
	in := unix.TCPInfo{
		State: 1, Retransmits: 2, Backoff: 3, Rto: 4, Snd_mss: 5, Unacked: 6, Lost: 7,
		Last_data_sent: 8, Last_data_recv: 9, Last_ack_recv: 10, Pmtu: 11, Rtt: 12, Rttvar: 13,
		Snd_cwnd: 14, Total_retrans: 15, Bytes_acked: 16, Bytes_received: 17, Min_rtt: 18,
		Delivery_rate: 19, Bytes_sent: 20, Bytes_retrans: 21,
	}
	want := TCPInfo{
		State: 1, Retransmits: 2, Backoff: 3, RTO: 4 * time.Microsecond, SendMSS: 5, Unacked: 6, Lost: 7,
		LastDataSent: 8 * time.Millisecond, LastDataRecv: 9 * time.Millisecond, LastAckRecv: 10 * time.Millisecond,
		PathMTU: 11, RTT: 12 * time.Microsecond, RTTVar: 13 * time.Microsecond, CWnd: 14, TotalRetrans: 15,
		BytesAcked: 16, BytesReceived: 17, MinRTT: 18 * time.Microsecond, DeliveryRate: 19, BytesSent: 20, BytesRetrans: 21,
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in))
	if got := parseTCPInfo(b[:tcpInfoSize]); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestEncodeSubflow holds the octets of a create command: ports in host order.
func TestEncodeSubflow(t *testing.T) {
	s, err := Subflow{Remote: events[3].want.Remote, Backup: true, IfIndex: 3}.Normalize()
	if err != nil {
		t.Fatal(err)
	}
	got, err := encodeSubflow(0x172d266a, s, s.backupFlag()).Encode()
	if err != nil {
		t.Fatal(err)
	}
	const nested = unix.NLA_F_NESTED
	local := attrs(attr(addrFamily, u16(2)...), attr(addrIPv4, 0, 0, 0, 0), attr(addrID, WildcardIDv4),
		attr(addrFlags, u32(addrFlagBackup)...), attr(addrIfIndex, u32(3)...))
	remote := attrs(attr(addrFamily, u16(2)...), attr(addrIPv4, 10, 1, 1, 2), attr(addrPort, u16(7000)...))
	want := attrs(attr(attrToken, u32(0x172d266a)...), attr(nested|attrAddr, local...), attr(nested|attrAddrRemote, remote...))
	if string(got) != string(want) {
		t.Errorf("%x\nwant %x", got, want)
	}
}

// FuzzParseLimits: no panic, and numbers only where there is no error.
func FuzzParseLimits(f *testing.F) {
	seed := attrs(attr(attrAddAddrAccepted, u32(3)...), attr(attrSubflows, u32(2)...))
	want := Limits{Known: true, Subflows: 2, AddAddrAccepted: 3}
	if got, err := parseLimits(seed); err != nil || got != want {
		f.Fatalf("seed: %+v, %v", got, err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseLimits(b); (err != nil) == got.Known {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
