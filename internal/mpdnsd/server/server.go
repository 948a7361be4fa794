// Package server takes DNS questions over UDP and TCP and answers them.
//
// A packet's way: its header, question and EDNS are read from the raw octets
// (dnswire.ParseQuery); what must not be answered is dropped, what is wrong
// gets its code. A cache hit is copied, patched and sent by the loop that read
// the packet, without an allocation. What upstream servers are to be asked is
// asked by the same loop, if the Source's Upstream is a Beginner, and answered by
// whoever reads the reply. Everything else goes to a bounded set of workers, which
// ask a Source: local zones, hosts file, special names, then upstream servers.
// Where too many questions wait, a datagram is dropped, for its client asks again,
// and a TCP connection is not read further.
//
// UDP and TCP differ in framing and in the answer's size limit only: both go
// through the same two steps, begin and finish, which answer puts together, ask
// being finish for those who do not wait. So
// every check that a client meets is met on every transport; but for the rate
// limit, which is about addresses that nobody has proven.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Bounds that no setting changes.
const (
	// maxKeptBuffer is the largest buffer that a worker keeps between answers.
	maxKeptBuffer = 16 << 10

	// workerIdle is how long a worker without a question lives on.
	workerIdle = 10 * time.Second

	// localWorkers are kept for local names while all others wait for upstream
	// servers.
	localWorkers = 16

	// maxPairs bounds the look-ups of the other address family in flight.
	maxPairs = 256
)

// Options are a Server's limits; package config has their meaning, bounds and
// defaults. UDPSize, Outstanding, TCPConnections, TCPIdle and Log must be set;
// the zero value of each other field is its default.
type Options struct {
	UDPSize        int // octets
	Outstanding    int
	TCPConnections int
	TCPIdle        time.Duration
	Log            *slog.Logger
	Now            func() time.Time // nil: time.Now

	// Loops is the number of UDP sockets and loops of each address, where the
	// system can spread clients over several. 0: GOMAXPROCS; at most MaxLoops.
	Loops int
	// TCPPerClient bounds the connections of one IPv4 address or IPv6 /64.
	// 0: half of TCPConnections, so that nobody can take them all.
	TCPPerClient int
	// Allow are the clients that get answers besides this machine; others get
	// REFUSED (extended error 18).
	Allow []netip.Prefix
	// Limit bounds the answers over UDP by client prefix. Zero: no limit.
	Limit RateLimit
	// Version and Hostname answer version.bind and version.server, hostname.bind
	// and id.server, of class CHAOS (RFC 4892). "": REFUSED.
	Version, Hostname string
	// CookieSecret is the key of the server's DNS cookies (RFC 9018). nil: a
	// random one, which is right for a server that stands alone.
	CookieSecret *[16]byte
	// Query is told of each answer, by the goroutine that made it: it must not
	// wait. nil costs nothing.
	Query func(Event)
}

// MaxLoops is the greatest Options.Loops.
const MaxLoops = 256

// complete returns o with its defaults filled in.
func (o Options) complete() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Loops <= 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	o.Loops = min(o.Loops, MaxLoops)
	if o.TCPPerClient <= 0 {
		o.TCPPerClient = max(1, o.TCPConnections/2)
	}
	return o
}

// Server answers questions that its listeners take. It is made by New, takes
// questions after Listen, and is ended by Shutdown.
//
// Each listener has its own loops; they share the Server's workers. The Source
// is swapped as a whole by SetSource, so that each question is answered from
// one configuration.
type Server struct {
	options Options
	source  atomic.Pointer[Source]
	ctx     context.Context // of the work on questions; ends with Shutdown
	cancel  context.CancelFunc
	misses  *pool[*job]
	locals  *pool[*job] // for local names when misses is full
	pairs   *pool[pair]
	asked   atomic.Int64 // questions that ask began and nobody has answered
	pairing atomic.Int64 // other halves that were begun likewise
	buffers sync.Pool    // of *[]byte: copies of requests that wait for a worker
	frames  sync.Pool    // of *[]byte: answers of one TCP connection on their way out
	allowed allowed
	limiter *limiter // nil: none
	cookies cookies

	tcpConns   atomic.Int64 // open connections, of all listeners
	tcpQueued  atomic.Int64 // octets of answers that clients have not read
	tcpRefused atomic.Uint64

	mu        sync.Mutex
	closed    bool                   // guarded by mu
	listeners map[*Listener]struct{} // guarded by mu
	clients   map[netip.Addr]int     // TCP connections by clientKey; guarded by mu
	past      Stats                  // of listeners that are closed; guarded by mu
}

