package dialer

import (
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// The states of a [Path].
const (
	StateActive  = "active"  // carries data
	StateBackup  = "backup"  // carries data when no other can
	StateJoining = "joining" // the SYN is out
	StateClosed  = "closed"  // carries nothing any more
)

// Path is one subflow of a connection, as the kernel sees it now.
type Path struct {
	Local, Remote netip.AddrPort
	State         string  // StateActive, StateBackup, StateJoining or StateClosed
	Verdict       Verdict // First or Joined; NotTried while joining

	RTT           time.Duration // smoothed; zero where unknown
	BytesSent     uint64        // octets of data, retransmissions included
	BytesReceived uint64
	Retransmits   uint32 // segments
	Backoff       uint8  // doublings of the retransmission timeout: grows on a dead path
}

// The TCP states that matter here besides those of package mptcp: the
// connection is being closed by one side, and still carries data.
const (
	tcpFinWait1  uint8 = 4
	tcpFinWait2  uint8 = 5
	tcpTimeWait  uint8 = 6
	tcpCloseWait uint8 = 8
)

// firstSubflowID is the kernel's id of the subflow that a connection began with.
const firstSubflowID = 1

// carriesData reports whether a subflow in this TCP state can carry data.
func carriesData(state uint8) bool {
	switch state {
	case mptcp.StateEstablished, tcpFinWait1, tcpFinWait2, tcpCloseWait:
		return true
	}
	return false
}

// inUse reports whether a subflow in this TCP state occupies its address.
func inUse(state uint8) bool { return state != mptcp.StateClosed && state != tcpTimeWait }

// Paths returns the connection's subflows, the first first. A subflow that has
// ended is missing, but for the first, which stays in the list as closed. Plain
// TCP is one path, of which the addresses are known and no figures.
func (c *Conn) Paths() []Path {
	infos, err := c.subflowInfos()
	if err != nil {
		return []Path{{
			Local: addrPortOf(c.TCPConn.LocalAddr()), Remote: addrPortOf(c.TCPConn.RemoteAddr()),
			State: c.plainState(), Verdict: First,
		}}
	}
	paths := make([]Path, 0, len(infos))
	for _, i := range infos {
		p := pathOf(i, i.ID == firstSubflowID || i.ID == 0 && i.Remote == c.remote)
		if p.State == StateActive && c.subflows != nil && c.subflows.isBackup(p) {
			p.State = StateBackup
		}
		paths = append(paths, p)
	}
	return paths
}

// plainState is the state of the one path of plain TCP, or of a closed
// connection.
func (c *Conn) plainState() string {
	raw, err := c.SyscallConn()
	if err != nil || raw.Control(func(uintptr) {}) != nil {
		return StateClosed
	}
	return StateActive
}

// pathOf returns what the kernel says of a subflow.
func pathOf(i mptcp.SubflowInfo, first bool) Path {
	p := Path{
		Local: i.Local, Remote: i.Remote, State: StateClosed, Verdict: Joined,
		RTT: i.TCP.RTT, BytesSent: i.TCP.BytesSent, BytesReceived: i.TCP.BytesReceived,
		Retransmits: i.TCP.TotalRetrans, Backoff: i.TCP.Backoff,
	}
	switch {
	case carriesData(i.TCP.State):
		p.State = StateActive
	case inUse(i.TCP.State):
		p.State, p.Verdict = StateJoining, NotTried
	}
	if first {
		p.Verdict = First
	}
	return p
}

// subflowOf names a path as the path manager does.
func subflowOf(p Path) mptcp.Subflow { return mptcp.Subflow{Local: p.Local, Remote: p.Remote} }
