package dialer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

// Mode says whether the network "tcp" uses Multipath TCP.
type Mode uint8

const (
	// MultipathAuto uses Multipath TCP where the system has it, plain TCP
	// elsewhere.
	MultipathAuto Mode = iota
	// MultipathOff uses plain TCP.
	MultipathOff
)

// Fallback says what becomes of a dial where there is no Multipath TCP: on this
// system, at the peer, or on the path between them.
type Fallback uint8

const (
	// FallbackPlain goes on with plain TCP, and Report.Fallback says why. Of the
	// system itself "multipath" and [Dialer.Connect] demand Multipath TCP all the
	// same: ErrMultipathUnsupported.
	FallbackPlain Fallback = iota
	// FallbackError fails: with ErrMultipathUnsupported where the system has none,
	// with ErrNotMultipath where an address was reached by plain TCP only. The next
	// address has its turn then. The networks "tcp4" and "tcp6", and dials for
	// which Multipath TCP is switched off, stay plain.
	FallbackError
)

// MultipathEnv is the environment variable that switches Multipath TCP off where
// it is "0", whatever the program asks for: "tcp" is plain TCP then, "multipath"
// and [Dialer.Connect] fail with ErrMultipathUnsupported. Other values change
// nothing. A Dialer reads it at its first dial.
const MultipathEnv = "MPRESOLVE_MPTCP"

// Dialer connects to names and records. Its zero value is ready: it dials like
// net.Dialer, with Happy Eyeballs version 3, and with Multipath TCP where the
// kernel has it. The zero value of each field is dialing without that option.
//
// A Dialer remembers which addresses of a name were the same host, so use one
// for many dials. Its methods are safe for concurrent use. It must not be
// copied, nor its fields changed, after its first use.
type Dialer struct {
	// Resolver looks up names. Nil: one with the system's configuration, made
	// at the first need.
	Resolver *resolver.Resolver

	// Timeout is the most time a dial takes, look-up included. Zero is none; the
	// system may have its own.
	Timeout time.Duration
	// Deadline is when dials fail at the latest. Zero is none.
	Deadline time.Time

	// KeepAlive is the interval of keep-alive probes: zero is 15 seconds,
	// negative is none. Ignored where KeepAliveConfig.Enable is set.
	KeepAlive time.Duration
	// KeepAliveConfig sets keep-alive probes in detail.
	KeepAliveConfig net.KeepAliveConfig

	// Control is called once for each socket, before it connects. The network is
	// "tcp4" or "tcp6" for the family of the address, which need not be the
	// family of the socket: an IPv6 socket is used for both, so that subflows of
	// both can be added. Ignored where ControlContext is set.
	//
	// An error that is ENOPROTOOPT or EOPNOTSUPP, of a socket option that
	// Multipath TCP lacks, does not fail the dial: it is called again for a plain
	// TCP socket, or, where the dial is for Multipath TCP only, left at that and
	// told in Report.Lacking.
	Control func(network, address string, c syscall.RawConn) error
	// ControlContext is Control with the context of the dial.
	ControlContext func(ctx context.Context, network, address string, c syscall.RawConn) error

	// Cancel is an optional channel whose closing cancels dials, for programs that
	// set it in net.Dialer. Use the context of DialContext instead.
	Cancel <-chan struct{}

	// FastOpen uses TCP Fast Open (RFC 7413): with an address that gave this host
	// a cookie before, the SYN is sent by the first write and has its octets in it;
	// they may arrive twice. As such a connection is no proof that the address
	// answers, dials that race several addresses use it only where Success or
	// TLSDial gives that proof. It is for plain TCP: Multipath TCP, and a system
	// without it, go without, and Report.Lacking says why.
	FastOpen bool

	// Success, if set, is what the race counts as success beyond a TCP connection:
	// it is called on each *net.TCPConn made, and the first for which it returns nil
	// becomes the dial's (Happy Eyeballs v3, section 4). When an address has
	// connected, the next one gets its turn a Connection Attempt Delay later. It
	// may read and write; when ctx is done its reads and writes fail. It is called
	// from several goroutines at once. TLSDial has its own.
	Success func(ctx context.Context, c net.Conn) error

	// ConnectionAttemptDelay is the time between the starts of two connection
	// attempts. Zero is DefaultConnectionAttemptDelay; it is kept within
	// MinConnectionAttemptDelay and MaxConnectionAttemptDelay.
	ConnectionAttemptDelay time.Duration
	// ResolutionDelay is how long a dial waits for the preferred family's
	// answer. Zero is DefaultResolutionDelay.
	ResolutionDelay time.Duration
	// PreferredFamilyCount is how many addresses of the first family come before
	// the first of the other. Zero is 1, Happy Eyeballs' default. A Resolver has
	// its own setting, and this one is ignored.
	PreferredFamilyCount int

	// Multipath governs the network "tcp". The environment variable MPRESOLVE_MPTCP
	// switches Multipath TCP off for a whole program: see MultipathEnv.
	Multipath Mode
	// Fallback says what becomes of a dial that finds no Multipath TCP.
	Fallback Fallback
	// MaxSubflows is how many subflows a connection gets besides its first. Zero
	// is DefaultMaxSubflows; negative is none.
	MaxSubflows int
	// JoinTimeout is how long a join may go without an answer. Zero is
	// DefaultJoinTimeout.
	JoinTimeout time.Duration
	// Probe looks into refused joins: a connection of its own to the address,
	// closed at once, tells another MPTCP host from a closed port. That host's
	// application sees a connection without data. See also ErrRefusalUnclear.
	Probe bool
	// Broker is the socket of the broker that adds the subflows where this
	// process may not: "" is the daemon's, BrokerOff none. A broker that is
	// absent, slow or dies costs the subflows, never the connection. Where this
	// process adds them itself, the broker only keeps and tells what the machine's
	// programs learn of which addresses are one host.
	Broker string

	// Local are the addresses of this machine that connections may use: a
	// wildcard stands for all of its family, the ports are not used. Empty,
	// with LocalInterfaces: all. Both are followed on Linux only.
	Local mpaddr.Addr
	// LocalInterfaces are the interfaces whose addresses connections may use, by
	// name, besides those of Local.
	LocalInterfaces []string
	// Paths says between which addresses a connection has paths.
	Paths PathPolicy
	// Use says which of the paths carry data.
	Use PathUse
	// Announced says what becomes of addresses that peers announce.
	Announced AnnouncedPolicy
	// Unknown says what becomes of addresses that may be another host's.
	Unknown UnknownPolicy
	// OnPath is told of each change of a connection's paths, from the
	// connection's own goroutine, one after the other. It must not block, nor
	// call Close, WaitJoins, Reconnect or Rebind of the connection.
	OnPath func(*Conn, PathEvent)

	managers sharedManager // the path manager that the connections share
	monitors sharedMonitor // what they see of this machine's network
	created  createdWatch  // what their peers say of their first address

	history history // how connection attempts went

	once   sync.Once
	memory *hostid.Memory
	system *resolver.Resolver // in place of a nil Resolver
	off    bool               // MultipathEnv says so
}

