package broker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	// MaxName is the length of the longest name in a report, octets (RFC 1035
	// section 2.3.4).
	MaxName = 255
	// MaxLookup is how many addresses one look-up may have: as many as fit into
	// a message with the longest name.
	MaxLookup = 12
)

// Outcome is what became of an address of a name while a connection to another
// address of it was there. The numbers are those of the protocol.
type Outcome uint8

// The outcomes; zero is that nothing is known.
const (
	Joined       Outcome = iota + 1 // the join succeeded: the same host
	LimitReached                    // the join succeeded and was closed at once: the same host
	Announced                       // the peer announced the address: the same host
	OtherHost                       // the join was refused, and the address speaks MPTCP
	Refused                         // the join was reset
	ClosedPort                      // nobody listens at the address
	NotMPTCP                        // the answer had no MPTCP
	TimedOut                        // there was no answer
	Unreachable                     // there is no way to the address
	outcomes                        // how many there are, with zero
)

// provable tells whether the broker can see the outcome itself.
func (o Outcome) provable() bool { return o == Joined || o == LimitReached || o == Announced }

// refusal tells whether the outcome begins with a join that was reset.
func (o Outcome) refusal() bool { return o == OtherHost || o == Refused || o == ClosedPort }

// Finding is what the broker was told of two addresses of one name.
type Finding struct {
	Name    string     // as the client has it, at most MaxName octets
	First   netip.Addr // the address of a connection's peer, as the broker read it
	Port    uint16     // the port of it
	Addr    netip.Addr // the other address
	Outcome Outcome
	Time    time.Time
	// Proven: the broker saw it on that connection itself: the kernel checked
	// the join's HMAC, or the announcement's. Otherwise it is what a client
	// says, and good for that user's programs only.
	Proven bool
	UID    uint32 // the client's user
}

// Memory keeps findings for all programs of the machine. Its methods are called
// by many goroutines; they must not block.
type Memory interface {
	// Record takes in a finding. How much is kept, and for how long, is the
	// memory's affair.
	Record(Finding)
	// LookUp returns what is known of two addresses of a name: the newest
	// finding that is Proven or of this user; false is nothing.
	LookUp(name string, first, addr netip.Addr, uid uint32) (Finding, bool)
	// Withdraw takes in that the broker has itself seen a join of Addr refused that
	// it made at Port at Time, on a connection whose peer has First and which was
	// alive. That proves nothing, but an older proof that the two are one host is
	// no proof any more, for anybody. It tells whether there was one.
	Withdraw(Finding) bool
}

// Why the broker has nothing to say.
var (
	errNoMemory = errors.New("the broker keeps no verdicts")
	errSameAddr = errors.New("the address is the peer's own")

	errName        = errors.New("not a name of 1 to 255 octets")
	errInvalidAddr = errors.New("invalid address")
)

// check refuses what cannot be put into a message that the broker accepts.
func (m request) check() error {
	if m.Op != opReport && m.Op != opLookUp {
		return nil
	}
	if n := len(m.Name); n < 1 || n > MaxName || !utf8.ValidString(m.Name) {
		return fmt.Errorf("%q: %w", m.Name, errName)
	}
	if slices.ContainsFunc(m.Addrs, func(a netip.Addr) bool { return !a.IsValid() }) {
		return errInvalidAddr
	}
	if m.Op == opReport && (m.Outcome == 0 || m.Outcome >= outcomes) {
		return fmt.Errorf("outcome %d: %w", m.Outcome, errValue)
	}
	return nil
}

// known is one answer of a look-up.
type known struct {
	Outcome Outcome
	Proven  bool
	Age     uint32 // seconds
}

// proves tells whether what was seen of a connection proves an outcome.
func (v *view) proves(o Outcome, addr netip.Addr) bool {
	switch o {
	case Joined, LimitReached:
		return v.joined[addr]
	case Announced:
		for _, a := range v.announced {
			if a.Addr() == addr {
				return true
			}
		}
	}
	return false
}

// about decides whether a connection to peer can tell anything of addr.
func about(addr, peer netip.Addr) error {
	if addr == peer {
		return fmt.Errorf("%v: %w", addr, errSameAddr)
	}
	if err := reachable(addr, peer); err != nil {
		return fmt.Errorf("%v: %w", addr, err)
	}
	return nil
}

// allAbout is about for several addresses.
func allAbout(addrs []netip.Addr, peer netip.Addr) error {
	for _, a := range addrs {
		if err := about(a, peer); err != nil {
			return err
		}
	}
	return nil
}

// lookUp asks a memory for a user. What the memory must not tell is left out.
func lookUp(m Memory, name string, first netip.Addr, addrs []netip.Addr, uid uint32, now time.Time) []known {
	var all []known
	for _, a := range addrs {
		f, ok := m.LookUp(name, first, a, uid)
		if !ok || !f.Proven && f.UID != uid || f.Outcome >= outcomes {
			f = Finding{Time: now}
		}
		age := min(max(now.Sub(f.Time)/time.Second, 0), 1<<31)
		all = append(all, known{f.Outcome, f.Proven, uint32(age)})
	}
	return all
}

// findings puts the answer of a look-up into the terms of the question.
func findings(name string, addrs []netip.Addr, all []known, now time.Time) []Finding {
	var found []Finding
	for i, k := range all {
		if k.Outcome == 0 || i >= len(addrs) {
			continue
		}
		found = append(found, Finding{
			Name: name, Addr: addrs[i], Outcome: k.Outcome, Proven: k.Proven,
			Time: now.Add(-time.Duration(k.Age) * time.Second),
		})
	}
	return slices.Clip(found)
}
