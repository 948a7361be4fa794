package dialer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/af-multipath/mpresolve/internal/netmon"
)

// attachmentOf names what a family's traffic leaves by: the interfaces with a
// default route and the prefixes of the addresses there; where no interface has
// one, all. An address that changes within its prefix, as temporary ones do (RFC
// 8981), and links of no use for the way out leave it the same. Two networks with
// the same prefix on the same interface are not told apart.
func attachmentOf(s netmon.State, ipv4 bool) attachment {
	var routed, all []string
	for _, a := range s.Addresses {
		if a.Addr.Is4() != ipv4 {
			continue
		}
		prefix := netip.PrefixFrom(a.Addr, a.Prefix).Masked()
		all = append(all, fmt.Sprintf("%d %v", a.Index, prefix))
		if a.DefaultRoute {
			routed = append(routed, all[len(all)-1])
		}
	}
	if len(routed) > 0 {
		all = routed
	}
	slices.Sort(all)
	return attachment(strings.Join(slices.Compact(all), ","))
}

// place knows where this machine is during a dial. It looks when it is first
// asked, as dials over loopback never ask.
type place struct {
	monitors *sharedMonitor

	mu      sync.Mutex // guards all below
	looked  bool
	monitor *netmon.Monitor // nil: not looked yet, left, or the network is not known
	begin   netmon.State    // the first one
	state   netmon.State    // the last one
}

// attachment returns the present one for the family of an address, and whether
// the machine has moved there since the place was first asked for.
func (p *place) attachment(a netip.Addr) (at attachment, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.looked {
		p.looked = true
		if m, err := p.monitors.acquire(); err == nil { // else one history for everywhere
			p.monitor, p.begin = m, m.State()
		}
	}
	if p.monitor != nil {
		p.state = p.monitor.State()
	}
	ipv4 := a.Unmap().Is4()
	at = attachmentOf(p.state, ipv4)
	return at, at != attachmentOf(p.begin, ipv4)
}

// leave ends the look-out; the place stays what it was last.
func (p *place) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looked = true; p.monitor != nil {
		p.monitor = nil
		p.monitors.release()
	}
}
