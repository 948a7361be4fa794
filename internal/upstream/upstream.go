// Package upstream asks DNS servers.
//
// One interface, [Exchanger], is both what asks a server and what wraps it, so
// that the parts are put together freely:
//
//	Cached(cache, now, Coalesce(Failover([]Exchanger{NewServer(a, o), NewServer(b, o)}, …)))
//
// [NewServer] is the plain transport, UDP with TCP behind it. Encrypted
// transports are further Exchangers beside it.
//
// Exchange waits for the reply, on a socket of its own. A [Burst] asks what one
// look-up asks at once, from one socket. Begin, of those that are a [Beginner],
// returns at once: a [Mux] reads the ports of all questions in flight. With a Mux
// questions over TCP share a few connections.
//
// What a forger has to guess (RFC 5452 section 4): the id, 16 bits, fresh for
// each question, and the port. With a socket for each question the port is the
// kernel's random choice, about 15 bits. With a Mux one who knows all ports that
// are open, n of them, still has to hit the one that the question in flight has:
// 16 + log2(n/2) bits, 24 for MaxPorts, and the ports change every few seconds.
// One who does not know them has as much to guess as ever. A socket is connected,
// so the kernel drops what does not come from the server's address; an idle one
// that something comes to is closed.
//
// A reply with an RCODE is a reply, not an error: only [Failover] has an
// opinion on it.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Query is one question for a server, always with recursion desired. It is
// comparable: two equal queries in flight may share one exchange, and two that
// differ never do. CD is part of it, so that an answer fetched unvalidated is
// never given to those who did not ask for one.
type Query struct {
	dnswire.Question
	DO bool // DNSSEC records wanted (RFC 3225)
	CD bool // checking disabled (RFC 4035 section 3.2.2)
}

// String is the question as people write it: "A www.example.com.".
func (q Query) String() string { return q.Type.String() + " " + q.Name.String() }

// Reply is what came back.
type Reply struct {
	// Msg is a whole DNS message, its OPT record untouched. The id has no
	// meaning. It may be shared between callers: do not write to it.
	Msg    []byte
	Server string        // "192.0.2.53:53"; empty from the cache
	Proto  string        // "udp", "tcp", "cache", "hosts", "zone"
	RTT    time.Duration // from the first packet sent to the reply taken
	Tries  int           // how many times the server was asked, 1 or more
	Age    time.Duration // how long a reply from the cache has been there

	// rcode is RCode plus one, where it was looked for already; else 0.
	rcode uint16
}

// RCode is the reply's response code, with the eight bits of an OPT record
// where there is one (RFC 6891 section 6.1.3).
func (r Reply) RCode() dnswire.RCode {
	if r.rcode > 0 {
		return dnswire.RCode(r.rcode - 1)
	}
	return dnswire.FullRCode(r.Msg)
}

// Exchanger asks a question and returns the reply. It returns when ctx is
// done, with an error. It may be called by several goroutines at once.
type Exchanger interface {
	Exchange(ctx context.Context, q Query) (Reply, error)
}

// ExchangerFunc is a function as an Exchanger.
type ExchangerFunc func(ctx context.Context, q Query) (Reply, error)

// Exchange calls f.
func (f ExchangerFunc) Exchange(ctx context.Context, q Query) (Reply, error) { return f(ctx, q) }

// DialFunc opens a socket to a server. The network is "udp" or "tcp". A "udp"
// connection must keep datagrams apart, and pass on only those of the address
// dialled, as a connected socket does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Reasons why there is no reply to be had; they are wrapped by [Error].
var (
	ErrMalformed = errors.New("malformed reply")
	ErrAliasLoop = errors.New("alias chain does not end")
	ErrTruncated = errors.New("reply truncated over tcp too")
	ErrFlooded   = errors.New("too many replies that do not match the question")
	ErrNoServers = errors.New("no servers")
)

// Error says why a question got no reply.
type Error struct {
	Server  string // the server asked, or several with commas between
	Proto   string
	Query   Query
	RCode   dnswire.RCode // of the last reply, if one came that was of no use
	Timeout bool          // nothing came in time
	Tries   int
	Elapsed time.Duration
	Err     error // what the last try met
}

// Error names the question, the server and what went wrong.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ask %s", e.Query)
	if e.Server != "" {
		fmt.Fprintf(&b, " of %s %s", e.Proto, e.Server)
	}
	switch {
	case e.Timeout && e.Tries == 1:
		b.WriteString(": timed out after 1 try")
	case e.Timeout:
		fmt.Fprintf(&b, ": timed out after %d tries", e.Tries)
	default:
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns what the last try met.
func (e *Error) Unwrap() error { return e.Err }
