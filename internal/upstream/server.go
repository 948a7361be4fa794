package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Defaults and bounds of a server's transport.
const (
	// DefaultTimeout is how long one try waits, as in resolv.conf(5).
	DefaultTimeout = 5 * time.Second
	// DefaultAttempts is how many tries there are, as in resolv.conf(5).
	DefaultAttempts = 2
	// DefaultEDNSSize is the UDP size announced, in octets: what passes
	// unfragmented nearly everywhere (DNS flag day 2020).
	DefaultEDNSSize = 1232

	// maxWrongReplies bounds the replies that one try looks at and discards.
	// Beyond it someone is guessing, and the question moves to TCP.
	maxWrongReplies = 100
	// maxFloodReplies is the same where TCP has failed as well. A forger who
	// knows the port hits the id with so many in one of 16 cases.
	maxFloodReplies = 4096
	// firstRetransmit is when a try sends its datagram again; the pauses
	// double from there, each with a quarter of jitter either way.
	firstRetransmit = time.Second
	// plainRetransmit counts the datagrams of one try that go unanswered
	// before it goes on without EDNS.
	plainRetransmit = 2
	// retryPause is the longest pause before a try that follows a failure
	// other than a time-out; the real one is random between half and all.
	retryPause = 100 * time.Millisecond
	// ednsMemory is how long a server is remembered to choke on EDNS.
	ednsMemory = 15 * time.Minute
	// tcpEscape is how long a server is asked over TCP after a try that got
	// nothing over UDP: there are paths on which datagrams are lost and
	// connections are not. So the last of two tries goes over TCP.
	tcpEscape = time.Minute
	// readBuffer is the least room for a datagram, in octets: some servers send
	// more than was announced. What fills it is asked for again over TCP.
	readBuffer = 4096
)

// Options are the settings of a server. The zero value is usable.
type Options struct {
	// Dial opens the sockets; nil is the system's own. It must give each
	// call a socket of its own, for the sake of its source port.
	Dial DialFunc
	// Mux is for programs that ask much: Begin keeps up to MaxPorts ports open in
	// it, in which Dial has no part, and a few TCP connections are kept for many
	// questions. nil: there is no Begin, and no connection is kept.
	Mux *Mux
	// Timeout bounds one try; 0 is DefaultTimeout.
	Timeout time.Duration
	// Attempts is how many tries there are; 0 is DefaultAttempts.
	Attempts int
	// UseTCP asks over TCP from the start (resolv.conf's use-vc).
	UseTCP bool
	// EDNSSize is the UDP size announced; 0 is DefaultEDNSSize.
	EDNSSize uint16
	// NoEDNS sends no OPT record ever.
	NoEDNS bool
	// AD sets the AD bit in queries, to be told whether the server validated
	// the answer (RFC 6840 section 5.7; resolv.conf's trust-ad).
	AD bool
	// MixCase asks for names in a random mixed case, of which a reply must have
	// the same; a server that breaks it is asked in lower case for a while.
	// Replies have the name in lower case all the same.
	MixCase bool
}

// Server asks one DNS server: over UDP, each query in flight from a socket with
// a source port and an id of its own, and over TCP where the reply is truncated
// or UDP gets none. It remembers for a while that a server chokes on EDNS, and
// that UDP is of no use, and the DNS cookies that it has with it (RFC 7873). It
// has no goroutine of its own: those of kept connections are the Mux's.
type Server struct {
	addr    netip.AddrPort
	text    string
	opts    Options
	noEDNS  atomic.Int64 // unix time in ns until which no OPT record is sent
	lostUDP atomic.Int64 // unix time in ns until which TCP is tried first
	buffers sync.Pool    // of *[]byte
	ports   *ports       // nil without a Mux
	tcp     *tcpPool     // nil without a Mux
	cookies cookieJar
	// breaksCase is the unix time in ns until which no case is mixed.
	breaksCase atomic.Int64
}

// NewServer returns the transport for the server at addr.
func NewServer(addr netip.AddrPort, o Options) *Server {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Attempts <= 0 {
		o.Attempts = DefaultAttempts
	}
	if o.EDNSSize == 0 {
		o.EDNSSize = DefaultEDNSSize
	}
	s := &Server{addr: addr, text: addr.String(), opts: o}
	if o.Mux != nil {
		s.ports = &ports{mux: o.Mux, server: s, size: MaxPorts}
		s.tcp = newTCPPool(s, &o.Mux.wg)
	}
	s.buffers.New = func() any {
		b := make([]byte, max(readBuffer, int(o.EDNSSize)+1))
		return &b
	}
	return s
}

// Close closes the ports and connections that are kept, those in use once they are
// free. The server may be used on, and keeps none from then on. It must be closed
// before its Mux, which waits for the connections.
func (s *Server) Close() {
	if s.ports != nil {
		s.ports.close()
		s.tcp.close()
	}
}

// String is the server's address, "192.0.2.53:53".
func (s *Server) String() string { return s.text }

// Exchange asks q, up to Attempts times. Its errors are of type [*Error].
func (s *Server) Exchange(ctx context.Context, q Query) (Reply, error) {
	start := time.Now().Add(-resumes(ctx, s, q).since())
	proto := "udp"
	var err error
	tries := 0
	for tries < s.opts.Attempts {
		if tries > 0 && !s.mayRetry(ctx, err) {
			break
		}
		tries++
		var reply Reply
		reply, proto, err = s.try(ctx, q)
		if err == nil {
			reply.Server, reply.Proto, reply.Tries, reply.RTT = s.text, proto, tries, time.Since(start)
			return reply, nil
		}
	}
	return Reply{}, &Error{
		Server: s.text, Proto: proto, Query: q, Timeout: isTimeout(err) && !errors.Is(ctx.Err(), context.Canceled),
		Tries: tries, Elapsed: time.Since(start), Err: err,
	}
}

