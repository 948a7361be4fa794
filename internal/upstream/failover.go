package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Defaults of the failover.
const (
	// DefaultHedge is how long one server may keep silent before the next is
	// asked too. Most names are answered sooner, even by a cold recursion.
	DefaultHedge = 500 * time.Millisecond
	// DefaultPenalty is how long a server that does not answer is asked last.
	DefaultPenalty = 30 * time.Second

	// missLimit is the sum of misses that bring the penalty: a try without an
	// answer is two, one overtaken by the next server is one.
	missLimit  = 2
	missFailed = 2
	missSlow   = 1
)

// FailoverOptions are the settings of a failover. The zero value is usable.
type FailoverOptions struct {
	// Strategy says which server is asked first; the zero value is InOrder.
	Strategy Strategy
	// Rounds is how often the whole list is gone through when no server
	// answers; 0 is once.
	Rounds int
	// Hedge is how long a server may keep silent before the next is asked as
	// well, the first useful answer winning; 0 is DefaultHedge, less than 0
	// never: then the next is asked only when one has failed.
	Hedge time.Duration
	// Penalty is how long a server that does not answer is asked last; 0 is
	// DefaultPenalty, less than 0 none.
	Penalty time.Duration
}

// Failover asks the servers in order until one is of use. The next is asked
// after an error (time-out, network error, malformed reply), after SERVFAIL,
// REFUSED, NOTIMP or FORMERR, after a lame referral, and, so that a dead server
// costs little, when a server is silent for the hedge time. NOERROR without
// records and NXDOMAIN are answers: no one else is asked.
//
// A server that failed for a question is asked last for that question, for
// [FailureTTL] and twice as long each time that it fails again (RFC 9520 section
// 3.2).
//
// When all servers reply but none is of use, the last reply is returned. When
// none replies, the error names them all.
func Failover(servers []Exchanger, o FailoverOptions) *Group {
	f := &Group{opts: o, rounds: max(o.Rounds, 1)}
	if o.Hedge == 0 {
		f.opts.Hedge = DefaultHedge
	}
	if o.Penalty == 0 {
		f.opts.Penalty = DefaultPenalty
	}
	if o.Strategy == Parallel {
		f.opts.Hedge, f.opts.Penalty = time.Nanosecond, -1 // all at once, so none is late
	}
	for _, s := range servers {
		f.members = append(f.members, &member{Exchanger: s})
	}
	return f
}

// Group is several servers asked as one.
type Group struct {
	opts    FailoverOptions
	rounds  int
	members []*member
	turn    atomic.Uint32 // counts queries, for Rotated
}

// member is one server and how it has behaved.
type member struct {
	Exchanger
	misses atomic.Int32
	until  atomic.Int64 // unix time in ns of the end of its penalty
	record
	failing
}

// outcome is what asking led to.
type outcome struct {
	reply Reply
	err   error
}

func (o outcome) useful() bool { return o.err == nil && !passOn(o.reply) }

// Exchange asks the servers as the group's strategy says.
func (f *Group) Exchange(ctx context.Context, q Query) (Reply, error) {
	if len(f.members) == 0 {
		return Reply{}, &Error{Query: q, Err: ErrNoServers}
	}
	start := time.Now()
	members := f.order(start, q)
	out := f.from(ctx, members, q)
	if out.err == nil {
		return out.reply, nil
	}
	return f.again(ctx, members, q, out, start)
}

// again goes through the servers for the rounds that are left after the first.
func (f *Group) again(ctx context.Context, members []*member, q Query, out outcome, start time.Time) (Reply, error) {
	for round := 1; round < f.rounds && out.err != nil && ended(ctx) == nil; round++ {
		if !isTimeout(out.err) && !pause(ctx, retryPause/2+rand.N(retryPause/2)) { //nolint:gosec // jitter, not a secret
			break
		}
		out = combine(out, f.from(ctx, members, q), q)
	}
	var e *Error
	if errors.As(out.err, &e) {
		whole := *e
		whole.Elapsed = time.Since(start)
		return Reply{}, &whole
	}
	return out.reply, out.err
}

// order returns the servers, those with a penalty, or that failed for q, last.
func (f *Group) order(now time.Time, q Query) []*member {
	start := 0
	switch f.opts.Strategy {
	case Fastest:
		return f.byRTT(now, q)
	case Rotated:
		start = int(f.turn.Add(1)-1) % len(f.members)
	}
	if start == 0 && !f.anyLast(now, q) {
		return f.members
	}
	good := make([]*member, 0, len(f.members))
	var bad []*member
	for i := range f.members {
		m := f.members[(start+i)%len(f.members)]
		if m.isLast(now, q) {
			bad = append(bad, m)
		} else {
			good = append(good, m)
		}
	}
	return append(good, bad...)
}

func (f *Group) anyLast(now time.Time, q Query) bool {
	for _, m := range f.members {
		if m.isLast(now, q) {
			return true
		}
	}
	return false
}

// isLast reports whether others are to be asked before m.
func (m *member) isLast(now time.Time, q Query) bool { return m.punished(now) || m.failedFor(q, now) }

