package dialer

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// The memory keeps joins as pairs: the first subflow's address and the one
// joined. How a connection attempt went is kept beside them, under a key of its
// own, as if the unspecified address had been joined: it puts addresses that
// failed lately last in the next race. A refusal says something of the name and
// port that were dialled; silence says something of the way to the address, and
// counts for every name that has it.

// dialKey is the memory's key for the attempts of a target.
func (t target) dialKey() string { return "dial " + t.key() }

// wayKey is the memory's key for the ways to addresses, whatever was dialled.
const wayKey = "way"

// anyAddress stands in for the first address of a pair.
func anyAddress() netip.Addr { return netip.IPv4Unspecified() }

// rememberAttempts keeps how the attempts of a race went.
func (d *Dialer) rememberAttempts(t target, log []Attempt) {
	now := time.Now()
	for i, a := range log {
		outcome := attemptOutcome(a, i == len(log)-1)
		d.memory.Record(t.dialKey(), anyAddress(), a.Remote.Addr(), outcome, now)
		if outcome != hostid.Refused {
			d.memory.Record(wayKey, anyAddress(), a.Remote.Addr(), outcome, now)
		}
	}
}

// attemptOutcome returns what an attempt says of its address. One that lost the
// race counts as unanswered unless it was the last to start: the next one
// started because it had no answer within the Connection Attempt Delay.
func attemptOutcome(a Attempt, last bool) hostid.Outcome {
	switch {
	case a.Err == nil:
		return hostid.Joined
	case errors.Is(a.Err, errLost) && !last, errors.Is(a.Err, syscall.ETIMEDOUT):
		return hostid.TimedOut
	case errors.Is(a.Err, syscall.ECONNREFUSED):
		return hostid.Refused
	case isUnreachable(a.Err):
		return hostid.Unreachable
	}
	return hostid.NotTried
}

// dialOrder returns candidates with those that failed lately moved to the end,
// and whether there is one that did not.
func (d *Dialer) dialOrder(t target, candidates []netip.AddrPort) (list []netip.AddrPort, hopeful bool) {
	addrs := make([]netip.Addr, 0, len(candidates))
	for _, c := range candidates {
		addrs = append(addrs, c.Addr())
	}
	failed := make(map[netip.Addr]bool)
	for _, key := range []string{t.dialKey(), wayKey} {
		for _, c := range d.memory.Order(key, anyAddress(), addrs, time.Now()) {
			failed[c.Addr] = failed[c.Addr] || !c.Try
		}
	}
	list = make([]netip.AddrPort, 0, len(candidates))
	var bad []netip.AddrPort
	for _, c := range candidates {
		if failed[c.Addr()] {
			bad = append(bad, c)
		} else {
			list = append(list, c)
		}
	}
	return append(list, bad...), len(list) > 0
}
