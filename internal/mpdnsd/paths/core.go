package paths

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// settings are what the kernel's own path manager was told: the endpoints, by
// ID, and the limits.
type settings struct {
	limits    mptcp.Limits
	endpoints []mptcp.Endpoint
}

// op is a command of the path manager.
type op uint8

const (
	opCreate op = iota
	opDestroy
	opSetBackup
	opAnnounce
	opRemove
)

var opNames = [...]string{"create subflow", "destroy subflow", "set backup", "announce address", "remove address"}

func (o op) String() string { return opNames[o] }

// action is one command that step asks for.
type action struct {
	op    op
	token uint32
	flow  mptcp.Subflow  // opCreate, opDestroy, opSetBackup (to flow.Backup)
	id    uint8          // opAnnounce, opRemove: the local id
	addr  netip.AddrPort // opAnnounce
}

// The inputs of step.
type (
	// eventInput is an event of the kernel; not EventsLost.
	eventInput mptcp.Event
	// settingsInput replaces the settings.
	settingsInput settings
	// snapshotInput is everything there is: connections that it lacks are gone.
	snapshotInput struct {
		connections []mptcp.Connection
		subflows    []mptcp.SubflowState
	}
	// refusedInput is the error of an action.
	refusedInput struct {
		action action
		err    error
	}
	// claimInput and releaseInput are a connection's token.
	claimInput   uint32
	releaseInput uint32
)

// state is all that the service knows. It belongs to one goroutine at a time.
type state struct {
	settings
	conns  map[uint32]*conn
	claims map[uint32]int // by token: how often it was claimed
}

func newState() *state {
	return &state{conns: make(map[uint32]*conn), claims: make(map[uint32]int)}
}

// step changes the state by one input and returns what is to be done, in order.
// It does no I/O and has no clock. The error of every action that fails is to
// be given back as a refusedInput before the next event.
func (s *state) step(in any) []action {
	switch in := in.(type) {
	case eventInput:
		return s.event(mptcp.Event(in))
	case settingsInput:
		return s.configure(settings(in))
	case snapshotInput:
		return s.adopt(in)
	case refusedInput:
		return s.refused(in.action, in.err)
	case claimInput:
		s.claims[uint32(in)]++
	case releaseInput:
		return s.release(uint32(in))
	}
	return nil
}

// serves tells whether the connection's subflows are this service's business.
func (s *state) serves(c *conn) bool { return !c.kernel && s.claims[c.token] == 0 }

// release gives up one claim. With the last one the connection is served again.
func (s *state) release(token uint32) []action {
	if s.claims[token] > 1 {
		s.claims[token]--
		return nil
	}
	delete(s.claims, token)
	if c := s.conns[token]; c != nil && c.established {
		return append(c.withdrawMissing(s.settings), s.established(c)...)
	}
	return nil
}

// event follows the kernel's account of one connection.
func (s *state) event(e mptcp.Event) []action {
	if e.Type == mptcp.Created || e.Type == mptcp.Established {
		s.ensure(e)
	}
	c := s.conns[e.Token]
	if c == nil {
		return nil
	}
	switch e.Type {
	case mptcp.Established:
		return s.established(c)
	case mptcp.Closed:
		delete(s.conns, e.Token)
	case mptcp.Announced:
		return s.announced(c, e.RemoteID, e.Remote)
	case mptcp.Removed:
		delete(c.accepted, e.RemoteID)
		c.waiting = slices.DeleteFunc(c.waiting, func(w announcement) bool { return w.id == e.RemoteID })
	case mptcp.SubflowEstablished:
		return s.joined(c, e)
	case mptcp.SubflowClosed:
		c.closed(e)
		return s.advance(c)
	}
	return nil
}

// ensure makes the connection of an event known.
func (s *state) ensure(e mptcp.Event) {
	c := s.conns[e.Token]
	if c == nil {
		c = newConn(e.Token, e.Local, e.Remote)
		s.conns[e.Token] = c
	}
	c.server = e.ServerSide
	c.denyInitial = c.denyInitial || e.Flags&mptcp.FlagDenyJoinInitial != 0
}

