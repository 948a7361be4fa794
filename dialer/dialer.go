package dialer

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/netip"
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
	Control func(network, address string, c syscall.RawConn) error
	// ControlContext is Control with the context of the dial.
	ControlContext func(ctx context.Context, network, address string, c syscall.RawConn) error

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

	// Multipath governs the network "tcp".
	Multipath Mode
	// MaxSubflows is how many subflows a connection gets besides its first. Zero
	// is DefaultMaxSubflows; negative is none.
	MaxSubflows int
	// JoinTimeout is how long a join may go without an answer. Zero is
	// DefaultJoinTimeout.
	JoinTimeout time.Duration
	// Probe looks into refused joins: a connection of its own to the address,
	// closed at once, tells another MPTCP host from a closed port. That host's
	// application sees a connection without data.
	Probe bool
	// Broker is the socket of the broker that adds the subflows where this
	// process may not: "" is the daemon's, BrokerOff none. A broker that is
	// absent, slow or dies costs the subflows, never the connection.
	Broker string

	managers sharedManager // the path manager that the connections share

	once   sync.Once
	memory *hostid.Memory
	system *resolver.Resolver // in place of a nil Resolver
}

// prepare makes what the first dial needs.
func (d *Dialer) prepare() {
	d.once.Do(func() {
		d.memory = hostid.NewMemory(0)
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
	bounded, cancel := d.bound(ctx, begin)
	defer cancel()
	look := d.lookUp(ctx, t)
	s, log, err := d.race(bounded, t, look, begin)
	if err != nil {
		look.stop()
		return nil, dialError(t.network, t.address, log, look.explain(err))
	}
	return d.newConn(t, s, look, log, begin), nil
}

// bound returns ctx with the dialer's own limits.
func (d *Dialer) bound(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
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
func (d *Dialer) race(ctx context.Context, t target, look *lookup, begin time.Time) (*stream, []Attempt, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if len(t.candidates) == 1 {
		return d.connectOnly(ctx, t)
	}
	connect := func(ctx context.Context, remote netip.AddrPort) (*stream, error) {
		return d.connectTCP(ctx, remote, t.want)
	}
	run := newDriver(newRace(d.ResolutionDelay, d.ConnectionAttemptDelay), begin, connect)
	s, won, err := run.run(ctx, look.answers())
	d.rememberAttempts(t, run.log)
	if err == nil && !won {
		err = errAllFailed
	}
	return s, run.log, err
}

// connectOnly connects to the only candidate.
func (d *Dialer) connectOnly(ctx context.Context, t target) (*stream, []Attempt, error) {
	begin, remote := time.Now(), t.candidates[0]
	s, err := d.connectTCP(ctx, remote, t.want)
	log := []Attempt{{Remote: remote, Elapsed: time.Since(begin), Err: mapContextError(err)}}
	if err != nil {
		return nil, log, errAllFailed
	}
	return s, log, nil
}

// source returns what names are looked up with.
func (d *Dialer) source() source {
	if d.Resolver != nil {
		return names{d.Resolver}
	}
	return names{d.system}
}

// names is a resolver as a source.
type names struct{ *resolver.Resolver }

func (n names) services() bool                       { return n.HTTPS }
func (n names) prefersIPv6(ctx context.Context) bool { return prefersIPv6(ctx) }

func (n names) stream(ctx context.Context, name string) iter.Seq2[resolver.FamilyResult, error] {
	return n.Stream(ctx, name)
}

func (n names) merge(ctx context.Context, name string, port uint16, families []resolver.FamilyResult) *resolver.Answer {
	return n.Merge(ctx, name, port, families)
}
