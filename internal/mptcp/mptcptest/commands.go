package mptcptest

import (
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// CreateSubflow sends a join as the remote address's script says.
func (f *PathManager) CreateSubflow(token uint32, s mptcp.Subflow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.create(token, s)
	f.calls = append(f.calls, Call{Op: "create", Token: token, Subflow: s, Err: err})
	return err
}

func (f *PathManager) create(token uint32, given mptcp.Subflow) error {
	const op = "create subflow"
	flow, err := given.Normalize()
	if err != nil {
		return err
	}
	c, err := f.find(op, token)
	if err != nil {
		return err
	}
	script := f.scripts[flow.Remote.Addr()]
	switch {
	case script.Err != nil:
		return script.Err
	case flow.Local.Addr().Is4() != flow.Remote.Addr().Is4():
		return refuse(op, syscall.EINVAL, mptcp.ExtackFamilyMismatch)
	case !c.fits(flow.LocalID, flow.Local.Addr()):
		return refuse(op, syscall.EINVAL, mptcp.ExtackLocalID)
	case !c.established:
		return refuse(op, syscall.ENOTCONN, "connect error: -107")
	}
	c.ids[flow.LocalID] = flow.Local.Addr()
	flow.Local = f.route(c, flow.Local)
	f.join(c, c.add(flow), script)
	return nil
}

// route picks what the caller left to the kernel: a port, and for a wildcard
// the address of the first subflow, or of that family one of documentation.
// The lock is held.
func (f *PathManager) route(c *conn, local netip.AddrPort) netip.AddrPort {
	addr, port := local.Addr(), local.Port()
	if port == 0 {
		port = f.nextPort
		f.nextPort++
	}
	switch first := c.subflows[0].Local.Addr(); {
	case !addr.IsUnspecified():
	case addr.Is4() == first.Is4():
		addr = first
	case addr.Is4():
		addr = netip.AddrFrom4([4]byte{192, 0, 2, 254})
	default:
		addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 0xfe})
	}
	return netip.AddrPortFrom(addr, port)
}

// fits reports whether a local id and an address belong to each other, or are
// both free.
func (c *conn) fits(id uint8, addr netip.Addr) bool {
	for known, a := range c.ids {
		if (known == id) != (a == addr) {
			return false
		}
	}
	return true
}

// add appends a subflow that is connecting.
func (c *conn) add(flow mptcp.Subflow) *subflow {
	c.lastID++
	s := &subflow{Subflow: flow, id: c.lastID, state: mptcp.StateSynSent}
	c.subflows = append(c.subflows, s)
	return s
}

// join settles s now or after the script's delay. The lock is held.
func (f *PathManager) join(c *conn, s *subflow, script Script) {
	delay := script.Delay
	if script.Result == Silent && delay == 0 {
		delay = KernelTimeout
	}
	if delay == 0 {
		f.settle(c, s, script.Result)
		return
	}
	f.pending.Add(1)
	s.pending = time.AfterFunc(delay, func() {
		defer f.pending.Done()
		f.mu.Lock()
		defer f.mu.Unlock()
		if s.pending != nil && !f.closed {
			s.pending = nil
			f.settle(c, s, script.Result)
		}
	})
}

// settle makes the events of a join's end. The lock is held.
func (f *PathManager) settle(c *conn, s *subflow, r Result) {
	switch r {
	case Join, JoinThenClose:
		s.state = mptcp.StateEstablished
		f.hub.Publish(c.event(mptcp.SubflowEstablished, s))
		if r == JoinThenClose {
			f.end(c, s, 0)
		}
	case Refuse:
		f.end(c, s, syscall.ECONNREFUSED)
	case NotMPTCP:
		f.end(c, s, 0)
	case Silent:
		f.end(c, s, syscall.ETIMEDOUT)
	case HostUnreachable:
		f.end(c, s, syscall.EHOSTUNREACH)
	case NetUnreachable:
		f.end(c, s, syscall.ENETUNREACH)
	}
}

// end closes s with SubflowClosed, with an error code unless errno is 0, and
// takes it off the list unless it is the first. The lock is held.
func (f *PathManager) end(c *conn, s *subflow, errno syscall.Errno) {
	f.stop(s)
	e := c.event(mptcp.SubflowClosed, s)
	e.Errno, e.HasError = errno, errno != 0
	s.state = mptcp.StateClosed
	if s.id > 1 {
		c.subflows = slices.DeleteFunc(c.subflows, func(x *subflow) bool { return x == s })
	}
	f.hub.Publish(e)
}

// stop stops the timer of a join. The lock is held.
func (f *PathManager) stop(s *subflow) {
	if s.pending != nil && s.pending.Stop() {
		f.pending.Done()
	}
	s.pending = nil
}

