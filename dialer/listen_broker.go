package dialer

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// listenBrokers tells the accepted connections of a listener without a path manager
// of its own, through the broker: each brings its connection to it, in a goroutine,
// so that a broker that is slow holds up nobody.
type listenBrokers struct {
	from  *listenAnnouncer // whose addresses are announced
	begin func(*listenBrokered)
	stop  context.CancelFunc
	group sync.WaitGroup // the connections' goroutines

	mu     sync.Mutex // guards all below
	conns  map[*listenBrokered]bool
	served bool         // the connection that was brought last was taken
	last   error        // why it was not
	past   ListenReport // the counts of connections that have left
}

// listenBrokered is one connection that was brought to the broker.
type listenBrokered struct {
	*listenAnnouncer // of it alone, over the broker's path manager
	attach           attachFunc
	wire             listenWire
	token            uint32
	wake             chan struct{} // capacity 1: the listener's addresses have changed
}

// askBroker has the broker announce where this process may not. It returns a.
func (a *listenAnnouncer) askBroker(path string) *listenAnnouncer {
	if path != "" && errors.Is(a.failure, mptcp.ErrNotPermitted) {
		a.brokers = newListenBrokers(a)
		a.brokerPath = path
	}
	return a
}

func newListenBrokers(a *listenAnnouncer) *listenBrokers {
	ctx, cancel := context.WithCancel(context.Background())
	b := &listenBrokers{from: a, stop: cancel, conns: make(map[*listenBrokered]bool)}
	b.begin = func(c *listenBrokered) { b.group.Go(func() { b.run(ctx, c) }) }
	return b
}

// close leaves the broker and returns when no goroutine is left. What was announced
// stays.
func (b *listenBrokers) close() {
	b.stop()
	b.group.Wait()
}

// bring takes on a connection that began at own, if there is anything to announce
// to it now: one that is not brought is not heard of again.
func (b *listenBrokers) bring(token uint32, own netip.AddrPort, wire listenWire, attach attachFunc) {
	c := &listenBrokered{
		listenAnnouncer: &listenAnnouncer{allow: b.from.allow, conns: make(map[uint32]*listenFollowed)},
		attach:          attach, wire: wire, token: token, wake: make(chan struct{}, 1),
	}
	c.add(token, own, wire)
	b.from.mu.Lock()
	some := len(b.from.wanted(c.conns[token])) > 0
	b.from.mu.Unlock()
	if !some {
		return
	}
	b.mu.Lock()
	b.conns[c] = true
	b.mu.Unlock()
	b.begin(c)
}

// wake has all connections brought up to date.
func (b *listenBrokers) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		select {
		case c.wake <- struct{}{}:
		default: // it is about to look
		}
	}
}

// run keeps one connection informed until it ends. A broker that was there and is
// gone is asked again.
func (b *listenBrokers) run(ctx context.Context, c *listenBrokered) {
	defer b.leave(c)
	served := false
	for pause := minReattach; ; pause = min(2*pause, maxReattach) {
		err := b.attend(ctx, c)
		lost := errors.Is(err, broker.ErrGone)
		if served = served || lost; !lost && !(served && errors.Is(err, broker.ErrAbsent)) {
			return
		}
		if !c.wait(ctx, pause) {
			return
		}
	}
}

// wait lets a pause pass, and reports whether the connection is still there.
func (c *listenBrokered) wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return c.wire.ID() == c.token && !listenEnded(c.wire.Paths())
	case <-ctx.Done():
		return false
	}
}

// attend brings the connection to the broker and keeps it informed. Without an error
// there is nothing more to do.
func (b *listenBrokers) attend(ctx context.Context, c *listenBrokered) error {
	patience, cancel := context.WithTimeout(ctx, brokerTimeout)
	pm, err := c.attach(patience)
	cancel()
	if b.note(ctx, err); err != nil {
		return err
	}
	defer interruptManager(ctx, pm)()
	events, err := pm.Subscribe(c.token)
	if err != nil {
		return err
	}
	defer events.Close()
	c.pm = pm
	for b.inform(c) {
		if end, err := c.next(ctx, events.Events()); end {
			return err
		}
	}
	return nil
}

// inform brings a connection up to date, and reports whether it is still there.
func (b *listenBrokers) inform(c *listenBrokered) bool {
	b.from.mu.Lock()
	binds, further := b.from.binds, b.from.further
	b.from.mu.Unlock()
	c.set(binds, further)
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns) > 0
}

// next waits until the connection is to be informed again, or end, with the reason
// where the broker is lost.
func (c *listenBrokered) next(ctx context.Context, events <-chan mptcp.Event) (end bool, err error) {
	for {
		select {
		case <-c.wake:
			return false, nil
		case <-ctx.Done():
			return true, nil
		case e, ok := <-events:
			if !ok {
				return true, lost(c.pm)
			}
			if e.Type == mptcp.Closed {
				return true, nil
			}
		}
	}
}

// note keeps whether the broker takes connections. That the listener is closed says
// nothing of it.
func (b *listenBrokers) note(ctx context.Context, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() == nil {
		b.served, b.last = err == nil, err
	}
}

// leave keeps the counts of a connection that is not informed any more.
func (b *listenBrokers) leave(c *listenBrokered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
	b.past.count(c.listenAnnouncer)
}

// report adds up what the connections were told of.
func (b *listenBrokers) report(r *ListenReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.Connections += len(b.conns)
	r.Announced, r.Withdrawn = r.Announced+b.past.Announced, r.Withdrawn+b.past.Withdrawn
	r.Failed, r.LastError = r.Failed+b.past.Failed, b.past.LastError
	for c := range b.conns {
		r.count(c.listenAnnouncer)
	}
}

// count adds what an announcer has done.
func (r *ListenReport) count(a *listenAnnouncer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Announced, r.Withdrawn, r.Failed = r.Announced+a.stats.Announced, r.Withdrawn+a.stats.Withdrawn, r.Failed+a.stats.Failed
	if a.stats.LastError != nil {
		r.LastError = a.stats.LastError
	}
}

// manager says whether the broker announces, and why not.
func (b *listenBrokers) manager() (manager, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.served:
		return managerBroker, whyListenBroker
	case b.last != nil:
		return managerNone, whyListenDeaf + brokerReason(errors.Join(mptcp.ErrNotPermitted, b.last))
	}
	return managerNone, whyListenDeaf
}
