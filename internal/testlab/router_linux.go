package testlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer is the size of a packet socket's queue, in octets as the
// kernel counts them: some 2,000 full frames.
const receiveBuffer = 8 << 20

// router forwards frames between links. One goroutine per link reads its
// packet socket, and one sends what was delayed; both change the router's
// state, and write frames, only under its lock, which keeps the frames of each
// link in order.
type router struct {
	namespace *namespace
	timer     *os.File // a timerfd: exact to microseconds, unlike the poller's timeouts
	timerFD   int
	began     time.Time
	frames    sync.Pool
	running   sync.WaitGroup

	mu         sync.Mutex // guards what follows
	links      map[netip.Addr]*Link
	behaviours map[netip.Addr]Behaviour
	syns       []SYN
	queue      eventQueue
	armed      time.Duration // when the timer goes off; 0: not set
	closed     bool
}

func newRouter(home *os.File) (*router, error) {
	ns, err := newNamespace(home)
	if err != nil {
		return nil, fmt.Errorf("make the router: %w", err)
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the router's timer: %w", err), ns.close())
	}
	r := &router{
		namespace:  ns,
		timer:      os.NewFile(uintptr(fd), "timer"),
		timerFD:    fd,
		began:      time.Now(),
		frames:     sync.Pool{New: func() any { return new(frame) }},
		links:      make(map[netip.Addr]*Link),
		behaviours: make(map[netip.Addr]Behaviour),
	}
	// The router's kernel must not speak on the links.
	err = ns.do(func() error { return writeSysctl("net.ipv6.conf.default.disable_ipv6", "1") })
	if err != nil {
		return nil, errors.Join(err, r.timer.Close(), ns.close())
	}
	r.running.Go(r.sendDelayed)
	return r, nil
}

// openPacketSocket opens a socket that sends and receives the frames of an
// interface of the calling thread's namespace.
func openPacketSocket(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("%w: open a packet socket: %w", ErrUnavailable, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		// The usual limit applies; bursts may then lose frames.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap16(unix.ETH_P_ALL), Ifindex: index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("set up a packet socket: %w", err)
	}
	return fd, nil
}

// swap16 returns n in network order.
func swap16(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// attach enters a link's addresses into the forwarding table and begins to
// read its frames.
func (r *router) attach(l *Link) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range l.spec.Addrs {
		if r.links[p.Addr()] != nil {
			return fmt.Errorf("address %v is in the lab already", p.Addr())
		}
	}
	for _, p := range l.spec.Addrs {
		r.links[p.Addr()] = l
	}
	r.running.Go(func() { r.read(l) })
	return nil
}

// read takes frames from a link's host until the socket is closed.
func (r *router) read(l *Link) {
	for {
		f := r.frames.Get().(*frame)
		n, err := l.socket.Read(f.octets[:])
		if errors.Is(err, unix.ENETDOWN) {
			// Once for each time that the interface goes down.
			r.frames.Put(f)
			continue
		}
		if err != nil {
			return
		}
		f.n = n
		r.mu.Lock()
		r.enter(&l.up, f)
		r.mu.Unlock()
	}
}

// enter puts a frame onto one direction of a link. A frame that is not delayed
// arrives at once.
func (r *router) enter(d *direction, f *frame) {
	if d.link.cut || r.closed {
		r.drop(d, f)
		return
	}
	now := time.Since(r.began)
	due, ok := d.admit(now, f.n)
	if !ok {
		r.drop(d, f)
		return
	}
	if due <= now && d.inFlight == 0 {
		r.arrive(d, f)
		return
	}
	f.due, f.on = due, d
	d.inFlight++
	r.queue.push(f)
	r.arm(now)
}

// arrive takes a frame off a direction: into the router, or out to the host.
func (r *router) arrive(d *direction, f *frame) {
	if d.link.cut || r.closed {
		r.drop(d, f)
		return
	}
	d.octets += uint64(f.n)
	d.count++
	if d.toRouter {
		r.forward(d.link, f)
		return
	}
	if _, err := unix.Write(d.link.socketFD, f.bytes()); err != nil {
		d.link.dropped++
	}
	r.frames.Put(f)
}

func (r *router) drop(d *direction, f *frame) {
	d.link.dropped++
	r.frames.Put(f)
}

// forward treats a frame that came from a link as its destination's behaviour
// says. What is not unicast IP, such as neighbour discovery, ends here.
func (r *router) forward(from *Link, f *frame) {
	p, ok := parsePacket(f.octets[etherHeader:max(f.n, etherHeader)])
	if !ok || p.dst.IsMulticast() || p.dst.IsLinkLocalUnicast() {
		r.frames.Put(f)
		return
	}
	if p.isSYN() {
		r.record(p)
	}
	action := decide(p, r.behaviours[p.src], r.behaviours[p.dst])
	to := r.links[p.dst]
	if to == nil && action == pass {
		action = answerUnreachable
	}
	switch action {
	case pass:
		r.enter(&to.down, f)
		return
	case answerReset:
		r.reply(from, p, appendReset)
	case answerUnreachable:
		behaviour := r.behaviours[p.dst]
		r.reply(from, p, func(dst []byte, p packet) []byte { return appendUnreachable(dst, p, behaviour) })
	case discard:
	}
	r.frames.Put(f)
}

// reply sends what the router itself answers to a packet back over its link.
func (r *router) reply(l *Link, p packet, build func([]byte, packet) []byte) {
	f := r.frames.Get().(*frame)
	copy(f.octets[0:], hostMAC[:])
	copy(f.octets[6:], hostMAC[:])
	etherType := uint16(etherIPv6)
	if p.src.Is4() {
		etherType = etherIPv4
	}
	binary.BigEndian.PutUint16(f.octets[12:], etherType)
	f.n = len(build(f.octets[:etherHeader], p))
	if f.n == etherHeader {
		r.frames.Put(f)
		return
	}
	r.enter(&l.down, f)
}

func (r *router) record(p packet) {
	if len(r.syns) >= maxSYNs {
		return
	}
	src, dst := p.ports()
	kind, token := p.synKind()
	r.syns = append(r.syns, SYN{At: time.Now(), Src: src, Dst: dst, Kind: kind, Token: token})
}

// arm sets the timer to the first delayed frame, unless it is set to that or
// to an earlier time.
func (r *router) arm(now time.Duration) {
	due, ok := r.queue.next()
	if !ok || r.armed != 0 && r.armed <= due {
		return
	}
	r.armed = due
	wait := unix.NsecToTimespec(max(1, (due - now).Nanoseconds()))
	// The arguments are valid by construction, and so is the descriptor: the
	// lock is held and the router is open.
	_ = unix.TimerfdSettime(r.timerFD, 0, &unix.ItimerSpec{Value: wait}, nil)
}

// sendDelayed moves each delayed frame on when it is due.
func (r *router) sendDelayed() {
	var expirations [8]byte
	for {
		if _, err := r.timer.Read(expirations[:]); err != nil {
			return
		}
		r.mu.Lock()
		r.armed = 0
		now := time.Since(r.began)
		for f := r.queue.pop(now); f != nil; f = r.queue.pop(now) {
			f.on.inFlight--
			r.arrive(f.on, f)
		}
		if !r.closed {
			r.arm(now)
		}
		r.mu.Unlock()
	}
}

// stop ends forwarding and waits for the router's goroutines.
func (r *router) stop(links []*Link) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	errs := []error{r.timer.Close()}
	for _, l := range links {
		errs = append(errs, l.socket.Close())
	}
	r.running.Wait()
	return errors.Join(errs...)
}
