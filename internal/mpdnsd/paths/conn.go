package paths

import (
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// maxWaiting bounds the announcements that are kept until a connection is
// established, or given back by another owner: the kernel's own limit is 8 (MPTCP_PM_ADDR_MAX).
const maxWaiting = 8

// maxRejectedIDs bounds the local ids that are tried in vain on one connection.
const maxRejectedIDs = 8

// conn is one connection.
type conn struct {
	token         uint32
	local, remote netip.AddrPort // of the subflow it began with
	server        bool           // this host accepted it
	denyInitial   bool           // the peer's C flag: remote is not to be joined
	established   bool           // subflows can be made
	kernel        bool           // it belongs to the kernel's own path manager
	initial       bool           // the subflow it began with is alive
	accounted     bool           // the endpoint at local was looked at

	flows   []*flow // joined or joining
	waiting []announcement

	used         map[uint8]bool           // by endpoint ID: it had its turn to make subflows
	announcedIDs map[uint8]uint8          // by endpoint ID: the local id announced
	accepted     map[uint8]netip.AddrPort // by remote id: announced addresses joined
	ids          map[netip.Addr]uint8     // local ids in use
	rejected     map[uint8]bool           // local ids that the kernel would not take
}

// announcement is an address that the peer announced.
type announcement struct {
	id   uint8
	addr netip.AddrPort
}

// flow is a subflow besides the first.
type flow struct {
	local       netip.AddrPort // port 0 while joining; the zero value: routing picks it
	remote      netip.AddrPort
	id          uint8 // local id
	ifIndex     int
	joining     bool // the SYN has no answer yet
	backup      bool
	foreign     bool  // it was not made by the service
	endpoint    uint8 // the ID of the endpoint that it was made for, else 0
	announcedID uint8 // the remote id of the announcement that it was made for, else 0
}

func newConn(token uint32, local, remote netip.AddrPort) *conn {
	return &conn{
		token: token, local: local, remote: remote, initial: true,
		used:         make(map[uint8]bool),
		announcedIDs: make(map[uint8]uint8),
		accepted:     make(map[uint8]netip.AddrPort),
		ids:          make(map[netip.Addr]uint8),
		rejected:     make(map[uint8]bool),
	}
}

// wait keeps an announcement until it can be acted on.
func (c *conn) wait(a announcement) {
	i := slices.IndexFunc(c.waiting, func(w announcement) bool { return w.id == a.id })
	switch {
	case i >= 0:
		c.waiting[i] = a
	case len(c.waiting) < maxWaiting:
		c.waiting = append(c.waiting, a)
	}
}

// subflow is f as a command names it.
func (f *flow) subflow() mptcp.Subflow {
	return mptcp.Subflow{Local: f.local, Remote: f.remote, LocalID: f.id, Backup: f.backup, IfIndex: f.ifIndex}
}

// extra is the number that the kernel's limit of subflows bounds.
func (c *conn) extra() int { return len(c.flows) }

// reaches tells whether a subflow goes to the address, or is about to.
func (c *conn) reaches(remote netip.AddrPort) bool {
	return c.initial && c.remote == remote ||
		slices.ContainsFunc(c.flows, func(f *flow) bool { return f.remote == remote })
}

// connects tells whether a subflow goes from one address to the other.
func (c *conn) connects(local netip.Addr, remote netip.AddrPort) bool {
	return c.initial && c.local.Addr() == local && c.remote == remote ||
		slices.ContainsFunc(c.flows, func(f *flow) bool { return f.local.Addr() == local && f.remote == remote })
}

// leaves tells whether a subflow begins at the address.
func (c *conn) leaves(local netip.Addr) bool {
	return c.initial && c.local.Addr() == local || len(c.from(local)) > 0
}

// from lists the subflows besides the first that begin at the address.
func (c *conn) from(local netip.Addr) []*flow {
	var found []*flow
	for _, f := range c.flows {
		if f.local.Addr() == local {
			found = append(found, f)
		}
	}
	return found
}

// survivesWithout tells whether an established subflow begins elsewhere than at
// the address.
func (c *conn) survivesWithout(local netip.Addr) bool {
	return c.initial && c.local.Addr() != local ||
		slices.ContainsFunc(c.flows, func(f *flow) bool { return !f.joining && f.local.Addr() != local })
}

// remotes lists the peer's addresses that subflows go to, the first first.
func (c *conn) remotes() []netip.AddrPort {
	var all []netip.AddrPort
	if c.initial {
		all = append(all, c.remote)
	}
	for _, f := range c.flows {
		if !slices.Contains(all, f.remote) {
			all = append(all, f.remote)
		}
	}
	return all
}

// create puts a subflow among those that are joining, and asks for it.
func (c *conn) create(f flow) action {
	f.joining = true
	c.flows = append(c.flows, &f)
	return action{op: opCreate, token: c.token, flow: f.subflow()}
}

// take removes the joining subflow that was asked for in these words.
func (c *conn) take(flow mptcp.Subflow) *flow {
	for i, f := range c.flows {
		if f.joining && f.subflow() == flow {
			c.flows = slices.Delete(c.flows, i, i+1)
			return f
		}
	}
	return nil
}

// join settles the joining subflow that an event is about, or adds one that
// somebody else made. known is true for one that was settled before.
func (c *conn) join(e mptcp.Event) (f *flow, known bool) {
	if a := e.Local.Addr(); e.LocalID != 0 && a != c.local.Addr() {
		c.ids[a] = e.LocalID
	}
	i := c.find(e.Local, e.Remote)
	if i < 0 {
		f = &flow{foreign: true}
		c.flows = append(c.flows, f)
	} else if f = c.flows[i]; !f.joining {
		return f, true
	}
	f.local, f.remote, f.joining = e.Local, e.Remote, false
	return f, false
}

// closed removes the subflow that an event is about.
func (c *conn) closed(e mptcp.Event) {
	if e.Local == c.local && e.Remote == c.remote {
		c.initial = false
	} else if i := c.find(e.Local, e.Remote); i >= 0 {
		c.flows = slices.Delete(c.flows, i, i+1)
	}
}

// find returns the index of the subflow between two addresses: the very one, or
// one that is joining and fits, from the same address sooner than from any.
func (c *conn) find(local, remote netip.AddrPort) int {
	exact := func(f *flow) bool { return f.local == local && f.remote == remote }
	joining := func(f *flow, from netip.Addr) bool {
		to := f.remote == remote || remote.Port() == 0 && f.remote.Addr() == remote.Addr()
		return f.joining && to && f.local.Addr() == from
	}
	for _, fits := range []func(*flow) bool{
		exact,
		func(f *flow) bool { return joining(f, local.Addr()) },
		func(f *flow) bool { return joining(f, netip.Addr{}) },
	} {
		if i := slices.IndexFunc(c.flows, fits); i >= 0 {
			return i
		}
	}
	return -1
}

// localID returns the id of a local address on this connection: the one it has,
// else the wanted one, else the lowest that is free.
func (c *conn) localID(a netip.Addr, wanted uint8) uint8 {
	if id, ok := c.ids[a]; ok {
		return id
	}
	id := wanted
	for next := uint8(1); !c.free(id) && next <= mptcp.MaxLocalID; next++ {
		id = next
	}
	c.ids[a] = id
	return id
}

// free tells whether a local id can be given to an address.
func (c *conn) free(id uint8) bool {
	if id == 0 || id > mptcp.MaxLocalID || c.rejected[id] {
		return false
	}
	for _, used := range c.ids {
		if used == id {
			return false
		}
	}
	return true
}

// rejectID notes that the kernel does not take an id for an address. It tells
// whether another may be tried.
func (c *conn) rejectID(a netip.Addr, id uint8) bool {
	c.rejected[id] = true
	delete(c.ids, a)
	return len(c.rejected) <= maxRejectedIDs
}
