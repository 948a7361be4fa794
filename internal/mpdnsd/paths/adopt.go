package paths

import (
	"maps"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// adopt takes over what the kernel says there is: at the start, and after
// events were lost. Every connection is believed to be established, as that
// event may be among the lost; if it is not, the first command is refused and
// the event comes. Lost announcements of the peer stay lost.
func (s *state) adopt(in snapshotInput) []action {
	subflows := make(map[uint32][]mptcp.SubflowState)
	for _, f := range in.subflows {
		subflows[f.Token] = append(subflows[f.Token], f)
	}
	present := make(map[uint32]bool)
	for _, k := range in.connections {
		if k.Info.Negotiated() && k.State != mptcp.StateSynSent && k.State != mptcp.StateClosed {
			present[k.Info.Token] = true
			s.adoptOne(k, subflows[k.Info.Token])
		}
	}
	maps.DeleteFunc(s.conns, func(token uint32, _ *conn) bool { return !present[token] })
	return s.all(s.established)
}

func (s *state) adoptOne(k mptcp.Connection, subflows []mptcp.SubflowState) {
	c := s.conns[k.Info.Token]
	if c == nil {
		c = newConn(k.Info.Token, k.Local, k.Remote)
		c.server = true // unless a subflow tells otherwise
		s.conns[c.token] = c
	}
	c.established = true
	// Only a connection of the kernel's own path manager has its limits.
	c.kernel = c.kernel || k.Info.SubflowsMax > 0
	c.initial = false
	known := c.flows
	c.flows = nil
	for _, f := range subflows {
		s.adoptSubflow(c, f, known)
	}
}

// adoptSubflow adds one subflow to its connection. known are those that were
// known before.
func (s *state) adoptSubflow(c *conn, f mptcp.SubflowState, known []*flow) {
	switch f.TCP.State {
	case mptcp.StateEstablished, mptcp.StateSynSent:
	default:
		return // it is going
	}
	if f.Outgoing {
		c.server = false
	}
	if f.Initial {
		c.initial = true
		return
	}
	a := f.Local.Addr()
	next := &flow{
		local: f.Local, remote: f.Remote, id: f.LocalID, backup: f.Backup,
		foreign: !f.Outgoing, joining: f.TCP.State == mptcp.StateSynSent,
	}
	for _, old := range known {
		if old.remote == f.Remote && (old.local == f.Local || old.joining && old.local.Addr() == a) {
			next.endpoint, next.announcedID, next.ifIndex = old.endpoint, old.announcedID, old.ifIndex
		}
	}
	if a != c.local.Addr() && f.LocalID != 0 {
		c.ids[a] = f.LocalID
	}
	if e, ok := s.endpointAt(a); ok && f.Outgoing {
		c.used[e.ID] = true
	}
	c.flows = append(c.flows, next)
}
