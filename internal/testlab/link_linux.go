package testlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Numbers of the hosts' policy routing.
const (
	rulePriority = 1000 // of the rules per source address
	firstTable   = 1000 // routing table of a host's first link; the next one has the next
)

// Link is a veth pair between a host and the router. Its methods may be called
// at any time, from any goroutine.
type Link struct {
	host     *Host
	router   *router
	spec     LinkSpec
	number   int // among the host's links
	index    int // of the host's interface
	far      int // index of the router's end
	socket   *os.File
	socketFD int

	// Guarded by router.mu.
	up, down direction
	cut      bool
	dropped  uint64
}

// newLink makes the pair and sets up both ends. serial is unique in the lab.
func newLink(h *Host, r *router, spec LinkSpec, serial int, seed uint64) (*Link, error) {
	l := &Link{host: h, router: r, spec: spec, number: len(h.links)}
	l.up = direction{shaper: newShaper(spec, seed, uint64(2*serial)), link: l, toRouter: true}
	l.down = direction{shaper: newShaper(spec, seed, uint64(2*serial+1)), link: l}
	if err := l.makePair(fmt.Sprintf("r%d", serial)); err != nil {
		return nil, err
	}
	err := h.namespace.do(l.setUpHost)
	if err == nil {
		err = l.awaitRouter(true)
	}
	if err == nil {
		err = r.attach(l)
	}
	if err != nil {
		return nil, errors.Join(err, l.socket.Close(), l.remove())
	}
	return l, nil
}

// makePair makes the veth pair from the router's namespace and opens the
// packet socket there.
func (l *Link) makePair(routerEnd string) error {
	return withRTNL(l.router.namespace, func(nl *rtnl) error {
		if err := nl.addVeth(routerEnd, l.spec.Name, int(l.host.nsFile().Fd()), l.spec.MTU); err != nil {
			return vethError(err)
		}
		iface, err := net.InterfaceByName(routerEnd)
		if err != nil {
			return fmt.Errorf("find the router's end: %w", err)
		}
		l.far = iface.Index
		if err := nl.setUp(l.far); err != nil {
			return err
		}
		l.socketFD, err = openPacketSocket(l.far)
		if err != nil {
			return errors.Join(err, nl.deleteLink(l.far))
		}
		l.socket = os.NewFile(uintptr(l.socketFD), routerEnd)
		return nil
	})
}

