package upstream

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// MaxPorts is how many source ports are kept open for each server.
	MaxPorts = 512

	// portUses is how many questions one port asks. Opening and closing a socket
	// costs about as much as an exchange; shared by so many questions it is a few
	// per cent of each.
	portUses = 32
	// portAge is how long a port is in use: one that someone finds open is soon
	// another (RFC 5452 section 9.2).
	portAge = 10 * time.Second
	// lateAge is how long a reply is taken that nobody waits for any more.
	lateAge = 10 * time.Second
)

// errClosed says that the Mux was closed.
var errClosed = errors.New("closed")

// ports are the connected sockets to one server that a Mux reads. Each question
// has a port to itself.
type ports struct {
	mux    *Mux
	server *Server

	mu   sync.Mutex // guards what follows
	size int        // how many may be open to be kept
	open int        // idle and in use
	idle []*port    // the longest unused first
}

// port is a socket that serves several questions, one at a time.
type port struct {
	of   *ports
	loop *muxLoop
	slot int // of the loop's table
	born time.Time
	uses int // of whoever has it: taken from idle, or reading

	busy atomic.Bool // asking is not nil

	mu     sync.Mutex // guards what follows, and reading and closing
	fd     int        // -1: closed
	asking *asking    // the question in flight; nil when idle
	wrong  int        // replies to it discarded so far
	due    time.Time  // when asking is next looked after
	told   bool       // that there was no reply in time: what comes is late
}

// ask sends a question; false if it cannot.
func (p *ports) ask(a *asking, patience time.Duration) bool {
	c, err := p.take()
	if err != nil {
		return false
	}
	c.mu.Lock()
	c.asking, c.wrong, c.told, c.due = a, 0, false, a.start.Add(patience)
	c.busy.Store(true)
	err = c.send(a.msg.octets)
	if err != nil {
		c.free()
	}
	c.mu.Unlock()
	if err != nil {
		p.drop(c)
		return false
	}
	c.loop.watch()
	return true
}

// take returns a port that no question in flight has: a new one as long as few
// are open; else a random one of the half that has been unused the longest, so
// that successive questions have different ports and no one knows which.
func (p *ports) take() (*port, error) {
	for c := p.pick(); c != nil; c = p.pick() {
		if time.Since(c.born) < portAge {
			return c, nil
		}
		p.drop(c)
	}
	c, err := p.mux.open(p)
	if err != nil {
		p.mu.Lock()
		p.open--
		p.mu.Unlock()
	}
	return c, err
}

// pick removes an idle port; with none the caller is to open one, which is
// counted already.
func (p *ports) pick() *port {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open < p.size || len(p.idle) == 0 {
		p.open++
		return nil
	}
	i := rand.N((len(p.idle) + 1) / 2) //nolint:gosec // ChaCha8, seeded by the system: as unpredictable as the port
	c := p.idle[i]
	p.idle[i] = p.idle[0]
	p.idle = p.idle[1:]
	return c
}

// give takes c back after a question, unless it has served long enough.
func (p *ports) give(c *port, now time.Time) {
	c.uses++
	if c.uses >= portUses || now.Sub(c.born) >= portAge || !p.put(c) {
		p.drop(c)
	}
}

// put makes c idle, unless too many are open.
func (p *ports) put(c *port) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open > p.size {
		return false
	}
	p.idle = append(p.idle, c)
	return true
}

// full reports whether so many are open that none should wait for late replies.
func (p *ports) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open >= p.size
}

// remove takes c out of those that are idle; false if it is not.
func (p *ports) remove(c *port) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.idle {
		if other == c {
			p.idle = append(p.idle[:i:i], p.idle[i+1:]...)
			return true
		}
	}
	return false
}

func (p *ports) drop(c *port) {
	c.close()
	p.mu.Lock()
	p.open--
	p.mu.Unlock()
}

// close closes the ports, those in use once they are free.
func (p *ports) close() {
	p.mu.Lock()
	idle := p.idle
	p.size, p.idle = 0, nil
	p.open -= len(idle)
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// receive reads a datagram and does what is to be done. b is the loop's buffer.
func (c *port) receive(b []byte, now time.Time) {
	a, n, err := c.read(b)
	switch {
	case errors.Is(err, errStray):
		if c.of.remove(c) {
			c.of.drop(c)
		}
	case a == nil:
	case err != nil:
		c.of.drop(c)
		a.take(nil, err)
	default:
		c.of.give(c, now)
		a.take(b[:n], nil)
	}
}

// errStray says that a datagram came to an idle port: someone has found it.
var errStray = errors.New("a datagram that answers no question")

// read reads one datagram. When that, or an error, is the end of the question in
// flight, it returns the question.
func (c *port) read(b []byte) (*asking, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil, 0, nil
	}
	n, err := c.recv(b)
	a := c.asking
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return nil, 0, nil
	case a == nil:
		return nil, 0, errStray
	case err == nil && !a.msg.isReply(b[:n]):
		c.wrong++
		if c.wrong < a.msg.guesses {
			return nil, 0, nil
		}
		err = ErrFlooded
	}
	c.free()
	return a, n, err
}

// lookAfter tells that there is no reply in time, or that nobody waits, and closes
// the port lateAge after the question.
func (c *port) lookAfter(now time.Time) {
	c.mu.Lock()
	a, told := c.asking, c.told
	if a == nil || now.Before(c.due) && (told || a.ctx.Err() == nil) {
		c.mu.Unlock()
		return
	}
	keep := !told && a.ctx.Err() == nil && !c.of.full()
	c.told, c.due = true, a.start.Add(lateAge)
	if !keep {
		c.free()
	}
	c.mu.Unlock()
	if !keep {
		c.of.drop(c)
	}
	if !told {
		a.take(nil, errSilent)
	}
}

// free ends the question in flight. Under c.mu.
func (c *port) free() {
	c.asking = nil
	c.busy.Store(false)
}

// abandon ends the question in flight: the Mux is closed.
func (c *port) abandon() {
	c.mu.Lock()
	a, told := c.asking, c.told
	c.free()
	c.mu.Unlock()
	c.of.remove(c)
	c.of.drop(c)
	if a != nil && !told {
		a.take(nil, errClosed)
	}
}