// prepare makes what the first dial needs.
func (d *Dialer) prepare() {
	d.once.Do(func() {
		d.memory = hostid.NewMemory(0)
		d.off = os.Getenv(MultipathEnv) == "0"
		d.system = &resolver.Resolver{PreferredFamilyCount: d.PreferredFamilyCount}
	})
}

// Dial is [Dialer.DialContext] without a context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to address, "host:port", where host is a name or an IP
// address and port a number or a service name. The networks are "tcp", "tcp4",
// "tcp6" and "multipath": see the package comment. What it returns is a [*Conn].
//
// ctx and the dialer's own limits bound the dial, not the connection. Further
// subflows are added later and never delay the return. An error is a
// [*net.OpError] that unwraps to the errors of all addresses tried.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	t, err := parseTarget(ctx, network, address, d.Multipath)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	c, err := d.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Connect connects to a record in hand: to the first of its addresses that
// answers, by Happy Eyeballs in the record's order, with Multipath TCP; the
// others of the same port are then offered as subflows
// (draft-sarolahti-mptcp-af-multipath-01, section 4.2). [Conn.Report] has the
// result for each address. Its errors are those of the network "multipath".
func (d *Dialer) Connect(ctx context.Context, set mpaddr.Addr) (*Conn, error) {
	t := target{network: mpaddr.Network, address: set.String(), want: requireMPTCP, sets: true}
	for _, e := range set.All() {
		t.candidates = append(t.candidates, e.Target())
	}
	if len(t.candidates) > 0 {
		t.port = t.candidates[0].Port()
	}
	return d.dial(ctx, t)
}

// dial resolves, races and wraps the winner.
func (d *Dialer) dial(ctx context.Context, t target) (*Conn, error) {
	d.prepare()
	begin := time.Now()
	if err := d.apply(&t); err != nil {
		return nil, &net.OpError{Op: "dial", Net: t.network, Addr: asked{t.network, t.address}, Err: err}
	}
	defer d.watchCreated(t)()
	bounded, cancel := d.bound(ctx, begin)
	defer cancel()
	past := d.recall()
	defer past.leave()
	look := d.lookUp(ctx, t, past)
	s, log, err := d.race(bounded, t, look, past, begin)
	if err != nil {
		look.stop()
		return nil, dialError(t.network, t.address, log, look.explain(err))
	}
	if s.declined != "" {
		t.plain = s.declined
	}
	return d.newConn(t, s, look, told(log, s), begin), nil
}

