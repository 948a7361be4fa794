package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// MaxListen is the largest number of addresses that one [Listener] takes: what
// the count field of an AF_MULTIPATH record holds.
const MaxListen = 255

var (
	errNothingToListen = errors.New("no address to listen on")
	errListenTooMany   = fmt.Errorf("more than %d addresses to listen on", MaxListen)
)

// ListenConfig listens on sets of addresses. Its zero value is ready: it listens
// like net.ListenConfig, on several addresses, and with Multipath TCP where the
// kernel has it. The zero value of each field is listening without that option.
// It may be copied and used for many listeners.
type ListenConfig struct {
	// Control is called once for each socket, before it is bound. The network is
	// "tcp4" or "tcp6" for the family of the address, which need not be the
	// family of the socket: on Linux an IPv6 socket is used for IPv4 addresses
	// too, so that a connection can have subflows of both.
	Control func(network, address string, c syscall.RawConn) error

	// KeepAlive is the interval of the accepted connections' keep-alive probes:
	// zero is 15 seconds, negative is none. Ignored where KeepAliveConfig.Enable
	// is set.
	KeepAlive time.Duration
	// KeepAliveConfig sets keep-alive probes in detail.
	KeepAliveConfig net.KeepAliveConfig

	// Multipath says whether Multipath TCP is used. Plain TCP peers are accepted
	// in either mode.
	Multipath Mode
	// TCPAddrs makes LocalAddr and RemoteAddr of the accepted connections
	// *net.TCPAddr of the first subflow, for programs that take them apart, as
	// those do that split the RemoteAddr of an http.Request. Without it they are
	// live sets ([mpaddr.Addr]), unless Multipath is MultipathOff.
	TCPAddrs bool
	// Announce says whether a connection whose first local address is own is
	// told of the further address (ADD_ADDR). Nil: addresses of at least the
	// reach of own, that is no loopback or private one unless own is such a
	// one, and nothing link-local.
	Announce func(own, further netip.Addr) bool
	// Broker is the socket of the broker that announces where this process may not:
	// "" is the daemon's, BrokerOff none. It has rules of its own for what it
	// announces, and takes on connections for which there is a further address when
	// they are accepted; those follow the listener's later changes. A broker that is
	// absent, slow or dies costs the announcements only.
	Broker string
}

// Listen listens on all addresses of set at once
// (draft-sarolahti-mptcp-af-multipath-01, section 4.1): both families mixed,
// wildcards allowed. It fails only when none could be bound, with a
// [*net.OpError]; [Listener.Results] tells what became of each.
//
// Port 0 is a port that the system chooses, the same for all addresses of port
// 0. [::] takes IPv4 as well, as with package net. Addresses that a wildcard of
// the set covers share its socket. ctx bounds the call, not the listener.
func (lc *ListenConfig) Listen(ctx context.Context, set mpaddr.Addr) (*Listener, error) {
	l := &Listener{
		config: *lc, queue: make(chan listenAccepted), done: make(chan struct{}),
		announcer: newListenAnnouncer(lc.Announce, lc.managerOpener()).askBroker(brokerSocket(lc.Broker)),
	}
	if _, err := l.rebind(ctx, set); err != nil {
		l.announcer.close()
		return nil, listenError("listen", set, err)
	}
	return l, nil
}

// Listener accepts connections on a set of addresses. It is a net.Listener;
// what Accept returns is a [*Conn]. Its methods are safe for concurrent use.
//
// Each socket has a goroutine that holds at most one accepted connection for
// Accept; the others wait in the kernel's queue of their address, which
// net.core.somaxconn bounds. One more goroutine follows the connections' events
// where the process may use the path manager; without it, one for each connection
// that the broker keeps informed.
type Listener struct {
	config    ListenConfig
	announcer *listenAnnouncer
	queue     chan listenAccepted // unbuffered: waiting sockets are served in turn
	done      chan struct{}       // closed by Close
	group     sync.WaitGroup      // the sockets' goroutines

	mu      sync.Mutex // guards all below; held during a rebind
	closed  bool
	port    uint16 // what port 0 stands for; 0 while the system has chosen none
	sockets []*listenSocket
	results []ListenResult
	addr    mpaddr.Addr
}

var _ net.Listener = (*Listener)(nil)

