package dialer

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/hostid"
)

// This file is what a connection knows of which addresses are its host, and who
// is told what it learns: the dialer's memory, and the broker for the other
// programs of the machine.

// evidence is what the look-up says of which addresses are one host, of a record
// in hand nothing, and what the peer's wish says of its first address.
func (s *subflows) evidence(others []netip.Addr) (out []hostid.Evidence) {
	if a := s.late.answer(); a != nil {
		a.RememberAs(s.memory, s.key)
		out = a.Evidence()
	}
	if s.denies() {
		out = append(out, hostid.Denied(s.first.Addr(), others, time.Now())...)
	}
	return out
}

// noteSighting keeps the set of addresses that a complete look-up saw: a set that
// changes from one look-up to the next tells of several hosts.
func (s *subflows) noteSighting() {
	a := s.late.answer()
	if _, complete := s.late.known(); a != nil && complete {
		a.RememberAs(s.memory, s.key)
		_ = a.Hosts() // to judge is to note
	}
}

// remember keeps what became of an address, here and, where a broker is at work,
// for the other programs of the machine.
func (s *subflows) remember(addr netip.Addr, o hostid.Outcome) {
	s.memory.Record(s.key, s.first.Addr(), addr, o, time.Now())
	if s.shared != nil && s.mayShare(addr) {
		_ = s.shared.Report(s.key, addr, sharedOutcome(o)) // it keeps no verdicts, or is gone
	}
}

// sharedVerdicts is a broker that keeps what the programs of the machine learn: a
// [broker.Client]. It answers within [broker.CommandTimeout], or what was
// set instead, or is gone.
type sharedVerdicts interface {
	SetTimeout(time.Duration)
	Report(name string, addr netip.Addr, o broker.Outcome) error
	LookUp(name string, addrs []netip.Addr) ([]broker.Finding, error)
}

// share asks the broker to keep and to tell verdicts beside a path manager of this
// process's own: what its joins prove is true for the machine's other programs
// too. A broker that is slow delays the joins once, by brokerTimeout, and is asked
// no more. release leaves it.
func (s *subflows) share(ctx context.Context) (release func()) {
	if s.attach == nil {
		return func() {}
	}
	beside, err := s.brokered(ctx)
	if err != nil {
		return func() {} // nothing is shared
	}
	if s.shared, _ = beside.(sharedVerdicts); s.shared != nil {
		s.shared.SetTimeout(brokerTimeout)
	}
	return interruptManager(ctx, beside)
}

// consult takes into the memory what the machine's other programs have learned of
// addresses that the broker was not asked about yet. The dial has returned
// before.
func (s *subflows) consult(candidates []netip.AddrPort) {
	if s.shared == nil {
		return
	}
	var addrs []netip.Addr
	for _, c := range candidates {
		a := c.Addr().Unmap()
		if c.Port() == s.first.Port() && s.mayShare(a) && !s.consulted[a] && len(s.consulted) < maxCandidates {
			s.consulted[a] = true
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return
	}
	found, _ := s.shared.LookUp(s.key, addrs) // it keeps no verdicts, or is gone
	for _, f := range found {
		s.memory.Record(s.key, s.first.Addr(), f.Addr, outcomeShared(f.Outcome), f.Time)
	}
}

// mayShare reports whether the broker takes what this connection says of an
// address, another one than its peer's: it has its own rules for what it
// refuses, and refuses all that is asked with it. Private addresses are not the
// same machine's in each network.
func (s *subflows) mayShare(a netip.Addr) bool {
	first := s.first.Addr()
	return a != first && belongsBeside(first, a) && (!a.IsPrivate() || first.IsPrivate())
}

// sharedOutcomes are the broker's outcomes by hostid's.
func sharedOutcomes() []broker.Outcome {
	return []broker.Outcome{
		hostid.NotTried: 0, hostid.Joined: broker.Joined, hostid.LimitReached: broker.LimitReached,
		hostid.Refused: broker.Refused, hostid.OtherHost: broker.OtherHost, hostid.ClosedPort: broker.ClosedPort,
		hostid.NotMPTCP: broker.NotMPTCP, hostid.TimedOut: broker.TimedOut, hostid.Unreachable: broker.Unreachable,
		hostid.Announced: broker.Announced,
	}
}

// sharedOutcome is an outcome in the broker's terms.
func sharedOutcome(o hostid.Outcome) broker.Outcome { return sharedOutcomes()[o] }

// outcomeShared is the broker's outcome in hostid's terms; of one that is not
// known here, NotTried.
func outcomeShared(o broker.Outcome) hostid.Outcome {
	return hostid.Outcome(max(slices.Index(sharedOutcomes(), o), 0))
}
