package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"
)

// overUDP sends the query from a socket that no other has and waits for the
// reply that matches it. It sends the same datagram again when none comes: the same, so
// that a forger does not get two targets (the birthday attack).
func (s *Server) overUDP(ctx context.Context, m message) (reply []byte, err error) {
	start, sent, conn := time.Now(), 0, socket(nil)
	if r := resumes(ctx, s, m.query); r.take() {
		if r.reply != nil || r.err != nil {
			return r.reply, r.err
		}
		start, sent, conn, m = r.start, 1, r.conn, r.msg
	}
	if conn == nil {
		if conn, err = s.openUDP(ctx); err != nil {
			return nil, cause(ctx, fmt.Errorf("open udp socket: %w", err))
		}
	}
	stop := interrupt(ctx, conn)
	defer func() {
		stop()
		_ = conn.Close()
	}()

	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	w := waiter{conn: conn, msg: m, buf: *buf, end: s.deadlineSince(ctx, start)}
	octets := m.octets
	for sends := 1 + sent; ; sends++ {
		w.query = octets
		reply, err = w.wait(ctx, retransmitAfter(sends))
		if err == nil && sends > plainRetransmit && m.edns && !hasOPT(reply) {
			s.forgetEDNS()
		}
		if !errors.Is(err, errAgain) {
			return reply, err
		}
		if sends >= plainRetransmit && m.edns {
			octets = s.plain(m)
		}
	}
}

// socket is what a question needs of a connection.
type socket interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
}

// openUDP returns a socket for one question.
func (s *Server) openUDP(ctx context.Context) (socket, error) {
	if s.opts.Dial != nil {
		return s.opts.Dial(ctx, "udp", s.text)
	}
	return openUDP(s.addr)
}

// dialUDP is openUDP by the means that all systems have.
func dialUDP(server netip.AddrPort) (socket, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err // not c: a nil pointer in an interface is not nil
	}
	return c, nil
}

// retransmitAfter is the pause after the n-th send: doubling, with jitter.
func retransmitAfter(n int) time.Duration {
	d := firstRetransmit << min(n-1, 6)
	return d*3/4 + rand.N(d/2) //nolint:gosec // jitter, not a secret
}

// interrupt makes reads and writes of conn fail as soon as ctx is done. The
// function returned ends that.
func interrupt(ctx context.Context, conn socket) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// errAgain says that it is time to send the datagram again.
var errAgain = errors.New("no reply yet")

// errOversize says that a reply did not fit into the buffer.
var errOversize = errors.New("reply larger than announced")

// waiter reads one socket until the right reply comes.
type waiter struct {
	conn  socket
	msg   message
	buf   []byte
	query []byte    // to be sent before the next read; nil: sent
	end   time.Time // of the try
	wrong int       // replies discarded so far
}

// asker is a socket that can send queries and wait for a datagram in one go.
type asker interface {
	ask(queries [][]byte, buf []byte) (int, error)
}

// next sends the query if that is to be done, and reads one datagram.
func (w *waiter) next() (int, error) {
	if w.query == nil {
		return w.conn.Read(w.buf)
	}
	queries := [][]byte{w.query}
	w.query = nil
	return ask(w.conn, queries, w.buf)
}

// ask sends queries, if there are any, and reads one datagram.
func ask(conn socket, queries [][]byte, buf []byte) (int, error) {
	if a, ok := conn.(asker); ok && len(queries) > 0 {
		return a.ask(queries, buf)
	}
	for _, q := range queries {
		if _, err := conn.Write(q); err != nil {
			return 0, err
		}
	}
	return conn.Read(buf)
}

// wait reads until a reply matches, or the try ends, or it is time to send
// again (errAgain). What does not match is ignored and the wait goes on, but
// not for ever.
func (w *waiter) wait(ctx context.Context, again time.Duration) ([]byte, error) {
	until := time.Now().Add(again)
	if !until.Before(w.end) {
		until = w.end
	}
	if err := w.conn.SetReadDeadline(until); err != nil {
		return nil, fmt.Errorf("set read deadline: %w", err)
	}
	if why := ended(ctx); why != nil { // interrupt may have set its deadline before ours
		return nil, why
	}
	if !time.Now().Before(w.end) { // of a question that had gone on for some time
		return nil, fmt.Errorf("ask over udp: %w", os.ErrDeadlineExceeded)
	}
	for w.wrong < w.msg.guesses {
		n, err := w.next()
		switch {
		case err == nil && w.msg.isReply(w.buf[:n]):
			if n == len(w.buf) {
				return nil, errOversize
			}
			return w.msg.accept(w.buf[:n])
		case err == nil, errors.Is(err, io.EOF): // a file's word for an empty datagram
			w.wrong++
		case ctx.Err() == nil && until.Before(w.end) && errors.Is(err, os.ErrDeadlineExceeded):
			return nil, errAgain
		default:
			return nil, cause(ctx, fmt.Errorf("ask over udp: %w", err))
		}
	}
	return nil, ErrFlooded
}