// New makes a server that answers from source.
func New(source *Source, o Options) *Server {
	o = o.complete()
	s := &Server{
		options:   o,
		allowed:   newAllowed(o.Allow),
		limiter:   newLimiter(o.Limit),
		cookies:   newCookies(o.CookieSecret),
		listeners: make(map[*Listener]struct{}),
		clients:   make(map[netip.Addr]int),
	}
	s.buffers.New = func() any { return new([]byte) }
	s.frames.New = func() any { b := make([]byte, 0, framesLen); return &b }
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.misses = newPool(o.Outstanding, s.newWorker)
	s.locals = newPool(localWorkers, s.newWorker)
	s.pairs = newPool(min(maxPairs, o.Outstanding), func() func(pair) { return s.fetchPair })
	s.SetSource(source)
	return s
}

// SetSource has all further questions answered from source.
func (s *Server) SetSource(source *Source) { s.source.Store(source.complete()) }

// Shutdown stops taking questions, waits until those taken are answered or ctx
// is done, and closes everything. What is not answered by then gets SERVFAIL
// over UDP, and a closed connection over TCP. A second call does nothing.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var all []*Listener
	for l := range s.listeners {
		all = append(all, l)
	}
	s.mu.Unlock()

	stop := context.AfterFunc(ctx, func() {
		s.cancel()
		for _, l := range all {
			l.abort()
		}
	})
	defer stop()
	var wg sync.WaitGroup
	for _, l := range all {
		l.stop()
		wg.Go(l.drain)
	}
	wg.Wait()
	err := ctx.Err()
	s.cancel()
	s.misses.close()
	s.locals.close()
	s.pairs.close()
	s.source.Load().close()
	if err != nil {
		return errors.New("some questions were not answered in time")
	}
	return nil
}

// job is one question that waits for or has a worker.
type job struct {
	buf *[]byte // the request, from Server.buffers; query points into it
	req request
	// done takes the answer back, which is valid during the call. batch: Flush
	// will be called.
	done func(msg []byte, batch bool)
}

// keep takes back a buffer, unless it has grown large.
func (s *Server) keep(buf *[]byte) {
	if cap(*buf) <= maxKeptBuffer {
		s.buffers.Put(buf)
	}
}

// newJob copies a request, whose packet belongs to the loop that read it.
func (s *Server) newJob(req *request, done func(msg []byte, batch bool)) *job {
	j := &job{buf: s.buffers.Get().(*[]byte), req: *req, done: done}
	*j.buf = append((*j.buf)[:0], req.packet...)
	j.req.move(*j.buf)
	return j
}

// try has a job done, by a worker where someone has to wait; false if all are busy.
func (s *Server) try(j *job) bool {
	begun := func(msg []byte) {
		j.done(msg, true)
		s.keep(j.buf)
	}
	return s.waiting() < int64(s.options.Outstanding) && (s.ask(&j.req, begun) || s.misses.try(j)) || s.isLocal(j) && s.locals.try(j)
}

// waiting counts the questions that wait for upstream servers.
func (s *Server) waiting() int64 { return s.asked.Load() + s.misses.busy.Load() }

// wait gives a job to a worker as soon as there is one; false if the server's
// work ends before.
func (s *Server) wait(j *job) bool {
	if s.misses.try(j) {
		return true
	}
	if s.isLocal(j) {
		return s.locals.wait(s.ctx, j)
	}
	return s.misses.wait(s.ctx, j)
}

// isLocal reports whether a job can do without upstream servers.
func (s *Server) isLocal(j *job) bool {
	q := j.req.query.Question()
	source := s.source.Load()
	if q.Type == source.Multipath {
		q.Type = dnswire.TypeA
	}
	return source.isLocal(q)
}

// newWorker returns what one worker does with each job; its buffer is its own.
func (s *Server) newWorker() func(*job) {
	var out []byte
	return func(j *job) {
		out = s.finish(s.ctx, out[:0], &j.req)
		j.done(out, false)
		if cap(out) > maxKeptBuffer {
			out = nil
		}
		s.keep(j.buf)
	}
}
