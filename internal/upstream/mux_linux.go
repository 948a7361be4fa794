package upstream

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// muxEvents is how many ports are looked at together.
	muxEvents = 64
	// muxBuffer is room for any datagram, in octets.
	muxBuffer = 64 << 10
	// watchEvery is how often the questions in flight are looked after: their
	// waits may end late by so much.
	watchEvery = 20 * time.Millisecond
)

// NewMux starts a Mux of the given number of loops, 1 or more. It must be closed.
func NewMux(loops int) (*Mux, error) {
	m := &Mux{}
	for range max(loops, 1) {
		l, err := newMuxLoop(m)
		if err != nil {
			m.Close()
			return nil, fmt.Errorf("wait for replies: %w", err)
		}
		m.loops = append(m.loops, l)
		m.wg.Go(l.run)
	}
	return m, nil
}

// Close ends the loops and waits for them, and for what they started. Questions
// in flight are told.
func (m *Mux) Close() {
	for _, l := range m.loops {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		_ = l.file.Close()
	}
	m.wg.Wait()
}

// muxLoop reads the ports of one epoll(7) descriptor, which itself is a file that
// the runtime's poller waits for.
type muxLoop struct {
	mux    *Mux
	file   *os.File // of the epoll descriptor
	fd     int
	ready  int // events of the last wait
	events [muxEvents]unix.EpollEvent
	buf    [muxBuffer]byte

	watching atomic.Bool // a deadline of file is set

	mu     sync.Mutex // guards what follows
	closed bool
	table  []*port // by slot; nil: free
	free   []int   // slots
}

func newMuxLoop(m *Mux) (*muxLoop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // for NewFile, which hands it to the poller
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &muxLoop{mux: m, fd: fd, file: os.NewFile(uintptr(fd), "epoll")}, nil //nolint:gosec // a descriptor is not negative
}

// run reads until file is closed.
func (l *muxLoop) run() {
	raw, err := l.file.SyscallConn()
	for err == nil {
		err = raw.Read(l.wait)
		now := time.Now()
		switch {
		case err == nil:
			l.dispatch(now)
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = l.sweep(now)
		}
	}
	l.end()
}

// wait takes the events that are there; false if there are none.
func (l *muxLoop) wait(uintptr) bool {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.fd), uintptr(unsafe.Pointer(&l.events[0])), muxEvents, 0, 0, 0)
	l.ready = int(n)
	if e != 0 {
		l.ready = 0
	}
	return l.ready > 0
}

// dispatch reads one datagram of each port that has some.
func (l *muxLoop) dispatch(now time.Time) {
	var ready [muxEvents]*port
	l.mu.Lock()
	for i, e := range l.events[:l.ready] {
		ready[i] = l.table[e.Fd]
	}
	l.mu.Unlock()
	for _, c := range ready[:l.ready] {
		if c != nil {
			c.receive(l.buf[:], now)
		}
	}
	l.mux.endBatch()
}

// watch has the questions in flight looked after.
func (l *muxLoop) watch() {
	if !l.watching.Load() && l.watching.CompareAndSwap(false, true) {
		_ = l.file.SetReadDeadline(time.Now().Add(watchEvery)) // fails on a closed file only
	}
}

// sweep looks after the questions in flight, and stops the watch where there are none.
func (l *muxLoop) sweep(now time.Time) error {
	flying := l.flying()
	for _, c := range flying {
		c.lookAfter(now)
	}
	if len(flying) > 0 {
		l.mux.endBatch()
		return l.file.SetReadDeadline(now.Add(watchEvery))
	}
	if err := l.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	l.watching.Store(false)
	if len(l.flying()) > 0 { // it began before the watch was seen to be over
		l.watch()
	}
	return nil
}

// flying are the ports with a question in flight.
func (l *muxLoop) flying() []*port {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*port
	for _, c := range l.table {
		if c != nil && c.busy.Load() {
			all = append(all, c)
		}
	}
	return all
}

// end closes all ports.
func (l *muxLoop) end() {
	l.mu.Lock()
	l.closed = true // whatever has ended it
	table := l.table
	l.table = nil
	l.mu.Unlock()
	for _, c := range table {
		if c != nil {
			c.abandon()
		}
	}
	l.mux.endBatch()
}

// open returns a port to p's server.
func (m *Mux) open(p *ports) (*port, error) {
	fd, err := connectUDP(p.server.addr)
	if err != nil {
		return nil, err
	}
	l := m.loops[int(m.turn.Add(1))%len(m.loops)]
	c := &port{of: p, loop: l, born: time.Now(), fd: fd}
	if err := l.add(c); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// add has c read by the loop.
func (l *muxLoop) add(c *port) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if n := len(l.free); n > 0 {
		c.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		c.slot = len(l.table)
		l.table = append(l.table, nil)
	}
	l.table[c.slot] = c
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.slot)} //nolint:gosec // there are fewer ports than descriptors
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, c.fd, &e); err != nil {
		l.forget(c)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// forget frees the slot of c. Under l.mu.
func (l *muxLoop) forget(c *port) {
	if c.slot < len(l.table) && l.table[c.slot] == c {
		l.table[c.slot] = nil
		l.free = append(l.free, c.slot)
	}
}

// close closes the socket, which ends its events.
func (c *port) close() {
	c.mu.Lock()
	fd := c.fd
	c.fd = -1
	if fd >= 0 {
		_ = unix.Close(fd)
	}
	c.mu.Unlock()
	c.loop.mu.Lock()
	c.loop.forget(c)
	c.loop.mu.Unlock()
}

// send and recv move one datagram. Neither waits, so the scheduler is not told.

func (c *port) send(b []byte) error {
	if c.fd < 0 {
		return errClosed
	}
	_, err := transfer(unix.SYS_SENDTO, c.fd, b)
	return err
}

func (c *port) recv(b []byte) (int, error) { return transfer(unix.SYS_RECVFROM, c.fd, b) }

func transfer(trap uintptr, fd int, b []byte) (int, error) {
	n, _, e := syscall.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
