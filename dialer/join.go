package dialer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
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
	remote, local netip.AddrPort
	state         joinState
	outcome       hostid.Outcome
	err           error     // why there is no subflow
	why           string    // what was known before, in words
	begun         time.Time // when the SYN was sent
	proven        time.Time // when the subflow was established
	ended         time.Time // when the outcome was known
	probing       bool      // a refusal is being looked into
}

// joiner decides which subflows to add to one connection. Like race it has no
// clock and no I/O: step is told what happened and says what to do.
type joiner struct {
	port     uint16        // of the connection: no other is ever dialled
	max      int           // subflows besides the first
	timeout  time.Duration // of one join
	ipv4Only bool          // the socket takes no IPv6 subflow
	probe    bool          // refusals are looked into

	joins       []*join // in the order of offering
	established bool    // the connection is fully established
	tries       int     // creates refused because it was not
	retryAt     time.Time
	over        error // why nothing more will be joined
}

// joinEvent is what happened: one of the types below, or ticked.
type joinEvent interface{ isJoinEvent() }

// offered gives addresses to join, in order. Those known already are ignored.
type offered struct{ choices []choice }

// choice is one address to join, or, with skip, the reason not to.
type choice struct {
	remote netip.AddrPort
	why    string
	skip   error
}

// created is the result of a createSubflow action.
type created struct {
	remote netip.AddrPort
	err    error
}

// pathEvent is an event of the path manager.
type pathEvent struct{ mptcp.Event }

// seen is what the kernel says of the connection's subflows at this time.
type seen struct{ subflows []mptcp.SubflowInfo }

// probed is the result of a probeAddress action.
type probed struct {
	remote  netip.AddrPort
	outcome hostid.Outcome
}

// abandoned says that nothing more can be joined.
type abandoned struct{ reason error }

func (offered) isJoinEvent()   {}
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
	destroySubflow                       // no event is expected
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
	outcome hostid.Outcome
}

