package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"
)

// AnswerTimeout bounds the work on one client's question, whatever the servers'
// own time-outs add up to. Stub resolvers give up at 5 to 10 s.
const AnswerTimeout = 7 * time.Second

// Beginner is an Exchanger that can ask without a goroutine that waits.
type Beginner interface {
	Exchanger
	// Begin asks what Exchange would ask and returns at once. False: nothing was
	// begun, and only Exchange can answer. Else done is told what comes of it,
	// within AnswerTimeout or soon after ctx ends.
	Begin(ctx context.Context, q Query, done Done) bool
}

// Done takes what Exchange would return. It is called on a goroutine of a [Mux],
// which it must not hold up. Below a [Cache] it may be called once more after an
// error, with the reply that came too late.
type Done func(Reply, error)

// Begin is next.Begin, false if next has none.
func Begin(ctx context.Context, next Exchanger, q Query, done Done) bool {
	b, ok := next.(Beginner)
	return ok && b.Begin(ctx, q, done)
}

// Map returns an Exchanger that gives what f makes of what next returns.
func Map(next Exchanger, f func(Query, Reply, error) (Reply, error)) Beginner {
	return &mapped{next, f}
}

type mapped struct {
	next Exchanger
	f    func(Query, Reply, error) (Reply, error)
}

func (m *mapped) Exchange(ctx context.Context, q Query) (Reply, error) {
	reply, err := m.next.Exchange(ctx, q)
	return m.f(q, reply, err)
}

func (m *mapped) Begin(ctx context.Context, q Query, done Done) bool {
	return Begin(ctx, m.next, q, func(reply Reply, err error) { done(m.contained(q, reply, err)) })
}

func (m *mapped) contained(q Query, reply Reply, err error) (r Reply, e error) {
	defer func() {
		if p := recover(); p != nil {
			e = panicked(p, reply.Msg)
		}
	}()
	return m.f(q, reply, err)
}

// PanicError is a panic of the code that read a reply. Replies come from the
// network, so it costs one question and not the program.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // where it was
	Reply []byte // the datagram
}

func panicked(p any, reply []byte) *PanicError {
	return &PanicError{p, debug.Stack(), bytes.Clone(reply)}
}

// Error names the value only.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// errSilent says that there was no reply in the time that one server has alone.
var errSilent = errors.New("no reply so far")

// begin asks the server once over UDP, from a port of the Mux. done has an error
// where only Exchange knows what to do: after errSilent it may be called again.
func (s *Server) begin(ctx context.Context, q Query, patience time.Duration, done Done) bool {
	if s.opts.Mux == nil || s.opts.UseTCP || remembered(&s.lostUDP) {
		return false
	}
	a := &asking{s: s, ctx: ctx, msg: s.message(q, s.useEDNS()), start: time.Now(), done: done}
	return s.ports.ask(a, patience)
}

// asking is a question in flight from a port.
type asking struct {
	s     *Server
	ctx   context.Context
	msg   message
	start time.Time
	done  Done
}

// take is told of the reply, which is valid during the call, or of why there is
// none.
func (a *asking) take(b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.done(Reply{}, panicked(p, b))
		}
	}()
	reply := Reply{Server: a.s.text, Proto: "udp", Tries: 1, RTT: time.Since(a.start)}
	if err == nil {
		reply.Msg, err = a.msg.accept(b)
		reply.rcode = uint16(reply.RCode()) + 1
	}
	switch {
	case err != nil:
		a.done(Reply{}, err)
	case isTruncated(reply.Msg):
		a.s.opts.Mux.run(a.overTCP)
	default:
		a.give(reply)
	}
}

// give hands a reply on, unless it is about the OPT record of the query.
func (a *asking) give(reply Reply) {
	if a.msg.isAboutEDNS(reply.RCode()) {
		a.done(Reply{}, errEDNS)
		return
	}
	a.done(reply, nil)
}

// errEDNS says that the reply is about the OPT record of the query.
var errEDNS = errors.New("the server does not take the query's OPT record")

