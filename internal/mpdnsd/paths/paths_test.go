package paths

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// fakeKernel is a machine that does as it is told.
type fakeKernel struct {
	manager *mptcptest.PathManager

	mu       sync.Mutex
	selected []string // every path manager that was selected, the first first
	settings settingsInput
	snapshot snapshotInput
	fail     string // the method that fails
	calls    []string
}

var errFake = errors.New("out of order")

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		manager: mptcptest.New(), selected: []string{mptcp.KernelPathManager},
		settings: set(2, 2, ep(1, subflow, c2)),
	}
}

// call notes a call and tells whether it is the one that fails.
func (k *fakeKernel) call(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, name)
	if k.fail == name {
		return errFake
	}
	return nil
}

func (k *fakeKernel) OpenPathManager() (mptcp.PathManager, error) {
	return k.manager, k.call("open")
}

func (k *fakeKernel) PathManager() (string, error) { return k.now(), k.call("read") }

func (k *fakeKernel) SetPathManager(name string) error {
	err := k.call("select")
	if err == nil {
		k.change(func() { k.selected = append(k.selected, name) })
	}
	return err
}

func (k *fakeKernel) Endpoints() ([]mptcp.Endpoint, error) {
	err := k.call("endpoints")
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.settings.endpoints, err
}

func (k *fakeKernel) Limits() (mptcp.Limits, error) {
	err := k.call("limits")
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.settings.limits, err
}

func (k *fakeKernel) Connections() ([]mptcp.Connection, error) {
	err := k.call("connections")
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.snapshot.connections, err
}

func (k *fakeKernel) Subflows() ([]mptcp.SubflowState, error) {
	err := k.call("subflows")
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.snapshot.subflows, err
}

// change changes the machine.
func (k *fakeKernel) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// now is the path manager that is selected.
func (k *fakeKernel) now() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.selected[len(k.selected)-1]
}

// joins lists the commands that were given, in words.
func (k *fakeKernel) joins() []string {
	var words []string
	for _, c := range k.manager.Calls() {
		w := c.Op
		if c.Op == "create" {
			w += " " + c.Subflow.Local.Addr().String() + ">" + c.Subflow.Remote.Addr().String()
		}
		words = append(words, w)
	}
	return words
}

// with runs f in a bubble with a service of a fake kernel.
func with(t *testing.T, c Config, f func(*testing.T, *fakeKernel, *Service)) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel()
		s, err := open(c, k)
		if err != nil {
			t.Fatal(err)
		}
		f(t, k, s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := k.manager.Close(); err != nil {
			t.Error(err)
		}
	})
}

// connect makes an established connection.
func (k *fakeKernel) connect() {
	k.manager.Connect(token, at(c1, 4000), at(s1, 80))
	k.manager.Establish(token)
	synctest.Wait()
}

// TestOrder: the events are subscribed to before the switch, and the connections
// listed after it; the restoring comes before the end.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel()
		s, err := open(Config{Switch: true}, k)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(k.calls, " ")
		if want := "open endpoints limits read select connections subflows select"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if _, err := k.manager.Subscribe(0); !errors.Is(err, mptcp.ErrClosed) {
			t.Errorf("the path manager is still open: %v", err)
		}
	})
}

// TestOpenFails: whatever fails, nothing is left switched and nothing open.
func TestOpenFails(t *testing.T) {
	for _, fail := range []string{"open", "endpoints", "limits", "read", "select", "connections", "subflows"} {
		t.Run(fail, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newFakeKernel()
				k.fail = fail
				if s, err := open(Config{Switch: true}, k); !errors.Is(err, errFake) || s != nil {
					t.Fatalf("%v, %v", s, err)
				}
				if k.now() != mptcp.KernelPathManager {
					t.Errorf("left at %q", k.now())
				}
				if _, err := k.manager.Subscribe(0); fail != "open" && !errors.Is(err, mptcp.ErrClosed) {
					t.Errorf("the path manager is still open: %v", err)
				}
			})
		})
	}
}

// TestGivenManager: it stays open, and given limits are not read.
func TestGivenManager(t *testing.T) {
	manager := mptcptest.New()
	with(t, Config{Manager: manager, Limits: mptcp.Limits{Known: true}}, func(t *testing.T, k *fakeKernel, _ *Service) {
		manager.Connect(token, at(c1, 4000), at(s1, 80))
		manager.Establish(token)
		synctest.Wait()
		if slices.Contains(k.calls, "limits") || slices.Contains(k.calls, "open") || len(manager.Calls()) != 0 {
			t.Errorf("calls %v, %v", k.calls, manager.Calls())
		}
	})
	if sub, err := manager.Subscribe(0); err != nil {
		t.Error(err)
	} else {
		sub.Close()
	}
}

