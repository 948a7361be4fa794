package testlab

// action is what becomes of a packet at the router.
type action uint8

const (
	pass action = iota
	discard
	answerReset
	answerUnreachable
)

// decide applies the behaviours of a packet's source and destination. It may
// take options out of the packet.
func decide(p packet, src, dst Behaviour) action {
	if src == StripSYNACK && p.isSYNACK() || src == StripLater && p.isLater() {
		p.stripMPTCP()
	}
	switch dst {
	case Blackholed:
		return discard
	case Refused:
		if p.proto == protoTCP {
			return answerReset
		}
		return answerUnreachable
	case Unreachable, NetUnreachable, PortUnreachable, AdminProhibited:
		return answerUnreachable
	case BlockMPTCP:
		if p.isSYN() && p.handshakeOption() != nil {
			return discard
		}
	case StripSYN, StripThirdACK, StripLater:
		if p.strippedBy(dst) {
			p.stripMPTCP()
		}
	}
	return pass
}

// strippedBy reports whether a behaviour of the destination takes the MPTCP
// options out of a packet.
func (p packet) strippedBy(dst Behaviour) bool {
	switch dst {
	case StripSYN:
		return p.isSYN()
	case StripThirdACK:
		return p.tcp != nil && p.flags()&flagSYN == 0 && p.handshakeOption() != nil
	case StripLater:
		return p.isLater()
	}
	return false
}

// isLater reports a segment that belongs to no MPTCP handshake and is no reset.
func (p packet) isLater() bool {
	return p.tcp != nil && p.flags()&(flagSYN|flagRST) == 0 && p.handshakeOption() == nil
}
