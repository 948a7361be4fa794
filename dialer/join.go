package dialer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// The bounds of joining.
const (
	// DefaultMaxSubflows is how many subflows a connection gets besides its
	// first.
	DefaultMaxSubflows = 8

	// DefaultJoinTimeout is how long a join may go without an answer: the SYN
	// and its first two retransmissions, after one and three seconds.
	DefaultJoinTimeout = 4 * time.Second

	// maxCandidates bounds the addresses that are considered for joining one
	// connection.
	maxCandidates = 64

	// joinSettle is how long, besides two round trips, after a join an end
	// without an error means that the peer took it back: its subflow limit is
	// reached.
	joinSettle = 50 * time.Millisecond

	// minEstablishRetry and maxEstablishRetry bound the pauses between tries to
	// join a connection that is not fully established. The event normally comes
	// first; the pauses double.
	minEstablishRetry = 250 * time.Millisecond
	maxEstablishRetry = 30 * time.Second

	// maxEstablishTries bounds those tries: four minutes altogether.
	maxEstablishTries = 14

	// minRejoin and maxRejoin bound the pauses before an address that was joined
	// once is tried again; they double. A subflow that lived for rejoinSettled
	// begins anew.
	minRejoin     = time.Second
	maxRejoin     = time.Minute
	rejoinSettled = 30 * time.Second

	// maxRejoins bounds those tries: a quarter of an hour altogether. A change of
	// this machine's network allows them anew.
	maxRejoins = 20
)

// Why a join has no verdict, or lost its subflow.
var (
	errOtherPort      = errors.New("another port than the connection's")
	errMisplaced      = errors.New("not an address that the connection's host can have: unspecified, multicast, link-local or loopback")
	errInUse          = errors.New("already in use")
	errIPv4Only       = errors.New("this host has no IPv6: the connection takes IPv4 subflows only")
	errTooMany        = errors.New("the connection has as many subflows as Dialer.MaxSubflows allows")
	errNotEstablished = errors.New("the connection was never fully established: the peer has confirmed no data")
	errSubflowLimit   = errors.New("the host accepted the subflow and closed it at once: its subflow limit is reached, or the last step of the handshake was altered on the way")
	errSilent         = errors.New("nothing is acknowledged: the path seems dead")
	errSubflowClosed  = errors.New("the subflow was closed")
	errUnseen         = errors.New("the subflow is gone and how it ended was not seen")
	errNoAnswer       = errors.New("no answer")
)

// joinState is how far a join has come.
type joinState uint8

const (
	joinWaiting joinState = iota // not offered yet
	joinOffered                  // the SYN is out
	joinActive                   // the subflow is established
	joinEnded                    // there is no subflow, or none any more
)

// join is one address that is to become a subflow.
type join struct {
	remote  netip.AddrPort
	from    origin         // where it is to begin
	local   netip.AddrPort // where it began
	backup  bool           // begins as a backup path
	skip    error          // why it is not wanted, nil when it is
	retryAt time.Time      // not before, when it is waiting
	rejoins int            // tries since its subflow was closed
	state   joinState
	outcome hostid.Outcome
	err     error  // why there is no subflow
	why     string // what was known before, in words
	// believed is what was thought of the host before.
	believed hostid.Verdict
	begun    time.Time // when the SYN was sent
	proven   time.Time // when the subflow was established
	ended    time.Time // when the outcome was known
	probing  bool      // a refusal is being looked into
}

// joiner decides which subflows to add to one connection. Like race it has no
// clock and no I/O: step is told what happened and says what to do.
type joiner struct {
	port     uint16        // of the connection: no other is ever dialled
	max      int           // subflows besides the first
	timeout  time.Duration // of one join
	ipv4Only bool          // the socket takes no IPv6 subflow
	probe    bool          // refusals are looked into
	reroute  bool          // a path without an answer is tried once more from where routing lets it begin

	joins       []*join // in the order of offering
	established bool    // the connection is fully established
	tries       int     // creates refused because it was not
	retryAt     time.Time
	extra       int   // subflows allowed besides max while the sets are changed
	spared      bool  // a path that is not wanted stays, as it is the last
	over        error // why nothing more will be joined
}

// joinEvent is what happened: one of the types below, or ticked.
type joinEvent interface{ isJoinEvent() }

// offered gives addresses to join, in order. Those known already are ignored.
type offered struct{ choices []choice }

// wanted gives all that there should be. What is missing from it is given up;
// again allows those that had no answer another try.
type wanted struct {
	choices []choice
	reason  error // why what is missing is given up
	firstUp bool  // the subflow that the connection began with carries data
	again   bool
}

