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

	mu         sync.Mutex // guards all below
	looked     bool
	monitor    *netmon.Monitor // nil: not looked yet, left, or the network is not known
	state      netmon.State    // the last one
	begin, now attachments     // at first, and in state
}

// attachments are a machine's, one of each family.
type attachments struct{ ipv4, ipv6 attachment }

func attachmentsOf(s netmon.State) attachments {
	return attachments{attachmentOf(s, true), attachmentOf(s, false)}
}

// of returns the one for an address.
func (as attachments) of(a netip.Addr) attachment {
	if a.Unmap().Is4() {
		return as.ipv4
	}
	return as.ipv6
}

// attachment returns the present one for the family of an address, and whether
// the machine has moved there since the place was first asked for.
func (p *place) attachment(a netip.Addr) (at attachment, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	at = p.now.of(a)
	return at, at != p.begin.of(a)
}

// look takes in where the machine is now. The lock is held.
func (p *place) look() {
	if !p.looked {
		p.looked = true
		m, err := p.monitors.acquire()
		if err != nil {
			return // one history for everywhere
		}
		p.monitor, p.state = m, m.State()
		p.now = attachmentsOf(p.state)
		p.begin = p.now
	}
	if p.monitor == nil {
		return
	}
	if state := p.monitor.State(); !state.Equal(p.state) {
		p.state, p.now = state, attachmentsOf(state)
	}
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