// vethError tells a kernel that has no veth pairs from a wrong request.
func vethError(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// setUpHost configures the host's end, on a thread of its namespace.
func (l *Link) setUpHost() error {
	iface, err := net.InterfaceByName(l.spec.Name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", l.spec.Name, err)
	}
	l.index = iface.Index
	for _, s := range []struct{ key, value string }{
		{"net.ipv6.conf.%s.disable_ipv6", "0"},
		{"net.ipv6.conf.%s.accept_dad", "0"},
		{"net.ipv6.conf.%s.accept_ra", "0"},
		{"net.ipv6.conf.%s.addr_gen_mode", "1"}, // no link-local address
		{"net.ipv4.conf.%s.rp_filter", "0"},
	} {
		if err := writeSysctl(fmt.Sprintf(s.key, l.spec.Name), s.value); err != nil {
			return err
		}
	}
	if err := disableOffloads(l.spec.Name); err != nil {
		return err
	}
	return l.configure()
}

// configure brings the host's interface up with its addresses and routes.
func (l *Link) configure() error {
	nl, err := dialRTNL()
	if err != nil {
		return err
	}
	defer func() { _ = nl.conn.Close() }()
	if err := nl.setUp(l.index); err != nil {
		return err
	}
	if err := nl.awaitCarrier(l.index, true); err != nil {
		return err
	}
	for _, p := range l.spec.Addrs {
		if err := nl.addAddr(l.index, p); err != nil {
			return err
		}
		if err := nl.awaitLocal(p.Addr()); err != nil {
			return err
		}
	}
	for _, src := range l.preferred() {
		const mainTable, firstMetric = 254, 100
		if err := nl.addDefault(mainTable, l.index, src, firstMetric+l.number); err != nil {
			return err
		}
		if err := nl.addDefault(firstTable+l.number, l.index, src, firstMetric); err != nil {
			return err
		}
	}
	return l.addRules(nl)
}

// addRules makes what comes from the link's addresses leave by it.
func (l *Link) addRules(nl *rtnl) error {
	for _, p := range l.spec.Addrs {
		err := nl.addRule(p.Addr(), firstTable+l.number)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// preferred returns the first address of each family.
func (l *Link) preferred() []netip.Addr {
	var v4, v6 netip.Addr
	for _, p := range l.spec.Addrs {
		switch a := p.Addr(); {
		case a.Is4() && !v4.IsValid():
			v4 = a
		case a.Is6() && !v6.IsValid():
			v6 = a
		}
	}
	var as []netip.Addr
	for _, a := range []netip.Addr{v4, v6} {
		if a.IsValid() {
			as = append(as, a)
		}
	}
	return as
}

// remove deletes the host's end, and the rules that name it.
func (l *Link) remove() error {
	return withRTNL(l.host.namespace, func(nl *rtnl) error {
		var errs []error
		for _, p := range l.spec.Addrs {
			if err := nl.deleteRule(p.Addr(), firstTable+l.number); !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return errors.Join(append(errs, nl.deleteLink(l.index))...)
	})
}

// withRTNL runs fn with route netlink of a namespace.
func withRTNL(ns *namespace, fn func(*rtnl) error) error {
	return ns.do(func() error {
		nl, err := dialRTNL()
		if err != nil {
			return err
		}
		defer func() { _ = nl.conn.Close() }()
		return fn(nl)
	})
}

// Name returns the interface's name in the host.
func (l *Link) Name() string { return l.spec.Name }

// Index returns the interface's index in the host.
func (l *Link) Index() int { return l.index }

// Addrs returns the host's addresses on the link.
func (l *Link) Addrs() []netip.Addr {
	as := make([]netip.Addr, len(l.spec.Addrs))
	for i, p := range l.spec.Addrs {
		as[i] = p.Addr()
	}
	return as
}

// SetDelay changes the delay of each direction for frames that come from now
// on; they do not overtake earlier ones.
func (l *Link) SetDelay(d time.Duration) {
	l.change(func(dir *direction) { dir.delay = max(d, 0) })
}

// SetLoss changes the share of frames lost in each direction.
func (l *Link) SetLoss(share float64) {
	l.change(func(dir *direction) { dir.loss = min(max(share, 0), 1) })
}

// SetRate changes the rate of each direction, in bit/s; 0 is unlimited.
func (l *Link) SetRate(bits int64) {
	l.change(func(dir *direction) { dir.rate = max(bits, 0) })
}

func (l *Link) change(fn func(*direction)) {
	l.router.mu.Lock()
	defer l.router.mu.Unlock()
	fn(&l.up)
	fn(&l.down)
}

// Cut makes the link lose every frame of both directions, those under way
// included. Neither side is told: the interface stays up.
func (l *Link) Cut() { l.setCut(true) }

// Heal ends what Cut began.
func (l *Link) Heal() { l.setCut(false) }

func (l *Link) setCut(cut bool) {
	l.router.mu.Lock()
	defer l.router.mu.Unlock()
	l.cut = cut
}

// Down takes the host's interface down: its IPv6 addresses and all its routes
// go, as they do when an administrator does so.
func (l *Link) Down() error {
	err := withRTNL(l.host.namespace, func(nl *rtnl) error { return nl.setDown(l.index) })
	if err != nil {
		return err
	}
	return l.awaitRouter(false)
}

// Up brings the host's interface up again, with its addresses and routes.
func (l *Link) Up() error {
	if err := l.host.namespace.do(l.configure); err != nil {
		return err
	}
	return l.awaitRouter(true)
}

// awaitRouter waits until the router's end has followed the host's.
func (l *Link) awaitRouter(up bool) error {
	return withRTNL(l.router.namespace, func(nl *rtnl) error { return nl.awaitCarrier(l.far, up) })
}

// Stats returns the link's counts.
func (l *Link) Stats() LinkStats {
	l.router.mu.Lock()
	defer l.router.mu.Unlock()
	return LinkStats{
		ToRouter: l.up.octets, FramesToRouter: l.up.count,
		FromRouter: l.down.octets, FramesFromRouter: l.down.count,
		Dropped: l.dropped,
	}
}