// choice is one path to join, or, with skip, the reason not to.
type choice struct {
	remote netip.AddrPort
	from   origin
	backup bool
	why    string
	skip   error

	believed hostid.Verdict // of remote and where the connection began
}

// created is the result of a createSubflow action.
type created struct {
	remote netip.AddrPort
	from   origin
	err    error
}

// pathEvent is an event of the path manager.
type pathEvent struct{ mptcp.Event }

// seen is what the kernel says of the connection's subflows at this time.
type seen struct{ subflows []mptcp.SubflowInfo }

// probed is the result of a probeAddress action.
type probed struct {
	remote  netip.AddrPort
	from    origin
	outcome hostid.Outcome
	err     error // why it tells nothing, nil for no more than the refusal's own
}

// abandoned says that nothing more can be joined.
type abandoned struct{ reason error }

func (offered) isJoinEvent()   {}
func (wanted) isJoinEvent()    {}
func (created) isJoinEvent()   {}
func (pathEvent) isJoinEvent() {}
func (seen) isJoinEvent()      {}
func (probed) isJoinEvent()    {}
func (abandoned) isJoinEvent() {}
func (ticked) isJoinEvent()    {}

// joinActionKind is what the driver has to do.
type joinActionKind uint8

const (
	createSubflow  joinActionKind = iota // and answer with created
	destroySubflow                       // whose SYN has no answer; no event is expected
	dropSubflow                          // whatever its state; no event is expected
	notePath                             // tell those who follow the connection's paths
	probeAddress                         // and answer with probed
	readSubflows                         // and answer with seen
	awaitReady                           // make the peer confirm something, so that the connection is established
	noteReady                            // the connection is fully established
	noteOutcome                          // remember the join's outcome
)

// joinAction is one thing for the driver to do.
type joinAction struct {
	kind    joinActionKind
	remote  netip.AddrPort
	from    origin
	local   netip.AddrPort // dropSubflow, notePath: invalid while unknown
	backup  bool           // createSubflow
	outcome hostid.Outcome // noteOutcome
	change  PathChange     // notePath
	err     error          // notePath
}

// about returns an action about n.
func (n *join) about(kind joinActionKind) joinAction {
	return joinAction{kind: kind, remote: n.remote, from: n.from, local: n.local, backup: n.backup}
}

// note returns the action that tells of a change of n.
func (n *join) note(change PathChange, err error) joinAction {
	a := n.about(notePath)
	a.change, a.err = change, err
	return a
}

// outcomeNoted returns the actions that tell of n's outcome. That an address
// which was joined cannot be joined again is not remembered.
func (n *join) outcomeNoted() []joinAction {
	a := n.about(noteOutcome)
	a.outcome = n.outcome
	switch {
	case n.outcome == hostid.Joined:
		return []joinAction{a}
	case n.rejoins > 0: // it may be the connection that has ended there, not the path
		return []joinAction{n.note(PathFailed, n.err)}
	}
	return []joinAction{a, n.note(PathFailed, n.err)}
}

// step takes one event and returns what to do about it.
func (j *joiner) step(now time.Time, ev joinEvent) []joinAction {
	var out []joinAction
	switch ev := ev.(type) {
	case offered:
		j.take(ev.choices)
	case wanted:
		out = j.want(ev)
	case created:
		out = j.created(now, ev)
	case pathEvent:
		out = j.event(now, ev.Event)
	case seen:
		out = j.compare(now, ev.subflows)
	case probed:
		out = j.probed(now, ev)
	case abandoned:
		j.abandon(ev.reason)
	case ticked:
		out = j.expire(now)
	}
	return append(out, j.advance(now)...)
}

// advance offers what may be offered now: one address as long as the
// connection may not be established, all that fit when it is.
func (j *joiner) advance(now time.Time) (out []joinAction) {
	if j.over != nil || now.Before(j.retryAt) {
		return nil
	}
	room := j.room()
	if !j.established {
		room = min(room, 1-j.count(joinOffered))
	}
	for _, n := range j.joins {
		if room <= 0 {
			break
		}
		if n.state == joinWaiting && !now.Before(n.retryAt) {
			n.state, n.begun, n.local = joinOffered, now, netip.AddrPort{}
			out = append(out, n.about(createSubflow))
			room--
		}
	}
	return out
}

// expire gives up the joins that have waited too long.
func (j *joiner) expire(now time.Time) (out []joinAction) {
	for _, n := range j.joins {
		if n.state == joinOffered && !now.Before(n.begun.Add(j.timeout)) {
			out = append(out, n.about(destroySubflow))
			out = append(out, j.end(now, n, hostid.TimedOut, fmt.Errorf("%w in %v", errNoAnswer, j.timeout))...)
		}
	}
	return out
}

