package resolver

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// maxTypes is how many questions a look-up has at most.
const maxTypes = 3

// race is the questions about one name that are out.
type race struct {
	*Resolver
	engine *engine
	asked  string
	name   dnswire.Name
	types  []dnswire.Type
	began  time.Time
	ctx    context.Context // of all questions: not the caller's, see gather
	cancel context.CancelFunc
	// todo are the places in types of the questions that the cache does not
	// answer, turn how many of them have begun to be asked alone, left how many have
	// not ended; the last one ends the race.
	todo       []int
	turn, left atomic.Int32
	// burst has those that are to do; nil: each is asked alone. It is read by
	// whoever waits, as long as that is all there is to wait for; after that by pump.
	burst   *upstream.Burst
	pumping bool
	given   given
	// results are by place in types. Each is written by its question, and read
	// once its place has come out of done, which has room for all.
	results [maxTypes]FamilyResult
	done    chan int

	typeRoom [maxTypes]dnswire.Type
	todoRoom [maxTypes]int
	addrRoom [maxTypes][usualAddrs / 2]netip.Addr
}

// start asks all types at once, or one after the other where resolv.conf says
// single-request. What the cache has is there when it returns.
func (r *Resolver) start(ctx context.Context, e *engine, asked string, name dnswire.Name, types []dnswire.Type) *race {
	out := &race{Resolver: r, engine: e, asked: asked, name: name, began: time.Now(), done: make(chan int, maxTypes)}
	out.types, out.todo = append(out.typeRoom[:0], types...), out.todoRoom[:0]
	text := textOf(name, asked)
	for i, t := range types {
		out.results[i] = FamilyResult{Type: typeName(t), Name: text}
		if !out.recall(i) {
			out.todo = append(out.todo, i)
		}
	}
	if len(out.todo) == 0 {
		return out
	}
	out.left.Store(int32(len(out.todo))) //nolint:gosec // three at most
	if !out.shoot(ctx) {
		out.askEach()
	}
	return out
}

// textOf is the name as text: asked, where that is the same, as it is most often.
func textOf(name dnswire.Name, asked string) string {
	var room [dnswire.MaxNameLen]byte
	if text := name.AppendString(room[:0]); string(text) != asked {
		return string(text)
	}
	return asked
}

func (out *race) question(i int) question {
	return question{out.asked, out.name, out.types[i], out.began}
}

// recall answers the question at place i from the cache; false: it is to be asked.
func (out *race) recall(i int) bool {
	e := out.engine
	if e.recall == nil || out.waitsForNAT64(i) {
		return false
	}
	if !out.family(out.state.base, i, e.recall) {
		return false
	}
	out.done <- i
	return true
}

// waitsForNAT64 reports whether the network's prefixes are to be found out besides
// the question at place i.
func (out *race) waitsForNAT64(i int) bool {
	return out.types[i] == dnswire.TypeAAAA && out.lacksNAT64(out.state.base, out.engine, out.began)
}

// family has engine.family answer the question at place i. If that cannot, it is as
// if it had not been tried.
func (out *race) family(ctx context.Context, i int, from upstream.Exchanger) bool {
	f := &out.results[i]
	blank := *f
	f.Addrs = out.addrRoom[i][:0]
	if !out.engine.family(ctx, from, f, out.question(i)) {
		*f = blank
		return false
	}
	return true
}

// shoot asks what is to do in a burst; false: it is to be asked otherwise.
func (out *race) shoot(ctx context.Context) bool {
	if conf := out.engine.conf; conf.SingleRequest || conf.SingleRequestReopen {
		return false
	}
	var room [maxTypes]upstream.Query
	queries := room[:0]
	for _, i := range out.todo {
		if out.waitsForNAT64(i) {
			return false
		}
		queries = append(queries, upstream.Query{
			Question: dnswire.Question{Name: out.name, Type: out.types[i], Class: dnswire.ClassINET},
		})
	}
	b := new(upstream.Burst)
	if !b.Begin(ctx, out.engine.ask, queries) {
		return false
	}
	if !out.state.enter(b) {
		b.Close()
		return false
	}
	out.burst = b
	return true
}

