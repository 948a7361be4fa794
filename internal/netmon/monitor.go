package netmon

import (
	"fmt"
	"sync"
)

// watcher follows the network of one system.
type watcher interface {
	// run publishes each new State until stop is called, then returns nil, or
	// returns the error that it cannot go on after.
	run(publish func(State)) error
	// stop makes run return. It may be called once, at any time.
	stop() error
}

// Monitor follows the addresses and default routes of a network namespace. It
// owns one goroutine, which reads the system's notifications. Its methods are
// safe for concurrent use.
type Monitor struct {
	watcher watcher
	reader  sync.WaitGroup // run
	close   func() error   // stops the watcher, once

	mu    sync.Mutex // guards the fields below, and sending to and closing of the channels
	state State
	subs  map[*Subscription]struct{} // nil once the monitor has ended
	err   error
}

// Open begins to follow the network namespace of the calling thread; the State
// is known when it returns. The caller closes the Monitor.
func Open() (*Monitor, error) {
	w, s, err := newWatcher()
	if err != nil {
		return nil, fmt.Errorf("netmon: open: %w", err)
	}
	return start(w, s), nil
}

// Read returns the present state of the calling thread's network namespace.
func Read() (State, error) {
	s, err := read()
	if err != nil {
		return State{}, fmt.Errorf("netmon: read: %w", err)
	}
	return s, nil
}

func start(w watcher, s State) *Monitor {
	m := &Monitor{
		watcher: w,
		close:   sync.OnceValue(w.stop),
		state:   s,
		subs:    make(map[*Subscription]struct{}),
	}
	m.reader.Go(m.run)
	return m
}

func (m *Monitor) run() { m.end(m.watcher.run(m.publish)) }

// State returns the newest state.
func (m *Monitor) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Err returns why the monitor ended by itself, or nil. Its State stays what it
// was then.
func (m *Monitor) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Close ends the monitor and its subscriptions, and waits for its goroutine.
// It may be called more than once.
func (m *Monitor) Close() error {
	err := m.close()
	m.reader.Wait()
	if err != nil {
		return fmt.Errorf("netmon: close: %w", err)
	}
	return nil
}

// Subscribe returns a subscription that begins with the present State. After
// the monitor's end its channel is closed.
func (m *Monitor) Subscribe() *Subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Subscription{monitor: m, states: make(chan State, 1)}
	if m.subs == nil {
		close(s.states)
		return s
	}
	m.subs[s] = struct{}{}
	s.deliver(m.state)
	return s
}

// publish makes s the newest State unless it says nothing new.
func (m *Monitor) publish(s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.Equal(s) {
		return
	}
	m.state = s
	for sub := range m.subs {
		sub.deliver(s)
	}
}

// end closes all subscriptions.
func (m *Monitor) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.err = fmt.Errorf("netmon: %w", err)
	}
	for s := range m.subs {
		close(s.states)
	}
	m.subs = nil
}

// remove closes s unless it is closed already.
func (m *Monitor) remove(s *Subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.subs[s]; ok {
		delete(m.subs, s)
		close(s.states)
	}
}

// Subscription delivers the newest State to one reader.
type Subscription struct {
	monitor *Monitor
	states  chan State
}

// States returns the channel. It holds one State, the newest: a slow reader
// misses those between. It is closed by Close and by the end of the monitor,
// whose [Monitor.Err] then tells why.
func (s *Subscription) States() <-chan State { return s.states }

// Close ends the delivery and closes the channel. It may be called more than
// once.
func (s *Subscription) Close() { s.monitor.remove(s) }

// deliver puts next in the place of what was not read. The monitor's lock is
// held, so there is one sender, and the place stays free once it is.
func (s *Subscription) deliver(next State) {
	select {
	case <-s.states:
	default:
	}
	s.states <- next
}
