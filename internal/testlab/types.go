package testlab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// ErrUnavailable says that this machine, or this user, cannot have a lab: the
// operating system is not Linux, namespaces are refused, or the kernel lacks
// MPTCP, veth pairs or packet sockets. The wrapping error says which.
var ErrUnavailable = errors.New("network lab unavailable")

// MaxMTU is the largest MTU of a link, in octets.
const MaxMTU = 1500

// DefaultMTU is the MTU of a link whose specification gives none.
const DefaultMTU = MaxMTU

// Options are the settings of a lab. The zero value is usable.
type Options struct {
	// Seed starts the random numbers that decide which frames are lost. Equal
	// seeds lose the same frames of each link, counted per direction.
	Seed uint64
}

// LinkSpec describes one link between a host and the router.
type LinkSpec struct {
	// Name is the interface's name in the host: at most 15 octets, unique in
	// it. Empty means "lab0", "lab1", … in order of creation.
	Name string
	// Addrs are the host's addresses on the link. They must be unique in the
	// lab: the router forwards by exact address.
	Addrs []netip.Prefix
	// Delay is added to each frame, in each direction. A round trip between
	// two hosts takes twice the sum of their links' delays.
	Delay time.Duration
	// Loss is the share of frames lost in each direction, from 0 to 1.
	Loss float64
	// Rate limits each direction, in bits per second; 0 is unlimited. A queue
	// of 100 ms, or of 20 full frames where that is more, stands before it.
	Rate int64
	// MTU is in octets, from 1280 to MaxMTU; 0 is DefaultMTU.
	MTU int
}

func (s LinkSpec) check() error {
	switch {
	case len(s.Name) > 15:
		return fmt.Errorf("interface name %q is longer than 15 octets", s.Name)
	case s.MTU != 0 && (s.MTU < 1280 || s.MTU > MaxMTU):
		return fmt.Errorf("MTU %d is outside 1280 to %d", s.MTU, MaxMTU)
	case s.Loss < 0 || s.Loss > 1:
		return fmt.Errorf("loss %g is outside 0 to 1", s.Loss)
	case s.Rate < 0:
		return fmt.Errorf("rate %d is negative", s.Rate)
	case s.Delay < 0:
		return fmt.Errorf("delay %v is negative", s.Delay)
	}
	for _, p := range s.Addrs {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("address %v is not a valid prefix", p)
		}
	}
	return nil
}

// LinkStats counts the frames of one link since it was made.
type LinkStats struct {
	// ToRouter and FromRouter count octets that crossed the link, Ethernet
	// headers included.
	ToRouter, FromRouter uint64
	// FramesToRouter and FramesFromRouter count the frames.
	FramesToRouter, FramesFromRouter uint64
	// Dropped counts frames that a cut, loss or a full queue took.
	Dropped uint64
}

// Behaviour is what the router does with the packets of one address. It holds
// for packets to that address, unless its description says otherwise.
type Behaviour uint8

// The behaviours of an address.
const (
	// Up forwards everything.
	Up Behaviour = iota
	// Refused answers TCP segments with a reset and UDP datagrams with an
	// ICMP port unreachable, as a host without listeners does.
	Refused
	// Blackholed drops everything without a word.
	Blackholed
	// Unreachable answers with ICMP host unreachable (RFC 792 code 1) or
	// ICMPv6 address unreachable (RFC 4443 code 3).
	//
	// A kernel acts on an ICMP error at once only when the socket is not
	// inside connect(2); give the links a delay of a millisecond or more.
	Unreachable
	// NetUnreachable answers with ICMP net unreachable (code 0) or ICMPv6 no
	// route to destination (code 0).
	NetUnreachable
	// PortUnreachable answers with ICMP port unreachable (code 3) or ICMPv6
	// port unreachable (code 4).
	PortUnreachable
	// AdminProhibited answers with ICMP communication administratively
	// prohibited (code 13) or its ICMPv6 form (code 1).
	AdminProhibited
	// StripSYN takes the MPTCP options out of SYNs to the address.
	StripSYN
	// StripSYNACK takes the MPTCP options out of SYN/ACKs from the address.
	StripSYNACK
	// StripThirdACK takes the options out of segments to the address, other
	// than SYNs, that carry MP_CAPABLE or MP_JOIN.
	StripThirdACK
	// StripLater takes the MPTCP options out of every segment to and from the
	// address that belongs to no handshake; resets keep theirs.
	StripLater
	// BlockMPTCP drops SYNs to the address that carry MPTCP; plain SYNs pass.
	BlockMPTCP
)

var behaviourNames = [...]string{
	"up", "refused", "blackholed", "unreachable", "net unreachable",
	"port unreachable", "administratively prohibited", "strip SYN",
	"strip SYN/ACK", "strip third ACK", "strip later", "block MPTCP",
}

// String returns the behaviour in words.
func (b Behaviour) String() string {
	if int(b) < len(behaviourNames) {
		return behaviourNames[b]
	}
	return fmt.Sprintf("behaviour %d", uint8(b))
}

// SYNKind tells what a SYN asks for.
type SYNKind string

// The kinds of SYN.
const (
	// Plain is a SYN without an MPTCP option.
	Plain SYNKind = "plain"
	// Capable carries MP_CAPABLE: a new MPTCP connection.
	Capable SYNKind = "capable"
	// Join carries MP_JOIN: a further subflow of a connection.
	Join SYNKind = "join"
)

// SYN is a TCP segment with SYN and without ACK, as the router received it:
// before the behaviour of its destination was applied.
type SYN struct {
	At   time.Time
	Src  netip.AddrPort
	Dst  netip.AddrPort
	Kind SYNKind
	// Token is the receiver's token in MP_JOIN (RFC 8684 section 3.2), in host
	// order; 0 for other kinds.
	Token uint32
}

// String returns one line for logs.
func (s SYN) String() string {
	if s.Kind == Join {
		return fmt.Sprintf("%v > %v %s token %#08x", s.Src, s.Dst, s.Kind, s.Token)
	}
	return fmt.Sprintf("%v > %v %s", s.Src, s.Dst, s.Kind)
}

// maxSYNs bounds the record of SYNs; later ones are not kept.
const maxSYNs = 1 << 16
