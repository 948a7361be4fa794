package dialer

import (
	"net/netip"
	"slices"
	"time"
)

// The constants of Happy Eyeballs version 3 (draft-ietf-happy-happyeyeballs-v3).
const (
	// DefaultResolutionDelay is how long a dial that knows an address waits
	// for the answer of the preferred family.
	DefaultResolutionDelay = 50 * time.Millisecond

	// DefaultConnectionAttemptDelay is the time between the start of one
	// connection attempt and the start of the next.
	DefaultConnectionAttemptDelay = 250 * time.Millisecond

	// MinConnectionAttemptDelay and MaxConnectionAttemptDelay bound
	// Dialer.ConnectionAttemptDelay; a value outside is moved to the bound.
	MinConnectionAttemptDelay = 10 * time.Millisecond
	MaxConnectionAttemptDelay = 2 * time.Second

	// maxRunningAttempts bounds the connection attempts of one dial that run
	// at the same time; at the bound, the next one waits for a failure.
	maxRunningAttempts = 32
)

// race is the Happy Eyeballs state of one dial. It has no clock, no socket and
// no goroutine: step is told what happened and when, and says what to do.
type race struct {
	resolutionDelay time.Duration
	attemptDelay    time.Duration

	candidates []netip.AddrPort // every address known, in dial order
	attempts   []racer          // every attempt started, in the order of starting
	running    int              // attempts neither failed nor finished

	firstKnown time.Time // when the first address became known
	lastStart  time.Time // when the newest attempt was started
	ready      bool      // the preferred family and the service query have answered
	complete   bool      // no further answer will come
	begun      bool      // the first attempt was allowed
	over       bool      // finished or given up
}

// racer is one connection attempt as the race sees it.
type racer struct {
	remote netip.AddrPort
	failed bool
}

// event is what happened: answered, failed, established, succeeded or ticked.
type event interface{ isEvent() }

// answered says that a family has answered and what is known now.
type answered struct {
	candidates []netip.AddrPort // all addresses known so far, in dial order
	ready      bool             // the preferred family and the service query have answered
	complete   bool             // no further answer will come
}

// failed says that the attempt on an address has failed.
type failed struct{ remote netip.AddrPort }

// succeeded says that the attempt on an address has connected.
type succeeded struct{ remote netip.AddrPort }

// established says that the attempt on an address has a TCP connection, on
// which what the dial counts as success is still to come.
type established struct{ remote netip.AddrPort }

// ticked says that the timer has fired.
type ticked struct{}

func (answered) isEvent()    {}
func (failed) isEvent()      {}
func (established) isEvent() {}
func (succeeded) isEvent()   {}
func (ticked) isEvent()      {}

// actionKind is what the driver has to do.
type actionKind uint8

const (
	startAttempt  actionKind = iota // connect to remote
	cancelAttempt                   // stop the attempt on remote
	setTimer                        // send ticked at the time given
	finish                          // remote is the connection
	giveUp                          // every address has failed, or there is none
)

// action is one thing for the driver to do. The timer is one: a setTimer
// replaces the one before it, and a step without setTimer leaves none set.
type action struct {
	kind   actionKind
	remote netip.AddrPort
	at     time.Time
}

// newRace returns a race with the two delays, the attempt delay within its bounds.
func newRace(resolutionDelay, attemptDelay time.Duration) *race {
	if resolutionDelay <= 0 {
		resolutionDelay = DefaultResolutionDelay
	}
	if attemptDelay <= 0 {
		attemptDelay = DefaultConnectionAttemptDelay
	}
	attemptDelay = min(max(attemptDelay, MinConnectionAttemptDelay), MaxConnectionAttemptDelay)
	return &race{resolutionDelay: resolutionDelay, attemptDelay: attemptDelay}
}

// step takes one event and returns what to do about it. Once it has returned
// finish or giveUp it returns nothing more.
func (r *race) step(now time.Time, ev event) []action {
	if r.over {
		return nil
	}
	switch ev := ev.(type) {
	case answered:
		r.learn(now, ev)
	case failed:
		r.fail(ev.remote)
	case established:
		r.extend(now, ev.remote)
	case succeeded:
		return r.win(ev.remote)
	}
	return r.advance(now)
}

