package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Bounds of the load generator's links.
const (
	batch     = 16   // datagrams of one system call
	maxAnswer = 1500 // octets; longer ones are cut, and found wrong
)

// slot is one outstanding query.
type slot struct {
	busy   bool
	turn   uint16
	sentAt time.Duration // since the load began, where latency is measured
	length int
	want   expectation
	packet [maxQueryLen]byte
}

// link is one socket of the load generator with its outstanding queries.
type link struct {
	fd    int
	tcp   bool
	slots []slot // a power of two, as an id is the slot and its turn
	// UDP: the headers of one batch.
	hdrs    [batch]mmsghdr
	vecs    [batch]unix.Iovec
	answers [batch][maxAnswer]byte
	// TCP: octets not yet sent, and those not yet a whole message.
	out, in []byte
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// dialLink connects a socket that does not block, for so many outstanding
// queries: a power of two.
func dialLink(server netip.AddrPort, tcp bool, window int) (*link, error) {
	kind := unix.SOCK_DGRAM
	if tcp {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l := &link{fd: fd, tcp: tcp, slots: make([]slot, window)}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(server.Port()), Addr: server.Addr().As4()})
	if err == nil && tcp {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %v: %w", server, err)
	}
	for i := range l.hdrs {
		l.hdrs[i].hdr.Iov = &l.vecs[i]
		l.hdrs[i].hdr.SetIovlen(1)
	}
	return l, nil
}

func (l *link) close() { unix.Close(l.fd) }

// fill puts a new query into a slot.
func (l *link) fill(i int, next source) {
	s := &l.slots[i]
	packet, want := next(s.packet[:0])
	s.turn++
	s.busy, s.length, s.want = true, len(packet), want
	binary.BigEndian.PutUint16(s.packet[:], l.id(i))
}

// id is that of the slot's query.
func (l *link) id(i int) uint16 { return l.slots[i].turn*uint16(len(l.slots)) + uint16(i) }

// outstanding counts the queries without an answer.
func (l *link) outstanding() (n int) {
	for i := range l.slots {
		if l.slots[i].busy {
			n++
		}
	}
	return n
}

// match returns the slot that an answer is for, -1 if there is none.
func (l *link) match(msg []byte) int {
	if len(msg) < dnswire.HeaderLen {
		return -1
	}
	id := binary.BigEndian.Uint16(msg)
	i := int(id) % len(l.slots)
	if !l.slots[i].busy || l.id(i) != id {
		return -1
	}
	return i
}

// sendOne sends the query of a slot, as a datagram.
func (l *link) sendOne(i int) error {
	one := [1]int{i}
	return l.send(one[:])
}

// send sends the queries of the given slots, a batch at most. What the socket
// does not take of datagrams is lost, and found so later.
func (l *link) send(slots []int) error {
	if l.tcp {
		for _, i := range slots {
			s := &l.slots[i]
			l.out = append(binary.BigEndian.AppendUint16(l.out, uint16(s.length)), s.packet[:s.length]...)
		}
		return l.flush()
	}
	for at, i := range slots {
		s := &l.slots[i]
		l.vecs[at].Base = &s.packet[0]
		l.vecs[at].SetLen(s.length)
	}
	for at := 0; at < len(slots); {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.hdrs[at])), uintptr(len(slots)-at), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			at += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return nil
		default:
			return fmt.Errorf("send: %w", e)
		}
	}
	return nil
}

// flush writes what the stream takes.
func (l *link) flush() error {
	for len(l.out) > 0 {
		n, err := unix.Write(l.fd, l.out)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("write: %w", err)
		}
		l.out = l.out[:copy(l.out, l.out[max(n, 0):])]
	}
	return nil
}

// receive gives what has come to take, without waiting.
func (l *link) receive(take func(msg []byte)) error {
	if l.tcp {
		return l.receiveStream(take)
	}
	for i := range l.vecs {
		l.vecs[i].Base = &l.answers[i][0]
		l.vecs[i].SetLen(maxAnswer)
	}
	n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.hdrs[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return nil
	default:
		return fmt.Errorf("receive: %w", e)
	}
	for i := range int(n) {
		take(l.answers[i][:l.hdrs[i].n])
	}
	return nil
}

func (l *link) receiveStream(take func(msg []byte)) error {
	var buf [batch * maxAnswer]byte
	n, err := unix.Read(l.fd, buf[:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return fmt.Errorf("the server closed the connection")
	}
	l.in = append(l.in, buf[:n]...)
	at := 0
	for len(l.in)-at >= 2 {
		end := at + 2 + int(binary.BigEndian.Uint16(l.in[at:]))
		if end > len(l.in) {
			break
		}
		take(l.in[at+2 : end])
		at = end
	}
	l.in = l.in[:copy(l.in, l.in[at:])]
	return nil
}

// probe puts a query into the first slot, to be asked with ask.
func (l *link) probe(q query) {
	l.fill(0, func(dst []byte) ([]byte, expectation) { return append(dst, q.packet...), q.want })
}

// ask sends the probe and tells whether the right answer, to this or an earlier
// sending, came within a time.
func (l *link) ask(patience time.Duration) (right bool) {
	failed := l.sendOne(0) != nil // refused, as nobody listens yet
	for deadline := time.Now().Add(patience); ; {
		if !failed {
			failed = l.receive(func(msg []byte) {
				if i := l.match(msg); i >= 0 {
					s := &l.slots[i]
					right = checkAnswer(s.packet[:s.length], msg, s.want, true)
				}
			}) != nil
		}
		left := time.Until(deadline)
		if right || left <= 0 {
			return right
		}
		var fds []unix.PollFd
		if !failed {
			fds = []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
		}
		if waitFor(fds, left) != nil {
			return false
		}
	}
}

// waitFor waits until there is something to read, or for a time.
func waitFor(fds []unix.PollFd, d time.Duration) error {
	t := unix.NsecToTimespec(max(int64(d), 0))
	if _, err := unix.Ppoll(fds, &t, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}
