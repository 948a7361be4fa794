package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Bounds of TCP connections.
const (
	// maxPipelined is how many questions of one connection are worked on, or
	// answered and not yet sent; then it is not read further.
	maxPipelined = 64
	// frameTimeout bounds the time from a message's length to its last octet.
	frameTimeout = 5 * time.Second
	// writeTimeout bounds how long a client may leave answers unread.
	writeTimeout = 5 * time.Second
	// maxTCPQueued bounds the octets of answers unread by all clients
	// together; a connection that would add to them is closed.
	maxTCPQueued = 64 << 20
	// lengthLen is the length of a message's length (RFC 1035 section 4.2.2).
	lengthLen = 2
	// readerLen is what a connection reads at a time, in octets; it has room
	// for some eighty questions. A longer message gets memory of its own.
	readerLen = 4096
	// framesLen is the room for answers that are sent at once, and framesFull how
	// many octets of it make them be sent.
	framesLen  = 64 << 10
	framesFull = framesLen / 2
)

// tcpConn is one client's connection. Its reader goroutine takes questions and
// answers what it can at once: all that one wake-up brought is answered by one
// write. What workers answer, a writer goroutine sends, in any order (RFC 7766
// section 6.2.1.1); it is started with the first such question.
type tcpConn struct {
	l      *Listener
	net    *net.TCPConn
	client netip.AddrPort
	asked  netip.Addr
	counts *counters

	in     *bufio.Reader
	used   int     // octets of in that the last message had
	long   []byte  // a message that in has no room for
	frames *[]byte // answers not yet sent, from Server.frames; nil: none

	slots   chan struct{}  // one element for each question not yet answered by a worker
	out     chan []byte    // workers' answers; as many fit as there are slots; nil before the first
	writer  sync.WaitGroup // the writer, if there is one
	pending sync.WaitGroup // questions that workers have
}

// serveTCP accepts connections up to the limits; those above are closed.
func (l *Listener) serveTCP() {
	for {
		c, err := l.tcp.AcceptTCP()
		if l.stopping.Load() {
			if err == nil {
				_ = c.Close()
			}
			return
		}
		if err != nil {
			if !l.pause(err) {
				return
			}
			continue
		}
		client := c.RemoteAddr().(*net.TCPAddr).AddrPort()
		if !l.s.enter(client.Addr()) {
			l.s.tcpRefused.Add(1)
			_ = c.Close()
			continue
		}
		l.running.Go(func() {
			defer l.s.leave(client.Addr())
			l.serveConn(c, client)
		})
	}
}

