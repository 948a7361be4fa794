package dialer

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// Conn is a connection made by a [Dialer]: a TCP connection, and, where both
// ends and the way between them allow, a Multipath TCP connection of several
// subflows. All of *net.TCPConn works on it.
//
// A Conn with addresses to join has a goroutine that adds subflows; Close ends
// it.
type Conn struct {
	*net.TCPConn

	target target
	stream *stream
	id     uint32 // the token; 0 when the connection began as plain TCP
	remote netip.AddrPort
	look   *lookup
	memory *hostid.Memory
	dialed Report // what the dial itself can tell

	subflows *subflows // nil where there is nothing to add
	alive    keepAlive

	blackholeOnce sync.Once
	blackhole     bool // MPTCP is held back in this namespace; see blackholed
}

var _ net.Conn = (*Conn)(nil)

// newConn makes a connection of the race's winner and begins to add subflows.
func (d *Dialer) newConn(t target, s *stream, look *lookup, log []Attempt, begin time.Time) *Conn {
	c := s.conn // where TLS is spoken over it
	if c == nil {
		c = &Conn{TCPConn: s.TCPConn}
	}
	c.target, c.stream, c.look, c.remote, c.memory = t, s, look, winner(log), d.memory
	c.dialed = Report{
		Name: t.name, Attempts: log,
		Resolve: look.elapsed(), Connect: time.Since(begin),
	}
	c.alive = keepAlive{conn: s.TCPConn, restore: d.keepAliveConfig()}
	c.id = s.token
	candidates, complete := look.known()
	// A dial to an address of this machine has one path.
	alone := len(candidates) < 2 && complete && c.remote.Addr().IsLoopback() && !t.sets
	if c.id == 0 || d.maxSubflows() == 0 || alone {
		look.stop()
		return c
	}
	c.subflows = &subflows{
		wire: c, token: c.id, first: c.remote, began: addrPortOf(s.LocalAddr()), key: t.key(),
		monitors: &d.monitors, created: &d.created, announced: d.Announced, unknown: d.Unknown, policy: d.Paths, use: d.Use, local: newLocalRule(d.Local, d.LocalInterfaces),
		memory: d.memory, managers: &d.managers, attach: c.attacher(brokerSocket(d.Broker)), late: look, probe: d.probeHost,
		joiner: joiner{
			port: c.remote.Port(), max: d.maxSubflows(), timeout: d.joinTimeout(),
			ipv4Only: s.ipv4Only(), probe: d.Probe,
			reroute: d.Paths == OnePerRemote && !newLocalRule(d.Local, d.LocalInterfaces).restricts(),
		},
	}
	c.subflows.unwatch = d.created.hold(&d.managers) // before the dial's own hold ends
	if d.OnPath != nil {
		c.subflows.events.hook = func(e PathEvent) { d.OnPath(c, e) }
	}
	c.subflows.start(candidates, !complete)
	return c
}

// winner returns the address that became the connection.
func winner(log []Attempt) netip.AddrPort {
	for _, a := range log {
		if a.Err == nil {
			return a.Remote
		}
	}
	return netip.AddrPort{}
}

func (d *Dialer) maxSubflows() int {
	if d.MaxSubflows == 0 {
		return DefaultMaxSubflows
	}
	return max(d.MaxSubflows, 0)
}

func (d *Dialer) joinTimeout() time.Duration {
	if d.JoinTimeout <= 0 {
		return DefaultJoinTimeout
	}
	return d.JoinTimeout
}

// Close closes the connection with all its subflows, and returns when nothing
// of it runs any more.
func (c *Conn) Close() error {
	if c.subflows != nil {
		c.subflows.cancel()
	}
	err := c.TCPConn.Close()
	if c.subflows != nil {
		c.subflows.stop()
	}
	return err
}

// ID returns the connection's identifier on this host: the MPTCP token, which
// both address calls share (draft section 4.4). It is 0 for plain TCP.
func (c *Conn) ID() uint32 {
	if c.id != 0 && c.fellBack() {
		return 0
	}
	return c.id
}

// LocalAddr returns the local address: of a connection dialled as "multipath"
// or by [Dialer.Connect] the set of all in use ([Conn.LocalAddrs]), of others
// the *net.TCPAddr of the first subflow (RFC 6897 section 4.2.2).
func (c *Conn) LocalAddr() net.Addr {
	if c.target.sets {
		return c.LocalAddrs()
	}
	return c.TCPConn.LocalAddr()
}

// RemoteAddr is [Conn.LocalAddr] for the remote end.
func (c *Conn) RemoteAddr() net.Addr {
	if c.target.sets {
		return c.RemoteAddrs()
	}
	return c.TCPConn.RemoteAddr()
}

// LocalAddrs returns the local addresses in use at this moment, the first
// subflow's first. After Close, and for plain TCP, it is the address that the
// connection began with.
func (c *Conn) LocalAddrs() mpaddr.Addr {
	return c.addrs(c.TCPConn.LocalAddr(), func(i mptcp.SubflowInfo) netip.AddrPort { return i.Local })
}

// RemoteAddrs is [Conn.LocalAddrs] for the remote end.
func (c *Conn) RemoteAddrs() mpaddr.Addr {
	return c.addrs(c.TCPConn.RemoteAddr(), func(i mptcp.SubflowInfo) netip.AddrPort { return i.Remote })
}

// addrs gathers one end of the subflows in use; first stands in where the
// kernel knows none.
func (c *Conn) addrs(first net.Addr, end func(mptcp.SubflowInfo) netip.AddrPort) mpaddr.Addr {
	var list []netip.AddrPort
	infos, _ := c.subflowInfos()
	for _, i := range infos {
		if carriesData(i.TCP.State) {
			list = append(list, end(i))
		}
	}
	if len(list) == 0 {
		list = append(list, addrPortOf(first))
	}
	return mpaddr.FromAddrPorts(list...)
}

// addrPortOf returns a TCP address in netip's form, unmapped.
func addrPortOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// WaitJoins returns when every other address of the record has its verdict, or
// ctx's error when that comes first. A connection on which no data was
// exchanged is joined after about a second: the peer must confirm something
// first. It returns at once where nothing is to be joined.
func (c *Conn) WaitJoins(ctx context.Context) error {
	if c.subflows == nil {
		return nil
	}
	return c.subflows.wait(ctx)
}

// subflowInfos implements wire.
func (c *Conn) subflowInfos() ([]mptcp.SubflowInfo, error) {
	if c.id == 0 {
		return nil, mptcp.ErrFallback
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	_, infos, err := mptcp.FullInfo(raw)
	if c.subflows != nil {
		c.subflows.settleStates(infos)
	}
	return infos, err
}

// fellBack implements wire.
func (c *Conn) fellBack() bool { return fellBack(c.TCPConn) }

// nudge implements wire.
func (c *Conn) nudge() { c.alive.nudge() }

// calm implements wire.
func (c *Conn) calm() { c.alive.calm() }

// SetKeepAlive is [net.TCPConn.SetKeepAlive].
func (c *Conn) SetKeepAlive(on bool) error {
	return c.alive.set(func(t *net.TCPConn) error { return t.SetKeepAlive(on) })
}

// SetKeepAlivePeriod is [net.TCPConn.SetKeepAlivePeriod].
func (c *Conn) SetKeepAlivePeriod(period time.Duration) error {
	return c.alive.set(func(t *net.TCPConn) error { return t.SetKeepAlivePeriod(period) })
}

// SetKeepAliveConfig is [net.TCPConn.SetKeepAliveConfig].
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.alive.set(func(t *net.TCPConn) error { return t.SetKeepAliveConfig(config) })
}
