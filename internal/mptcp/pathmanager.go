package mptcp

import (
	"net/netip"
	"syscall"
)

// The address identifiers for the wildcard local addresses, which the kernel
// counts as addresses too: one id for one address of a connection. They stay
// on this host; the wire carries an id of the kernel's choice.
const (
	WildcardIDv4 uint8 = 254
	WildcardIDv6 uint8 = 255
)

// MaxLocalID is the highest local id for addresses that are not wildcards.
const MaxLocalID uint8 = 253

// Subflow names one subflow of a connection.
type Subflow struct {
	// Local is where the subflow begins. To create one, the port may be 0 (the
	// kernel picks it), and the address may be a wildcard or the zero value:
	// then routing picks it. The other commands need address and port.
	Local netip.AddrPort
	// Remote is where it ends; the port is always needed.
	Remote netip.AddrPort
	// LocalID, 1 to MaxLocalID, belongs to Local's address for the whole
	// connection, and may be used for many remote addresses; a failed join
	// keeps it taken. Needed to create one from an address, and not used for
	// wildcards, which have WildcardIDv4 and WildcardIDv6.
	LocalID uint8
	// Backup asks the peer to use the subflow only when no other can be. From a
	// wildcard the kernel forgets it: there SetBackup is needed afterwards.
	Backup bool
	// IfIndex binds the subflow to an interface; 0 does not.
	IfIndex int
}

// PathManager adds and removes the subflows of the connections of a network
// namespace. Its methods are safe for concurrent use; a refusal is an
// [*OpError].
type PathManager interface {
	// CreateSubflow sends the SYN of a join. nil means that it was sent; what
	// became of it is an event, which can arrive before CreateSubflow returns.
	// Two calls for the same addresses make two subflows.
	CreateSubflow(token uint32, s Subflow) error
	// DestroySubflow closes a subflow, also one whose SYN has no answer yet. It
	// frees the local id.
	DestroySubflow(token uint32, s Subflow) error
	// SetBackup changes a subflow's priority here and, by MP_PRIO, at the peer.
	SetBackup(token uint32, s Subflow, backup bool) error
	// Announce offers a local address to the peer (ADD_ADDR). The port may be
	// 0; id is 1 to MaxLocalID.
	Announce(token uint32, id uint8, addr netip.AddrPort) error
	// Remove withdraws the local address id (REMOVE_ADDR) and closes its
	// subflows. Id 0 is the address the connection began with: with no other
	// subflow left, its data hangs.
	Remove(token uint32, id uint8) error
	// Subscribe delivers the events of one connection, or of all for token 0,
	// from now on.
	Subscribe(token uint32) (*Subscription, error)
	// Close ends all subscriptions. Subflows stay.
	Close() error
}

// Normalize returns s as a create command needs it: unmapped addresses,
// wildcards completed, their ids filled in. What the kernel would accept and
// misuse is refused: remote port 0 (it is dialled) and local id 0 (it is
// accepted once).
func (s Subflow) Normalize() (Subflow, error) {
	s = s.unmapped()
	if !s.Remote.IsValid() || s.Remote.Port() == 0 {
		return s, &OpError{Op: opCreate, Errno: syscall.EINVAL, Msg: "missing remote address or port"}
	}
	if !s.Local.IsValid() {
		s.Local = netip.AddrPortFrom(wildcard(s.Remote.Addr()), s.Local.Port())
	}
	switch a := s.Local.Addr(); {
	case a.IsUnspecified() && a.Is4():
		s.LocalID = WildcardIDv4
	case a.IsUnspecified():
		s.LocalID = WildcardIDv6
	case s.LocalID == 0 || s.LocalID > MaxLocalID:
		return s, &OpError{Op: opCreate, Errno: syscall.EINVAL, Msg: "local id must be 1 to 253"}
	}
	return s, nil
}

// unmapped returns s with IPv4-mapped addresses as IPv4 and without zones.
func (s Subflow) unmapped() Subflow {
	s.Local, s.Remote = unmap(s.Local), unmap(s.Remote)
	return s
}

// mapped returns s with IPv4 addresses as IPv4-mapped IPv6 addresses.
func (s Subflow) mapped() Subflow {
	s.Local = netip.AddrPortFrom(netip.AddrFrom16(s.Local.Addr().As16()), s.Local.Port())
	s.Remote = netip.AddrPortFrom(netip.AddrFrom16(s.Remote.Addr().As16()), s.Remote.Port())
	return s
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// wildcard returns the unspecified address of remote's family.
func wildcard(remote netip.Addr) netip.Addr {
	if remote.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// The names of the commands in an [OpError].
const (
	opCreate   = "create subflow"
	opDestroy  = "destroy subflow"
	opBackup   = "set backup"
	opAnnounce = "announce address"
	opRemove   = "remove address"

	opReadLimits = "read limits"
	opSetLimits  = "set limits"
)