// read waits until the next question of the burst is over, or until the time is
// until, if that is not zero, and reports which it was. When ctx has ended nothing
// more is asked.
func (out *race) read(ctx context.Context, until time.Time) bool {
	n, reply, err := out.burst.Next(until)
	switch {
	case err == nil:
		out.take(out.todo[n], reply)
	case errors.Is(err, upstream.ErrUnfinished):
		whole := out.context()
		if ctx.Err() != nil {
			out.cancel()
		}
		out.goOn(out.burst.Resume(whole, n), out.todo[n], out.engine.ask)
	default:
		return false
	}
	return true
}

// take makes a result of a reply. Where more has to be asked, that is left to a
// goroutine.
func (out *race) take(i int, reply upstream.Reply) {
	out.given = given{reply: reply}
	if out.family(context.Background(), i, &out.given) {
		out.end(i)
		return
	}
	reply.Msg = bytes.Clone(reply.Msg)
	out.goOn(out.context(), i, &given{reply: reply, next: out.engine.ask})
}

// given is a reply that is there, and who is asked after it; nil: none.
type given struct {
	reply upstream.Reply
	spent bool
	next  upstream.Exchanger
}

func (g *given) Exchange(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
	switch {
	case !g.spent:
		g.spent = true
		return g.reply, nil
	case g.next == nil:
		return upstream.Reply{}, upstream.ErrNotCached
	}
	return g.next.Exchange(ctx, q)
}

// context is that of the questions which are asked by goroutines.
func (out *race) context() context.Context {
	if out.ctx == nil {
		out.ctx, out.cancel = context.WithCancel(out.state.base)
	}
	return out.ctx
}

// goOn has a goroutine ask the question at place i, and another, if need be, read
// the burst.
func (out *race) goOn(ctx context.Context, i int, from upstream.Exchanger) {
	out.state.ask(func() {
		out.family(ctx, i, from)
		out.end(i)
	})
	out.handOver()
}

// handOver has a goroutine read the burst from now on.
func (out *race) handOver() {
	if out.burst == nil || out.pumping {
		return
	}
	out.context()
	out.pumping = true
	if out.burst.Open() > 0 {
		out.state.ask(out.pump)
	}
}

// pump reads the burst to its end.
func (out *race) pump() {
	for out.burst.Open() > 0 {
		out.read(out.ctx, time.Time{})
	}
}

// askEach asks what is to do, each question by a goroutine.
func (out *race) askEach() {
	s := &out.state
	out.context()
	if out.engine.conf.SingleRequest {
		s.ask(func() {
			for range out.todo {
				out.next()
			}
		})
		return
	}
	next := func() {
		defer s.running.Done()
		out.next()
	}
	for range out.todo {
		if !s.begin() {
			out.next()
			continue
		}
		go next() // of the whole race one function: each costs memory
	}
}

// next asks the next question that is to do.
func (out *race) next() {
	i := out.todo[out.turn.Add(1)-1]
	var nat64 <-chan struct{}
	if out.types[i] == dnswire.TypeAAAA {
		nat64 = out.discovery(out.ctx, out.engine, time.Now())
	}
	out.family(out.ctx, i, out.engine.ask)
	if out.results[i].found() {
		out.learnNAT64(out.ctx, nat64)
	}
	out.end(i)
}

// end is the end of the question at place i.
func (out *race) end(i int) {
	for _, a := range out.results[i].Addrs { // for the merge, while the others are on their way
		out.state.sources.of(context.Background(), a.Unmap(), time.Now())
	}
	out.done <- i
	if out.left.Add(-1) > 0 {
		return
	}
	if out.cancel != nil {
		out.cancel()
	}
	if out.burst != nil {
		out.state.leave(out.burst)
	}
}

