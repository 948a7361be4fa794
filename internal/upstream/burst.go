package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// MaxBurst is how many questions a [Burst] has at most.
const MaxBurst = 3

// ErrUnfinished says that a question of a [Burst] goes on with Exchange.
var ErrUnfinished = errors.New("more is to be done than to read a reply")

// ErrNothingYet says that no question of a [Burst] is over.
var ErrNothingYet = errors.New("no reply so far")

// Burst is a few questions put to one server at once, from one socket, which is
// read by whoever wants the answers: no goroutine waits. It does for each of them
// what Exchange does first, and all that Exchange does where the reply is what
// replies usually are. The others are [ErrUnfinished]: with [Burst.Resume],
// Exchange goes on from there as if it had begun them itself.
//
// Each question has a random id, and their port is a fresh one; so each is as hard
// to forge as one that is asked alone (RFC 5452 section 4). The zero value is ready
// for Begin. But for Interrupt, it is for one goroutine at a time.
type Burst struct {
	cache  *Cache    // nil: none
	shared *coalesce // nil: none
	group  *Group
	first  *member // of group: who is asked
	server *Server

	conn  socket
	start time.Time
	due   time.Time // when the questions that are open go on by themselves
	wrong int       // replies discarded so far
	shots []shot
	left  int // how many of shots are open
	buf   *[]byte
	stop  atomic.Bool

	room    [MaxBurst]shot
	pending [MaxBurst][]byte // to be sent before the next read, as many as unsent
	unsent  int
}

// shot is one question of a burst.
type shot struct {
	query  Query
	msg    message
	cookie cookieCheck
	octets [queryRoom]byte
	call   call
	open   bool
	// Of the reply that Exchange is to make something of; neither: there was none.
	reply []byte
	err   error
}

// Begin makes the questions, MaxBurst at most and all different, ready for Next,
// which sends them; ctx is for opening the socket. It returns false, and none is
// asked, where only Exchange can ask them: x is not made of Cached, Coalesce,
// Failover and NewServer, in this order, of which only the last two must be there;
// or one of the questions is in flight already; or the server that is to be asked
// first is not the same for all, or not to be asked over UDP.
func (b *Burst) Begin(ctx context.Context, x Exchanger, queries []Query) bool {
	b.start = time.Now()
	if !b.over(x) || !b.choose(queries) {
		return false
	}
	conn, err := b.server.openUDP(ctx)
	if err != nil {
		return false
	}
	b.conn, b.shots = conn, b.room[:len(queries)]
	for i, q := range queries {
		s := &b.shots[i]
		s.query = q
		s.msg = b.server.messageIn(s.octets[:0], &s.cookie, q, b.server.useEDNS())
		b.pending[i] = s.msg.octets
		if !b.shared.enter(q, &s.call) {
			b.Close()
			return false
		}
		s.open = true
		b.left++
	}
	b.unsent = len(queries)
	b.due = b.start.Add(min(b.group.patience(), b.server.opts.Timeout))
	b.buf = b.server.buffers.Get().(*[]byte)
	return true
}

// over takes apart what x is made of.
func (b *Burst) over(x Exchanger) bool {
	for {
		switch layer := x.(type) {
		case *Cache:
			b.cache, x = layer, layer.next
		case *coalesce:
			b.shared, x = layer, layer.next
		case *Group:
			b.group = layer
			return true
		default:
			return false
		}
	}
}

// choose finds the server to ask.
func (b *Burst) choose(queries []Query) bool {
	if len(b.group.members) == 0 || b.group.opts.Strategy == Parallel {
		return false
	}
	b.first = b.group.order(b.start, queries[0])[0]
	for _, q := range queries {
		if b.first.isLast(b.start, q) {
			return false
		}
	}
	s, ok := b.first.Exchanger.(*Server)
	b.server = s
	return ok && !s.opts.UseTCP && !remembered(&s.lostUDP)
}

// Open is how many questions are not over.
func (b *Burst) Open() int { return b.left }

// Interrupt makes Next return from now on. It may be called at any time.
func (b *Burst) Interrupt() {
	b.stop.Store(true)
	_ = b.conn.SetReadDeadline(time.Unix(1, 0))
}

// Next waits for the next question to be over, and returns which one that is and
// its reply, which is valid until Next or Close is called. The error is
// ErrUnfinished, for all once Interrupt was called; or, with i having no meaning,
// ErrNothingYet when the time is until, if that is not zero. One question at least
// must be open.
func (b *Burst) Next(until time.Time) (i int, reply Reply, err error) {
	end := b.due
	if !until.IsZero() && until.Before(end) {
		end = until
	}
	for {
		if i, ok := b.unfinished(time.Now()); ok {
			return i, Reply{}, ErrUnfinished
		}
		n, err := b.read(end)
		switch {
		case err == nil, errors.Is(err, io.EOF): // a file's word for an empty datagram
			if i, reply, ok := b.match((*b.buf)[:n]); ok {
				return i, reply, nil
			}
		case b.stop.Load():
		case !errors.Is(err, os.ErrDeadlineExceeded):
			b.fail(fmt.Errorf("ask over udp: %w", err))
		case end.Before(b.due):
			return -1, Reply{}, ErrNothingYet
		}
	}
}