// step takes one event and returns what to do about it.
func (j *joiner) step(now time.Time, ev joinEvent) []joinAction {
	var out []joinAction
	switch ev := ev.(type) {
	case offered:
		j.take(ev.choices)
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

// take adds the addresses that are new. One that must not be joined is kept
// with the reason.
func (j *joiner) take(choices []choice) {
	for _, c := range choices {
		if len(j.joins) >= maxCandidates {
			return
		}
		if j.find(c.remote.Addr()) != nil {
			continue
		}
		n := &join{remote: c.remote, why: c.why, err: c.skip}
		switch {
		case c.skip != nil:
		case j.over != nil:
			n.err = j.over
		case c.remote.Port() != j.port:
			n.err = errOtherPort
		case j.ipv4Only && !c.remote.Addr().Is4():
			n.err = errIPv4Only
		}
		if n.err != nil {
			n.state = joinEnded
		}
		j.joins = append(j.joins, n)
	}
}

// advance offers what may be offered now: one address as long as the
// connection may not be established, all that fit when it is.
func (j *joiner) advance(now time.Time) (out []joinAction) {
	if j.over != nil || now.Before(j.retryAt) {
		return nil
	}
	room := j.max - j.count(joinOffered) - j.count(joinActive)
	if !j.established {
		room = min(room, 1-j.count(joinOffered))
	}
	for _, n := range j.joins {
		if room <= 0 {
			break
		}
		if n.state == joinWaiting {
			n.state, n.begun = joinOffered, now
			out = append(out, joinAction{kind: createSubflow, remote: n.remote})
			room--
		}
	}
	return out
}

// created takes in how the kernel answered a create.
func (j *joiner) created(now time.Time, ev created) []joinAction {
	n := j.find(ev.remote.Addr())
	if n == nil || n.state != joinOffered {
		return nil
	}
	switch {
	case ev.err == nil:
		return j.ready()
	case errors.Is(ev.err, mptcp.ErrNotEstablished) && !j.established:
		n.state = joinWaiting
		return j.postpone(now)
	case errors.Is(ev.err, mptcp.ErrKernelManaged), errors.Is(ev.err, mptcp.ErrNotPermitted), errors.Is(ev.err, mptcp.ErrUnknownToken):
		n.state = joinWaiting
		j.abandon(ev.err)
		return nil
	case isUnreachable(ev.err):
		return j.end(now, n, hostid.Unreachable, ev.err)
	}
	return j.end(now, n, hostid.NotTried, ev.err)
}

// ready notes that the connection is fully established.
func (j *joiner) ready() []joinAction {
	if j.established {
		return nil
	}
	j.established, j.retryAt = true, time.Time{}
	return []joinAction{{kind: noteReady}}
}

// postpone sets the next try for a connection that is not established.
func (j *joiner) postpone(now time.Time) []joinAction {
	if j.tries++; j.tries > maxEstablishTries {
		j.abandon(errNotEstablished)
		return nil
	}
	pause := min(minEstablishRetry<<(j.tries-1), maxEstablishRetry)
	j.retryAt = now.Add(pause)
	return []joinAction{{kind: awaitReady}}
}

// event takes in what the path manager tells.
func (j *joiner) event(now time.Time, e mptcp.Event) []joinAction {
	switch e.Type {
	case mptcp.Established:
		return j.ready()
	case mptcp.EventsLost:
		return []joinAction{{kind: readSubflows}}
	case mptcp.SubflowEstablished:
		if n := j.find(e.Remote.Addr()); n != nil && n.state == joinOffered {
			return j.joined(now, n, e.Local)
		}
	case mptcp.SubflowClosed:
		if n := j.find(e.Remote.Addr()); n != nil {
			return j.closed(now, n, e)
		}
	}
	return nil
}

// joined notes a subflow: the host is proven to be the same.
func (j *joiner) joined(now time.Time, n *join, local netip.AddrPort) []joinAction {
	n.state, n.outcome, n.local, n.proven = joinActive, hostid.Joined, local, now
	return []joinAction{{kind: noteOutcome, remote: n.remote, outcome: hostid.Joined}}
}

// closed takes in the end of a subflow, or of an attempt at one.
func (j *joiner) closed(now time.Time, n *join, e mptcp.Event) []joinAction {
	switch {
	case n.state == joinActive && !e.HasError && n.isNew(now):
		return j.end(now, n, hostid.LimitReached, errSubflowLimit)
	case n.state == joinActive && e.HasError:
		n.state, n.err = joinEnded, e.Errno
	case n.state == joinActive:
		n.state, n.err = joinEnded, errSubflowClosed
	case n.state != joinOffered:
	case e.HasError:
		return j.end(now, n, outcomeOf(e.Errno), e.Errno)
	default:
		return j.end(now, n, hostid.NotMPTCP, nil)
	}
	return nil
}

// isNew reports whether the subflow was established a moment ago.
func (n *join) isNew(now time.Time) bool {
	return now.Sub(n.proven) < 2*n.proven.Sub(n.begun)+joinSettle
}

// outcomeOf returns what the error of a join says.
func outcomeOf(errno syscall.Errno) hostid.Outcome {
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET:
		return hostid.Refused
	case syscall.ETIMEDOUT:
		return hostid.TimedOut
	}
	return hostid.Unreachable
}

// isUnreachable reports whether the kernel refused a join for want of a route.
func isUnreachable(err error) bool {
	return errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// end ends a join with an outcome. A refusal is looked into where that is
// wanted: another MPTCP host and a closed port look the same.
func (j *joiner) end(now time.Time, n *join, o hostid.Outcome, err error) []joinAction {
	n.state, n.outcome, n.err, n.ended = joinEnded, o, err, now
	if o == hostid.Refused && j.probe {
		n.probing = true
		return []joinAction{{kind: probeAddress, remote: n.remote}}
	}
	return []joinAction{{kind: noteOutcome, remote: n.remote, outcome: o}}
}

// probed refines a refusal by what a connection of its own has shown.
func (j *joiner) probed(now time.Time, ev probed) []joinAction {
	n := j.find(ev.remote.Addr())
	if n == nil || !n.probing {
		return nil
	}
	n.probing, n.ended = false, now
	if ev.outcome != hostid.NotTried {
		n.outcome = ev.outcome
	}
	return []joinAction{{kind: noteOutcome, remote: n.remote, outcome: n.outcome}}
}

// expire gives up the joins that have waited too long.
func (j *joiner) expire(now time.Time) (out []joinAction) {
	for _, n := range j.joins {
		if n.state == joinOffered && !now.Before(n.begun.Add(j.timeout)) {
			out = append(out, joinAction{kind: destroySubflow, remote: n.remote})
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
			return s.Remote.Addr() == n.remote.Addr() && inUse(s.TCP.State)
		})
		switch {
		case i >= 0 && n.state == joinWaiting:
			n.state, n.err = joinEnded, errInUse
		case i >= 0 && n.state == joinOffered && subflows[i].TCP.State == mptcp.StateEstablished:
			out = append(out, j.joined(now, n, subflows[i].Local)...)
		case i < 0 && (n.state == joinOffered || n.state == joinActive):
			n.state, n.err = joinEnded, errUnseen
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
		case n.state == joinWaiting && !j.retryAt.IsZero():
			sooner(j.retryAt)
		}
	}
	return at
}

// settled reports whether every address has its verdict, or will have none.
func (j *joiner) settled() bool {
	for _, n := range j.joins {
		if n.probing || n.state == joinOffered || n.state == joinWaiting && !j.full() {
			return false
		}
	}
	return true
}

// full reports whether there is no room for another subflow.
func (j *joiner) full() bool { return j.count(joinActive) >= j.max }

// count returns how many joins are in state s.
func (j *joiner) count(s joinState) (n int) {
	for _, x := range j.joins {
		if x.state == s {
			n++
		}
	}
	return n
}

// find returns the join of an address. The port is always the connection's, and
// is missing from the events of destroyed subflows.
func (j *joiner) find(addr netip.Addr) *join {
	i := slices.IndexFunc(j.joins, func(n *join) bool { return n.remote.Addr() == addr })
	if i < 0 {
		return nil
	}
	return j.joins[i]
}
