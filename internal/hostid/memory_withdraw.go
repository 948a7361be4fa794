package hostid

import (
	"net/netip"
	"time"
)

// WithdrawPause is for how long after a withdrawal what is proven of the pair anew
// stands: however often somebody can have a join refused, a pair costs the others
// one proof in that time.
const WithdrawPause = 10 * time.Minute

// Withdraw takes back what was proven of two addresses of a name, that they are one
// host: on a connection to first, a join of addr that began at the time at was
// refused. That is no proof of the opposite, the port may be closed or a firewall in
// the way, so nothing takes the proof's place, and no try is put off: the next join
// tells. It tells whether a proof was taken back.
//
// A proof stands that is not older than the join, that was made at another port than
// the connection's (of one whose port is not known, any counts), or that follows a
// withdrawal within [WithdrawPause]. What is recorded later as of an earlier time is
// not kept. Snapshot leaves the withdrawals out.
func (m *Memory) Withdraw(name string, first netip.AddrPort, addr netip.Addr, at time.Time) bool {
	k, ok := newPair(name, first.Addr(), addr)
	if !ok {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries.peek(k)
	if e == nil || !e.withdrawable(first.Port(), at) {
		return false
	}
	*e = entry{pair: k, withdrawn: at}
	return true
}

// withdrawable tells whether the refusal of a join at a port, begun at a time, says
// that the pair's proof holds no more.
func (e *entry) withdrawable(port uint16, at time.Time) bool {
	return e.proof.Verdict() == Same && e.proven.Before(at) && at.Before(e.expires()) &&
		(e.port == 0 || e.port == port) && !at.Before(e.withdrawn.Add(WithdrawPause))
}
