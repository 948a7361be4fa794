package dialer

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// recall is the history as one dial uses it: where this machine is now. What
// became of joins is kept elsewhere, by internal/hostid: it says which addresses
// are one host, not how the network is.
//
// Addresses of this machine have no history: they answer at once, whatever they
// answer.
type recall struct {
	history *history
	place   place
}

// recall returns the history for one dial, which ends with leave.
func (d *Dialer) recall() *recall {
	return &recall{&d.history, place{monitors: &d.monitors}}
}

func (r *recall) leave() { r.place.leave() }

// of returns what is known of an endpoint.
func (r *recall) of(remote netip.AddrPort) known {
	if remote.Addr().IsLoopback() {
		return known{}
	}
	at, _ := r.place.attachment(remote.Addr())
	return r.history.tell(at, remote, time.Now())
}

// way returns what the rules of address order want to know of an address.
func (r *recall) way(a netip.Addr) (rtt time.Duration, used bool) {
	k := r.of(netip.AddrPortFrom(a, 0))
	return k.rtt, k.used
}

// order returns candidates with those that failed lately moved to the end, and
// whether there is one that did not.
func (r *recall) order(candidates []netip.AddrPort) (list []netip.AddrPort, hopeful bool) {
	list = make([]netip.AddrPort, 0, len(candidates))
	var last []netip.AddrPort
	for _, c := range candidates {
		if r.of(c).last {
			last = append(last, c)
		} else {
			list = append(list, c)
		}
	}
	return append(list, last...), len(list) > 0
}

// record keeps how the attempts of a race went; conn is the winner's, nil where
// there was none. What was seen while this machine moved from one network to
// another is left out.
func (r *recall) record(log []Attempt, conn *net.TCPConn) {
	now := time.Now()
	for i, a := range log {
		if a.Remote.Addr().IsLoopback() {
			continue
		}
		var rtt time.Duration
		if a.Err == nil && conn != nil {
			rtt = roundTrip(conn)
		}
		if at, moved := r.place.attachment(a.Remote.Addr()); !moved {
			r.history.record(at, a.Remote, a.outcome(i == len(log)-1), rtt, now)
		}
	}
}

// outcome returns what an attempt says of its address. One that lost the
// race counts as unanswered unless it was the last to start: the next one
// started because it had no answer within the Connection Attempt Delay.
func (a Attempt) outcome(last bool) attemptOutcome {
	switch {
	case a.Err == nil:
		return attemptConnected
	case errors.Is(a.Err, errLost) && !last, errors.Is(a.Err, syscall.ETIMEDOUT):
		return attemptSilent
	case errors.Is(a.Err, syscall.ECONNREFUSED):
		return attemptRefused
	case isUnreachable(a.Err):
		return attemptUnreachable
	}
	return attemptUndecided
}
