package mptcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
)

// Connection is one MPTCP connection of the network namespace, whichever
// process it belongs to, as the kernel's socket diagnosis tells it.
type Connection struct {
	// Info has the token. Where Info.Flags has InfoFallback the connection is
	// plain TCP by now.
	Info Info
	// Local and Remote are the addresses that the connection began with, never
	// IPv4-mapped. Their subflow may be gone.
	Local, Remote netip.AddrPort
	// DualFamily: the socket is of AF_INET6, and takes subflows of IPv4 too
	// unless it is IPV6_V6ONLY, which the kernel does not tell. Otherwise it
	// takes IPv4 only.
	DualFamily bool
	State      uint8  // as TCPInfo.State; StateSynSent while it is being made
	UID        uint32 // the owner of the socket
	// Inode is the socket's, by which /proc/*/fd names the process; zero when no
	// process has it open any more.
	Inode uint32
}

// Listener is one listening MPTCP socket of the network namespace.
type Listener struct {
	// Local is what the socket is bound to, never IPv4-mapped; the address may
	// be unspecified.
	Local netip.AddrPort
	// DualFamily: the socket is of AF_INET6 and not IPV6_V6ONLY: bound to the
	// unspecified address it accepts IPv4 too.
	DualFamily bool
	UID        uint32 // the owner of the socket
}

// SubflowState is one subflow of some connection of the network namespace.
type SubflowState struct {
	SubflowInfo        // its ID is zero: this source does not tell it
	Token       uint32 // the connection's, on this host
	// LocalID and RemoteID are the address identifiers on the wire.
	LocalID, RemoteID uint8
	// Initial: the connection began with this subflow (MP_CAPABLE); the others
	// were joined.
	Initial bool
	// Outgoing: this host sent the SYN.
	Outgoing bool
	// Backup: one of the ends asked not to use the subflow while another is left.
	Backup bool
}

// Sizes in octets of the structures of uapi/linux/inet_diag.h.
const (
	diagRequestSize = 56 // struct inet_diag_req_v2
	diagMessageSize = 72 // struct inet_diag_msg
)

// What a request for a dump says.
const (
	diagProtocolTCP   = 6
	diagProtocolMPTCP = 0x106
	diagRequestProto  = 3 // INET_DIAG_REQ_PROTOCOL: for numbers above 255

	// diagExtensions asks for INET_DIAG_INFO.
	diagExtensions = 1 << (diagInfo - 1)
	// diagStates are all states but TIME_WAIT (6), LISTEN (10) and NEW_SYN_RECV
	// (12), in which a socket is no connection.
	diagStates = 0xfff &^ (1<<0 | 1<<6 | 1<<10)
	// diagListening is LISTEN alone.
	diagListening = 1 << 10
)

// The attributes of an answer.
const (
	diagInfo    = 2  // INET_DIAG_INFO: mptcp_info, or tcp_info
	diagV6Only  = 11 // INET_DIAG_SKV6ONLY
	diagULPInfo = 19 // INET_DIAG_ULP_INFO

	ulpMPTCP = 3 // INET_ULP_INFO_MPTCP

	subflowTokenLocal = 2 // MPTCP_SUBFLOW_ATTR_TOKEN_LOC
	subflowFlags      = 8
	subflowRemoteID   = 9
	subflowLocalID    = 10
)

// The bits of subflowFlags. What the kernel calls remote is what arrived, local
// what this host asked for.
const (
	subflowCapable        = 1 << 0
	subflowCapableRequest = 1 << 1
	subflowJoinRequest    = 1 << 3
	subflowBackupPeer     = 1 << 4
	subflowBackupHere     = 1 << 5
)

// appendDiagRequest appends a request for the sockets of a family and protocol
// that are in one of the states.
func appendDiagRequest(dst []byte, family uint8, protocol, states uint32) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, diagRequestSize)...)
	b := dst[start:]
	b[0], b[1], b[2] = family, uint8(protocol), diagExtensions
	binary.NativeEndian.PutUint32(b[4:], states)
	if protocol <= 0xff {
		return dst
	}
	dst = binary.NativeEndian.AppendUint16(dst, 8)
	dst = binary.NativeEndian.AppendUint16(dst, diagRequestProto)
	return binary.NativeEndian.AppendUint32(dst, protocol)
}

// diagMessage is struct inet_diag_msg.
type diagMessage struct {
	family, state uint8
	local, remote netip.AddrPort
	uid, inode    uint32
}

