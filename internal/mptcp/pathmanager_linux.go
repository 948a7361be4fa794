package mptcp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The generic netlink family of the path manager and its group of events
// (uapi/linux/mptcp_pm.h).
const (
	familyName    = "mptcp_pm"
	familyVersion = 1
	eventsGroup   = "mptcp_pm_events"
)

// eventsReceiveBuffer is what the socket of events is given for the time the
// reader is not running, in octets; an event takes about 1 KiB of it.
const eventsReceiveBuffer = 1 << 20

// manager is the PathManager of the kernel. Commands and events have a
// connection each, as a command would wait for a blocked read of events.
type manager struct {
	family   uint16
	commands *genetlink.Conn // safe for concurrent use
	events   *genetlink.Conn // read by the reader goroutine alone
	hub      Hub
	reader   sync.WaitGroup // run
	closed   atomic.Bool    // by Close
}

// OpenPathManager opens the path manager of the calling thread's network
// namespace and begins to read its events. Without CAP_NET_ADMIN the error is
// [ErrNotPermitted], without MPTCP [ErrUnsupported]. Only connections whose
// socket was made under the userspace path manager can be changed.
func OpenPathManager() (PathManager, error) {
	m := new(manager)
	if err := m.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("mptcp: open the path manager: %w", err), m.closeConns())
	}
	m.reader.Go(m.run)
	return m, nil
}

func (m *manager) open() (err error) {
	if m.commands, err = dial(); err != nil {
		return err
	}
	family, err := m.commands.GetFamily(familyName)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("generic netlink family %s: %w: %w", familyName, err, ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("generic netlink family %s: %w", familyName, err)
	}
	m.family = family.ID
	if m.events, err = dial(); err != nil {
		return err
	}
	// Best effort: with the smaller buffer events are lost sooner, and said to be.
	_ = m.events.SetReadBuffer(eventsReceiveBuffer)
	return m.joinEvents(family.Groups)
}

// joinEvents joins the group of events, for which CAP_NET_ADMIN is needed.
func (m *manager) joinEvents(groups []genetlink.MulticastGroup) error {
	for _, g := range groups {
		if g.Name != eventsGroup {
			continue
		}
		err := m.events.JoinGroup(g.ID)
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("join %s: %w: %w", eventsGroup, err, ErrNotPermitted)
		}
		return err
	}
	return fmt.Errorf("no group %s: %w", eventsGroup, ErrUnsupported)
}

// dial opens a generic netlink connection that reports the kernel's texts.
func dial() (*genetlink.Conn, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, fmt.Errorf("dial generic netlink: %w", err)
	}
	// Best effort: without it errors have no text.
	_ = c.SetOption(netlink.ExtendedAcknowledge, true)
	return c, nil
}

// Close stops the reader, waits for it, and ends the subscriptions.
func (m *manager) Close() error {
	m.closed.Store(true)
	m.hub.Shutdown(ErrClosed)
	err := m.closeConns()
	m.reader.Wait()
	return err
}

func (m *manager) closeConns() error {
	var errs []error
	for _, c := range []*genetlink.Conn{m.commands, m.events} {
		if c == nil {
			continue
		}
		if err := c.Close(); err != nil && !isClosed(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (m *manager) Subscribe(token uint32) (*Subscription, error) { return m.hub.Subscribe(token) }

// run reads events until the connection is closed or fails.
func (m *manager) run() {
	for {
		messages, _, err := m.events.Receive()
		switch {
		case err == nil:
			m.publish(messages)
		case errors.Is(err, unix.ENOBUFS):
			m.hub.Publish(Event{Type: EventsLost})
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		default:
			m.hub.Shutdown(fmt.Errorf("mptcp: read events: %w", err))
			return
		}
	}
}

// publish decodes and delivers messages. One that cannot be decoded counts as
// a lost event.
func (m *manager) publish(messages []genetlink.Message) {
	for _, msg := range messages {
		e, err := ParseEvent(msg.Header.Command, msg.Data)
		if err != nil {
			e = Event{Type: EventsLost}
		}
		m.hub.Publish(e)
	}
}

func (m *manager) CreateSubflow(token uint32, s Subflow) error {
	s, err := s.Normalize()
	if err != nil {
		return err
	}
	return m.execute(opCreate, cmdSubflowCreate, encodeSubflow(token, s, s.backupFlag()))
}

// DestroySubflow asks twice for IPv4: the first subflow of an AF_INET6 socket is
// one between IPv4-mapped addresses to the kernel, a joined one is not.
func (m *manager) DestroySubflow(token uint32, s Subflow) error {
	s = s.unmapped()
	err := m.execute(opDestroy, cmdSubflowDestroy, encodeSubflow(token, s, 0))
	if errors.Is(err, ErrSubflowNotFound) && s.Local.Addr().Is4() && s.Remote.Addr().Is4() {
		err = m.execute(opDestroy, cmdSubflowDestroy, encodeSubflow(token, s.mapped(), 0))
	}
	return err
}

func (m *manager) SetBackup(token uint32, s Subflow, backup bool) error {
	s = s.unmapped()
	s.Backup = backup
	return m.execute(opBackup, cmdSetFlags, encodeSubflow(token, s, s.backupFlag()))
}

func (m *manager) Announce(token uint32, id uint8, addr netip.AddrPort) error {
	return m.execute(opAnnounce, cmdAnnounce, encodeAnnounce(token, id, unmap(addr)))
}

func (m *manager) Remove(token uint32, id uint8) error {
	return m.execute(opRemove, cmdRemove, encodeRemove(token, id))
}

// execute sends a command and waits for its acknowledgement.
func (m *manager) execute(op string, command uint8, request *netlink.AttributeEncoder) error {
	data, err := request.Encode()
	if err != nil {
		return fmt.Errorf("mptcp: %s: encode: %w", op, err)
	}
	msg := genetlink.Message{
		Header: genetlink.Header{Command: command, Version: familyVersion},
		Data:   data,
	}
	_, err = m.commands.Execute(msg, m.family, netlink.Request|netlink.Acknowledge)
	if err != nil && m.closed.Load() { // of a read that Close broke off, the error itself does not say so
		err = os.ErrClosed
	}
	return wrapExecute(op, err)
}

// wrapExecute turns the kernel's refusal into an *OpError.
func wrapExecute(op string, err error) error {
	if err == nil {
		return nil
	}
	if isClosed(err) {
		return fmt.Errorf("mptcp: %s: %w", op, ErrClosed)
	}
	var refused *netlink.OpError
	var errno syscall.Errno
	if errors.As(err, &refused) && errors.As(err, &errno) {
		return &OpError{Op: op, Errno: errno, Msg: refused.Message}
	}
	return fmt.Errorf("mptcp: %s: %w", op, err)
}

// isClosed reports whether err comes from using a closed connection.
func isClosed(err error) bool { return errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADF) }
