package dialer

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// created takes in how the kernel answered a create.
func (j *joiner) created(now time.Time, ev created) []joinAction {
	n := j.find(ev.remote, ev.from)
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
		if n := j.match(e.Local, e.Remote.Addr()); n != nil && n.state == joinOffered {
			return j.joined(now, n, e.Local)
		}
	case mptcp.SubflowClosed:
		if n := j.match(e.Local, e.Remote.Addr()); n != nil {
			return j.closed(now, n, e)
		}
	}
	return nil
}

// joined notes a subflow: the host is proven to be the same.
func (j *joiner) joined(now time.Time, n *join, local netip.AddrPort) []joinAction {
	n.state, n.outcome, n.local, n.proven, n.err = joinActive, hostid.Joined, local, now, nil
	return append(n.outcomeNoted(), n.note(PathJoined, nil))
}

// closed takes in the end of a subflow, or of an attempt at one.
func (j *joiner) closed(now time.Time, n *join, e mptcp.Event) []joinAction {
	switch {
	case n.state == joinActive && !e.HasError && n.isNew(now):
		return j.end(now, n, hostid.LimitReached, errSubflowLimit)
	case n.state == joinActive && e.HasError:
		return j.lose(now, n, e.Errno)
	case n.state == joinActive:
		return j.lose(now, n, errSubflowClosed)
	case n.state != joinOffered:
	case e.HasError:
		return j.end(now, n, outcomeOf(e.Errno), e.Errno)
	default:
		return j.end(now, n, hostid.NotMPTCP, nil)
	}
	return nil
}

// lose takes in the end of a subflow: it is tried again, after a pause.
func (j *joiner) lose(now time.Time, n *join, err error) []joinAction {
	if now.Sub(n.proven) >= rejoinSettled {
		n.rejoins = 0
	}
	n.state, n.err = joinEnded, err
	j.rejoin(now, n)
	return []joinAction{n.note(PathClosed, err)}
}

// rejoin puts a path that was there once up for another try.
func (j *joiner) rejoin(now time.Time, n *join) {
	if j.over != nil || n.skip != nil || n.rejoins >= maxRejoins {
		return
	}
	n.state, n.retryAt = joinWaiting, now.Add(min(minRejoin<<min(n.rejoins, 10), maxRejoin))
	n.rejoins++
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
	if j.reroute && n.from != (origin{}) && n.proven.IsZero() && (o == hostid.TimedOut || o == hostid.Unreachable || o == hostid.NotTried) {
		// Perhaps only this source does not reach it.
		n.from, n.local, n.state = origin{}, netip.AddrPort{}, joinWaiting
		return nil
	}
	n.state, n.outcome, n.err, n.ended = joinEnded, o, err, now
	if o == hostid.Refused && j.probe {
		n.probing = true
		return []joinAction{n.about(probeAddress)}
	}
	if !n.proven.IsZero() && (o == hostid.TimedOut || o == hostid.Unreachable) {
		j.rejoin(now, n)
	}
	return n.outcomeNoted()
}

// probed refines a refusal by what a connection of its own has shown.
func (j *joiner) probed(now time.Time, ev probed) []joinAction {
	n := j.find(ev.remote, ev.from)
	if n == nil || !n.probing {
		return nil
	}
	n.probing, n.ended = false, now
	if ev.outcome != hostid.NotTried {
		n.outcome = ev.outcome
	}
	if ev.err != nil {
		n.err = ev.err
	}
	return n.outcomeNoted()
}
