package upstream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// tcpQuestion is a question on a kept connection.
type tcpQuestion struct {
	conn   *tcpConn
	msg    message
	opened uint64 // connections of the pool when it was put
	later  bool   // it is not the first on its connection
	gone   bool   // nobody waits for it; under pool.mu

	done chan struct{} // closed when what follows is set
	// reply is a whole message that answers msg, in memory of its own.
	reply []byte
	err   error
	again bool // the connection, or the wait for it, began before the question, and has ended
}

// tcpConn is a connection with any number of questions in flight. One goroutine
// dials and then writes what is in out, so that a server that does not read holds
// up nobody who gives up; another reads.
type tcpConn struct {
	pool   *tcpPool
	number uint64             // of those that the pool has opened
	cancel context.CancelFunc // of the dial
	wake   chan struct{}      // says that there is something in out; closed at the end

	// Under pool.mu.
	conn    net.Conn // nil before it is connected
	asked   map[uint16]*tcpQuestion
	gone    int    // of asked: nobody waits, but their ids are the server's until it replies
	used    bool   // has had a question
	wrong   int    // replies since the last right one that answer nobody
	out     []byte // to be written
	idle    time.Duration
	retired bool // it takes no questions
	err     error
}

// errRetired ends a connection that has no use any more.
var errRetired = errors.New("not needed")

// waiting counts the questions that someone waits for.
func (c *tcpConn) waiting() int { return len(c.asked) - c.gone }

// send has q written, under an id that no other question on the connection has
// (RFC 7766 section 6.2.1). Under pool.mu.
func (c *tcpConn) send(q *tcpQuestion) {
	for c.asked[q.msg.id] != nil {
		q.msg.id = randomID()
	}
	q.later = c.used
	c.used = true
	c.asked[q.msg.id] = q
	if len(c.asked) == 1 {
		c.watch()
	}
	c.out = q.msg.appendFramed(c.out, true)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// watch sets the time for the next reply: the server's time-out where a question
// is in flight, whether or not someone still waits for it, else the idle time. A
// reply that comes in small pieces has no more. Under pool.mu.
func (c *tcpConn) watch() {
	d := c.idle
	if len(c.asked) > 0 {
		d = c.pool.server.opts.Timeout
	}
	if c.conn != nil {
		_ = c.conn.SetReadDeadline(time.Now().Add(d)) // where it fails, so does the read
	}
}

// run opens the connection and serves it until its end.
func (c *tcpConn) run(ctx context.Context) {
	conn, err := c.pool.server.dialTCP(ctx)
	if !c.connected(conn, err) {
		return
	}
	c.pool.owner.Go(func() { c.read(conn) })
	c.write(conn)
}

// connected takes what came of the dial; false if that is the end.
func (c *tcpConn) connected(conn net.Conn, err error) bool {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if err != nil {
		c.end(fmt.Errorf("connect over tcp: %w", err))
		return false
	}
	if c.err != nil {
		_ = conn.Close()
		return false
	}
	c.conn = conn
	c.watch()
	return true
}

// write writes what there is, all of it at once. A server that takes no more may
// still have sent replies: where it fails, reading is the end of the connection.
// That is what ends a write too, which waits no longer than its questions.
func (c *tcpConn) write(conn net.Conn) {
	var out []byte
	for range c.wake {
		c.pool.mu.Lock()
		out, c.out = c.out, out[:0]
		c.pool.mu.Unlock()
		if len(out) == 0 { // it went with what was before
			continue
		}
		if _, err := conn.Write(out); err != nil {
			c.pool.mu.Lock()
			c.retire()
			c.pool.mu.Unlock()
			return
		}
	}
}

// read reads replies. A panic is the end of the connection, not of the program:
// what is read came from the network.
func (c *tcpConn) read(conn net.Conn) {
	defer func() {
		if p := recover(); p != nil {
			c.fail(panicked(p, nil))
		}
	}()
	r := bufio.NewReader(&promptReader{c, conn, acknowledger(conn)})
	for {
		b, err := readFramed(r)
		if err != nil {
			c.fail(fmt.Errorf("read from tcp: %w", err))
			return
		}
		c.take(b)
	}
}

// promptReader acknowledges what has come before it waits for what is in flight: a
// server whose socket has Nagle's algorithm on (RFC 9293 section 3.7.4), as Knot
// DNS's has, keeps the next reply back until then. Else that takes 40 ms.
type promptReader struct {
	conn        *tcpConn
	from        io.Reader
	acknowledge func()
}

func (r *promptReader) Read(b []byte) (int, error) {
	r.conn.pool.mu.Lock()
	more := len(r.conn.asked) > 0
	r.conn.pool.mu.Unlock()
	if more {
		r.acknowledge()
	}
	return r.from.Read(b)
}

func (c *tcpConn) fail(err error) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.end(err)
}

// take gives a reply, in any order, to the question that it answers. There may be
// a few that answer none.
func (c *tcpConn) take(b []byte) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	q := c.find(b)
	if q == nil {
		c.wrong++
		if c.wrong >= maxWrongReplies {
			c.end(ErrFlooded)
		}
		return
	}
	c.wrong = 0
	delete(c.asked, q.msg.id)
	if q.gone {
		c.gone--
	}
	if q.msg.edns {
		c.heed(b)
	}
	if !q.gone { // from here on b is written to
		q.reply = b
		close(q.done)
	}
	c.watch()
	c.settle()
}

// find returns the question that b answers, nil if there is none. Under pool.mu.
func (c *tcpConn) find(b []byte) *tcpQuestion {
	if len(b) < dnswire.HeaderLen {
		return nil
	}
	q := c.asked[binary.BigEndian.Uint16(b)]
	if q == nil || !q.msg.isReply(b) {
		return nil
	}
	return q
}

// giveUp has nobody wait for q. A connection whose server leaves many questions
// unanswered is not used on. Under pool.mu.
func (c *tcpConn) giveUp(q *tcpQuestion) {
	if c.asked[q.msg.id] != q {
		return
	}
	q.gone = true
	c.gone++
	if c.gone >= maxTCPAsked {
		c.retire()
	}
	c.settle()
}

// retire has the connection take no more questions. Under pool.mu.
func (c *tcpConn) retire() {
	c.retired = true
	c.leave()
	c.settle()
}

// settle ends the connection if it is of no use to anyone. Under pool.mu.
func (c *tcpConn) settle() {
	if c.retired && c.waiting() == 0 {
		c.end(errRetired)
	}
}

// leave takes the connection out of the pool. Under pool.mu.
func (c *tcpConn) leave() {
	c.pool.conns = slices.DeleteFunc(c.pool.conns, func(o *tcpConn) bool { return o == c })
}

// end closes the connection and tells those who wait. Under pool.mu.
func (c *tcpConn) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.leave()
	for _, q := range c.asked {
		if !q.gone {
			q.err, q.again = err, q.later && (c.conn != nil || isTimeout(err))
			close(q.done)
		}
	}
	c.asked, c.gone = nil, 0
	close(c.wake)
	c.cancel()
	if c.conn != nil {
		_ = c.conn.Close()
	}
}