// enter takes a place for a client's connection; false if there is none.
func (s *Server) enter(client netip.Addr) bool {
	key := clientKey(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tcpConns.Load() >= int64(s.options.TCPConnections) || s.clients[key] >= s.options.TCPPerClient {
		return false
	}
	s.tcpConns.Add(1)
	s.clients[key]++
	return true
}

// leave gives the place back.
func (s *Server) leave(client netip.Addr) {
	key := clientKey(client)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tcpConns.Add(-1)
	if s.clients[key]--; s.clients[key] == 0 {
		delete(s.clients, key)
	}
}

// acceptPause is how long accepting rests after an error such as the lack of
// file descriptors, which other connections' ends will cure.
const acceptPause = 50 * time.Millisecond

// pause rests after an error of accept; false if the server's work is over.
func (l *Listener) pause(err error) bool {
	l.s.options.Log.Warn("accepting a connection", "listen", l.addr, "error", err)
	select {
	case <-time.After(acceptPause):
		return !l.stopping.Load()
	case <-l.s.ctx.Done():
		return false
	}
}

// serveConn serves one connection until the client is done, idle or too slow.
func (l *Listener) serveConn(conn *net.TCPConn, client netip.AddrPort) {
	c := &tcpConn{
		l: l, net: conn, client: client,
		asked: conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(),
		in:    bufio.NewReaderSize(conn, readerLen),
		slots: make(chan struct{}, maxPipelined),
	}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	c.counts = &l.tcpCounts[l.turn%len(l.tcpCounts)]
	l.turn++
	l.mu.Unlock()

	c.read()
	_ = c.flush() // what was answered before the end
	c.pending.Wait()
	if c.out != nil {
		close(c.out)
		c.writer.Wait()
	}
	_ = conn.Close()

	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// read takes questions until the connection's end.
func (c *tcpConn) read() {
	var req request
	for {
		packet, err := c.next()
		if err != nil {
			return
		}
		req = request{packet: packet, client: c.client, asked: c.asked, transport: overTCP, counts: c.counts}
		if c.frames == nil {
			c.frames = c.l.s.frames.Get().(*[]byte)
		}
		at := len(*c.frames) + lengthLen
		out, done := c.l.s.begin((*c.frames)[at:at], &req)
		if done {
			err = c.keep(out)
		} else {
			err = c.later(&req)
		}
		if err != nil {
			return
		}
	}
}

// keep puts an answer behind those not yet sent, where it stands already if it
// fitted.
func (c *tcpConn) keep(msg []byte) error {
	*c.frames = appendFrame(*c.frames, msg)
	if len(*c.frames) >= framesFull {
		return c.flush()
	}
	return nil
}

// flush sends the answers that are ready, with their lengths in one segment
// (RFC 7766 section 8). It waits for a client that does not read, up to
// writeTimeout, and so does not read on either.
func (c *tcpConn) flush() error {
	if c.frames == nil {
		return nil
	}
	b := c.frames
	c.frames = nil
	var err error
	if len(*b) > 0 {
		err = c.send(*b)
	}
	if *b = (*b)[:0]; cap(*b) == framesLen {
		c.l.s.frames.Put(b)
	}
	return err
}

// send writes to the connection.
func (c *tcpConn) send(b []byte) error {
	if err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.net.Write(b)
	return err
}

// next returns the next message, which is valid until the call after.
func (c *tcpConn) next() ([]byte, error) {
	_, _ = c.in.Discard(c.used) // it was read before
	c.used = 0
	if n, ok := c.buffered(); ok {
		return c.message(n)
	}
	if err := c.flush(); err != nil {
		return nil, err
	}
	if c.in.Buffered() == 0 {
		if err := c.wait(c.l.s.options.TCPIdle); err != nil {
			return nil, err
		}
	}
	if n, ok := c.buffered(); ok {
		return c.message(n)
	}
	if err := c.deadline(min(frameTimeout, c.l.s.options.TCPIdle)); err != nil {
		return nil, err
	}
	length, err := c.in.Peek(lengthLen)
	if err != nil {
		return nil, err
	}
	return c.message(int(binary.BigEndian.Uint16(length)))
}

// wait waits for the first octet of a message.
func (c *tcpConn) wait(d time.Duration) error {
	if err := c.deadline(d); err != nil {
		return err
	}
	_, err := c.in.Peek(1)
	return err
}

// buffered returns the length of the next message, if all of it was read.
func (c *tcpConn) buffered() (n int, ok bool) {
	if c.in.Buffered() < lengthLen {
		return 0, false
	}
	length, _ := c.in.Peek(lengthLen) // it is there
	n = int(binary.BigEndian.Uint16(length))
	return n, c.in.Buffered() >= lengthLen+n
}

// message reads a message of n octets behind its length.
func (c *tcpConn) message(n int) ([]byte, error) {
	if n < dnswire.HeaderLen {
		return nil, io.ErrUnexpectedEOF // no DNS message: nothing that follows is to be trusted
	}
	if lengthLen+n <= readerLen {
		b, err := c.in.Peek(lengthLen + n)
		if err != nil {
			return nil, err
		}
		c.used = lengthLen + n
		return b[lengthLen:], nil
	}
	_, _ = c.in.Discard(lengthLen) // it is there
	if cap(c.long) < n {
		c.long = make([]byte, n)
	}
	_, err := io.ReadFull(c.in, c.long[:n])
	return c.long[:n], err
}

// deadline bounds the next read. When the listener stops, it fails: whoever
// looks second, this or stop, sees the other.
func (c *tcpConn) deadline(d time.Duration) error {
	if err := c.net.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if c.l.stopping.Load() {
		return net.ErrClosed
	}
	return nil
}

// later has a worker answer. Before it waits for anyone, it sends what is ready.
func (c *tcpConn) later(req *request) error {
	select {
	case c.slots <- struct{}{}:
	default:
		if err := c.flush(); err != nil {
			return err
		}
		c.slots <- struct{}{} // the writer frees them, and fails where the client does not read
	}
	if c.out == nil {
		c.out = make(chan []byte, maxPipelined)
		c.writer.Go(c.write)
	}
	c.pending.Add(1)
	job := c.l.s.newJob(req, c.deliver)
	if c.l.s.try(job) {
		return nil
	}
	err := c.flush()
	if err != nil || !c.l.s.wait(job) {
		c.deliver(nil, false)
	}
	return err
}

// deliver queues a worker's answer for the writer; there is room for as many as
// there are slots. msg is copied; an empty one only frees the slot.
func (c *tcpConn) deliver(msg []byte, _ bool) {
	defer c.pending.Done()
	msg = bytes.Clone(msg)
	if len(msg) > 0 && c.l.s.tcpQueued.Add(int64(len(msg))) > maxTCPQueued {
		_ = c.net.Close() // reader and writer end; the writer empties the queue
	}
	c.out <- msg
}

// write sends workers' answers until there are no more, together where they
// are ready together.
func (c *tcpConn) write() {
	var frames []byte
	broken := false
	for msg := range c.out {
		frames = appendFrame(frames[:0], msg)
		octets, count := len(msg), 1
		for ; len(c.out) > 0 && len(frames) < framesFull; count++ {
			msg = <-c.out
			frames = appendFrame(frames, msg)
			octets += len(msg)
		}
		if !broken && len(frames) > 0 {
			broken = c.send(frames) != nil
		}
		c.l.s.tcpQueued.Add(-int64(octets))
		for range count {
			<-c.slots
		}
		if broken {
			_ = c.net.Close() // so that the reader ends
		}
		if cap(frames) > maxKeptBuffer {
			frames = nil
		}
	}
}

// appendFrame appends a message and its length; nothing for no message.
func appendFrame(dst, msg []byte) []byte {
	if len(msg) == 0 {
		return dst
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(msg))), msg...)
}
