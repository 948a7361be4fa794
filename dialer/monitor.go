package dialer

import (
	"net"
	"net/netip"
	"sync"

	"github.com/af-multipath/mpresolve/internal/netmon"
)

// sharedMonitor lends one monitor of this machine's network to all the
// connections of a Dialer. It is opened for the first that needs it and closed
// with the last.
type sharedMonitor struct {
	mu      sync.Mutex // guards all below
	monitor *netmon.Monitor
	users   int
}

// acquire returns the monitor; each success needs one release.
func (s *sharedMonitor) acquire() (*netmon.Monitor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.monitor == nil {
		m, err := netmon.Open()
		if err != nil {
			return nil, err
		}
		s.monitor = m
	}
	s.users++
	return s.monitor, nil
}

// watch returns the newest states from now on; release gives the monitor back.
func (s *sharedMonitor) watch() (states <-chan netmon.State, release func(), err error) {
	m, err := s.acquire()
	if err != nil {
		return nil, nil, err
	}
	subscription := m.Subscribe()
	return subscription.States(), func() {
		subscription.Close()
		s.release()
	}, nil
}

func (s *sharedMonitor) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	_ = s.monitor.Close() // nobody is left to be told
	s.monitor = nil
}

// routedFrom returns the source that routing chooses for remote, or the zero
// Addr. A connected UDP socket tells; no packet is sent.
func routedFrom(remote netip.Addr) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(remote, 9)))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	addr, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	return addr.AddrPort().Addr().Unmap().WithZone("")
}
