package udpbatch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlLen is room for one IP_PKTINFO or IPV6_PKTINFO control message, and a multiple of what
// control messages are aligned to.
const controlLen = 40

// rememberDestination has the socket of a wildcard address tell, with each datagram, which of the
// machine's addresses it was sent to (ip(7), IP_PKTINFO; RFC 3542 section 6.2).
func rememberDestination(raw syscall.RawConn, ip4 bool) error {
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	if ip4 {
		level, option = unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	return setOption(raw, level, option)
}

func setOption(raw syscall.RawConn, level, option int) error {
	var serr error
	err := raw.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, serr)
}

// share lets further sockets have the address of a bound one. The first is bound without the option
// and gets it afterwards, so that there is no moment at which another program's socket could be
// joined: that program's would have made the bind fail. A later one fails too, unless it
// asks for SO_REUSEPORT itself and is of the same user (socket(7)); Listen never does for its first.
// The kernel makes the group of sockets when the second one is bound (reuseport_add_sock).
func share(raw syscall.RawConn) error { return setOption(raw, unix.SOL_SOCKET, unix.SO_REUSEPORT) }

// listenNext binds a further socket to the address of one that share was called for.
func listenNext(addr netip.AddrPort) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return share(raw) }}
	c, err := config.ListenPacket(context.Background(), network(addr.Addr()), addr.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// canBatch asks for batches of nothing. A kernel without the calls, or a filter, says no.
func canBatch(raw syscall.RawConn) bool {
	ok := true
	err := raw.Control(func(fd uintptr) {
		for _, trap := range [...]uintptr{unix.SYS_RECVMMSG, unix.SYS_SENDMMSG} {
			_, _, e := unix.Syscall6(trap, fd, 0, 0, unix.MSG_DONTWAIT, 0, 0)
			ok = ok && e != unix.ENOSYS && e != unix.EPERM
		}
	})
	return err == nil && ok
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // octets received or sent
}

// batcher is the memory of one loop. The headers point into it, so it is never copied, and nothing
// is set up again between batches but the lengths that the kernel writes.
type batcher struct {
	conn    *Conn
	handler Handler
	fd      uintptr
	got     int           // datagrams of the last read
	answers int           // of these, those to send an answer to
	err     syscall.Errno // of the last read

	in       [batch]mmsghdr
	inVecs   [batch]unix.Iovec
	from     [batch]unix.RawSockaddrInet6 // room for either family
	controls [batch][controlLen]byte
	packets  [batch][MaxDatagram]byte

	out     [batch]mmsghdr
	outVecs [batch]unix.Iovec
	peers   [batch]Peer
	to      [batch]unix.RawSockaddrInet6
	replies []byte
}

func newBatcher(c *Conn, h Handler) *batcher {
	b := &batcher{conn: c, handler: h, replies: make([]byte, 0, batch*MaxDatagram+replyRoom)}
	for i := range batch {
		b.inVecs[i].Base = &b.packets[i][0]
		b.inVecs[i].SetLen(MaxDatagram)
		h := &b.in[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.from[i]))
		h.Iov = &b.inVecs[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
		b.reset(i)

		o := &b.out[i].hdr
		o.Name = (*byte)(unsafe.Pointer(&b.to[i]))
		o.Iov = &b.outVecs[i]
		o.SetIovlen(1)
	}
	return b
}

// serveBatches is Serve with recvmmsg and sendmmsg.
func (c *Conn) serveBatches(h Handler) error {
	b := newBatcher(c, h)
	turn := b.turn // one closure for all batches
	for errs := 0; errs < maxErrors; errs++ {
		if err := c.raw.Read(turn); err != nil {
			return err
		}
		if b.err == 0 {
			errs = -1
		}
	}
	return ErrReading
}

// turn reads and answers a batch. It returns false, so that the poller waits, where there was less
// than a batch: the system call has seen the socket empty, and what comes after that is an event.
// A call to be told so once more would be a sixth of the work on a lone query.
func (b *batcher) turn(fd uintptr) bool {
	if !b.read(fd) {
		return false
	}
	if b.err != 0 {
		return true
	}
	b.answer(b.handler)
	b.send()
	return b.got == batch
}

// reset gives back to a header the room that the kernel made the lengths of.
func (b *batcher) reset(i int) {
	b.in[i].hdr.Namelen = unix.SizeofSockaddrInet6
	b.in[i].hdr.SetControllen(controlLen)
}

// read takes what has come; false if that is nothing, and the poller is to wait.
func (b *batcher) read(fd uintptr) bool {
	for i := range b.got {
		b.reset(i)
	}
	b.fd, b.got = fd, 0
	e := unix.EINTR
	for e == unix.EINTR {
		var n uintptr
		n, _, e = unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		if e == 0 {
			b.got = int(n)
		}
	}
	b.err = e
	return e != unix.EAGAIN
}

// answer has each datagram of the batch answered, and lays the answers out to be sent.
func (b *batcher) answer(h Handler) {
	answers, replies := 0, b.replies
	for i := range b.got {
		p := &b.peers[answers]
		if !p.parse(&b.from[i], b.controls[i][:b.in[i].hdr.Controllen]) {
			continue
		}
		msg := h(replies[len(replies):], b.packets[i][:min(b.in[i].n, MaxDatagram)], *p)
		if len(msg) == 0 {
			continue
		}
		if &msg[0] == unsafe.SliceData(replies[len(replies):]) {
			replies = replies[:len(replies)+len(msg)]
		} // else it did not fit, and is memory of its own
		b.outVecs[answers].Base = &msg[0]
		b.outVecs[answers].SetLen(len(msg))
		o := &b.out[answers].hdr
		b.to[answers] = b.from[i]
		o.Namelen = b.in[i].hdr.Namelen
		o.Control, o.Controllen = nil, 0
		if p.n > 0 {
			o.Control = &p.control[0]
			o.SetControllen(int(p.n))
		}
		answers++
	}
	b.answers = answers
}

// send sends the answers.
func (b *batcher) send() { b.conn.sendAll(b.fd, b.out[:b.answers]) }

// sendAll sends a batch. Where the system has no room for more, the rest is dropped; what it
// refuses for another reason, such as the lack of a route, is left out.
func (c *Conn) sendAll(fd uintptr, all []mmsghdr) {
	for len(all) > 0 {
		sent, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&all[0])), uintptr(len(all)), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			all = all[sent:]
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			c.unsent.Add(uint64(len(all)))
			return
		default:
			c.unsent.Add(1)
			all = all[1:]
		}
	}
}

