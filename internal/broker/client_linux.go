package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

const (
	// AttachTimeout bounds [Attach], if its context does not: a broker does it
	// in a fraction of a millisecond.
	AttachTimeout = time.Second
	// CommandTimeout is how long a [Client] waits for the answer to a command;
	// then it gives the broker up.
	CommandTimeout = 5 * time.Second
)

// Client is the [mptcp.PathManager] of one connection, through a broker. Its
// methods take no other token than the connection's; others are unknown
// ([mptcp.ErrUnknownToken]). What the kernel refuses is an [*mptcp.OpError] as
// from a path manager of one's own, what the broker refuses is [ErrRefused].
//
// When the broker ends, the channels of the subscriptions are closed, and from
// then on Err, the commands and Subscribe give [ErrGone]. When the connection
// is closed, its event Closed comes before that.
type Client struct {
	conn  *net.UnixConn
	proof syscall.RawConn // the connection's descriptor
	token uint32
	wait  time.Duration // CommandTimeout, or what SetTimeout says

	hub    mptcp.Hub
	past   sync.Mutex // guards view, and its order with what the hub is given
	view   view
	reader sync.WaitGroup // read
	done   chan struct{}  // closed when nothing more is read

	writing sync.Mutex // one message and its deadline at a time

	mu      sync.Mutex // guards all below
	lastID  uint32
	waiting map[uint32]chan reply // capacity 1 each, by request
	err     error                 // why the client ended, nil while it has not
}

var _ mptcp.PathManager = (*Client)(nil)

// CreateSubflow is [mptcp.PathManager].CreateSubflow, within the broker's policy.
func (c *Client) CreateSubflow(token uint32, s mptcp.Subflow) error {
	s, err := s.Normalize()
	if err != nil {
		return err
	}
	return c.call(token, request{Op: opCreate, Subflow: s})
}

// DestroySubflow is [mptcp.PathManager].DestroySubflow.
func (c *Client) DestroySubflow(token uint32, s mptcp.Subflow) error {
	return c.call(token, request{Op: opDestroy, Subflow: s})
}

// SetBackup is [mptcp.PathManager].SetBackup.
func (c *Client) SetBackup(token uint32, s mptcp.Subflow, backup bool) error {
	return c.call(token, request{Op: opBackup, Subflow: s, Backup: backup})
}

// Announce is [mptcp.PathManager].Announce, within the broker's policy.
func (c *Client) Announce(token uint32, id uint8, addr netip.AddrPort) error {
	return c.call(token, request{Op: opAnnounce, AddrID: id, Addr: addr})
}

// Remove is [mptcp.PathManager].Remove.
func (c *Client) Remove(token uint32, id uint8) error {
	return c.call(token, request{Op: opRemove, AddrID: id})
}

// Subscribe delivers the connection's events from now on. Before them come the
// earlier ones that still tell something: Created, which has the peer's C flag
// (absent when the broker began after the connection), and the addresses that
// the peer has announced. The kernel authenticated those by the connection's
// keys, and the broker sends no other connection's.
func (c *Client) Subscribe(token uint32) (*mptcp.Subscription, error) {
	if token != c.token {
		return nil, unknownToken("subscribe")
	}
	c.past.Lock()
	defer c.past.Unlock()
	return c.hub.Subscribe(token, c.view.past(token)...)
}

// Err returns why the client ended: [ErrGone] with the broker's reason, or
// [mptcp.ErrClosed] after Close; nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close leaves the broker and ends the subscriptions. Subflows stay.
func (c *Client) Close() error {
	c.stop(mptcp.ErrClosed)
	c.reader.Wait()
	return nil
}

func unknownToken(op string) error {
	return &mptcp.OpError{Op: op, Errno: syscall.EINVAL, Msg: mptcp.ExtackUnknownToken}
}

// SetTimeout has commands wait for d, not CommandTimeout. It is to be called
// before the first.
func (c *Client) SetTimeout(d time.Duration) { c.wait = d }

// Report tells the broker what became of addr, an address of name, while the
// connection was there: its peer's address is the one that the finding is about
// besides. What the broker has seen itself, a join or an announcement, is
// remembered as proven for all programs of the machine, anything else for this
// user's. [ErrRefused] where the broker keeps no verdicts.
func (c *Client) Report(name string, addr netip.Addr, o Outcome) error {
	_, err := c.ask(request{Op: opReport, Name: name, Addrs: []netip.Addr{addr}, Outcome: o})
	return err
}

// LookUp asks what the machine knows of addresses of name, which are not that of
// the connection's peer, in relation to that one. Addresses of which nothing is
// known are not in the answer, and First and UID are not told. There may be any
// number, [MaxLookup] for a message.
func (c *Client) LookUp(name string, addrs []netip.Addr) ([]Finding, error) {
	var found []Finding
	for some := range slices.Chunk(addrs, MaxLookup) {
		m, err := c.ask(request{Op: opLookUp, Name: name, Addrs: some})
		if err != nil {
			return nil, err
		}
		found = append(found, findings(name, some, m.Known, time.Now())...)
	}
	return found, nil
}

