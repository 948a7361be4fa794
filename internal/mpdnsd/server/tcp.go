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
)

// tcpConn is one client's connection. Its reader goroutine takes questions,
// its writer sends answers as they come, in any order (RFC 7766 section 6.2.1.1).
type tcpConn struct {
	l       *Listener
	net     *net.TCPConn
	client  netip.AddrPort
	slots   chan struct{}  // one element for each question not yet answered
	out     chan []byte    // answers; as many fit as there are slots
	pending sync.WaitGroup // questions that workers have
}

// serveTCP accepts connections up to the limit; those above it are closed.
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
		if l.s.tcpConns.Add(1) > int64(l.s.options.TCPConnections) {
			l.s.tcpConns.Add(-1)
			_ = c.Close()
			continue
		}
		l.loops.Go(func() { l.serveConn(c) })
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
func (l *Listener) serveConn(conn *net.TCPConn) {
	c := &tcpConn{
		l:      l,
		net:    conn,
		client: conn.RemoteAddr().(*net.TCPAddr).AddrPort(),
		slots:  make(chan struct{}, maxPipelined),
		out:    make(chan []byte, maxPipelined),
	}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	var writer sync.WaitGroup
	writer.Go(c.write)

	c.read()
	c.pending.Wait()
	close(c.out)
	writer.Wait()
	_ = conn.Close()

	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	l.s.tcpConns.Add(-1)
}

// read takes questions until the connection's end.
func (c *tcpConn) read() {
	in := bufio.NewReader(c.net)
	var packet, out []byte
	for {
		var err error
		if packet, err = c.next(in, packet); err != nil {
			return
		}
		c.slots <- struct{}{} // the writer frees them, and fails where the client does not read
		req := request{packet: packet, client: c.client, transport: overTCP}
		var done bool
		out, done = c.l.s.begin(out[:0], &req)
		if done {
			c.deliver(out)
			continue
		}
		c.pending.Add(1)
		if !c.l.s.wait(c.l.s.newJob(&req, c.send)) {
			c.send(nil)
		}
	}
}

// next reads one message into buf, which it may replace by a larger one.
func (c *tcpConn) next(in *bufio.Reader, buf []byte) ([]byte, error) {
	if err := c.deadline(c.l.s.options.TCPIdle); err != nil {
		return nil, err
	}
	var length [lengthLen]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n < dnswire.HeaderLen {
		return nil, io.ErrUnexpectedEOF // no DNS message: nothing that follows is to be trusted
	}
	if err := c.deadline(frameTimeout); err != nil {
		return nil, err
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(in, buf[:n])
	return buf[:n], err
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

// send is deliver for a worker.
func (c *tcpConn) send(msg []byte) {
	c.deliver(msg)
	c.pending.Done()
}

// deliver queues an answer for the writer; there is room for as many as there
// are slots. msg is copied; an empty one only frees the slot.
func (c *tcpConn) deliver(msg []byte) {
	msg = bytes.Clone(msg)
	if len(msg) > 0 && c.l.s.tcpQueued.Add(int64(len(msg))) > maxTCPQueued {
		_ = c.net.Close() // reader and writer end; the writer empties the queue
	}
	c.out <- msg
}

// write sends answers until there are no more, several in one segment where
// they are ready together (RFC 7766 section 8: length and message in one).
func (c *tcpConn) write() {
	w := bufio.NewWriter(c.net)
	broken := false
	for msg := range c.out {
		if len(msg) > 0 {
			if !broken {
				broken = !c.put(w, msg)
			}
			c.l.s.tcpQueued.Add(-int64(len(msg)))
		}
		<-c.slots
		if len(c.out) == 0 && !broken {
			broken = w.Flush() != nil
		}
		if broken {
			_ = c.net.Close() // so that the reader ends
		}
	}
}

// put writes one framed message.
func (c *tcpConn) put(w *bufio.Writer, msg []byte) bool {
	if err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return false
	}
	var length [lengthLen]byte
	binary.BigEndian.PutUint16(length[:], uint16(len(msg)))
	_, err1 := w.Write(length[:])
	_, err2 := w.Write(msg)
	return err1 == nil && err2 == nil
}