// queue holds datagrams that are to be sent together.
type queue struct {
	mu      sync.Mutex // guards what follows
	waiting atomic.Int32
	*queued // nil before the first
}

// queued is the memory of a queue. The headers point into it.
type queued struct {
	out     [batch]mmsghdr
	vecs    [batch]unix.Iovec
	peers   [batch]Peer
	to      [batch]unix.RawSockaddrInet6
	packets [batch][MaxDatagram]byte
}

func (c *Conn) enqueue(msg []byte, to Peer) {
	q := &c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queued == nil {
		q.queued = new(queued)
	}
	i := q.waiting.Load()
	if i == batch {
		c.flush()
		i = 0
	}
	q.vecs[i].Base = &q.packets[i][0]
	q.vecs[i].SetLen(copy(q.packets[i][:], msg))
	q.peers[i] = to
	h := &q.out[i].hdr
	*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&q.to[i])), Namelen: to.sockaddr(&q.to[i]), Iov: &q.vecs[i]}
	h.SetIovlen(1)
	if to.n > 0 {
		h.Control = &q.peers[i].control[0]
		h.SetControllen(int(to.n))
	}
	q.waiting.Store(i + 1)
}

// Flush sends what was queued.
func (c *Conn) Flush() {
	if c.queue.waiting.Load() == 0 {
		return
	}
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	c.flush()
}

func (c *Conn) flush() {
	n := c.queue.waiting.Swap(0)
	if n == 0 {
		return
	}
	err := c.raw.Write(func(fd uintptr) bool {
		c.sendAll(fd, c.queue.out[:n])
		return true // room is not waited for
	})
	if err != nil {
		c.unsent.Add(uint64(n)) //nolint:gosec // it is not negative
	}
}

// Send sends one datagram to a Peer. It may be called by several goroutines. What the system does
// not take is dropped and counted.
func (c *Conn) Send(msg []byte, to Peer) {
	if c.portable {
		c.sendPortable(msg, &to)
		return
	}
	if len(msg) == 0 {
		return
	}
	var sa unix.RawSockaddrInet6
	vec := unix.Iovec{Base: &msg[0]}
	vec.SetLen(len(msg))
	h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&sa)), Namelen: to.sockaddr(&sa), Iov: &vec}
	h.SetIovlen(1)
	if to.n > 0 {
		h.Control = &to.control[0]
		h.SetControllen(int(to.n))
	}
	e := unix.EINTR
	err := c.raw.Write(func(fd uintptr) bool {
		for e == unix.EINTR {
			_, _, e = unix.RawSyscall6(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h)), unix.MSG_DONTWAIT, 0, 0, 0)
		}
		return true // room is not waited for
	})
	if err != nil || e != 0 {
		c.unsent.Add(1)
	}
}