// compare takes in the state of the connection's subflows: addresses in use are
// not joined, and what was missed of the events is made up for.
func (j *joiner) compare(now time.Time, subflows []mptcp.SubflowInfo) (out []joinAction) {
	for _, n := range j.joins {
		i := slices.IndexFunc(subflows, func(s mptcp.SubflowInfo) bool {
			return n.matches(s.Local, s.Remote.Addr()) && inUse(s.TCP.State)
		})
		switch {
		case i >= 0 && n.state == joinWaiting && !n.begun.IsZero() && subflows[i].TCP.State == mptcp.StateEstablished:
			out = append(out, j.joined(now, n, subflows[i].Local)...) // while nobody told
		case i >= 0 && n.state == joinWaiting:
			n.state, n.err = joinEnded, errInUse
		case i >= 0 && n.state == joinOffered && subflows[i].TCP.State == mptcp.StateEstablished:
			out = append(out, j.joined(now, n, subflows[i].Local)...)
		case i < 0 && n.state == joinOffered:
			n.state, n.err = joinEnded, errUnseen
		case i < 0 && n.state == joinActive:
			out = append(out, j.lose(now, n, errUnseen)...)
		}
	}
	return out
}

// abandon ends all that has not been offered.
func (j *joiner) abandon(reason error) {
	j.over = reason
	for _, n := range j.joins {
		if n.state == joinWaiting {
			n.state, n.err = joinEnded, reason
		}
	}
}

// reopen undoes close.
func (j *joiner) reopen() {
	reason := j.over
	j.over = nil
	for _, n := range j.joins {
		if n.state == joinEnded && n.skip == nil && reason != nil && errors.Is(n.err, reason) {
			n.state, n.err = joinWaiting, nil
		}
	}
}

// close ends all joins that have no verdict.
func (j *joiner) close(reason error) {
	j.abandon(reason)
	for _, n := range j.joins {
		n.probing = false
		if n.state == joinOffered {
			n.state, n.err = joinEnded, reason
		}
	}
}

// deadline returns when step wants to be called with ticked, or zero.
func (j *joiner) deadline() time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, n := range j.joins {
		switch {
		case n.state == joinOffered:
			sooner(n.begun.Add(j.timeout))
		case n.state == joinWaiting && n.rejoins > 0 && j.room() <= 0:
		case n.state == joinWaiting && n.retryAt.After(j.retryAt):
			sooner(n.retryAt)
		case n.state == joinWaiting && !j.retryAt.IsZero():
			sooner(j.retryAt)
		}
	}
	return at
}

// settled reports whether every address has its verdict, or will have none.
func (j *joiner) settled() bool {
	for _, n := range j.joins {
		first := n.rejoins == 0
		if n.probing || first && n.state == joinOffered || first && n.state == joinWaiting && !j.full() {
			return false
		}
	}
	return true
}

// room returns how many more joins may be under way.
func (j *joiner) room() int {
	return j.max + j.extra - j.count(joinOffered) - j.count(joinActive)
}

// full reports whether there is no room for another subflow.
func (j *joiner) full() bool { return j.count(joinActive) >= j.max+j.extra }

// count returns how many joins are in state s.
func (j *joiner) count(s joinState) (n int) {
	for _, x := range j.joins {
		if x.state == s {
			n++
		}
	}
	return n
}

// find returns the join of a path.
func (j *joiner) find(remote netip.AddrPort, from origin) *join {
	i := slices.IndexFunc(j.joins, func(n *join) bool { return n.remote == remote && n.from == from })
	if i < 0 {
		return nil
	}
	return j.joins[i]
}

// match returns the join that a subflow of the kernel's belongs to. Those with a
// subflow go first.
func (j *joiner) match(local netip.AddrPort, remote netip.Addr) (found *join) {
	for _, n := range j.joins {
		if !n.matches(local, remote) {
			continue
		}
		if n.state == joinOffered || n.state == joinActive {
			return n
		}
		found = n
	}
	return found
}

// matches reports whether a subflow can be n's. The remote port is always the
// connection's, and is missing from the events of destroyed subflows, as is the
// local address if it was left to routing.
func (n *join) matches(local netip.AddrPort, remote netip.Addr) bool {
	if n.remote.Addr() != remote {
		return false
	}
	if n.local.IsValid() && local.IsValid() {
		return n.local.Port() == local.Port()
	}
	return !n.from.addr.IsValid() || !local.IsValid() || local.Addr() == n.from.addr
}
