package dialer

import (
	"net/netip"
	"time"
)

// PathChange is what happened to a path.
type PathChange string

// The changes.
const (
	PathJoined    PathChange = "joined"    // a subflow was added
	PathFailed    PathChange = "failed"    // there is no subflow: Err says why
	PathClosed    PathChange = "closed"    // a subflow has ended, or was given up: Err says why
	PathBackup    PathChange = "backup"    // it carries data only when no other can
	PathActive    PathChange = "active"    // it carries data again
	PathAnnounced PathChange = "announced" // the peer offers the address Remote
	PathWithdrawn PathChange = "withdrawn" // the peer takes the address Remote back
)

// PathEvent is one change of a connection's paths.
type PathEvent struct {
	Time          time.Time
	Change        PathChange
	Local, Remote netip.AddrPort // Local is invalid where it is not known
	Err           error
	// Missed is how many events before this one were dropped because the reader
	// was slow.
	Missed int
}