// listenAccepted is what one socket's accept has returned.
type listenAccepted struct {
	conn *Conn
	err  error
}

// Accept returns the next connection, a [*Conn]. Sockets with waiting
// connections take turns. After Close the error matches net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	var r listenAccepted
	select {
	case r = <-l.queue:
	case <-l.done:
		r.err = net.ErrClosed
	}
	if r.err != nil {
		return nil, &net.OpError{Op: "accept", Net: mpaddr.Network, Addr: l.Addr(), Err: r.err}
	}
	return r.conn, nil
}

// Addr returns the set that is bound (an [mpaddr.Addr]): the addresses asked
// for that were bound, in their order and with the ports that they have, and
// 0.0.0.0 where [::] takes IPv4.
func (l *Listener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

// Results tells what became of each address of the set asked for last.
func (l *Listener) Results() []ListenResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.results)
}

// Close stops listening on all addresses and returns when nothing of the
// listener runs any more. Connections that were accepted are not affected, and
// what they were told of stays announced.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return &net.OpError{Op: "close", Net: mpaddr.Network, Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	close(l.done)
	closeListeners(l.sockets)
	l.mu.Unlock()
	l.group.Wait()
	l.announcer.close()
	return nil
}

// run accepts from one socket until it is closed.
func (l *Listener) run(s *listenSocket) {
	l.pump(func() (*Conn, error) {
		tcp, err := s.AcceptTCP()
		if err != nil {
			return nil, listenCause(err)
		}
		return l.newConn(tcp, s), nil
	})
}

// pump hands on what accept returns until the socket or the listener is closed.
// An error waits for Accept like a connection, so that a caller who backs off
// slows the socket down.
func (l *Listener) pump(accept func() (*Conn, error)) {
	for {
		c, err := accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.announcer.follow(c)
		select {
		case l.queue <- listenAccepted{c, err}:
			l.announcer.announce(c)
		case <-l.done:
			if c != nil {
				_ = c.Close() // nobody will have it
			}
			return
		}
	}
}

// The reasons for which an accepted connection is plain TCP.
const (
	whyListenOff   = "Multipath TCP is switched off by ListenConfig.Multipath"
	whyListenPlain = "the peer asked for plain TCP, or something on the path to it removes Multipath TCP options"
)

// newConn makes a connection of an accepted socket.
func (l *Listener) newConn(tcp *net.TCPConn, s *listenSocket) *Conn {
	off := l.config.Multipath == MultipathOff
	t := target{network: mpaddr.Network, address: tcp.RemoteAddr().String(), sets: !off && !l.config.TCPAddrs}
	c := &Conn{
		TCPConn: tcp, remote: addrPortOf(tcp.RemoteAddr()),
		stream: &stream{TCPConn: tcp, mptcp: s.mptcp, family: s.family, plain: s.plain},
		alive:  keepAlive{conn: tcp, restore: l.config.keepAlive()},
	}
	if l.config.KeepAlive != 0 || l.config.KeepAliveConfig.Enable {
		setKeepAlive(tcp, c.alive.restore) // a system that has none is no error, as in net
	}
	if s.mptcp {
		c.id, _ = token(tcp)
	}
	switch {
	case off:
		t.plain = whyListenOff
	case s.plain == nil && c.id == 0:
		t.plain = whyListenPlain
	}
	c.target, c.look = t, startLookup(context.Background(), t, nil, nil)
	return c
}

// keepAlive returns the caller's wish in net's form.
func (lc *ListenConfig) keepAlive() net.KeepAliveConfig {
	if lc.KeepAliveConfig.Enable || lc.KeepAlive < 0 {
		return lc.KeepAliveConfig
	}
	return net.KeepAliveConfig{Enable: true, Idle: lc.KeepAlive}
}

// managerOpener returns what opens the path manager, which plain TCP has no use
// for.
func (lc *ListenConfig) managerOpener() func() (mptcp.PathManager, error) {
	if lc.Multipath == MultipathOff {
		return func() (mptcp.PathManager, error) { return nil, errPlain }
	}
	return openDirect
}

// listenNetwork names the family of a socket's address for Control functions.
func listenNetwork(at listenBind) string {
	if at.addr.Addr().Is4() {
		return "tcp4"
	}
	return "tcp6"
}