// established is the moment from which subflows can be made.
func (s *state) established(c *conn) []action {
	c.established = true
	waiting := c.waiting
	c.waiting = nil
	var acts []action
	for _, w := range waiting {
		acts = append(acts, s.announced(c, w.id, w.addr)...)
	}
	return append(acts, s.advance(c)...)
}

// joined follows a subflow that came to be. One that a client made beyond the
// limit is closed again: under the userspace path manager the kernel does not
// apply its limit. (A join that appears on a client was made by another process
// of this host, which knows what it does.)
func (s *state) joined(c *conn, e mptcp.Event) []action {
	f, known := c.join(e)
	switch {
	case known || !s.serves(c):
		return nil
	case c.server && f.foreign && c.extra() > s.limits.Subflows:
		return []action{{op: opDestroy, token: c.token, flow: f.subflow()}}
	}
	var acts []action
	if endpoint, ok := s.endpointAt(e.Local.Addr()); ok && endpoint.Flags.Has(mptcp.EndpointBackup) && !f.backup {
		f.backup = true
		acts = append(acts, action{op: opSetBackup, token: c.token, flow: f.subflow()})
	}
	return append(acts, s.advance(c)...)
}

// refused takes back what an action was to bring about.
func (s *state) refused(a action, err error) []action {
	c := s.conns[a.token]
	switch {
	case c == nil:
		return nil
	case errors.Is(err, mptcp.ErrUnknownToken):
		delete(s.conns, a.token)
		return nil
	case errors.Is(err, mptcp.ErrKernelManaged):
		c.kernel = true
		c.flows = slices.DeleteFunc(c.flows, func(f *flow) bool { return f.joining })
		return nil
	case a.op == opCreate:
		return s.notCreated(c, a.flow, err)
	case a.op == opAnnounce && errors.Is(err, mptcp.ErrLocalID):
		return s.announceAgain(c, a)
	}
	return nil
}

// notCreated frees the place of a subflow for the next endpoint.
func (s *state) notCreated(c *conn, flow mptcp.Subflow, err error) []action {
	f := c.take(flow)
	if f == nil {
		return nil
	}
	if id := f.announcedID; id != 0 && !c.reaches(f.remote) {
		delete(c.accepted, id)
	}
	switch {
	case errors.Is(err, mptcp.ErrNotEstablished):
		// Found by a snapshot before it was established: the event will come.
		c.established = false
		delete(c.used, f.endpoint)
		return nil
	case errors.Is(err, mptcp.ErrLocalID) && c.rejectID(flow.Local.Addr(), flow.LocalID):
		again := *f
		again.id = c.localID(flow.Local.Addr(), flow.LocalID)
		if again.announcedID != 0 {
			c.accepted[again.announcedID] = again.remote
		}
		return []action{c.create(again)}
	}
	return s.advance(c)
}

// announceAgain announces an address under another local id.
func (s *state) announceAgain(c *conn, a action) []action {
	if !c.rejectID(a.addr.Addr(), a.id) {
		return nil
	}
	for endpoint, id := range c.announcedIDs {
		if id == a.id {
			a.id = c.localID(a.addr.Addr(), a.id)
			c.announcedIDs[endpoint] = a.id
			return []action{a}
		}
	}
	return nil
}

// all calls serve for each connection that is served, in the order of tokens.
func (s *state) all(serve func(*conn) []action) []action {
	var acts []action
	for _, token := range slices.Sorted(maps.Keys(s.conns)) {
		if c := s.conns[token]; s.serves(c) {
			acts = append(acts, serve(c)...)
		}
	}
	return acts
}

// endpointAt returns the endpoint with an address, whatever its port.
func (s *state) endpointAt(a netip.Addr) (mptcp.Endpoint, bool) {
	i := slices.IndexFunc(s.endpoints, func(e mptcp.Endpoint) bool { return e.Addr.Addr() == a })
	if i < 0 {
		return mptcp.Endpoint{}, false
	}
	return s.endpoints[i], true
}

// hasEndpoint tells whether an endpoint has the flag.
func (s *state) hasEndpoint(flag mptcp.EndpointFlags) bool {
	return slices.ContainsFunc(s.endpoints, func(e mptcp.Endpoint) bool { return e.Flags.Has(flag) })
}
