package dialer

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/resolver"
)

// Verdict is what is known of an address and the connection, in words.
type Verdict string

// The verdicts. A refusal is the answer of another MPTCP host and of a closed
// port alike, which [Dialer].Probe tells apart.
const (
	First        Verdict = "first"            // the connection began with it
	Joined       Verdict = "joined"           // the same host, proven by MP_JOIN
	LimitReached Verdict = "limit reached"    // the same host, proven; it takes no more subflows
	Refused      Verdict = "refused"          // another host or a closed port
	OtherHost    Verdict = "other MPTCP host" // refused, and a probe reached Multipath TCP
	ClosedPort   Verdict = "closed port"      // refused, and a probe was refused too
	NotMPTCP     Verdict = "not MPTCP"        // the answer had no Multipath TCP in it
	TimedOut     Verdict = "timed out"        // no answer in time
	Unreachable  Verdict = "unreachable"      // the network says so
	NotTried     Verdict = "not tried"        // Err says why
)

// verdictOf returns the outcome of a join as a verdict.
func verdictOf(o hostid.Outcome) Verdict {
	switch o {
	case hostid.Joined:
		return Joined
	case hostid.LimitReached:
		return LimitReached
	case hostid.Refused:
		return Refused
	case hostid.OtherHost:
		return OtherHost
	case hostid.ClosedPort:
		return ClosedPort
	case hostid.NotMPTCP:
		return NotMPTCP
	case hostid.TimedOut:
		return TimedOut
	case hostid.Unreachable:
		return Unreachable
	}
	return NotTried
}

// Join is what became of one further address of the record.
type Join struct {
	Remote  netip.AddrPort
	Local   netip.AddrPort // of the subflow; invalid where there never was one
	Verdict Verdict
	Err     error         // why there is no subflow, or none any more; nil while there is one
	Elapsed time.Duration // until the verdict; zero for NotTried
	// Believed is what was thought, before, of whether the address is the host that
	// the connection reached: "same", "different" or "unknown"; "" where it was not
	// asked. Known is what that rests on: "nothing is known".
	Believed string
	Known    string
}

// Report explains a connection.
type Report struct {
	// Name is the name dialled, "" for a literal address or a record.
	Name string
	// Manager says who adds subflows: "direct" (this process), "broker" (for
	// this process, see Dialer.Broker), "kernel" (the
	// kernel's own path manager, for addresses that the peer announces), or
	// "none".
	Manager string
	// Why says in a sentence why it is that Manager.
	Why string
	// Fallback says in a sentence why the connection is plain TCP; "" when it is
	// Multipath TCP.
	Fallback string
	// Lacking are socket options that the dial asked for and the connection does
	// not have, each with the system's word.
	Lacking []error
	// DeniesInitial says that the peer asked not to be joined at the address that
	// the connection began with, as load balancers do (the C flag of RFC 8684
	// section 3.1), which is honoured. It is known where this process has the
	// right to the path manager, and of a broker that was there when the
	// connection was made.
	DeniesInitial bool
	// Attempts are the connection attempts of the race, in order of starting.
	Attempts []Attempt
	// Joins are the other addresses of the record, in the order of offering.
	Joins []Join
	// WastedJoins is how many of Joins were sent and answered, but not by the
	// connection's host as one that takes them: Refused, OtherHost, ClosedPort and
	// NotMPTCP.
	WastedJoins int
	// MissedJoins is how many of Joins were not tried though the address is not
	// believed to be another host's; each one's Err says why.
	MissedJoins int
	// Resolve is the time until the look-up had its last answer so far; zero
	// where nothing was looked up.
	Resolve time.Duration
	// Connect is the time from the beginning of the dial until it was connected.
	Connect time.Duration
	// Joined is the time from then until the last join succeeded; zero when none
	// has.
	Joined time.Duration
	// Answer is the look-up's answer as far as it had come; nil for a literal
	// address or a record. Its Hosts and Pairs count what the dialer's joins have
	// shown until they are first asked for.
	Answer *resolver.Answer
}