// parseDiagMessage decodes the fixed part of an answer and returns the
// attributes after it.
func parseDiagMessage(b []byte) (diagMessage, *netlink.AttributeDecoder, error) {
	if len(b) < diagMessageSize {
		return diagMessage{}, nil, fmt.Errorf("mptcp: inet_diag_msg of %d octets, want at least %d", len(b), diagMessageSize)
	}
	f := fields(b)
	m := diagMessage{family: b[0], state: b[1], uid: f.u32(64), inode: f.u32(68)}
	m.local = m.addrPort(b[4:6], b[8:24])
	m.remote = m.addrPort(b[6:8], b[24:40])
	d, err := netlink.NewAttributeDecoder(b[diagMessageSize:])
	if err != nil {
		return diagMessage{}, nil, fmt.Errorf("mptcp: attributes of inet_diag_msg: %w", err)
	}
	return m, d, nil
}

// addrPort is one end of struct inet_diag_sockid.
func (m diagMessage) addrPort(port, addr []byte) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(addr)).Unmap()
	if m.family == familyINET {
		a = netip.AddrFrom4([4]byte(addr[:4]))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// parseConnection decodes one answer about MPTCP sockets. Without mptcp_info it
// is an error, as there is no token.
func parseConnection(b []byte) (Connection, error) {
	m, d, err := parseDiagMessage(b)
	if err != nil {
		return Connection{}, err
	}
	c := Connection{
		Local: m.local, Remote: m.remote, DualFamily: m.family == familyINET6,
		State: m.state, UID: m.uid, Inode: m.inode,
	}
	found := false
	for d.Next() {
		if d.Type() == diagInfo {
			found = true
			d.Do(func(info []byte) (err error) {
				c.Info, err = parseInfo(info)
				return err
			})
		}
	}
	if err := d.Err(); err != nil {
		return Connection{}, fmt.Errorf("mptcp: attributes of a connection: %w", err)
	}
	if !found {
		return Connection{}, fmt.Errorf("mptcp: connection %v to %v without mptcp_info", c.Local, c.Remote)
	}
	return c, nil
}

// parseListener decodes one answer about listening MPTCP sockets.
func parseListener(b []byte) (Listener, error) {
	m, d, err := parseDiagMessage(b)
	if err != nil {
		return Listener{}, err
	}
	l := Listener{Local: m.local, DualFamily: m.family == familyINET6, UID: m.uid}
	for d.Next() {
		if d.Type() == diagV6Only {
			l.DualFamily = l.DualFamily && d.Uint8() == 0
		}
	}
	if err := d.Err(); err != nil {
		return Listener{}, fmt.Errorf("mptcp: attributes of a listener: %w", err)
	}
	return l, nil
}

// Accepts reports whether connections to ap arrive at the listener.
func (l Listener) Accepts(ap netip.AddrPort) bool {
	own, addr := l.Local.Addr(), ap.Addr().Unmap()
	if l.Local.Port() != ap.Port() || !own.IsUnspecified() {
		return l.Local.Port() == ap.Port() && own == addr
	}
	return own.Is4() == addr.Is4() || own.Is6() && l.DualFamily
}

// parseSubflow decodes one answer about TCP sockets; ok is false for one that is
// no subflow.
func parseSubflow(b []byte) (s SubflowState, ok bool, err error) {
	m, d, err := parseDiagMessage(b)
	if err != nil {
		return SubflowState{}, false, err
	}
	s.Local, s.Remote = m.local, m.remote
	for d.Next() {
		switch d.Type() {
		case diagInfo:
			s.TCP = parseTCPInfo(d.Bytes())
		case diagULPInfo:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					if d.Type() == ulpMPTCP {
						ok = true
						d.Nested(s.attributes)
					}
				}
				return d.Err()
			})
		}
	}
	if err := d.Err(); err != nil {
		return SubflowState{}, false, fmt.Errorf("mptcp: attributes of a subflow: %w", err)
	}
	if !ok {
		return SubflowState{}, false, nil
	}
	s.TCP.State = m.state
	return s, true, nil
}

// attributes stores what the kernel says of the subflow beyond TCP.
func (s *SubflowState) attributes(d *netlink.AttributeDecoder) error {
	for d.Next() {
		switch d.Type() {
		case subflowTokenLocal:
			s.Token = d.Uint32()
		case subflowLocalID:
			s.LocalID = d.Uint8()
		case subflowRemoteID:
			s.RemoteID = d.Uint8()
		case subflowFlags:
			flags := d.Uint32()
			s.Initial = flags&subflowCapable != 0
			s.Outgoing = flags&(subflowCapableRequest|subflowJoinRequest) != 0
			s.Backup = flags&(subflowBackupPeer|subflowBackupHere) != 0
		}
	}
	return d.Err()
}
