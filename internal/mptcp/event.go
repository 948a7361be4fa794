package mptcp

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/mdlayher/netlink"
)

// EventType is the kind of an [Event]: the command of the kernel's message
// (enum mptcp_event_type), or EventsLost.
type EventType uint8

// The events of the kernel's path manager.
const (
	// Created: MPTCP was negotiated. A connection that is plain TCP has no such event.
	Created EventType = 1
	// Established: the connection is fully established; subflows may be created.
	Established EventType = 2
	// Closed: the connection is gone, its subflows with it (without events of their own).
	Closed EventType = 3
	// Announced: the peer offers an address (ADD_ADDR): Remote and RemoteID.
	Announced EventType = 6
	// Removed: the peer withdraws the address RemoteID (REMOVE_ADDR).
	Removed EventType = 7
	// SubflowEstablished: a subflow was joined; the peer's HMAC was right.
	SubflowEstablished EventType = 10
	// SubflowClosed: a subflow ended, or never began: see HasError and Errno.
	SubflowClosed EventType = 11
	// SubflowPriority: the peer changed a subflow's backup flag (MP_PRIO).
	SubflowPriority EventType = 13
	// ListenerCreated and ListenerClosed: a listening socket came or went.
	ListenerCreated EventType = 15
	ListenerClosed  EventType = 16
	// EventsLost is made by this package, not by the kernel: one or more events
	// were dropped at this place (see [Subscription]). Token is zero.
	EventsLost EventType = 255
)

// String returns the type in words: "subflow established".
func (t EventType) String() string {
	switch t {
	case Created:
		return "created"
	case Established:
		return "established"
	case Closed:
		return "closed"
	case Announced:
		return "announced"
	case Removed:
		return "removed"
	case SubflowEstablished:
		return "subflow established"
	case SubflowClosed:
		return "subflow closed"
	case SubflowPriority:
		return "subflow priority"
	case ListenerCreated:
		return "listener created"
	case ListenerClosed:
		return "listener closed"
	case EventsLost:
		return "events lost"
	}
	return fmt.Sprintf("event %d", uint8(t))
}

// The bits of [Event].Flags.
const (
	// FlagDenyJoinInitial: the peer asks not to join its initial address and
	// port (the C flag of RFC 8684 section 3.1), as load balancers do.
	FlagDenyJoinInitial uint16 = 1 << 0
	// FlagServerSide: this end accepted the connection.
	FlagServerSide uint16 = 1 << 1
)

// Event is one message of the kernel's path manager about a connection of the
// network namespace.
type Event struct {
	Type  EventType
	Token uint32 // the connection, on this host

	// Local and Remote are the subflow's ends, never IPv4-mapped. Closed and
	// Removed have neither; Announced has Remote only. After a join was broken
	// off by DestroySubflow Remote's port is 0, and Local's address is the
	// wildcard if the join began from one: Local's port tells which it was.
	Local, Remote netip.AddrPort
	// LocalID and RemoteID are the address identifiers on the wire, which for a
	// wildcard is not the id of the command. RemoteID is zero when a join failed.
	LocalID, RemoteID uint8

	Backup bool          // the subflow carries data only when no other can
	Errno  syscall.Errno // why the subflow closed, where HasError
	// HasError tells a failure (ECONNREFUSED: reset, ETIMEDOUT, ...) from an end
	// without an error code: closed by either side, or the answer to a join had
	// no MPTCP option.
	HasError    bool
	ResetReason uint32 // the peer's reason (RFC 8684 section 3.6), where HasReset
	HasReset    bool

	Flags      uint16 // FlagDenyJoinInitial, FlagServerSide; Created only
	ServerSide bool   // this end accepted the connection; Created only
	IfIndex    int    // the interface the subflow is bound to, else 0
}

