package dialer

import "github.com/af-multipath/mpresolve/internal/mptcp"

// PathPolicy says between which addresses a connection has paths.
type PathPolicy uint8

const (
	// OnePerRemote makes one path to each of the peer's addresses. They spread
	// over this machine's uplinks: each further path prefers the one with the
	// fewest so far.
	OnePerRemote PathPolicy = iota
	// OnePerLocal makes one path from each of this machine's uplinks, each to
	// another of the peer's addresses as far as there are enough.
	OnePerLocal
	// FullMesh makes a path from each uplink to each address of the peer, within
	// Dialer.MaxSubflows.
	FullMesh
)

// PathUse says what a connection's paths are for, in the terms of Apple's
// multipath service types and of TAPS (RFC 9622 section 6.2.14).
type PathUse uint8

const (
	// Aggregate sends on all paths, for throughput.
	Aggregate PathUse = iota
	// Handover sends on the path that the connection began with; the others are
	// backup paths, which take over when it fails.
	Handover
	// Interactive sends on the path with the shortest round trip; the others are
	// backup paths.
	Interactive
)

// AnnouncedPolicy says what becomes of addresses that the peer announces
// (ADD_ADDR, RFC 8684 section 3.4.1).
type AnnouncedPolicy uint8

const (
	// JoinAnnounced treats them like addresses of the record, if the port is the
	// connection's.
	JoinAnnounced AnnouncedPolicy = iota
	// IgnoreAnnounced only tells of them ([Conn.Events]).
	IgnoreAnnounced
)

// UnknownPolicy says what becomes of addresses of which it is not known whether
// they are the host that the connection reached. Those known to be another host
// are not joined until that expires, but with JoinAny.
type UnknownPolicy uint8

const (
	// JoinUnknown joins them: MP_JOIN carries no data, and another host refuses it
	// (RFC 8684 section 3.2). It costs a SYN for each address, once. One address of
	// those believed to be another host's for an hour is joined too, in a dial, to see
	// whether it still is.
	JoinUnknown UnknownPolicy = iota
	// LeaveUnknown joins only what is known to be the same host: joined before,
	// announced by the peer, or said by the look-up. [Conn.Reconnect] and
	// [Conn.Rebind] join what they are given all the same.
	LeaveUnknown
	// JoinAny joins those too that are known to be another host's or failed lately,
	// for programs that find out which addresses are one host.
	JoinAny
)

// backupAtFirst reports whether further paths begin as backup paths.
func (u PathUse) backupAtFirst() bool { return u != Aggregate }

// maxLocalIDs bounds the local addresses that one connection uses in its life:
// ids 1 to mptcp.MaxLocalID.
const maxLocalIDs = int(mptcp.MaxLocalID)
