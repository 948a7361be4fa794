package netmon

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// eventGroups are the notifications that are read. Kernels before 5.3 have no
// group of nexthop objects, and pass over its bit.
const eventGroups uint32 = 1<<(unix.RTNLGRP_LINK-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
	1<<(unix.RTNLGRP_NEXTHOP-1)

// eventsReceiveBuffer is what the socket of notifications is given for the time
// the reader is not running, in octets. A link's notification takes about 4 KiB
// of it.
const eventsReceiveBuffer = 1 << 20

// kernel is the watcher of route netlink. Its requests and its notifications
// have a connection each, as replies would stand in line behind notifications.
type kernel struct {
	requests *netlink.Conn // used by run alone once that runs, closed by stop
	events   *netlink.Conn // read by run alone, closed by stop
	tables   *tables       // of run
	pending  effect        // of run: what the next settling has to do
	timing   settling      // of run
	stopped  atomic.Bool   // set before the connections are closed
}

// newWatcher joins the notifications before it reads the tables, so that no
// change falls between.
func newWatcher() (watcher, State, error) {
	k, err := openKernel(eventsReceiveBuffer)
	if err != nil {
		return nil, State{}, err
	}
	return k, k.tables.state(), nil
}

func openKernel(receiveBuffer int) (*kernel, error) {
	events, err := dial(eventGroups)
	if err != nil {
		return nil, err
	}
	// Best effort: with the smaller buffer everything is read anew sooner.
	_ = events.SetReadBuffer(receiveBuffer)
	requests, err := dial(0)
	if err != nil {
		return nil, errors.Join(err, events.Close())
	}
	k := &kernel{requests: requests, events: events}
	if k.tables, err = readTables(requests); err != nil {
		return nil, errors.Join(err, k.stop())
	}
	return k, nil
}

// stop closes the connections, at which run returns.
func (k *kernel) stop() error {
	k.stopped.Store(true)
	return errors.Join(k.events.Close(), k.requests.Close())
}

// run applies notifications, and settles when there are no more for a moment.
func (k *kernel) run(publish func(State)) error {
	for {
		messages, err := k.events.Receive()
		switch {
		case k.stopped.Load():
			return nil
		case err == nil:
			k.apply(messages)
		case errors.Is(err, os.ErrDeadlineExceeded):
			k.settle(publish)
		case errors.Is(err, unix.ENOBUFS):
			k.note(askAll)
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		default:
			return fmt.Errorf("read route netlink: %w", err)
		}
		if err := k.events.SetReadDeadline(k.timing.due()); err != nil && !k.stopped.Load() {
			return fmt.Errorf("set the time to settle: %w", err)
		}
	}
}

// apply applies notifications. One that cannot be decoded counts as lost.
func (k *kernel) apply(messages []netlink.Message) {
	for _, m := range messages {
		e, err := k.tables.apply(m)
		if err != nil {
			e = askAll
		}
		k.note(e)
	}
}

// note has the effect taken care of when the notifications have settled.
func (k *kernel) note(e effect) {
	if e == 0 {
		return
	}
	k.pending |= e
	k.timing.note(time.Now())
}

// settle publishes what the notifications told, before the routes are read:
// that can take a second where there are a million, and a lost interface is
// known already.
func (k *kernel) settle(publish func(State)) {
	e := k.pending
	k.pending, k.timing = 0, settling{}
	if e&changed != 0 {
		publish(k.tables.state())
	}
	if e&(askRoutes|askAll) == 0 {
		return
	}
	if err := k.ask(e); err != nil {
		k.pending = e
		k.timing.retry(time.Now())
		return
	}
	publish(k.tables.state())
}

// ask reads the routes, or all tables, anew.
func (k *kernel) ask(e effect) error {
	if e&askAll != 0 {
		t, err := readTables(k.requests)
		if err != nil {
			return err
		}
		k.tables = t
		return nil
	}
	t, err := dump(k.requests, unix.RTM_GETROUTE)
	if err != nil {
		return err
	}
	k.tables.routes = t.routes
	return nil
}

// The times of settling. One act of an administrator makes several
// notifications, within a millisecond: what is published after them is a state
// that the machine is in, not one that it passed through.
const (
	settleQuiet = 2 * time.Millisecond  // without a further notification
	settleMax   = 20 * time.Millisecond // since the first one, however many follow
	settleRetry = 100 * time.Millisecond
)

// settling tells when to act on notifications. The zero value has none.
type settling struct {
	latest   time.Time // when to act at the latest
	deadline time.Time
}

// note is called for each notification.
func (s *settling) note(now time.Time) {
	if s.latest.IsZero() {
		s.latest = now.Add(settleMax)
	}
	s.deadline = now.Add(settleQuiet)
	if s.deadline.After(s.latest) {
		s.deadline = s.latest
	}
}

// retry is called when acting failed.
func (s *settling) retry(now time.Time) {
	s.latest = now.Add(settleRetry)
	s.deadline = s.latest
}

// due returns when to act, or zero for never.
func (s *settling) due() time.Time { return s.deadline }