// overTCP asks again, the reply having been truncated.
func (a *asking) overTCP() {
	defer func() {
		if p := recover(); p != nil {
			a.done(Reply{}, panicked(p, nil))
		}
	}()
	ctx, cancel := context.WithDeadline(a.ctx, a.start.Add(AnswerTimeout))
	defer cancel()
	reply, proto, err := a.s.onTCP(ctx, a.msg)
	if err != nil {
		a.done(Reply{}, err)
		return
	}
	reply.Server, reply.Proto, reply.Tries, reply.RTT = a.s.text, proto, 1, time.Since(a.start)
	a.give(reply)
}

// Begin implements Beginner: the first server is asked from a port of its Mux.
// When it is silent, or what it says is of no use, the group goes on as Exchange
// does, on a goroutine; a reply of the first that comes meanwhile still counts.
func (f *Group) Begin(ctx context.Context, q Query, done Done) bool {
	if len(f.members) == 0 || f.opts.Strategy == Parallel {
		return false
	}
	start := time.Now()
	members := f.order(start, q)
	s, ok := members[0].Exchanger.(*Server)
	if !ok || members[0].isLast(start, q) {
		return false
	}
	t := &firstTry{f: f, ctx: ctx, query: q, members: members, start: start, done: done}
	if !s.begin(ctx, q, f.patience(), t.take) {
		return false
	}
	members[0].begin(start)
	return true
}

// patience is how long the first server is waited for alone.
func (f *Group) patience() time.Duration {
	if len(f.members) > 1 && f.opts.Hedge > 0 {
		return f.opts.Hedge
	}
	return firstRetransmit*3/4 + rand.N(firstRetransmit/2) //nolint:gosec // jitter, not a secret
}

// firstTry is a question that Group.Begin put to members[0].
type firstTry struct {
	f       *Group
	ctx     context.Context
	query   Query
	members []*member
	start   time.Time
	done    Done

	// Of goOn; nil before. The cause of own's end is a lateReply, or errOver.
	own  context.Context
	stop context.CancelCauseFunc
}

// lateReply ends the search for a reply: that of the first server came after all.
type lateReply struct{ reply Reply }

func (*lateReply) Error() string { return "the first server has answered" }

// errOver says that the search is over.
var errOver = errors.New("answered")

// take is told what the first server did.
func (t *firstTry) take(reply Reply, err error) {
	first, out := t.members[0], outcome{reply, err}
	if err == nil {
		t.f.credit(first, t.query, out, t.start)
	}
	switch {
	case t.stop != nil && out.useful():
		t.late(reply)
	case t.stop != nil:
	case err == nil && (out.useful() || len(t.members) == 1), errors.As(err, new(*PanicError)):
		t.done(reply, err)
	default:
		t.own, t.stop = context.WithCancelCause(t.ctx)
		first.Exchanger.(*Server).opts.Mux.run(func() { t.goOn(out) })
	}
}

// late has goOn give reply; where that has ended, it is given besides.
func (t *firstTry) late(reply Reply) {
	l := &lateReply{reply}
	t.stop(l)
	if !errors.Is(context.Cause(t.own), l) {
		t.done(reply, nil)
	}
}

// goOn asks all as Exchange does, but the first, if that was silent, last.
func (t *firstTry) goOn(out outcome) {
	defer func() {
		if p := recover(); p != nil {
			t.done(Reply{}, panicked(p, nil))
		}
	}()
	ctx, cancel := context.WithDeadline(t.own, t.start.Add(AnswerTimeout))
	defer cancel()
	members, silent := t.members, errors.Is(out.err, errSilent)
	if silent {
		members = slices.Concat(members[1:], members[:1])
	}
	if out.err == nil {
		out = combine(out, t.f.from(ctx, members[1:], t.query), t.query)
	} else {
		out = t.f.from(ctx, members, t.query)
	}
	if silent && out.useful() {
		t.overtaken(out)
	}
	reply, err := t.f.again(ctx, members, t.query, out, t.start)
	t.stop(errOver)
	if l := (*lateReply)(nil); errors.As(context.Cause(t.own), &l) {
		reply, err = l.reply, nil
	}
	t.done(reply, err)
}

// overtaken notes that another server has answered while the first was silent.
func (t *firstTry) overtaken(out outcome) {
	first := t.members[0]
	if s := first.Exchanger.(*Server); out.reply.Server != s.text {
		first.end(time.Since(t.start), context.Canceled, true)
		t.f.miss(first, missSlow)
	}
}