// learn takes in an answer. The list replaces the one before: an attempt
// already started goes on whatever the list says, one not yet started is
// forgotten when its address is no longer there.
func (r *race) learn(now time.Time, ev answered) {
	r.candidates = ev.candidates
	r.ready = r.ready || ev.ready
	r.complete = r.complete || ev.complete
	if r.firstKnown.IsZero() && len(ev.candidates) > 0 {
		r.firstKnown = now
	}
}

// fail notes a failed attempt. When it was the newest one, the next need not
// wait for the Connection Attempt Delay.
func (r *race) fail(remote netip.AddrPort) {
	i := r.index(remote)
	if i < 0 || r.attempts[i].failed {
		return
	}
	r.attempts[i].failed = true
	r.running--
	if i == len(r.attempts)-1 || r.running == 0 {
		r.lastStart = time.Time{}
	}
}

// extend notes a TCP connection. When it is the newest attempt's, the next one
// waits a Connection Attempt Delay from now (Happy Eyeballs v3, section 4: the
// address answers, so the rest of the handshake gets its time).
func (r *race) extend(now time.Time, remote netip.AddrPort) {
	if i := r.index(remote); i >= 0 && i == len(r.attempts)-1 && !r.attempts[i].failed {
		r.lastStart = now
	}
}

// win ends the race: the first success cancels the rest.
func (r *race) win(remote netip.AddrPort) []action {
	r.over = true
	var out []action
	for _, a := range r.attempts {
		if a.remote != remote && !a.failed {
			out = append(out, action{kind: cancelAttempt, remote: a.remote})
		}
	}
	return append(out, action{kind: finish, remote: remote})
}

// advance starts the next attempt if its time has come, or says when it will.
func (r *race) advance(now time.Time) []action {
	if at, ok := r.beginning(); !ok || now.Before(at) {
		return r.wait(at)
	}
	r.begun = true
	next, ok := r.next()
	if !ok {
		return r.wait(time.Time{})
	}
	if at := r.lastStart.Add(r.attemptDelay); now.Before(at) {
		return r.wait(at)
	}
	r.attempts = append(r.attempts, racer{remote: next})
	r.running++
	r.lastStart = now
	out := []action{{kind: startAttempt, remote: next}}
	if _, more := r.next(); more {
		out = append(out, action{kind: setTimer, at: now.Add(r.attemptDelay)})
	}
	return out
}

// beginning returns when connecting may start (Happy Eyeballs v3: an address
// is known and the preferred family has answered, or the Resolution Delay has
// passed since an address is known), and false while no address is known.
func (r *race) beginning() (time.Time, bool) {
	switch {
	case r.begun:
		return time.Time{}, true
	case len(r.candidates) == 0:
		return time.Time{}, false
	case r.ready || r.complete:
		return time.Time{}, true
	}
	return r.firstKnown.Add(r.resolutionDelay), true
}

// wait returns the action for having nothing to start now: the timer, or
// giving up when nothing runs and nothing more can come.
func (r *race) wait(at time.Time) []action {
	if !at.IsZero() {
		return []action{{kind: setTimer, at: at}}
	}
	if r.running == 0 && r.complete {
		r.over = true
		return []action{{kind: giveUp}}
	}
	return nil
}

// next returns the first address not yet tried, if another attempt may run.
func (r *race) next() (netip.AddrPort, bool) {
	if r.running >= maxRunningAttempts {
		return netip.AddrPort{}, false
	}
	for _, c := range r.candidates {
		if r.index(c) < 0 {
			return c, true
		}
	}
	return netip.AddrPort{}, false
}

// index returns the position of remote's attempt, or -1.
func (r *race) index(remote netip.AddrPort) int {
	return slices.IndexFunc(r.attempts, func(a racer) bool { return a.remote == remote })
}