// The attributes of events (enum mptcp_event_attr). Ports are in network byte
// order here, unlike in the commands.
const (
	eventToken       = 1
	eventLocalID     = 3
	eventRemoteID    = 4
	eventSourceIPv4  = 5
	eventSourceIPv6  = 6
	eventDestIPv4    = 7
	eventDestIPv6    = 8
	eventSourcePort  = 9
	eventDestPort    = 10
	eventBackup      = 11
	eventError       = 12
	eventFlags       = 13
	eventIfIndex     = 15
	eventResetReason = 16
	eventServerSide  = 18
)

// ParseEvent decodes the attributes that follow the generic netlink header of
// an event message; command is the header's. Attributes it does not know are
// ignored, missing ones leave the field zero, and one of the wrong length is an
// error.
func ParseEvent(command uint8, attrs []byte) (Event, error) {
	d, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return Event{}, fmt.Errorf("mptcp: decode event %d: %w", command, err)
	}
	p := eventParser{d: d, event: Event{Type: EventType(command)}}
	for d.Next() {
		p.attribute()
	}
	if err := d.Err(); err != nil {
		return Event{}, fmt.Errorf("mptcp: decode event %d: %w", command, err)
	}
	e := p.event
	e.Local, e.Remote = p.source.addrPort(), p.dest.addrPort()
	e.ServerSide = e.ServerSide || e.Flags&FlagServerSide != 0
	return e, nil
}

// eventParser gathers the attributes of one event.
type eventParser struct {
	d            *netlink.AttributeDecoder
	event        Event
	source, dest eventEnd
}

// eventEnd is one end of a subflow while its attributes arrive.
type eventEnd struct {
	addr netip.Addr
	port uint16
}

// addrPort is the zero value while no address is known.
func (e eventEnd) addrPort() netip.AddrPort {
	if !e.addr.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(e.addr, e.port)
}

// attribute stores the decoder's current attribute.
func (p *eventParser) attribute() {
	d, e := p.d, &p.event
	switch d.Type() {
	case eventToken:
		e.Token = d.Uint32()
	case eventLocalID:
		e.LocalID = d.Uint8()
	case eventRemoteID:
		e.RemoteID = d.Uint8()
	case eventSourceIPv4, eventSourceIPv6:
		p.source.addr = p.address(d.Type() == eventSourceIPv4)
	case eventDestIPv4, eventDestIPv6:
		p.dest.addr = p.address(d.Type() == eventDestIPv4)
	case eventSourcePort:
		p.source.port = p.port()
	case eventDestPort:
		p.dest.port = p.port()
	default:
		p.state()
	}
}

// state stores the attributes that tell what became of the subflow.
func (p *eventParser) state() {
	d, e := p.d, &p.event
	switch d.Type() {
	case eventBackup:
		e.Backup = d.Uint8() != 0
	case eventError:
		e.Errno, e.HasError = syscall.Errno(d.Uint8()), true
	case eventFlags:
		e.Flags = d.Uint16()
	case eventIfIndex:
		e.IfIndex = int(d.Int32())
	case eventResetReason:
		e.ResetReason, e.HasReset = d.Uint32(), true
	case eventServerSide:
		e.ServerSide = d.Uint8() != 0
	}
}

// address reads an address of 4 or 16 octets and unmaps it.
func (p *eventParser) address(v4 bool) (addr netip.Addr) {
	p.d.Do(func(b []byte) error {
		a, ok := netip.AddrFromSlice(b)
		if !ok || a.Is4() != v4 {
			return fmt.Errorf("address attribute of %d octets", len(b))
		}
		addr = a.Unmap()
		return nil
	})
	return addr
}

// port reads a port in network byte order.
func (p *eventParser) port() (port uint16) {
	p.d.Do(func(b []byte) error {
		if len(b) != 2 {
			return fmt.Errorf("port attribute of %d octets", len(b))
		}
		port = uint16(b[0])<<8 | uint16(b[1])
		return nil
	})
	return port
}
