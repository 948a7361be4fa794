package paths

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// advance does for a connection what the endpoints and limits ask for and has
// not been done yet: first the addresses are announced, then subflows are made,
// in the order of the endpoints' IDs. Each endpoint has one turn.
func (s *state) advance(c *conn) []action {
	if !s.serves(c) || !c.established {
		return nil
	}
	acts := s.accountInitial(c)
	acts = append(acts, s.announceEndpoints(c)...)
	if c.server || s.deniedCase(c) {
		// A client does not listen on the port it connected from: joins from
		// here to there have no chance.
		return acts
	}
	return append(acts, s.joinFromEndpoints(c)...)
}

// accountInitial: the endpoint at the address that the connection began with
// has had its turn, and its backup flag goes for that subflow too.
func (s *state) accountInitial(c *conn) []action {
	if c.accounted {
		return nil
	}
	c.accounted = true
	e, ok := s.endpointAt(c.local.Addr())
	if !ok || !e.Flags.Has(mptcp.EndpointBackup) || !c.initial {
		return nil
	}
	return []action{{op: opSetBackup, token: c.token, flow: mptcp.Subflow{Local: c.local, Remote: c.remote, Backup: true}}}
}

// announceEndpoints announces the signal endpoints, whatever their family.
func (s *state) announceEndpoints(c *conn) []action {
	var acts []action
	for _, e := range s.endpoints {
		_, done := c.announcedIDs[e.ID]
		if done || !e.Flags.Has(mptcp.EndpointSignal) || c.began(e) {
			continue
		}
		id := c.localID(e.Addr.Addr(), e.ID)
		c.announcedIDs[e.ID] = id
		acts = append(acts, action{op: opAnnounce, token: c.token, id: id, addr: e.Addr})
	}
	return acts
}

// began tells whether the connection began at the endpoint.
func (c *conn) began(e mptcp.Endpoint) bool {
	return e.Addr.Addr() == c.local.Addr() && (e.Addr.Port() == 0 || e.Addr.Port() == c.local.Port())
}

// joinFromEndpoints makes subflows from the subflow endpoints: to the address
// that the connection began with, and from full mesh endpoints to every address
// that a subflow goes to.
func (s *state) joinFromEndpoints(c *conn) []action {
	var acts []action
	for _, e := range s.endpoints {
		if c.extra() >= s.limits.Subflows {
			break
		}
		if c.used[e.ID] || !e.Flags.Has(mptcp.EndpointSubflow) || c.began(e) {
			continue
		}
		c.used[e.ID] = true
		for _, remote := range c.targets(e) {
			if c.extra() < s.limits.Subflows && !c.connects(e.Addr.Addr(), remote) {
				acts = append(acts, c.create(fromEndpoint(c, e, remote)))
			}
		}
	}
	return acts
}

// targets lists the addresses of the endpoint's family that it joins.
func (c *conn) targets(e mptcp.Endpoint) []netip.AddrPort {
	all := []netip.AddrPort{c.remote}
	if e.Flags.Has(mptcp.EndpointFullMesh) {
		all = c.remotes()
	}
	return slices.DeleteFunc(all, func(r netip.AddrPort) bool {
		return r.Addr().Is4() != e.Addr.Addr().Is4() || c.denyInitial && r == c.remote
	})
}

// fromEndpoint is a subflow from an endpoint.
func fromEndpoint(c *conn, e mptcp.Endpoint, remote netip.AddrPort) flow {
	return flow{
		local: netip.AddrPortFrom(e.Addr.Addr(), 0), remote: remote,
		id: c.localID(e.Addr.Addr(), e.ID), ifIndex: e.IfIndex,
		backup: e.Flags.Has(mptcp.EndpointBackup), endpoint: e.ID,
	}
}

// announced joins an address that the peer announced, up to the limits: from
// the full mesh endpoints if there are any, else from one laminar endpoint if
// there are any, else from where routing begins.
func (s *state) announced(c *conn, id uint8, addr netip.AddrPort) []action {
	if !c.established || s.claims[c.token] > 0 {
		c.wait(announcement{id, addr})
		return nil
	}
	denied := id != 0 && s.deniedCase(c)
	if !s.serves(c) || id == 0 && addr != c.remote || c.reaches(addr) || !denied && !s.accepts(c) {
		return nil
	}
	var acts []action
	for _, f := range s.sources(c, addr, denied) {
		f.announcedID = id
		acts = append(acts, c.create(f))
	}
	if id != 0 && len(acts) > 0 {
		c.accepted[id] = addr
	}
	return acts
}

// accepts tells whether one more announced address may be joined.
func (s *state) accepts(c *conn) bool {
	return len(c.accepted) < s.limits.AddAddrAccepted && c.extra() < s.limits.Subflows
}

// deniedCase: the peer does not want its first address to be joined, and
// announced addresses are not accepted as such. Then the subflow endpoints join
// the first announced address, as they would have joined the other.
func (s *state) deniedCase(c *conn) bool {
	return c.denyInitial && len(c.used) == 0 && s.limits.AddAddrAccepted == 0 && c.extra() < s.limits.Subflows
}

