// Package mptcptest is a scripted path manager for tests of what is built on
// package mptcp: no kernel, no privilege, and time only through package time,
// so that it runs under testing/synctest.
//
// It keeps the kernel's rules: connections made under the kernel's own path
// manager cannot be changed, subflows cannot be created before the connection
// is fully established, local ids belong to one address, a result is an event
// that can arrive before the command returns.
//
//	fake := mptcptest.New()
//	fake.Script(netip.MustParseAddr("192.0.2.2"), mptcptest.Script{Result: mptcptest.Refuse, Delay: 20 * time.Millisecond})
//	fake.Connect(token, local, remote)   // event created
//	fake.Establish(token)                // event established; from now on creating works
package mptcptest

import (
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Result is what becomes of a join, as the kernel tells it (the verdict table of
// a real kernel's events).
type Result uint8

// The results. The event is SubflowClosed except for Join and JoinThenClose.
const (
	// Join: SubflowEstablished. The subflow lives.
	Join Result = iota
	// JoinThenClose: SubflowEstablished, and at once SubflowClosed without an
	// error: the peer is at its limit, or a middlebox strips the third ACK.
	JoinThenClose
	// Refuse: ECONNREFUSED. Another MPTCP host, or a closed port.
	Refuse
	// NotMPTCP: no error code: the answer to the SYN carried no MPTCP.
	NotMPTCP
	// Silent: no event, the subflow stays in StateSynSent until it is destroyed
	// or Script.Delay (of the kernel: about two minutes) has passed; then ETIMEDOUT.
	Silent
	// HostUnreachable and NetUnreachable: ICMP said so.
	HostUnreachable
	NetUnreachable
)

// KernelTimeout is after how long a Silent join without Delay is given up:
// six retransmissions of the SYN.
const KernelTimeout = 133600 * time.Millisecond

// Script says how joins to an address go.
type Script struct {
	Result Result
	// Delay from the command to the event, on the clock of package time. Zero:
	// the event is delivered before CreateSubflow returns, as with a near peer.
	Delay time.Duration
	// Err, where not nil, is what CreateSubflow returns; nothing else happens.
	Err error
}

// Call is one command that was given to the fake.
type Call struct {
	Op      string // "create", "destroy", "backup", "announce", "remove"
	Token   uint32
	Subflow mptcp.Subflow // create, destroy, backup: as given
	Backup  bool          // backup
	ID      uint8         // announce, remove
	Addr    netip.AddrPort
	Err     error // what the fake returned
}

// PathManager is a scripted [mptcp.PathManager]. Use New. Its methods are safe
// for concurrent use.
type PathManager struct {
	hub     mptcp.Hub
	pending sync.WaitGroup // timers that have not ended

	mu        sync.Mutex // guards all below
	scripts   map[netip.Addr]Script
	conns     map[uint32]*conn
	calls     []Call
	forbidden bool
	closed    bool
	nextPort  uint16
}

// conn is one connection of the fake's network namespace.
type conn struct {
	token       uint32
	kernel      bool // made under the kernel's own path manager
	established bool
	fallback    bool
	ids         map[uint8]netip.Addr // local ids in use
	announced   map[uint8]bool
	subflows    []*subflow
	lastID      uint32
}

// subflow is one subflow; pending is its join's timer, nil when it is settled.
type subflow struct {
	mptcp.Subflow
	id      uint32
	state   uint8
	pending *time.Timer
}

var _ mptcp.PathManager = (*PathManager)(nil)

// New returns a fake without connections, where every join succeeds at once.
func New() *PathManager {
	return &PathManager{
		scripts:  make(map[netip.Addr]Script),
		conns:    make(map[uint32]*conn),
		nextPort: firstPort,
	}
}

// firstPort is the first of the local ports that the fake picks.
const firstPort = 40000

// Script sets how joins to remote go from now on.
func (f *PathManager) Script(remote netip.Addr, s Script) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scripts[remote.Unmap()] = s
}

// Forbid makes every command fail with EPERM from now on.
func (f *PathManager) Forbid() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forbidden = true
}

