package testlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
)

var errClosed = errors.New("the lab is closed")

// Lab is a router and the hosts around it. Its methods may be called from any
// goroutine.
type Lab struct {
	options Options
	home    *os.File
	router  *router
	starter *starter
	client  *Host

	mu    sync.Mutex // guards what follows, and the hosts' lists of links
	hosts []*Host    // without the client
	links int        // ever made
	done  bool
}

// New makes a lab whose client is the calling process. The process must have
// been started by [Reexec], so that no machine's real network is touched.
func New(o Options) (*Lab, error) {
	if !Inside() {
		return nil, fmt.Errorf("%w: this process is not in a network namespace of its own", ErrUnavailable)
	}
	home, err := os.Open(threadNS)
	if err != nil {
		return nil, fmt.Errorf("open the client's network namespace: %w", err)
	}
	l := &Lab{options: o, home: home}
	l.client = &Host{name: "client", lab: l, namespace: &namespace{home: home}}
	if err = prepareHost(l.client.namespace); err == nil {
		l.router, err = newRouter(home)
	}
	if err != nil {
		return nil, errors.Join(err, home.Close())
	}
	l.starter = newStarter()
	return l, nil
}

func prepareHost(ns *namespace) error {
	return ns.do(func() error {
		for _, key := range []string{"net.ipv4.conf.all.rp_filter", "net.ipv6.conf.all.disable_ipv6"} {
			if err := writeSysctl(key, "0"); err != nil {
				return err
			}
		}
		return raiseLoopback()
	})
}

// Client returns the host that the calling process is.
func (l *Lab) Client() *Host { return l.client }

// AddHost adds a host with the given links.
func (l *Lab) AddHost(name string, links ...LinkSpec) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return nil, fmt.Errorf("add host %s: %w", name, errClosed)
	}
	ns, err := newNamespace(l.home)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	h := &Host{name: name, lab: l, namespace: ns}
	if err := prepareHost(ns); err != nil {
		return nil, errors.Join(fmt.Errorf("add host %s: %w", name, err), ns.close())
	}
	// From here Close takes care of the host.
	l.hosts = append(l.hosts, h)
	for _, spec := range links {
		if _, err := l.addLink(h, spec); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// AddClientLink adds a link between the client and the router.
func (l *Lab) AddClientLink(spec LinkSpec) (*Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return nil, fmt.Errorf("add link %s to the client: %w", spec.Name, errClosed)
	}
	return l.addLink(l.client, spec)
}

// addLink makes a link. The lab's lock is held.
func (l *Lab) addLink(h *Host, spec LinkSpec) (*Link, error) {
	if spec.Name == "" {
		spec.Name = fmt.Sprintf("lab%d", len(h.links))
	}
	if spec.MTU == 0 {
		spec.MTU = DefaultMTU
	}
	spec.Addrs = slices.Clone(spec.Addrs)
	err := spec.check()
	if err != nil {
		return nil, fmt.Errorf("add link %s to host %s: %w", spec.Name, h.name, err)
	}
	link, err := newLink(h, l.router, spec, l.links, l.options.Seed)
	if err != nil {
		return nil, fmt.Errorf("add link %s to host %s: %w", spec.Name, h.name, err)
	}
	l.links++
	h.links = append(h.links, link)
	return link, nil
}

// Behave sets what the router does with packets to and from an address, which
// need not be any host's. Packets to an address that no host has are answered
// as Unreachable unless a behaviour says otherwise.
func (l *Lab) Behave(addr netip.Addr, b Behaviour) {
	l.router.mu.Lock()
	defer l.router.mu.Unlock()
	l.router.behaviours[addr.Unmap()] = b
}

// SYNs returns every SYN that reached the router since the lab began or
// ResetSYNs, oldest first.
func (l *Lab) SYNs() []SYN {
	l.router.mu.Lock()
	defer l.router.mu.Unlock()
	return slices.Clone(l.router.syns)
}

// ResetSYNs forgets the SYNs recorded so far.
func (l *Lab) ResetSYNs() {
	l.router.mu.Lock()
	defer l.router.mu.Unlock()
	l.router.syns = nil
}

// Close takes the lab down and waits for its goroutines. Listeners,
// connections and commands in its hosts stay their owners' to close. Closing
// again does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return nil
	}
	l.done = true
	l.starter.close()
	links := slices.Clone(l.client.links)
	for _, h := range l.hosts {
		links = append(links, h.links...)
	}
	errs := []error{l.router.stop(links)}
	for _, link := range l.client.links {
		errs = append(errs, link.remove())
	}
	errs = append(errs, l.router.namespace.close())
	for _, h := range l.hosts {
		errs = append(errs, h.namespace.close())
	}
	return errors.Join(append(errs, l.home.Close())...)
}