// arrivals are the places of the results that have come.
type arrivals struct {
	came [maxTypes]bool
	n    int
}

func (a *arrivals) add(i int) {
	a.came[i] = true
	a.n++
}

// gather waits for the results as Lookup promises.
func (r *Resolver) gather(ctx context.Context, out *race) []FamilyResult {
	var have arrivals
	var until time.Time // when the wait is over; zero: when all have come
	if out.burst != nil && ctx.Done() != nil {
		defer context.AfterFunc(ctx, out.burst.Interrupt)()
	}
	for have.n < len(out.types) {
		i, err := out.await(ctx, until)
		switch {
		case err == nil:
			have.add(i)
			if until.IsZero() {
				until = out.until(have, i)
			}
		case errors.Is(err, ErrPending): // the rest goes to the cache
			out.handOver()
			return out.inOrder(have, ErrPending)
		default:
			out.drain(&have)
			return out.inOrder(have, kindOf(err))
		}
	}
	return out.inOrder(have, nil)
}

// await returns the place of the next result. The error is ErrPending when the time
// is until, if that is not zero, or why ctx has ended.
func (out *race) await(ctx context.Context, until time.Time) (int, error) {
	for out.burst != nil && !out.pumping && len(out.done) == 0 {
		if !out.read(ctx, until) {
			return 0, ErrPending
		}
	}
	var late <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		late = t.C
	}
	select {
	case i := <-out.done:
		return i, nil
	case <-late:
		return 0, ErrPending
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// until is the end of the wait, now that the result at place i has come: zero where
// there is none but the others' coming.
func (out *race) until(have arrivals, i int) time.Time {
	f := &out.results[i]
	switch {
	case have.n == len(out.types):
	case !out.WaitAll && (out.usable(f) || f.denies()):
		return time.Now().Add(out.resolutionDelay())
	case out.WaitAll && out.HTTPSDelay != 0 && out.lacksHTTPS(have):
		return time.Now().Add(out.HTTPSDelay)
	}
	return time.Time{}
}

// lacksHTTPS reports whether HTTPS is all that is missing.
func (out *race) lacksHTTPS(have arrivals) bool {
	return have.n == len(out.types)-1 && out.types[0] == dnswire.TypeHTTPS && !have.came[0]
}

// inOrder returns the results in the order asked, with an error of this kind
// for those that are missing.
func (out *race) inOrder(have arrivals, missing error) []FamilyResult {
	if have.n == len(out.types) {
		return out.results[:have.n:have.n] // nothing writes to them any more
	}
	ordered := make([]FamilyResult, len(out.types))
	for i, t := range out.types {
		if have.came[i] {
			ordered[i] = out.results[i]
			continue
		}
		err := &Error{Op: opLookup, Name: out.asked, Type: typeName(t), Kind: missing}
		ordered[i] = FamilyResult{Type: typeName(t), Err: err}
	}
	return ordered
}

// drain cancels what is out and waits for it. Results with addresses that had
// come in time after all count as arrived.
func (out *race) drain(have *arrivals) {
	out.handOver()
	if out.cancel != nil {
		out.cancel()
	}
	if out.burst != nil {
		out.burst.Interrupt()
	}
	for n := have.n; n < len(out.types); n++ {
		if i := <-out.done; out.results[i].found() {
			have.add(i)
		}
	}
}

// usable reports whether f has an address that the merge would keep by itself.
func (r *Resolver) usable(f *FamilyResult) bool {
	for _, a := range f.Addrs {
		if r.KeepLocal || f.isOwn() || misplaced(a) == "" {
			return true
		}
	}
	return false
}

// denies reports whether f says that the name does not exist, which counts for
// all types (RFC 8020). Of an AAAA question it does not: some servers say so of
// every type but A (RFC 4074 section 4.2).
func (f *FamilyResult) denies() bool {
	return f.Type == "A" && errors.Is(f.Err, ErrNoSuchName)
}