// Connect begins a connection whose first subflow is local to remote: MPTCP is
// negotiated (event Created), but not fully established.
func (f *PathManager) Connect(token uint32, local, remote netip.AddrPort) {
	f.connect(&conn{token: token}, local, remote)
}

// ConnectKernelManaged is Connect for a socket made under the kernel's own path
// manager: commands fail with [mptcp.ErrKernelManaged].
func (f *PathManager) ConnectKernelManaged(token uint32, local, remote netip.AddrPort) {
	f.connect(&conn{token: token, kernel: true}, local, remote)
}

func (f *PathManager) connect(c *conn, local, remote netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.ids, c.announced = make(map[uint8]netip.Addr), make(map[uint8]bool)
	first := c.add(mptcp.Subflow{Local: unmap(local), Remote: unmap(remote)})
	first.state = mptcp.StateEstablished
	f.conns[c.token] = c
	f.hub.Publish(c.event(mptcp.Created, first))
}

// Establish makes a connection fully established (event Established), as the
// first DATA_ACK does.
func (f *PathManager) Establish(token uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.conns[token]; c != nil && !c.established && !c.fallback {
		c.established = true
		f.hub.Publish(c.event(mptcp.Established, c.subflows[0]))
	}
}

// Fallback makes a connection plain TCP: commands fail with
// [mptcp.ErrNotEstablished], FullInfo with [mptcp.ErrFallback]. No event tells.
func (f *PathManager) Fallback(token uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.conns[token]; c != nil {
		c.fallback, c.established = true, false
	}
}

// Disconnect ends a connection: event Closed alone, and its token is free.
func (f *PathManager) Disconnect(token uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.conns[token]
	if c == nil {
		return
	}
	for _, s := range c.subflows {
		f.stop(s)
	}
	delete(f.conns, token)
	f.hub.Publish(mptcp.Event{Type: mptcp.Closed, Token: token})
}

// Break ends a subflow as a reset on its path does: SubflowClosed with errno.
// It reports whether there was one to remote.
func (f *PathManager) Break(token uint32, remote netip.AddrPort, errno syscall.Errno) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.conns[token]
	if c == nil {
		return false
	}
	for _, s := range c.subflows {
		if s.Remote == unmap(remote) && s.state == mptcp.StateEstablished {
			f.end(c, s, errno)
			return true
		}
	}
	return false
}

// Emit delivers an event as it is: for what the fake has no method for.
func (f *PathManager) Emit(e mptcp.Event) { f.hub.Publish(e) }

// Calls returns the commands so far, in order.
func (f *PathManager) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// FullInfo is [mptcp.FullInfo] for a connection of the fake. The first subflow
// stays in the list after its end, as with the kernel.
func (f *PathManager) FullInfo(token uint32) (mptcp.Info, []mptcp.SubflowInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.conns[token]
	if c == nil || c.fallback {
		return mptcp.Info{}, nil, mptcp.ErrFallback
	}
	info := mptcp.Info{Token: token, Flags: mptcp.InfoRemoteKey, SubflowsTotal: len(c.subflows)}
	var flows []mptcp.SubflowInfo
	for _, s := range c.subflows {
		if s.id > 1 {
			info.Subflows++
		}
		flows = append(flows, mptcp.SubflowInfo{
			ID: s.id, Local: s.Local, Remote: s.Remote, TCP: mptcp.TCPInfo{State: s.state},
		})
	}
	return info, flows, nil
}

// Subscribe delivers events as the kernel's path manager does.
func (f *PathManager) Subscribe(token uint32) (*mptcp.Subscription, error) {
	return f.hub.Subscribe(token)
}

// Close ends the subscriptions, stops the timers and waits for those that run.
func (f *PathManager) Close() error {
	f.mu.Lock()
	f.closed = true
	for _, c := range f.conns {
		for _, s := range c.subflows {
			f.stop(s)
		}
	}
	f.mu.Unlock()
	f.hub.Shutdown(mptcp.ErrClosed)
	f.pending.Wait()
	return nil
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
