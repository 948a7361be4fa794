package upstream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxTCPConns is how many connections to one server take questions at a time
	// (RFC 7766 section 6.2.2). One that takes no more is open as long as someone
	// waits for a reply on it.
	MaxTCPConns = 4
	// maxTCPAsked is how many questions one connection has in flight. What is
	// above that on all of them waits.
	maxTCPAsked = 256
	// tcpCrowd is how many questions a connection has in flight before another is
	// opened: there are servers that answer one after the other.
	tcpCrowd = 16
	// tcpIdle is how long a connection is kept without a question (RFC 7766
	// section 6.2.3).
	tcpIdle = 10 * time.Second
	// tcpTries is how many kept connections a question is put to, where the server
	// closes them under it.
	tcpTries = 2
	// tcpAlone is how long a server is remembered to have closed so many: there
	// are those that answer one question on each connection, or a few. Meanwhile
	// each question has a connection of its own.
	tcpAlone = time.Minute
)

// errNotKept says that the question is to be asked on a connection of its own.
var errNotKept = errors.New("connections are not kept")

// tcpPool are the connections to one server that are kept, each for many
// questions at a time (RFC 7766 section 6.2.1).
type tcpPool struct {
	server *Server
	owner  *sync.WaitGroup // waits for the goroutines of the connections
	alone  atomic.Int64    // unix time in ns until which no question is taken
	places chan struct{}   // one for each question that may be in flight

	mu     sync.Mutex // guards what follows, and the connections
	closed bool
	conns  []*tcpConn // those that take questions, the oldest first
	opened uint64     // connections so far
}

// newTCPPool returns the pool of s. Every goroutine of it is one of owner.
func newTCPPool(s *Server, owner *sync.WaitGroup) *tcpPool {
	return &tcpPool{server: s, owner: owner, places: make(chan struct{}, MaxTCPConns*maxTCPAsked)}
}

// ask returns the reply to m, or errNotKept; a nil pool has no other. When the
// connection ends before the reply, and was there before the question, the server
// may have closed it without knowing of the question: that is asked once more, on
// a connection opened since (RFC 7766 section 6.2.4). Where others have that one
// too, and it ends the same way, the question is for a connection of its own.
func (p *tcpPool) ask(ctx context.Context, m message) ([]byte, error) {
	if p == nil {
		return nil, errNotKept
	}
	select {
	case p.places <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.places }()
	var after uint64
	for range tcpTries {
		q, err := p.put(m, after)
		if err != nil {
			return nil, err
		}
		b, err := p.wait(ctx, q)
		if err == nil || !q.again || ended(ctx) != nil {
			return b, err
		}
		after = q.opened
	}
	remember(&p.alone, tcpAlone)
	return nil, errNotKept
}

// put puts m to a connection opened after the first so many.
func (p *tcpPool) put(m message, after uint64) (*tcpQuestion, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || remembered(&p.alone) {
		return nil, errNotKept
	}
	c := p.pick(after)
	q := &tcpQuestion{conn: c, msg: m, opened: p.opened, done: make(chan struct{})}
	c.send(q)
	return q, nil
}

// pick returns the oldest connection that is not crowded, and opens one where all
// are, as long as there are few. Under p.mu.
func (p *tcpPool) pick(after uint64) *tcpConn {
	var least *tcpConn
	for _, c := range p.conns {
		if c.number <= after {
			continue
		}
		if c.waiting() < tcpCrowd {
			return c
		}
		if least == nil || c.waiting() < least.waiting() {
			least = c
		}
	}
	if least == nil || len(p.conns) < MaxTCPConns || least.waiting() >= maxTCPAsked {
		return p.open()
	}
	return least
}

// open opens a connection, in the place of the oldest where there are enough.
// Under p.mu.
func (p *tcpPool) open() *tcpConn {
	if len(p.conns) >= MaxTCPConns {
		p.conns[0].retire()
	}
	p.opened++
	ctx, cancel := context.WithTimeout(context.Background(), p.server.opts.Timeout)
	c := &tcpConn{
		pool: p, number: p.opened, cancel: cancel, wake: make(chan struct{}, 1),
		asked: map[uint16]*tcpQuestion{}, idle: tcpIdle,
	}
	p.conns = append(p.conns, c)
	p.owner.Go(func() { c.run(ctx) })
	return c
}

// wait returns what comes of q.
func (p *tcpPool) wait(ctx context.Context, q *tcpQuestion) ([]byte, error) {
	select {
	case <-q.done:
		return q.reply, q.err
	case <-ctx.Done():
		p.mu.Lock()
		q.conn.giveUp(q)
		p.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

// close closes the connections, those in use once they are free.
func (p *tcpPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range slices.Clone(p.conns) {
		c.retire()
	}
}