// unfinished returns a question that only Exchange can end, if there is one.
func (b *Burst) unfinished(now time.Time) (int, bool) {
	all := b.stop.Load() || !now.Before(b.due)
	for i := range b.shots {
		if s := &b.shots[i]; s.open && (all || s.reply != nil || s.err != nil) {
			b.end(s, outcome{err: ErrUnfinished})
			return i, true
		}
	}
	return 0, false
}

// read sends what is to be sent and reads one datagram.
func (b *Burst) read(end time.Time) (int, error) {
	if err := b.conn.SetReadDeadline(end); err != nil {
		return 0, err
	}
	if b.stop.Load() { // Interrupt may have set its deadline before ours
		return 0, os.ErrDeadlineExceeded
	}
	queries := b.pending[:b.unsent]
	b.unsent = 0
	return ask(b.conn, queries, *b.buf)
}

// fail leaves all that is open to Exchange, for a reason.
func (b *Burst) fail(why error) {
	for i := range b.shots {
		if s := &b.shots[i]; s.open {
			s.err = why
		}
	}
}

// match finds the question that a datagram answers. True: it is over.
func (b *Burst) match(datagram []byte) (int, Reply, bool) {
	for i := range b.shots {
		s := &b.shots[i]
		if !s.open || !s.msg.isReply(datagram) {
			continue
		}
		reply, err := s.msg.inspect(datagram)
		if len(datagram) == len(*b.buf) {
			err = errOversize
		}
		out := outcome{reply: Reply{Msg: reply, Server: b.server.text, Proto: "udp", RTT: time.Since(b.start), Tries: 1}, err: err}
		if !b.usual(s, out) {
			s.reply, s.err = bytes.Clone(reply), err
			return 0, Reply{}, false
		}
		b.credit(s.query, out)
		b.end(s, out)
		return i, out.reply, true
	}
	if b.wrong++; b.wrong >= maxWrongReplies {
		b.fail(ErrFlooded)
	}
	return 0, Reply{}, false
}

// usual reports whether a reply is all that Exchange would ask for.
func (b *Burst) usual(s *shot, out outcome) bool {
	if out.err != nil || isTruncated(out.reply.Msg) || s.msg.isAboutEDNS(out.reply.RCode()) {
		return false
	}
	return len(b.group.members) == 1 || out.useful()
}

// credit notes how the server behaved.
func (b *Burst) credit(q Query, out outcome) {
	b.first.begin(b.start)
	b.group.credit(b.first, q, out, b.start)
}

// end is the end of one question, for all who wait for it.
func (b *Burst) end(s *shot, out outcome) {
	s.open = false
	b.left--
	if b.cache != nil && out.err == nil {
		b.cache.keep(s.query, out, true)
	}
	b.shared.leave(s.query, &s.call, out)
}

// Close ends what is open. It must be called, once the exchanges that were resumed
// are over.
func (b *Burst) Close() {
	for i := range b.shots {
		if s := &b.shots[i]; s.open {
			b.end(s, outcome{err: ErrUnfinished})
		}
	}
	if b.buf != nil {
		b.server.buffers.Put(b.buf)
		b.buf = nil
	}
	_ = b.conn.Close()
}

// Resume returns a context with which Exchange goes on with question i, which Next
// said is unfinished.
func (b *Burst) Resume(ctx context.Context, i int) context.Context {
	s := &b.shots[i]
	r := &resumed{server: b.server, query: s.query, msg: s.msg, start: b.start, reply: s.reply, err: s.err}
	if b.left == 0 && r.reply == nil && r.err == nil {
		r.conn = b.conn // nothing else is to come by it
	}
	return context.WithValue(ctx, resumedKey{}, r)
}

// resumed is a question that was begun in a burst. nil is none.
type resumed struct {
	server *Server
	query  Query
	msg    message
	start  time.Time
	conn   socket // nil: another is to be opened
	reply  []byte // the reply that has come, or
	err    error  // what has come instead; neither: nothing
	taken  atomic.Bool
}

type resumedKey struct{}

// resumes is what was begun of x's exchange of q, as long as nothing has gone on
// with it.
func resumes(ctx context.Context, x Exchanger, q Query) *resumed {
	r, _ := ctx.Value(resumedKey{}).(*resumed)
	if r == nil || r.server != x || r.query != q || r.taken.Load() {
		return nil
	}
	return r
}

// take reports whether whoever calls it is the one to go on.
func (r *resumed) take() bool { return r != nil && r.taken.CompareAndSwap(false, true) }

// since is how long ago the question was first sent.
func (r *resumed) since() time.Duration {
	if r == nil {
		return 0
	}
	return time.Since(r.start)
}
