package hostid

import (
	"fmt"
	"time"
)

// Outcome is what became of one attempt to join an address to a connection.
type Outcome uint8

// The outcomes.
const (
	// NotTried: no join was sent.
	NotTried Outcome = iota
	// Joined: the join succeeded and the subflow lives.
	Joined
	// LimitReached: the join succeeded, then the peer closed it at once; it has
	// as many subflows as it takes. The HMAC was right, so the host is the same.
	LimitReached
	// Refused: the join was reset. Another MPTCP host and a closed port look
	// alike until a probe tells them apart.
	Refused
	// OtherHost: refused, and a fresh connection to the address spoke MPTCP.
	OtherHost
	// ClosedPort: refused, and so was a fresh connection.
	ClosedPort
	// NotMPTCP: the answer carried no MPTCP: a plain TCP host, or a middlebox
	// that strips the option.
	NotMPTCP
	// TimedOut: there was no answer in time.
	TimedOut
	// Unreachable: the network said that the address cannot be reached, or there
	// is no route to it.
	Unreachable
	// Announced: the peer announced the address over an established connection
	// (ADD_ADDR with its HMAC, RFC 8684 section 3.4.1). No join was tried.
	Announced

	outcomes // how many there are
)

// How long an outcome counts. A Same that is out of date costs one refused join;
// a Different that is out of date costs a path, so it is forgotten sooner.
const (
	// JoinedLifetime is how long a proof of being the same host is believed.
	JoinedLifetime = 24 * time.Hour
	// AnnouncedLifetime is how long an announcement is believed: it is the
	// peer's word, authentic but not tried.
	AnnouncedLifetime = time.Hour
	// OtherHostLifetime is how long another host is believed to be another, and
	// is not tried.
	OtherHostLifetime = time.Hour
	// The pauses before an address is tried again. None says anything about
	// the host.
	LimitReachedPause = 5 * time.Minute
	RefusedPause      = 10 * time.Minute
	ClosedPortPause   = 10 * time.Minute
	NotMPTCPPause     = 10 * time.Minute
	TimedOutPause     = 2 * time.Minute
	UnreachablePause  = time.Minute
)

// outcomeFacts is what an outcome means. lifetime is of the verdict, pause is
// until the next try; both are zero where there is none.
type outcomeFacts struct {
	text     string
	verdict  Verdict
	lifetime time.Duration
	pause    time.Duration
}

// facts returns what o means; of an unknown outcome, nothing.
func (o Outcome) facts() outcomeFacts {
	switch o {
	case NotTried:
		return outcomeFacts{text: "not tried"}
	case Joined:
		return outcomeFacts{text: "joined", verdict: Same, lifetime: JoinedLifetime}
	case LimitReached:
		return outcomeFacts{"limit reached", Same, JoinedLifetime, LimitReachedPause}
	case Refused:
		return outcomeFacts{text: "refused", pause: RefusedPause}
	case OtherHost:
		return outcomeFacts{"other MPTCP host", Different, OtherHostLifetime, OtherHostLifetime}
	case ClosedPort:
		return outcomeFacts{text: "closed port", pause: ClosedPortPause}
	case NotMPTCP:
		return outcomeFacts{text: "not MPTCP", pause: NotMPTCPPause}
	case TimedOut:
		return outcomeFacts{text: "timed out", pause: TimedOutPause}
	case Unreachable:
		return outcomeFacts{text: "unreachable", pause: UnreachablePause}
	case Announced:
		return outcomeFacts{text: "announced by the peer", verdict: Same, lifetime: AnnouncedLifetime}
	}
	return outcomeFacts{text: fmt.Sprintf("outcome %d", uint8(o))}
}

// String returns the outcome in words: "other MPTCP host".
func (o Outcome) String() string { return o.facts().text }

// Verdict returns what the outcome says of the address and the one the
// connection began with.
func (o Outcome) Verdict() Verdict { return o.facts().verdict }

// Lifetime returns for how long the verdict counts; zero where it is Unknown.
func (o Outcome) Lifetime() time.Duration { return o.facts().lifetime }

// Pause returns for how long the address is not tried again.
func (o Outcome) Pause() time.Duration { return o.facts().pause }

// Failed reports whether a join was tried and no subflow came of it.
func (o Outcome) Failed() bool { return o.Pause() > 0 }