// call sends a request and waits for its reply.
func (c *Client) call(token uint32, r request) error {
	if token != c.token {
		return unknownToken(r.Op.String())
	}
	_, err := c.ask(r)
	return err
}

// ask sends a request and returns the reply if it is a good one.
func (c *Client) ask(r request) (reply, error) {
	op := r.Op.String()
	if err := r.check(); err != nil {
		return reply{}, fmt.Errorf("%s: %w", op, err)
	}
	id, answer, err := c.register()
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w", op, err)
	}
	defer c.forget(id)
	r.ID = id
	// Where the broker is lost the reader notices too, and learns why.
	switch err := c.send(r); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.stop(errSilent(c.wait))
	case err != nil && !lost(err):
		return reply{}, fmt.Errorf("%s through the broker: %w", op, err)
	}
	m, err := c.await(answer)
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w", op, err)
	}
	return m, m.result(op)
}

func errSilent(d time.Duration) error { return fmt.Errorf("%w: no answer within %v", ErrGone, d) }

// errWrite is a failure to write to the broker.
var errWrite = errors.New("write to the broker")

// lost reports whether a failure to send means that the broker's end, or this
// one, is closed.
func lost(err error) bool {
	return errors.Is(err, errWrite) &&
		(errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed))
}

// await returns the reply, or why there is none.
func (c *Client) await(answer <-chan reply) (reply, error) {
	timeout := time.NewTimer(c.wait)
	defer timeout.Stop()
	select {
	case m := <-answer:
		return m, nil
	case <-timeout.C:
		c.stop(errSilent(c.wait))
	case <-c.done:
	}
	select {
	case m := <-answer: // it came just before the end
		return m, nil
	default:
		return reply{}, c.Err()
	}
}

// register makes room for a reply.
func (c *Client) register() (uint32, <-chan reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.lastID++
	answer := make(chan reply, 1)
	c.waiting[c.lastID] = answer
	return c.lastID, answer, nil
}

func (c *Client) forget(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// stop ends the client for a reason; the first one counts.
func (c *Client) stop(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		_ = c.conn.Close() // ends the reader
	}
}

// read takes in what the broker sends, until the end of the client.
func (c *Client) read() {
	var err error
	buffer := make([]byte, MaxMessage+1)
	for err == nil {
		var m message
		if m, err = c.receive(buffer); err == nil {
			err = c.handle(m)
		}
	}
	c.stop(fmt.Errorf("%w: %w", ErrGone, err))
	c.hub.Shutdown(c.Err())
	close(c.done)
}

// handle takes in one message.
func (c *Client) handle(m message) error {
	switch m := m.(type) {
	case event:
		if m.Type != mptcp.EventsLost {
			m.Token = c.token
		}
		c.past.Lock()
		defer c.past.Unlock()
		c.view.note(m.Event)
		c.hub.Publish(m.Event)
	case reply:
		c.mu.Lock()
		defer c.mu.Unlock()
		if answer, ok := c.waiting[m.ID]; ok {
			answer <- m // its only one
			delete(c.waiting, m.ID)
		}
	case end:
		return errors.New(m.Text)
	default:
		return errOrder
	}
	return nil
}

// receive reads one message. After a reset, which comes before what the broker
// sent last, it reads on once.
func (c *Client) receive(buffer []byte) (message, error) {
	n, err := c.conn.Read(buffer)
	if errors.Is(err, syscall.ECONNRESET) {
		n, err = c.conn.Read(buffer)
	}
	if err != nil {
		return nil, err
	}
	return parse(buffer[:n])
}

// handshake proves the right to the connection, before ctx ends.
func (c *Client) handshake(ctx context.Context) error {
	stop := interrupt(ctx, c.conn)
	defer stop()
	buffer := make([]byte, MaxMessage+1)
	m, err := c.receive(buffer)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case greeting:
		if m.Version != Version {
			return fmt.Errorf("%w: %w: client %d, broker %d", ErrRefused, errVersion, Version, m.Version)
		}
	default:
		return refused(m)
	}
	if err := c.send(attach{Version}); err != nil && !lost(err) {
		return err
	}
	if m, err = c.receive(buffer); err != nil {
		return err
	}
	a, ok := m.(attached)
	if !ok {
		return refused(m)
	}
	c.token = a.Token
	return nil
}

// refused is the error for a message in the place of the one expected.
func refused(m message) error {
	if m, ok := m.(end); ok {
		return fmt.Errorf("%w: %s", ErrRefused, m.Text)
	}
	return errOrder
}

// interrupt makes the reads and writes of conn fail when ctx is done. The
// function it returns ends that; nothing of it runs afterwards.
func interrupt(ctx context.Context, conn net.Conn) (stop func()) {
	ended := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only when closed
	})
	return func() {
		if !forget() {
			<-ended
		}
	}
}