// sources lists the subflows to be made to an announced address, as many as the
// limit leaves.
func (s *state) sources(c *conn, remote netip.AddrPort, denied bool) []flow {
	var flag mptcp.EndpointFlags
	switch {
	case s.hasEndpoint(mptcp.EndpointFullMesh):
		flag = mptcp.EndpointFullMesh
	case s.hasEndpoint(mptcp.EndpointLaminar):
		flag = mptcp.EndpointLaminar
	case denied:
		flag = mptcp.EndpointSubflow
	default:
		return []flow{{remote: remote}}
	}
	laminar := flag == mptcp.EndpointLaminar
	var list []flow
	for _, e := range s.endpoints {
		if c.extra()+len(list) >= s.limits.Subflows || laminar && len(list) == 1 {
			break
		}
		if !e.Flags.Has(flag) || e.Addr.Addr().Is4() != remote.Addr().Is4() || !c.offers(e, flag) {
			continue
		}
		if (denied || laminar) && e.Flags.Has(mptcp.EndpointSubflow) && !c.began(e) {
			c.used[e.ID] = true
		}
		list = append(list, fromEndpoint(c, e, remote))
	}
	return list
}

// offers tells whether an endpoint with the flag may join an announced address:
// a laminar one joins one at a time, and for the denied first address a further
// endpoint than the connection's own is needed.
func (c *conn) offers(e mptcp.Endpoint, flag mptcp.EndpointFlags) bool {
	switch flag {
	case mptcp.EndpointLaminar:
		return !c.leaves(e.Addr.Addr())
	case mptcp.EndpointSubflow:
		return !c.began(e) && !c.used[e.ID]
	}
	return true
}

// configure applies changed settings to the connections there are.
func (s *state) configure(next settings) []action {
	before := s.settings
	s.settings = next
	if next.limits == before.limits && slices.Equal(next.endpoints, before.endpoints) {
		return nil
	}
	var acts []action
	for _, old := range before.endpoints {
		now, kept := next.byID(old.ID)
		const changeable = mptcp.EndpointBackup | mptcp.EndpointFullMesh
		kept = kept && now.Addr == old.Addr && now.IfIndex == old.IfIndex && (now.Flags^old.Flags)&^changeable == 0
		acts = append(acts, s.all(func(c *conn) []action {
			if !kept {
				return c.withdraw(old)
			}
			return c.change(old, now)
		})...)
	}
	return append(acts, s.all(s.advance)...)
}

// byID finds an endpoint.
func (s settings) byID(id uint8) (mptcp.Endpoint, bool) {
	i := slices.IndexFunc(s.endpoints, func(e mptcp.Endpoint) bool { return e.ID == id })
	if i < 0 {
		return mptcp.Endpoint{}, false
	}
	return s.endpoints[i], true
}

// withdraw takes a removed endpoint's address out of a connection: RM_ADDR, and
// the end of its subflows. Unlike the kernel it keeps them when no other is
// left: the connection would hang.
func (c *conn) withdraw(e mptcp.Endpoint) []action {
	local := e.Addr.Addr()
	id, announced := c.announcedIDs[e.ID]
	delete(c.announcedIDs, e.ID)
	delete(c.used, e.ID)
	leaves := c.leaves(local)
	if leaves && !c.survivesWithout(local) || !leaves && !announced {
		return nil
	}
	acts := c.destroy(local)
	if !announced {
		id = c.ids[local]
	}
	delete(c.ids, local)
	if id == 0 && !c.began(e) {
		return acts // the peer knows no id of it
	}
	return append([]action{{op: opRemove, token: c.token, id: id}}, acts...)
}

// withdrawMissing takes back what was announced for endpoints that were removed
// while somebody else owned the connection.
func (c *conn) withdrawMissing(s settings) []action {
	var acts []action
	for _, endpoint := range slices.Sorted(maps.Keys(c.announcedIDs)) {
		if _, there := s.byID(endpoint); !there {
			acts = append(acts, action{op: opRemove, token: c.token, id: c.announcedIDs[endpoint]})
			delete(c.announcedIDs, endpoint)
		}
	}
	return acts
}

// destroy ends the subflows that begin at an address. Those that are joining
// end by themselves, as their address is gone.
func (c *conn) destroy(local netip.Addr) []action {
	var acts []action
	if c.initial && c.local.Addr() == local {
		flow := mptcp.Subflow{Local: c.local, Remote: c.remote}
		acts = append(acts, action{op: opDestroy, token: c.token, flow: flow})
	}
	for _, f := range c.from(local) {
		if !f.joining {
			acts = append(acts, action{op: opDestroy, token: c.token, flow: f.subflow()})
		}
	}
	return acts
}

// change follows an endpoint's flags that can change.
func (c *conn) change(old, now mptcp.Endpoint) []action {
	var acts []action
	changed, local := old.Flags^now.Flags, now.Addr.Addr()
	backup := now.Flags.Has(mptcp.EndpointBackup)
	if changed.Has(mptcp.EndpointBackup) && c.initial && c.local.Addr() == local {
		flow := mptcp.Subflow{Local: c.local, Remote: c.remote, Backup: backup}
		acts = append(acts, action{op: opSetBackup, token: c.token, flow: flow})
	}
	for _, f := range c.from(local) {
		if changed.Has(mptcp.EndpointBackup) && !f.joining {
			f.backup = backup
			acts = append(acts, action{op: opSetBackup, token: c.token, flow: f.subflow()})
		}
	}
	if changed.Has(mptcp.EndpointFullMesh) && now.Flags.Has(mptcp.EndpointSubflow) && !c.server {
		delete(c.used, now.ID)
		if !now.Flags.Has(mptcp.EndpointFullMesh) && c.survivesWithout(local) {
			acts = append(acts, c.destroyMesh(local)...)
		}
	}
	return acts
}

// destroyMesh ends the subflows from an address that an endpoint without full
// mesh would not have made. (The kernel ends all and makes the one again.)
func (c *conn) destroyMesh(local netip.Addr) []action {
	if local == c.local.Addr() {
		return nil
	}
	return slices.DeleteFunc(c.destroy(local), func(a action) bool { return a.flow.Remote == c.remote })
}