// Report tells how the connection was made and what became of each address. It
// may be called at any time; what it says of joins can change until
// [Conn.WaitJoins] has returned.
func (c *Conn) Report() Report {
	r := c.dialed
	r.Answer, r.Lacking = c.answer(), c.stream.lacking
	r.Fallback = c.fallbackReason()
	r.Manager, r.Why = c.manager()
	r.DeniesInitial = c.subflows != nil && c.subflows.denies()
	if c.subflows != nil {
		c.subflows.report(&r)
	} else {
		c.reportUntried(&r)
	}
	if r.Manager != managerDirect && r.Manager != managerBroker {
		c.markKernelJoins(&r)
	}
	r.countJoins()
	return r
}

// answer returns the look-up's answer, to be judged by all that is known by now.
func (c *Conn) answer() *resolver.Answer {
	a := c.look.answer()
	if a != nil {
		a.RememberAs(c.memory, c.target.key())
	}
	return a
}

// countJoins counts what was wasted and what was missed.
func (r *Report) countJoins() {
	for _, j := range r.Joins {
		switch j.Verdict {
		case Refused, OtherHost, ClosedPort, NotMPTCP:
			r.WastedJoins++
		case NotTried:
			if j.Err != nil && j.Believed != hostid.Different.String() {
				r.MissedJoins++
			}
		}
	}
}

// report fills in the joins.
func (s *subflows) report(r *Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.joiner.joins {
		j := Join{Remote: n.remote, Local: n.local, Verdict: verdictOf(n.outcome), Err: n.err, Believed: n.believed.String(), Known: n.why}
		j.Elapsed = n.elapsed()
		if n.state == joinWaiting && s.joiner.full() {
			j.Err = errTooMany
		}
		if !n.proven.IsZero() {
			r.Joined = max(r.Joined, n.proven.Sub(s.started))
		}
		r.Joins = append(r.Joins, j)
	}
}

// reportUntried lists the addresses of a connection to which nothing is added.
func (c *Conn) reportUntried(r *Report) {
	reason := errNoSubflows
	if r.Fallback != "" {
		reason = errPlain
	}
	candidates, _ := c.look.known()
	for _, a := range candidates {
		if a != c.remote {
			r.Joins = append(r.Joins, Join{Remote: a, Verdict: NotTried, Err: reason})
		}
	}
}

// elapsed returns the time from the SYN to the verdict.
func (n *join) elapsed() time.Duration {
	switch {
	case !n.proven.IsZero():
		return n.proven.Sub(n.begun)
	case n.outcome != hostid.NotTried:
		return n.ended.Sub(n.begun)
	}
	return 0
}

// markKernelJoins gives the verdicts of what the kernel's own path manager has
// joined: the addresses of the record that have a subflow.
func (c *Conn) markKernelJoins(r *Report) {
	if infos, err := c.subflowInfos(); err == nil {
		markJoined(r.Joins, infos)
	}
}

// markJoined notes the joins that have a subflow.
func markJoined(joins []Join, infos []mptcp.SubflowInfo) {
	for _, i := range infos {
		n := slices.IndexFunc(joins, func(j Join) bool { return j.Remote == i.Remote })
		if n >= 0 && carriesData(i.TCP.State) {
			joins[n].Verdict, joins[n].Local, joins[n].Err = Joined, i.Local, nil
		}
	}
}

// fallbackReason says why the connection is plain TCP, "" if it is not.
func (c *Conn) fallbackReason() string {
	switch {
	case c.target.plain != "":
		return c.target.plain
	case c.stream.plain != nil:
		return fmt.Sprintf("this system makes no Multipath TCP socket: %v", c.stream.plain)
	case c.id != 0 && !c.fellBack():
		return ""
	case c.id != 0:
		return "the connection fell back after it was made: something on the path removes or alters Multipath TCP options"
	case c.blackholed():
		return "Multipath TCP is switched off for new connections of this network namespace, because its SYNs had no answer and a plain one had " +
			"(the counters Blackhole and MPCapableSYNTXDisabled of MPTcpExt); any write to net.mptcp.blackhole_timeout switches it on again"
	}
	return "the peer, or something on the path to it, does not speak Multipath TCP"
}