// event is an event about a subflow. The wire ids of a failed join are not told.
func (c *conn) event(t mptcp.EventType, s *subflow) mptcp.Event {
	e := mptcp.Event{Type: t, Token: c.token, Local: s.Local, Remote: s.Remote, Backup: s.Backup}
	if s.id > 1 {
		e.LocalID = uint8(s.id - 1)
		if s.state == mptcp.StateEstablished {
			e.RemoteID = uint8(s.id - 1)
		}
	}
	return e
}

// find returns the connection that a command is about. The lock is held.
func (f *PathManager) find(op string, token uint32) (*conn, error) {
	c := f.conns[token]
	switch {
	case f.closed:
		return nil, mptcp.ErrClosed
	case f.forbidden:
		return nil, refuse(op, syscall.EPERM, "")
	case c == nil:
		return nil, refuse(op, syscall.EINVAL, mptcp.ExtackUnknownToken)
	case c.kernel:
		return nil, refuse(op, syscall.EINVAL, mptcp.ExtackKernelManaged)
	}
	return c, nil
}

// refuse is the kernel's answer to a command that it does not carry out.
func refuse(op string, errno syscall.Errno, msg string) error {
	return &mptcp.OpError{Op: op, Errno: errno, Msg: msg}
}

// DestroySubflow closes a subflow, connecting or established. A join that is
// broken off ends with ECONNRESET, and its event has lost Remote's port and, if
// it began from a wildcard, Local's address, like the kernel's.
func (f *PathManager) DestroySubflow(token uint32, s mptcp.Subflow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.destroy(token, s)
	f.calls = append(f.calls, Call{Op: "destroy", Token: token, Subflow: s, Err: err})
	return err
}

func (f *PathManager) destroy(token uint32, flow mptcp.Subflow) error {
	const op = "destroy subflow"
	c, s, err := f.subflow(op, token, flow)
	if err != nil {
		return err
	}
	began := c.ids[s.LocalID]
	delete(c.ids, s.LocalID)
	if s.state != mptcp.StateSynSent {
		f.end(c, s, 0)
		return nil
	}
	s.Remote = netip.AddrPortFrom(s.Remote.Addr(), 0)
	if began.IsUnspecified() {
		s.Local = netip.AddrPortFrom(began, s.Local.Port())
	}
	f.end(c, s, syscall.ECONNRESET)
	return nil
}

// subflow finds the subflow that a command names. The lock is held.
func (f *PathManager) subflow(op string, token uint32, flow mptcp.Subflow) (*conn, *subflow, error) {
	c, err := f.find(op, token)
	if err != nil {
		return nil, nil, err
	}
	local, remote := unmap(flow.Local), unmap(flow.Remote)
	switch {
	case !local.Addr().IsValid() || !remote.Addr().IsValid():
		return nil, nil, refuse(op, syscall.EINVAL, "missing family")
	case local.Addr().Is4() != remote.Addr().Is4():
		return nil, nil, refuse(op, syscall.EINVAL, mptcp.ExtackFamilyMismatch)
	case local.Port() == 0:
		return nil, nil, refuse(op, syscall.EINVAL, "missing local port")
	}
	for _, s := range c.subflows {
		if s.Local == local && s.Remote == remote && s.state != mptcp.StateClosed {
			return c, s, nil
		}
	}
	return nil, nil, refuse(op, syscall.ESRCH, "subflow not found")
}

// SetBackup changes a subflow's priority; no event tells here, only at the peer.
func (f *PathManager) SetBackup(token uint32, flow mptcp.Subflow, backup bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, s, err := f.subflow("set backup", token, flow)
	if err == nil {
		s.Backup = backup
	}
	f.calls = append(f.calls, Call{Op: "backup", Token: token, Subflow: flow, Backup: backup, Err: err})
	return err
}

// Announce keeps the id for Remove.
func (f *PathManager) Announce(token uint32, id uint8, addr netip.AddrPort) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find("announce address", token)
	switch {
	case err != nil:
	case id == 0 || !addr.IsValid():
		err = refuse("announce address", syscall.EINVAL, "invalid addr id or flags")
	default:
		c.announced[id] = true
	}
	f.calls = append(f.calls, Call{Op: "announce", Token: token, ID: id, Addr: addr, Err: err})
	return err
}

// Remove withdraws an announced or used local id and closes its subflows.
func (f *PathManager) Remove(token uint32, id uint8) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.remove(token, id)
	f.calls = append(f.calls, Call{Op: "remove", Token: token, ID: id, Err: err})
	return err
}

func (f *PathManager) remove(token uint32, id uint8) error {
	const op = "remove address"
	c, err := f.find(op, token)
	if err != nil {
		return err
	}
	addr, used := c.ids[id]
	if id == 0 {
		addr, used = c.subflows[0].Local.Addr(), true
	}
	if !used && !c.announced[id] {
		return refuse(op, syscall.EINVAL, "address with id not found")
	}
	delete(c.ids, id)
	delete(c.announced, id)
	for _, s := range slices.Clone(c.subflows) {
		if used && s.Local.Addr() == addr && s.state != mptcp.StateClosed {
			f.end(c, s, 0)
		}
	}
	return nil
}
