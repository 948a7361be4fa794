package dialer

import (
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// want makes the joins those that are wanted.
func (j *joiner) want(ev wanted) (out []joinAction) {
	var kept []*join
	j.spared = false
	for _, n := range j.joins {
		i := slices.IndexFunc(ev.choices, func(c choice) bool { return c.remote == n.remote && c.from == n.from })
		switch {
		case i < 0 && n.state == joinActive && !ev.firstUp && j.count(joinActive) == 1:
			j.spared = true
		case i < 0:
			out = append(out, j.drop(n, ev.reason)...)
			continue
		case ev.choices[i].skip != nil:
			out = append(out, j.drop(n, ev.choices[i].skip)...)
			n.skip = ev.choices[i].skip
		case n.skip != nil, ev.again && n.mayTryAgain():
			n.skip, n.err, n.retryAt, n.rejoins = nil, j.over, time.Time{}, 0
			if j.over == nil {
				n.state = joinWaiting
			}
		}
		kept = append(kept, n)
	}
	j.joins = kept
	j.take(ev.choices)
	return out
}

// mayTryAgain reports whether a change of the network can change how n ended.
func (n *join) mayTryAgain() bool {
	waits := n.state == joinWaiting && n.rejoins > 0
	failed := n.outcome == hostid.TimedOut || n.outcome == hostid.Unreachable || !n.proven.IsZero()
	return waits || n.state == joinEnded && failed && n.outcome != hostid.LimitReached
}

// drop gives a path up. It stays in the list as ended.
func (j *joiner) drop(n *join, reason error) (out []joinAction) {
	switch n.state {
	case joinActive:
		out = append(out, n.note(PathClosed, reason), n.about(dropSubflow))
	case joinOffered:
		out = append(out, n.about(dropSubflow))
	case joinEnded:
		return nil
	}
	n.state, n.err, n.probing = joinEnded, reason, false
	return out
}

// forget drops the paths that have failed, so that they can be offered anew.
func (j *joiner) forget() {
	j.joins = slices.DeleteFunc(j.joins, func(n *join) bool { return n.state == joinEnded && !n.probing })
}

// take adds the paths that are new. One that must not be joined is kept with the
// reason.
func (j *joiner) take(choices []choice) {
	for _, c := range choices {
		if len(j.joins) >= maxCandidates {
			return
		}
		if j.find(c.remote, c.from) != nil {
			continue
		}
		n := &join{remote: c.remote, from: c.from, backup: c.backup, why: c.why, believed: c.believed, err: c.skip, skip: c.skip}
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
