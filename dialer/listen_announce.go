package dialer

import (
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// maxListenAnnounced is how many further addresses one connection is told of:
// what peers with the kernel's own path manager can take in (MPTCP_PM_ADDR_MAX).
const maxListenAnnounced = 8

// listenAnnouncer tells the accepted connections of the listener's further
// addresses, and takes back those that are dropped. Its goroutine follows the
// events, to learn of the end of connections, and because a listening host under
// the userspace path manager accepts joins only while somebody does. (The kernel
// looks for listeners of the event group in all network namespaces of the
// machine: genl_has_listeners.)
//
// Without a path manager of this process's own, the broker announces where there is
// one; else all of its methods do nothing.
type listenAnnouncer struct {
	allow  func(own, further netip.Addr) bool
	pm     mptcp.PathManager // nil: failure says why
	events *mptcp.Subscription
	group  sync.WaitGroup // the goroutine

	brokers    *listenBrokers // nil: the broker is not asked
	brokerPath string

	mu      sync.Mutex // guards all below; held during commands
	failure error      // why nothing can be announced
	binds   []listenBind
	further []netip.AddrPort // what the sockets can be reached at
	conns   map[uint32]*listenFollowed
	stats   ListenReport // Announced, Withdrawn, Failed and LastError
}

// listenFollowed is a connection that is kept informed.
type listenFollowed struct {
	conn  listenWire
	token uint32
	own   netip.AddrPort       // where it began here
	told  map[netip.Addr]uint8 // announced addresses with their ids
	last  uint8                // the id given last
}

// listenWire is a connection as the announcer uses it: a [*Conn].
type listenWire interface {
	ID() uint32
	Paths() []Path
}

// newListenAnnouncer opens the path manager, where this process may use it.
func newListenAnnouncer(allow func(own, further netip.Addr) bool, open func() (mptcp.PathManager, error)) *listenAnnouncer {
	a := &listenAnnouncer{allow: allow, conns: make(map[uint32]*listenFollowed)}
	if allow == nil {
		a.allow = listenReach
	}
	a.failure = a.start(open)
	return a
}

// start opens the path manager and begins to follow its events.
func (a *listenAnnouncer) start(open func() (mptcp.PathManager, error)) error {
	pm, err := open()
	if err != nil {
		return err
	}
	if a.events, err = pm.Subscribe(0); err != nil {
		_ = pm.Close() // never used
		return err
	}
	a.pm = pm
	a.group.Go(a.run)
	return nil
}

// listenReach is the rule of a nil ListenConfig.Announce.
func listenReach(own, further netip.Addr) bool {
	switch {
	case own.IsLoopback() || further.IsLoopback():
		return own.IsLoopback() && further.IsLoopback()
	case further.IsPrivate():
		return own.IsPrivate()
	}
	return further.IsGlobalUnicast()
}

// close ends the goroutine and returns when it has ended. What was announced
// stays.
func (a *listenAnnouncer) close() {
	if a.brokers != nil {
		a.brokers.close()
	}
	if a.pm == nil {
		return
	}
	_ = a.pm.Close() // ends the subscription; nothing else depends on it
	a.group.Wait()
}

// run follows the events of all connections.
func (a *listenAnnouncer) run() {
	for e := range a.events.Events() {
		switch e.Type {
		case mptcp.Closed:
			a.forget(e.Token)
		case mptcp.EventsLost:
			a.sweep()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failure = mptcp.ErrClosed
}

func (a *listenAnnouncer) forget(token uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, token)
}

// sweep forgets the connections that have ended unnoticed.
func (a *listenAnnouncer) sweep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for token, f := range a.conns {
		if f.conn.ID() != token || listenEnded(f.conn.Paths()) {
			delete(a.conns, token)
		}
	}
}

// listenEnded reports whether no path is left.
func listenEnded(paths []Path) bool {
	for _, p := range paths {
		if p.State != StateClosed {
			return false
		}
	}
	return true
}

// follow begins to keep a connection informed; nil and plain TCP are not.
func (a *listenAnnouncer) follow(c *Conn) {
	if a.pm == nil || c == nil || c.id == 0 {
		return
	}
	a.add(c.id, addrPortOf(c.TCPConn.LocalAddr()), c)
}

func (a *listenAnnouncer) add(token uint32, own netip.AddrPort, c listenWire) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns[token] = &listenFollowed{conn: c, token: token, own: own, told: make(map[netip.Addr]uint8)}
}

// announce tells a followed connection of the further addresses.
func (a *listenAnnouncer) announce(c *Conn) {
	if a.brokers != nil && c != nil && c.id != 0 {
		a.brokers.bring(c.id, addrPortOf(c.TCPConn.LocalAddr()), c, c.attacher(a.brokerPath))
	}
	if a.pm == nil || c == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.conns[c.id]; f != nil {
		a.inform(f)
	}
}

// update takes in what the listener is bound to now, and brings all connections
// up to date.
func (a *listenAnnouncer) update(sockets []*listenSocket, bound mpaddr.Addr) {
	if a.pm == nil && a.brokers == nil {
		return
	}
	var binds []listenBind
	for _, s := range sockets {
		binds = append(binds, s.listenBind)
	}
	a.set(binds, listenFurther(bound, listenMachineAddrs()))
	if a.brokers != nil {
		a.brokers.wake()
	}
}

