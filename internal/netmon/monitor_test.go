package netmon

import (
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a watcher that publishes what it is given.
type script struct {
	states chan State
	fail   chan error
	done   chan struct{}
}

func newScript() *script {
	return &script{make(chan State), make(chan error), make(chan struct{})}
}

func (s *script) run(publish func(State)) error {
	for {
		select {
		case next := <-s.states:
			publish(next)
		case err := <-s.fail:
			return err
		case <-s.done:
			return nil
		}
	}
}

func (s *script) stop() error {
	close(s.done)
	return nil
}

// startScript starts a monitor that begins without addresses.
func startScript(t *testing.T) (*Monitor, *script) {
	t.Helper()
	w := newScript()
	m := start(w, State{})
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, w
}

func stateOf(addrs ...string) State {
	var s State
	for _, a := range addrs {
		s.Addresses = append(s.Addresses, at(1, a))
	}
	return s
}

func receive(t *testing.T, s *Subscription, want State) {
	t.Helper()
	if got, ok := <-s.States(); !ok || !got.Equal(want) {
		t.Errorf("got %v, %v; want %v", got, ok, want)
	}
}

func empty(t *testing.T, s *Subscription) {
	t.Helper()
	select {
	case got, ok := <-s.States():
		t.Errorf("got %v, %v; want nothing", got, ok)
	default:
	}
}

func closed(t *testing.T, s *Subscription) {
	t.Helper()
	if got, ok := <-s.States(); ok {
		t.Errorf("got %v, want a closed channel", got)
	}
}

func TestSubscription(t *testing.T) {
	m, w := startScript(t)
	one, two := stateOf("192.0.2.1"), stateOf("192.0.2.1", "192.0.2.2")
	fast, slow := m.Subscribe(), m.Subscribe()
	receive(t, fast, State{})
	w.states <- one
	receive(t, fast, one)
	w.states <- one
	w.states <- two
	receive(t, fast, two)
	empty(t, fast)
	if !m.State().Equal(two) {
		t.Errorf("state %v", m.State())
	}
	receive(t, slow, two)
	empty(t, slow)
	late := m.Subscribe()
	receive(t, late, two)

	fast.Close()
	fast.Close()
	closed(t, fast)
	w.states <- State{}
	receive(t, late, State{})
}

func TestMonitorClose(t *testing.T) {
	m, w := startScript(t)
	sub, unread := m.Subscribe(), m.Subscribe()
	receive(t, sub, State{})
	w.states <- stateOf("192.0.2.1")
	receive(t, sub, stateOf("192.0.2.1"))
	for range 2 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, sub)
	receive(t, unread, stateOf("192.0.2.1")) // what was in the channel stays
	closed(t, unread)
	closed(t, m.Subscribe())
	sub.Close()
	if err := m.Err(); err != nil {
		t.Errorf("closed, and ended with %v", err)
	}
	if !m.State().Equal(stateOf("192.0.2.1")) {
		t.Errorf("state %v", m.State())
	}
}

func TestMonitorFails(t *testing.T) {
	m, w := startScript(t)
	sub := m.Subscribe()
	receive(t, sub, State{})
	broken := errors.New("broken")
	w.fail <- broken
	closed(t, sub)
	if err := m.Err(); !errors.Is(err, broken) {
		t.Errorf("ended with %v", err)
	}
}

// TestMonitorConcurrently is for the race detector.
func TestMonitorConcurrently(t *testing.T) {
	m, w := startScript(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				s := m.Subscribe()
				if _, ok := <-s.States(); !ok {
					t.Error("closed")
				}
				s.Close()
				m.State()
			}
		})
	}
	for i := range 100 {
		w.states <- State{DefaultIPv4: i%2 == 0}
	}
	wg.Wait()
}