// mayRetry pauses where the last try failed at once, and reports whether there
// is still reason to go on.
func (s *Server) mayRetry(ctx context.Context, err error) bool {
	if ended(ctx) != nil {
		return false
	}
	return isTimeout(err) || pause(ctx, retryPause/2+rand.N(retryPause/2)) //nolint:gosec // jitter, not a secret
}

// try asks once, by whatever way leads to a reply: without EDNS where the
// server chokes on it, over TCP where UDP cannot carry the answer.
func (s *Server) try(ctx context.Context, q Query) (Reply, string, error) {
	edns := s.useEDNS()
	reply, proto, err := s.once(ctx, q, edns)
	if errors.Is(err, errCase) {
		reply, proto, err = s.whoseCase(ctx, q, edns, proto)
	}
	if err == nil && edns && reply.RCode() == dnswire.RCodeBadCookie {
		return s.withNewCookie(ctx, q)
	}
	if err != nil || !edns || !chokesOnEDNS(reply.RCode()) {
		return reply, proto, err
	}
	return s.withoutEDNS(ctx, q)
}

// withNewCookie asks once more, the reply having brought the server's cookie, and
// over TCP when that is of no use (RFC 7873 section 5.3).
func (s *Server) withNewCookie(ctx context.Context, q Query) (Reply, string, error) {
	reply, proto, err := s.once(ctx, q, true)
	if err == nil && reply.RCode() == dnswire.RCodeBadCookie {
		return s.onTCP(ctx, s.message(q, true))
	}
	return reply, proto, err
}

// withoutEDNS asks once more, plainly, and remembers it if that is the remedy.
func (s *Server) withoutEDNS(ctx context.Context, q Query) (Reply, string, error) {
	plain, proto, err := s.once(ctx, q, false)
	if err == nil && !chokesOnEDNS(plain.RCode()) {
		s.forgetEDNS()
	}
	return plain, proto, err
}

func (s *Server) once(ctx context.Context, q Query, edns bool) (Reply, string, error) {
	m := s.message(q, edns)
	if s.opts.UseTCP {
		return s.onTCP(ctx, m)
	}
	if remembered(&s.lostUDP) && resumes(ctx, s, q) == nil {
		reply, proto, err := s.onTCP(ctx, m)
		if err == nil || ended(ctx) != nil {
			return reply, proto, err
		}
		s.lostUDP.Store(0) // TCP does no better
		if isTimeout(err) {
			return reply, proto, err
		}
	}
	reply, err := s.overUDP(ctx, m)
	switch {
	case errors.Is(err, ErrFlooded):
		return s.underFlood(ctx, m)
	case errors.Is(err, errOversize), isTruncated(reply):
		return s.onTCP(ctx, m)
	case isTimeout(err) && ended(ctx) == nil:
		remember(&s.lostUDP, tcpEscape)
		s.cookies.forget()
	}
	return Reply{Msg: reply}, "udp", err
}

// underFlood asks over TCP, where no one guesses. Where TCP is of no use, it asks
// over UDP with another port and id, and looks at many more replies.
func (s *Server) underFlood(ctx context.Context, m message) (Reply, string, error) {
	reply, proto, err := s.onTCP(ctx, m)
	if err == nil || ended(ctx) != nil {
		return reply, proto, err
	}
	m = s.message(m.query, m.edns)
	m.guesses = maxFloodReplies
	b, err := s.overUDP(ctx, m)
	if err == nil && isTruncated(b) {
		err = ErrTruncated
	}
	return Reply{Msg: b}, "udp", err
}

func (s *Server) onTCP(ctx context.Context, m message) (Reply, string, error) {
	m.tolerate()
	reply, err := s.overTCP(ctx, m)
	if err == nil && isTruncated(reply) {
		err = ErrTruncated
	}
	return Reply{Msg: reply}, "tcp", err
}

// useEDNS reports whether the server is to be sent an OPT record.
func (s *Server) useEDNS() bool {
	return !s.opts.NoEDNS && !remembered(&s.noEDNS)
}

func (s *Server) forgetEDNS() { remember(&s.noEDNS, ednsMemory) }

// remember sets the end of what is remembered, in ns of unix time.
func remember(until *atomic.Int64, d time.Duration) { until.Store(time.Now().Add(d).UnixNano()) }

func remembered(until *atomic.Int64) bool {
	t := until.Load()
	return t != 0 && time.Now().UnixNano() < t
}

// chokesOnEDNS reports whether the code is one that servers without EDNS give
// to a query with it (RFC 6891 section 7).
func chokesOnEDNS(c dnswire.RCode) bool {
	return c == dnswire.RCodeFormatError || c == dnswire.RCodeNotImplemented || c == dnswire.RCodeBadVersion
}

// deadline is when a wait that begins now must end.
func (s *Server) deadline(ctx context.Context) time.Time { return s.deadlineSince(ctx, time.Now()) }

// deadlineSince is the same for one that began at start.
func (s *Server) deadlineSince(ctx context.Context, start time.Time) time.Time {
	t := start.Add(s.opts.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(t) {
		return d
	}
	return t
}

// ended is why the context has ended, or nil. A socket's deadline, taken from
// the context's, may pass a moment before the context notices its own.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return context.DeadlineExceeded
	}
	return nil
}

// cause prefers the context's reason to the socket's complaint about it.
func cause(ctx context.Context, err error) error {
	if why := ended(ctx); why != nil {
		return why
	}
	return err
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// pause waits; it reports false when the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
