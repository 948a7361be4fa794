package netmon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// PollInterval is how often the interfaces are read on systems whose
// notifications are not used: a change is known within it.
const PollInterval = 500 * time.Millisecond

// poller is a watcher that reads the state again and again.
type poller struct {
	interval time.Duration
	read     func() (State, error)
	ctx      context.Context // ended by stop
	cancel   context.CancelFunc
}

func newPoller(interval time.Duration, read func() (State, error)) *poller {
	ctx, cancel := context.WithCancel(context.Background())
	return &poller{interval: interval, read: read, ctx: ctx, cancel: cancel}
}

// run passes over a state that cannot be read: the next one may be.
func (p *poller) run(publish func(State)) error {
	tick := time.NewTicker(p.interval)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return nil
		case <-tick.C:
		}
		if s, err := p.read(); err == nil {
			publish(s)
		}
	}
}

func (p *poller) stop() error {
	p.cancel()
	return nil
}

// readInterfaces reads the state with what every system offers. Of the routes
// it learns only which address the system itself would send from.
func readInterfaces() (State, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return State{}, fmt.Errorf("list interfaces: %w", err)
	}
	var all []Address
	for _, i := range interfaces {
		as, err := interfaceAddresses(i)
		if err != nil {
			return State{}, fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		all = append(all, as...)
	}
	var s State
	s.DefaultIPv4 = markDefault(all, probeIPv4)
	s.DefaultIPv6 = markDefault(all, probeIPv6)
	s.Addresses = tidy(all)
	return s, nil
}

// interfaceAddresses returns the usable addresses of one interface.
func interfaceAddresses(i net.Interface) ([]Address, error) {
	const usable = net.FlagUp | net.FlagRunning
	if i.Flags&usable != usable || i.Flags&net.FlagLoopback != 0 {
		return nil, nil
	}
	nets, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	var out []Address
	for _, n := range nets {
		prefix, err := netip.ParsePrefix(n.String())
		if err != nil || !usableAddr(prefix.Addr()) {
			continue
		}
		out = append(out, Address{
			Addr: prefix.Addr(), Prefix: prefix.Bits(),
			Interface: i.Name, Index: i.Index, Metric: NoMetric,
		})
	}
	return out, nil
}

// The addresses whose route tells of the default route. They are for
// documentation (RFC 5737, RFC 3849): no host has a route of its own for them.
const (
	probeIPv4 = "192.0.2.1:9"
	probeIPv6 = "[2001:db8::1]:9"
)

// markDefault marks the interface that the system would send from towards probe
// and reports whether there is one.
func markDefault(as []Address, probe string) bool {
	source, ok := sourceTowards(probe)
	if !ok {
		return false
	}
	index, found := 0, false
	for _, a := range as {
		if a.Addr == source {
			index, found = a.Index, true
		}
	}
	for i := range as {
		if found && as[i].Index == index && familyOf(as[i].Addr) == familyOf(source) {
			as[i].DefaultRoute = true
		}
	}
	return found
}

// sourceTowards connects a datagram socket and returns its local end: no packet
// is sent.
func sourceTowards(probe string) (netip.Addr, bool) {
	c, err := net.Dial("udp", probe)
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	local, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return local.AddrPort().Addr().Unmap().WithZone(""), true
}
