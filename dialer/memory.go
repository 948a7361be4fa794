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
// failed lately last in the next race.

// dialKey is the memory's key for the attempts of a target.
func (t target) dialKey() string { return "dial " + t.key() }

// anyAddress stands in for the first address of a pair.
func anyAddress() netip.Addr { return netip.IPv4Unspecified() }

// rememberAttempts keeps how the attempts of a race went.
func (d *Dialer) rememberAttempts(t target, log []Attempt, delay time.Duration) {
	now := time.Now()
	for _, a := range log {
		d.memory.Record(t.dialKey(), anyAddress(), a.Remote.Addr(), attemptOutcome(a, delay), now)
	}
}

// attemptOutcome returns what an attempt says of its address. One that lost the
// race although it had started a Connection Attempt Delay earlier counts as
// unanswered.
func attemptOutcome(a Attempt, delay time.Duration) hostid.Outcome {
	switch {
	case a.Err == nil:
		return hostid.Joined
	case errors.Is(a.Err, errLost) && a.Elapsed >= delay, errors.Is(a.Err, syscall.ETIMEDOUT):
		return hostid.TimedOut
	case errors.Is(a.Err, syscall.ECONNREFUSED):
		return hostid.Refused
	case isUnreachable(a.Err):
		return hostid.Unreachable
	}
	return hostid.NotTried
}

// dialOrder returns candidates with those that failed lately moved to the end.
func (d *Dialer) dialOrder(t target, candidates []netip.AddrPort) []netip.AddrPort {
	addrs := make([]netip.Addr, 0, len(candidates))
	for _, c := range candidates {
		addrs = append(addrs, c.Addr())
	}
	failed := make(map[netip.Addr]bool)
	for _, c := range d.memory.Order(t.dialKey(), anyAddress(), addrs, time.Now()) {
		if !c.Try {
			failed[c.Addr] = true
		}
	}
	if len(failed) == 0 {
		return candidates
	}
	good := make([]netip.AddrPort, 0, len(candidates))
	var bad []netip.AddrPort
	for _, c := range candidates {
		if failed[c.Addr().Unmap()] {
			bad = append(bad, c)
		} else {
			good = append(good, c)
		}
	}
	return append(good, bad...)
}