// TestRefresh: changed endpoints are noticed within Interval, and a failure to
// read them changes nothing.
func TestRefresh(t *testing.T) {
	with(t, Config{}, func(t *testing.T, k *fakeKernel, s *Service) {
		k.connect()
		k.change(func() { k.settings.endpoints = append(k.settings.endpoints, ep(2, subflow, c3)); k.fail = "endpoints" })
		time.Sleep(2 * Interval)
		synctest.Wait()
		if got := k.joins(); !slices.Equal(got, []string{"create 10.0.2.2>10.1.1.2"}) {
			t.Errorf("%q", got)
		}
		k.change(func() { k.fail = "" })
		time.Sleep(Interval)
		synctest.Wait()
		if got := k.joins(); !slices.Equal(got, []string{"create 10.0.2.2>10.1.1.2", "create 10.0.3.2>10.1.1.2"}) {
			t.Errorf("%q", got)
		}
		if st := s.Stats(); st.Commands != 2 || st.Refused != 0 || st.Subflows != 2 || st.Connections != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestLostEvents: the connections are read again, once for a whole flood, and
// later when that fails.
func TestLostEvents(t *testing.T) {
	with(t, Config{}, func(t *testing.T, k *fakeKernel, s *Service) {
		k.manager.Connect(token, at(c1, 4000), at(s1, 80))
		synctest.Wait()
		k.change(func() {
			k.snapshot = snapshotInput{
				connections: []mptcp.Connection{{Info: mptcp.Info{Token: token, Flags: mptcp.InfoRemoteKey}, Local: at(c1, 4000), Remote: at(s1, 80), State: 1}},
				subflows:    []mptcp.SubflowState{first, joinedState(c3, 5, mptcp.StateEstablished)},
			}
			k.calls, k.fail = nil, "connections"
		})
		for range 10 {
			k.manager.Emit(mptcp.Event{Type: mptcp.EventsLost})
		}
		time.Sleep(2 * recovery)
		k.change(func() { k.fail = "" })
		time.Sleep(2 * Interval)
		synctest.Wait()
		n := len(slices.DeleteFunc(slices.Clone(k.calls), func(c string) bool { return c != "connections" }))
		if st := s.Stats(); n != 2 || st.Gaps != 10 || st.Subflows != 1 {
			t.Errorf("read %d times, %+v", n, st)
		}
	})
}

// TestEventsEnd: when no events can come any more, the path manager is restored
// without being asked.
func TestEventsEnd(t *testing.T) {
	with(t, Config{Switch: true}, func(t *testing.T, k *fakeKernel, s *Service) {
		if k.now() != mptcp.UserspacePathManager {
			t.Errorf("selected %s", k.now())
		}
		_ = k.manager.Close()
		<-s.Done()
		if k.now() != mptcp.KernelPathManager {
			t.Errorf("after the end: %s", k.now())
		}
		s.Claim(1) // of no use, and no harm
		s.Release(1)
	})
}

// TestRestoreFails: Close says so, and ends everything else.
func TestRestoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel()
		s, err := open(Config{Switch: true}, k)
		if err != nil {
			t.Fatal(err)
		}
		k.change(func() { k.fail = "select" })
		for range 2 {
			if err := s.Close(); !errors.Is(err, errFake) {
				t.Errorf("close: %v", err)
			}
		}
		<-s.Done()
	})
}

// TestRefusals: commands that the kernel refuses are counted, and a connection
// of the kernel's own path manager is asked once.
func TestRefusals(t *testing.T) {
	with(t, Config{}, func(t *testing.T, k *fakeKernel, s *Service) {
		k.change(func() { k.settings.endpoints = append(k.settings.endpoints, ep(2, subflow, c3)) })
		k.manager.Script(at(s1, 0).Addr(), mptcptest.Script{Err: io.ErrUnexpectedEOF})
		k.connect()
		time.Sleep(Interval)
		k.manager.ConnectKernelManaged(token+1, at(c1, 4001), at(s2, 80))
		k.manager.Establish(token + 1)
		synctest.Wait()
		if st := s.Stats(); st.Refused != 3 || st.Commands != 3 || st.KernelManaged != 1 || st.Subflows != 0 {
			t.Errorf("%+v, %v", st, k.joins())
		}
		k.manager.Disconnect(token + 1)
		synctest.Wait()
		if st := s.Stats(); st.Connections != 1 || st.KernelManaged != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// BenchmarkStep is the life of a connection with one joined subflow.
func BenchmarkStep(b *testing.B) {
	s := newState()
	s.step(set(2, 0, ep(1, subflow, c2)))
	inputs := []any{
		event(mptcp.Created, 0), event(mptcp.Established, 0), sub(mptcp.SubflowEstablished, 1, c2, 5, s1),
		event(mptcp.Closed, 0),
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, in := range inputs {
			s.step(in)
		}
	}
}