func (m *member) punished(now time.Time) bool { return now.UnixNano() < m.until.Load() }

// from asks the first of members, and those after it when it is of no use or
// silent for too long.
func (f *Group) from(ctx context.Context, members []*member, q Query) outcome {
	switch {
	case len(members) == 1:
		return f.ask(ctx, ctx, members[0], q)
	case f.opts.Hedge < 0:
		return f.inTurn(ctx, members, q)
	}
	return f.hedged(ctx, members, q)
}

// hedged asks the first, and those after it too when it is silent for too long.
func (f *Group) hedged(ctx context.Context, members []*member, q Query) outcome {
	own, cancelOwn := context.WithCancel(ctx)
	defer cancelOwn()
	others, cancelOthers := context.WithCancel(ctx)
	defer cancelOthers()
	var hedged outcome
	done := make(chan struct{})
	silent := resumes(ctx, members[0].Exchanger, q).since()
	timer := time.AfterFunc(max(0, f.opts.Hedge-silent), func() {
		defer close(done)
		hedged = f.from(others, members[1:], q)
		if hedged.useful() {
			cancelOwn()
		}
	})
	first := f.ask(own, ctx, members[0], q)
	if timer.Stop() {
		if first.useful() || ended(ctx) != nil {
			return first
		}
		return combine(first, f.from(ctx, members[1:], q), q)
	}
	if first.useful() {
		cancelOthers()
	}
	<-done
	if first.useful() {
		return first
	}
	return combine(first, hedged, q)
}

// inTurn asks one after the other.
func (f *Group) inTurn(ctx context.Context, members []*member, q Query) outcome {
	out := f.ask(ctx, ctx, members[0], q)
	for _, m := range members[1:] {
		if out.useful() || ended(ctx) != nil {
			break
		}
		out = combine(out, f.ask(ctx, ctx, m, q), q)
	}
	return out
}

// ask asks one server and notes how it behaved. The end of own alone means
// that another server was faster; the end of whole says nothing about it.
func (f *Group) ask(own, whole context.Context, m *member, q Query) outcome {
	start := time.Now()
	m.begin(start)
	reply, err := m.Exchange(own, q)
	m.end(time.Since(start), err, own.Err() != nil)
	if len(f.members) > 1 && (err == nil || own.Err() == nil && ended(whole) == nil) {
		m.note(q, outcome{reply, err}.useful(), time.Now())
	}
	switch {
	case err == nil:
		m.misses.Store(0)
		m.until.Store(0)
	case ended(whole) != nil:
	case own.Err() != nil:
		f.miss(m, missSlow)
	default:
		f.miss(m, missFailed)
	}
	return outcome{reply, err}
}

// credit notes that m has replied.
func (f *Group) credit(m *member, q Query, out outcome, start time.Time) {
	m.end(time.Since(start), nil, false)
	m.misses.Store(0)
	m.until.Store(0)
	if len(f.members) > 1 {
		m.note(q, out.useful(), time.Now())
	}
}

func (f *Group) miss(m *member, n int32) {
	if m.misses.Add(n) >= missLimit && f.opts.Penalty > 0 {
		m.until.Store(time.Now().Add(f.opts.Penalty).UnixNano())
	}
}

// combine chooses between what two servers said: a useful reply before any
// reply, that before errors, which are joined.
func combine(a, b outcome, q Query) outcome {
	switch {
	case a.useful() || (a.err == nil && b.err != nil):
		return a
	case b.err == nil:
		return b
	}
	return outcome{err: joinErrors(a.err, b.err, q)}
}

func joinErrors(a, b error, q Query) error {
	var ea, eb *Error
	if !errors.As(a, &ea) || !errors.As(b, &eb) {
		return b
	}
	return &Error{
		Server: union(ea.Server, eb.Server), Proto: eb.Proto, Query: q, RCode: max(ea.RCode, eb.RCode),
		Timeout: ea.Timeout && eb.Timeout, Tries: ea.Tries + eb.Tries,
		Err: eb.Err,
	}
}

// union joins two lists of servers, none named twice.
func union(a, b string) string {
	const comma = ", "
	servers := strings.Split(a, comma)
	for _, s := range strings.Split(b, comma) {
		if !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	return strings.Join(servers, comma)
}

// passOn reports whether another server may know better.
func passOn(r Reply) bool {
	switch r.RCode() {
	case dnswire.RCodeSuccess:
		return isLame(r.Msg)
	case dnswire.RCodeServerFailure, dnswire.RCodeRefused, dnswire.RCodeNotImplemented, dnswire.RCodeFormatError, dnswire.RCodeBadCookie:
		return true
	}
	return false
}

// isLame reports whether the reply is a referral from a server that does not
// recurse: nothing for a stub resolver.
func isLame(msg []byte) bool {
	p := dnswire.NewParser(msg)
	h := p.Header()
	if h.AN != 0 || h.NS == 0 || h.AA() || h.RA() {
		return false
	}
	for rr, ok := p.Next(); ok && rr.Section <= dnswire.SectionAuthority; rr, ok = p.Next() {
		if rr.Type == dnswire.TypeSOA {
			return false
		}
	}
	return true
}