// set is update with the addresses that the sockets can be reached at.
func (a *listenAnnouncer) set(binds []listenBind, further []netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.binds, a.further = binds, further
	for _, f := range a.conns {
		a.inform(f)
		a.withdraw(f)
	}
}

// listenMachineAddrs returns this machine's addresses. An address without an
// interface that is up is not among them.
func listenMachineAddrs() (list []netip.Addr) {
	addrs, _ := net.InterfaceAddrs() // without them, wildcards announce nothing
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, prefix.Addr().Unmap())
		}
	}
	return list
}

// listenFurther returns the addresses of a bound set, wildcards replaced by the
// addresses of this machine that can be told to others.
func listenFurther(bound mpaddr.Addr, machine []netip.Addr) []netip.AddrPort {
	var list []netip.AddrPort
	for _, e := range bound.All() {
		ap := e.Target()
		if !ap.Addr().IsUnspecified() {
			list = append(list, ap)
			continue
		}
		for _, m := range machine {
			if m.Is4() == ap.Addr().Is4() && m.IsGlobalUnicast() {
				list = append(list, netip.AddrPortFrom(m, ap.Port()))
			}
		}
	}
	return mpaddr.FromAddrPorts(list...).AddrPorts()
}

// wanted returns what a connection is to be told of: the other addresses of its
// own port, as a join goes to no other port.
func (a *listenAnnouncer) wanted(f *listenFollowed) (list []netip.Addr) {
	for _, ap := range a.further {
		if ap.Port() != f.own.Port() || ap.Addr() == f.own.Addr() || !a.allow(f.own.Addr(), ap.Addr()) {
			continue
		}
		if len(list) < maxListenAnnounced {
			list = append(list, ap.Addr())
		}
	}
	return list
}

// inform announces what f is to be told of and was not. The lock is held.
func (a *listenAnnouncer) inform(f *listenFollowed) {
	for _, addr := range a.wanted(f) {
		if _, told := f.told[addr]; told {
			continue
		}
		id := f.nextID()
		switch err := a.pm.Announce(f.token, id, netip.AddrPortFrom(addr, 0)); {
		case err == nil:
			f.told[addr] = id
			a.stats.Announced++
		case errors.Is(err, mptcp.ErrLocalID):
			// The peer has joined it by itself, and the kernel gave it an id.
		case errors.Is(err, mptcp.ErrUnknownToken), errors.Is(err, mptcp.ErrKernelManaged):
			delete(a.conns, f.token) // it has ended, or is none of ours
			return
		default:
			a.fail(err)
		}
	}
}

// nextID returns an address id that f has not in use. The kernel gives ids from
// 1 upwards to addresses that the peer joins by itself, so these go downwards.
func (f *listenFollowed) nextID() uint8 {
	for {
		f.last--
		if f.last == 0 || f.last > mptcp.MaxLocalID {
			f.last = mptcp.MaxLocalID
		}
		if !f.uses(f.last) {
			return f.last
		}
	}
}

func (f *listenFollowed) uses(id uint8) bool {
	for _, used := range f.told {
		if used == id {
			return true
		}
	}
	return false
}

func (a *listenAnnouncer) fail(err error) {
	a.stats.Failed++
	a.stats.LastError = err
}

// withdraw takes back what f was told of and is not bound any more, and closes
// the subflows that the peer had made to such an address by itself. The lock is
// held.
func (a *listenAnnouncer) withdraw(f *listenFollowed) {
	for addr, id := range f.told {
		if a.bound(netip.AddrPortFrom(addr, f.own.Port())) || listenIsLast(f.conn.Paths(), addr) {
			continue
		}
		switch err := a.pm.Remove(f.token, id); {
		case errors.Is(err, mptcp.ErrUnknownToken):
			delete(a.conns, f.token)
			return
		case err != nil:
			a.fail(err)
			continue
		}
		delete(f.told, addr)
		a.stats.Withdrawn++
	}
	for _, p := range f.conn.Paths() {
		if p.State == StateClosed || p.Local.Addr() == f.own.Addr() || a.bound(p.Local) || listenIsLast(f.conn.Paths(), p.Local.Addr()) {
			continue
		}
		if err := a.pm.DestroySubflow(f.token, mptcp.Subflow{Local: p.Local, Remote: p.Remote}); err != nil {
			a.fail(err)
		}
	}
}

// listenBound reports whether connections to ap arrive.
func (a *listenAnnouncer) bound(ap netip.AddrPort) bool {
	for _, b := range a.binds {
		if b.covers(ap) {
			return true
		}
	}
	return false
}

// listenIsLast reports whether no path but those from addr carries data.
func listenIsLast(paths []Path, addr netip.Addr) bool {
	for _, p := range paths {
		if p.State == StateActive && p.Local.Addr() != addr {
			return false
		}
	}
	return true
}

// broken says why nothing can be announced, nil when it can.
func (a *listenAnnouncer) broken() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failure
}

// report fills in what was announced.
func (a *listenAnnouncer) report(r *ListenReport) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Further = mpaddr.FromAddrPorts(a.further...)
	r.Connections = len(a.conns)
	r.Announced, r.Withdrawn = a.stats.Announced, a.stats.Withdrawn
	r.Failed, r.LastError = a.stats.Failed, a.stats.LastError
	if a.brokers != nil {
		a.brokers.report(r)
	}
}
