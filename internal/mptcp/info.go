package mptcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Info is what the kernel says of an MPTCP connection as a whole (struct
// mptcp_info). Fields that an older kernel does not give are zero.
type Info struct {
	Subflows         int    // subflows besides the first, those still connecting included
	SubflowsTotal    int    // all subflows (Linux 6.8)
	AddAddrSignal    int    // addresses announced to the peer
	AddAddrAccepted  int    // announced addresses of the peer accepted
	SubflowsMax      int    // this and the next two are the limits of the kernel's own path
	AddAddrSignalMax int    // manager, and zero on a connection that belongs to the userspace
	AddAddrAcceptMax int    // path manager
	Flags            uint32 // InfoFallback, InfoRemoteKey
	Token            uint32 // names the connection to the path manager
	LocalAddrUsed    int
	LocalAddrMax     int
	Checksum         bool // data is checksummed (RFC 8684 section 3.1, flag A)
	Retransmits      uint32
	BytesRetrans     uint64
	BytesSent        uint64
	BytesReceived    uint64
	BytesAcked       uint64
	LastDataSent     time.Duration // since data was last sent (Linux 6.10)
	LastDataReceived time.Duration // since data was last received (Linux 6.10)
	LastAckReceived  time.Duration // since a DATA_ACK was last received (Linux 6.10)
	WriteSequence    uint64
	SendUnacked      uint64
	ReceiveNext      uint64
	LaminarEndpoints int // limit of laminar endpoints (Linux 6.18)
}

// The bits of [Info].Flags.
const (
	InfoFallback  uint32 = 1 << 0 // the connection fell back to plain TCP
	InfoRemoteKey uint32 = 1 << 1 // the peer's key arrived: MPTCP is negotiated
)

// Negotiated reports whether the peer agreed to MPTCP. It is false while the
// connection is being made, and can turn into [ErrFallback] until the first
// data is acknowledged.
func (i Info) Negotiated() bool { return i.Flags&(InfoRemoteKey|InfoFallback) == InfoRemoteKey }

// SubflowInfo is one subflow of a connection. The first subflow stays in the
// list after its end, and subflows that are still connecting are in it too:
// look at TCP.State, where only [StateEstablished] carries data.
type SubflowInfo struct {
	ID            uint32 // unique on this connection; 0 where the kernel is older than 6.5
	Local, Remote netip.AddrPort
	TCP           TCPInfo
}

// The TCP states that matter here (include/net/tcp_states.h).
const (
	StateEstablished uint8 = 1
	StateSynSent     uint8 = 2
	StateClosed      uint8 = 7
)

// TCPInfo is what the kernel says of one subflow as a TCP connection (the part
// of struct tcp_info that tells a path's health).
type TCPInfo struct {
	State         uint8 // StateEstablished, ...
	Retransmits   uint8 // unanswered retransmissions of the segment being retransmitted
	Backoff       uint8 // doublings of the retransmission timeout: grows on a dead path
	RTO           time.Duration
	RTT           time.Duration // smoothed
	RTTVar        time.Duration
	MinRTT        time.Duration
	CWnd          uint32 // congestion window, segments
	SendMSS       uint32 // octets
	PathMTU       uint32 // octets
	Unacked       uint32 // segments in flight
	Lost          uint32 // segments
	TotalRetrans  uint32 // segments
	LastDataSent  time.Duration
	LastDataRecv  time.Duration
	LastAckRecv   time.Duration
	BytesSent     uint64 // octets of data, retransmissions included
	BytesAcked    uint64
	BytesReceived uint64
	BytesRetrans  uint64
	DeliveryRate  uint64 // octets per second, recent
}

// Sizes in octets of the kernel's structures, as far as this package reads them.
const (
	infoSize        = 96  // struct mptcp_info
	infoMinSize     = 40  // up to Linux 5.18
	tcpInfoSize     = 232 // struct tcp_info up to tcpi_rcv_ooopack
	subflowDataSize = 16  // struct mptcp_subflow_data
	addrsSize       = 256 // struct mptcp_subflow_addrs: two sockaddr_storage
	sockaddrSize    = 128 // struct sockaddr_storage
	subflowInfoSize = 264 // struct mptcp_subflow_info
	fullInfoHeader  = 40  // struct mptcp_full_info up to mptcp_info
	fullInfoSize    = fullInfoHeader + infoSize
)

// The address families of Linux, in whose terms the structures are written.
const (
	familyINET  = 2
	familyINET6 = 10
)

// fields reads native-endian numbers at fixed offsets of a structure. What lies
// beyond its end is zero, as an older kernel gives shorter structures.
type fields []byte

func (f fields) u8(off int) uint8 {
	if off >= len(f) {
		return 0
	}
	return f[off]
}

func (f fields) u32(off int) uint32 {
	if off+4 > len(f) {
		return 0
	}
	return binary.NativeEndian.Uint32(f[off:])
}

func (f fields) u64(off int) uint64 {
	if off+8 > len(f) {
		return 0
	}
	return binary.NativeEndian.Uint64(f[off:])
}

func (f fields) millis(off int) time.Duration {
	return time.Duration(f.u32(off)) * time.Millisecond
}

func (f fields) micros(off int) time.Duration {
	return time.Duration(f.u32(off)) * time.Microsecond
}

// parseInfo decodes struct mptcp_info.
func parseInfo(b []byte) (Info, error) {
	if len(b) < infoMinSize {
		return Info{}, fmt.Errorf("mptcp: mptcp_info of %d octets, want at least %d", len(b), infoMinSize)
	}
	f := fields(b)
	return Info{
		Subflows:         int(f.u8(0)),
		AddAddrSignal:    int(f.u8(1)),
		AddAddrAccepted:  int(f.u8(2)),
		SubflowsMax:      int(f.u8(3)),
		AddAddrSignalMax: int(f.u8(4)),
		AddAddrAcceptMax: int(f.u8(5)),
		Flags:            f.u32(8),
		Token:            f.u32(12),
		WriteSequence:    f.u64(16),
		SendUnacked:      f.u64(24),
		ReceiveNext:      f.u64(32),
		LocalAddrUsed:    int(f.u8(40)),
		LocalAddrMax:     int(f.u8(41)),
		Checksum:         f.u8(42) != 0,
		Retransmits:      f.u32(44),
		BytesRetrans:     f.u64(48),
		BytesSent:        f.u64(56),
		BytesReceived:    f.u64(64),
		BytesAcked:       f.u64(72),
		SubflowsTotal:    int(f.u8(80)),
		LaminarEndpoints: int(f.u8(81)),
		LastDataSent:     f.millis(84),
		LastDataReceived: f.millis(88),
		LastAckReceived:  f.millis(92),
	}, nil
}

// parseTCPInfo decodes struct tcp_info; any length will do.
func parseTCPInfo(b []byte) TCPInfo {
	f := fields(b)
	return TCPInfo{
		State:         f.u8(0),
		Retransmits:   f.u8(2),
		Backoff:       f.u8(4),
		RTO:           f.micros(8),
		SendMSS:       f.u32(16),
		Unacked:       f.u32(24),
		Lost:          f.u32(32),
		LastDataSent:  f.millis(44),
		LastDataRecv:  f.millis(52),
		LastAckRecv:   f.millis(56),
		PathMTU:       f.u32(60),
		RTT:           f.micros(68),
		RTTVar:        f.micros(72),
		CWnd:          f.u32(80),
		TotalRetrans:  f.u32(100),
		BytesAcked:    f.u64(120),
		BytesReceived: f.u64(128),
		MinRTT:        f.micros(148),
		DeliveryRate:  f.u64(160),
		BytesSent:     f.u64(200),
		BytesRetrans:  f.u64(208),
	}
}

// parseSockaddr decodes a sockaddr_in or sockaddr_in6 and unmaps it. The zero
// value stands for a family that is neither: the kernel leaves it unset for a
// subflow it knows nothing of.
func parseSockaddr(b []byte) netip.AddrPort {
	if len(b) < 24 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch binary.NativeEndian.Uint16(b) {
	case familyINET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port)
	case familyINET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), port)
	}
	return netip.AddrPort{}
}

// parseAddrs decodes struct mptcp_subflow_addrs.
func parseAddrs(b []byte) (local, remote netip.AddrPort) {
	if len(b) < addrsSize {
		return local, remote
	}
	return parseSockaddr(b[:sockaddrSize]), parseSockaddr(b[sockaddrSize:])
}