// told returns the log with what the winner knows of its own attempt.
func told(log []Attempt, s *stream) []Attempt {
	for i := range log {
		if log[i].Err == nil {
			log[i].Via = s.via
		}
	}
	return log
}

// apply adds the dialer's own wishes to a target.
func (d *Dialer) apply(t *target) error {
	switch {
	case t.want == plainTCP:
	case d.off && t.want == requireMPTCP:
		return fmt.Errorf("%w: %s", ErrMultipathUnsupported, whySwitchedOff)
	case d.off:
		t.want, t.plain = plainTCP, whySwitchedOff
	case d.Fallback == FallbackError:
		t.want, t.strict = requireMPTCP, true
	}
	if d.Success != nil && t.success == nil {
		t.success = func(ctx context.Context, s *stream) error { return d.Success(ctx, s.TCPConn) }
	}
	t.fast = d.FastOpen && (t.success != nil || len(t.candidates) == 1)
	return nil
}

// whySwitchedOff is a sentence for the environment's switch.
const whySwitchedOff = "Multipath TCP is switched off by " + MultipathEnv + "=0 in the environment"

// bound returns ctx with the dialer's own limits. The function it returns ends
// them and waits for what watches them.
func (d *Dialer) bound(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	if d.Cancel == nil {
		return d.boundInTime(ctx, now)
	}
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-d.Cancel:
			cancel()
		case <-ctx.Done():
		}
	}()
	timed, end := d.boundInTime(ctx, now)
	return timed, func() {
		end()
		cancel()
		<-watched
	}
}

// boundInTime returns ctx with the earlier of the dialer's Timeout and Deadline.
func (d *Dialer) boundInTime(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	deadline := d.Deadline
	if t := now.Add(d.Timeout); d.Timeout != 0 && (deadline.IsZero() || t.Before(deadline)) {
		deadline = t
	}
	if deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline)
}

// errAllFailed says that every address was tried.
var errAllFailed = errors.New("every address failed")

// race makes the connection attempts of a dial. A dial to one address given
// needs no race.
func (d *Dialer) race(ctx context.Context, t target, look *lookup, past *recall, begin time.Time) (*stream, []Attempt, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if len(t.candidates) == 1 {
		return d.connectOnly(ctx, t)
	}
	return d.raceAll(ctx, t, look, past, begin)
}

// raceAll races the addresses as the look-up brings them.
func (d *Dialer) raceAll(ctx context.Context, t target, look *lookup, past *recall, begin time.Time) (*stream, []Attempt, error) {
	connect := func(ctx context.Context, remote netip.AddrPort, established func()) (*stream, error) {
		return d.attempt(ctx, t, remote, established)
	}
	run := newDriver(newRace(d.ResolutionDelay, d.ConnectionAttemptDelay), begin, connect)
	s, won, err := run.run(ctx, look.answers())
	var conn *net.TCPConn
	switch {
	case won:
		conn = s.TCPConn
	case err == nil:
		err = errAllFailed
	}
	past.record(run.log, conn)
	return s, run.log, err
}

// connectOnly connects to the only candidate.
func (d *Dialer) connectOnly(ctx context.Context, t target) (*stream, []Attempt, error) {
	begin, remote := time.Now(), t.candidates[0]
	s, err := d.attempt(ctx, t, remote, func() {})
	log := t.log
	log = append(log, Attempt{Remote: remote, Elapsed: time.Since(begin), Err: mapContextError(err)})
	if err != nil {
		return nil, log, errAllFailed
	}
	return s, log, nil
}

// resolver returns what names are looked up with.
func (d *Dialer) resolver() *resolver.Resolver {
	if d.Resolver != nil {
		return d.Resolver
	}
	return d.system
}

// names is a resolver as a source, for a dial with a history.
type names struct {
	*resolver.Resolver
	past *recall
}

func (n names) services() bool                       { return n.HTTPS }
func (n names) prefersIPv6(ctx context.Context) bool { return prefersIPv6(ctx) }

func (n names) stream(ctx context.Context, name string) iter.Seq2[resolver.FamilyResult, error] {
	return n.Stream(ctx, name)
}

func (n names) merge(ctx context.Context, name string, port uint16, families []resolver.FamilyResult) *resolver.Answer {
	return n.Merge(ctx, name, port, families, n.past.way)
}
