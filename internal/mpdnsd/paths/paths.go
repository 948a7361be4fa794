// Package paths serves the MPTCP connections of a network namespace that has
// the userspace path manager: to connections that nobody claims it does what
// the kernel's own path manager would have done from the configured endpoints
// and limits ("ip mptcp endpoint", "ip mptcp limits"), so that no program is
// worse off for the switch.
//
//   - When a connection is established, each subflow endpoint joins the address
//     it began with, a full mesh endpoint all known addresses of the peer, with
//     the backup flag where the endpoint has it.
//   - Signal endpoints are announced (ADD_ADDR), on clients and on servers.
//   - Addresses that the peer announces are joined up to the limit.
//   - The limit of subflows holds for joins that a server gets, too, which the
//     kernel does not apply under the userspace path manager.
//   - Endpoints and limits that change are applied to the connections there are.
//
// Events that are lost in a flood are made good by reading the connections
// again, but for addresses that peers announced meanwhile.
//
// It differs from the kernel in three ways: a server makes no joins from its
// subflow endpoints (they go to a port on which nobody listens), removing an
// endpoint never takes a connection's last subflow, and a changed endpoint is
// noticed within [Interval].
//
// A socket belongs to the path manager selected when it was made: connections
// of sockets older than the switch stay with the kernel, and those made under
// the userspace path manager keep their subflows when the service ends, but get
// no new ones until it runs again. A service that did not end orderly leaves
// the namespace switched; the next one serves the connections that it finds,
// and Close restores [Config].Restore, not what was found.
package paths

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

const (
	// Interval is how often the endpoints and limits are read again: the kernel
	// tells nobody when they change.
	Interval = time.Second
	// recovery is how long after lost events the state is read again, so that a
	// flood of events does not become one of readings.
	recovery = 100 * time.Millisecond
)

// Config is the settings of a [Service].
type Config struct {
	// Manager is used and left open; nil opens one for the service.
	Manager mptcp.PathManager
	// Switch selects the userspace path manager for the namespace. Without it
	// the service serves what others switched.
	Switch bool
	// Restore is the path manager that the end of a switching service selects:
	// "" means "kernel", whatever was selected before, as that may be what a
	// crashed service left.
	Restore string
	// Limits of every connection; unless Known, they are those of the kernel's
	// own path manager, as they change.
	Limits mptcp.Limits
	// Log is told of the switch, of what failed, and at debug level of every
	// command; nil is silent.
	Log *slog.Logger
}

// Stats are counts of a [Service].
type Stats struct {
	Connections   int    // known now
	Claimed       int    // tokens claimed now
	KernelManaged int    // of Connections, the ones that belong to the kernel's own path manager
	Subflows      int    // besides the first ones, those being joined included
	Commands      uint64 // given to the path manager
	Refused       uint64 // of Commands
	Gaps          uint64 // times that events were lost
}

// Service serves the connections of the namespace in which it was opened.
type Service struct {
	config  Config
	kernel  kernel
	manager mptcp.PathManager
	events  *mptcp.Subscription
	stop    chan struct{}
	running sync.WaitGroup // run, the one goroutine
	done    chan struct{}  // closed by run
	closing sync.Once
	err     error // of Close

	mu    sync.Mutex // guards what follows; held while an input's commands are carried out
	state *state
	stats Stats // the counters of it
	ended bool  // by Close: nothing is done any more
}

// Open begins to serve. It subscribes to the events before it switches, so that
// a listening host always accepts joins. The errors are those of
// [mptcp.OpenPathManager] and of reading and writing the kernel's settings; with
// an error nothing is left switched.
func Open(c Config) (*Service, error) { return open(c, linuxKernel{}) }

func open(c Config, k kernel) (*Service, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Restore == "" {
		c.Restore = mptcp.KernelPathManager
	}
	s := &Service{
		config: c, kernel: k, manager: c.Manager, state: newState(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("paths: %w", err), s.release())
	}
	s.running.Go(s.run)
	return s, nil
}

// open acquires what run needs, in an order in which no connection is missed.
func (s *Service) open() (err error) {
	if s.manager == nil {
		if s.manager, err = s.kernel.OpenPathManager(); err != nil {
			return err
		}
	}
	if s.events, err = s.manager.Subscribe(0); err != nil {
		return err
	}
	read, err := s.readSettings()
	if err != nil {
		return err
	}
	s.apply(read)
	found, err := s.kernel.PathManager()
	if err != nil {
		return err
	}
	if s.config.Switch && found == mptcp.UserspacePathManager {
		s.config.Log.Warn("the userspace path manager is selected already; left by a service that was killed?")
	}
	if err := s.selectManager(mptcp.UserspacePathManager); err != nil {
		return err
	}
	if err := s.survey(); err != nil {
		return errors.Join(err, s.selectManager(s.config.Restore))
	}
	return nil
}

// selectManager switches the namespace if that is the service's business.
func (s *Service) selectManager(name string) error {
	if !s.config.Switch {
		return nil
	}
	if err := s.kernel.SetPathManager(name); err != nil {
		return err
	}
	s.config.Log.Info("path manager selected", "name", name)
	return nil
}

// Claim leaves the connection's subflows to the caller: when it returns, no
// command of the service for it is under way and none will follow. Subflows
// that were made before stay. It may be called more than once, and before the
// connection exists.
func (s *Service) Claim(token uint32) { s.apply(claimInput(token)) }

// Release takes back one Claim. After the last one the connection is served
// again, if it is still there. A token that is not claimed stays as it is. After
// Close nothing is served.
func (s *Service) Release(token uint32) { s.apply(releaseInput(token)) }

// Stats counts.
func (s *Service) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Connections, st.Claimed = len(s.state.conns), len(s.state.claims)
	for _, c := range s.state.conns {
		st.Subflows += c.extra()
		if c.kernel {
			st.KernelManaged++
		}
	}
	return st
}

// Done is closed when the service has ended: by Close, or because the kernel's
// events ended. In the second case the path manager was restored already, so
// that new connections are served by somebody; Close is still needed.
func (s *Service) Done() <-chan struct{} { return s.done }

// Close restores the path manager if the service switched it, and ends the
// service; connections keep their subflows. The restoring comes first, so that
// no socket is made for a service that is gone. Closing again returns the same.
func (s *Service) Close() error {
	s.closing.Do(func() {
		restored := s.selectManager(s.config.Restore)
		close(s.stop)
		s.running.Wait()
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
		s.err = errors.Join(restored, s.release())
		if s.err != nil {
			s.err = fmt.Errorf("paths: close: %w", s.err)
		}
	})
	return s.err
}

// release gives back what open acquired.
func (s *Service) release() error {
	if s.events != nil {
		s.events.Close()
	}
	if s.manager == nil || s.manager == s.config.Manager {
		return nil
	}
	return s.manager.Close()
}

// run is the service's goroutine.
func (s *Service) run() {
	defer close(s.done)
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	lost := time.NewTimer(0)
	defer lost.Stop()
	<-lost.C
	for {
		select {
		case e, ok := <-s.events.Events():
			if !ok {
				s.eventsEnded()
				return
			}
			if e.Type == mptcp.EventsLost {
				lost.Reset(recovery)
				s.countGap()
				continue
			}
			s.apply(eventInput(e))
		case <-ticker.C:
			s.refresh()
		case <-lost.C:
			if err := s.survey(); err != nil {
				s.config.Log.Warn("cannot read the connections after lost events", "err", err)
				lost.Reset(Interval)
			}
		case <-s.stop:
			return
		}
	}
}

// eventsEnded: nobody would be told of new connections any more.
func (s *Service) eventsEnded() {
	s.config.Log.Error("the path manager's events ended")
	if err := s.selectManager(s.config.Restore); err != nil {
		s.config.Log.Error("cannot restore the path manager", "err", err)
	}
}

// countGap counts lost events.
func (s *Service) countGap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Gaps++
}

// apply gives an input to step and carries out what it asks for, until nothing
// more is asked for.
func (s *Service) apply(in any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	for todo := s.state.step(in); len(todo) > 0; {
		a := todo[0]
		todo = todo[1:]
		if err := s.carryOut(a); err != nil {
			todo = append(todo, s.state.step(refusedInput{a, err})...)
		}
	}
}

// carryOut gives one command. The lock is held.
func (s *Service) carryOut(a action) error {
	if c := s.state.conns[a.token]; c == nil || c.kernel {
		return nil // an earlier command told that it is not ours
	}
	err := s.command(a)
	s.stats.Commands++
	if err != nil {
		s.stats.Refused++
	}
	s.config.Log.Debug(a.op.String(), "token", a.token, "local", a.flow.Local, "remote", a.flow.Remote,
		"id", a.id, "address", a.addr, "err", err)
	return err
}

func (s *Service) command(a action) error {
	switch a.op {
	case opCreate:
		return s.manager.CreateSubflow(a.token, a.flow)
	case opDestroy:
		return s.manager.DestroySubflow(a.token, a.flow)
	case opSetBackup:
		return s.manager.SetBackup(a.token, a.flow, a.flow.Backup)
	case opAnnounce:
		return s.manager.Announce(a.token, a.id, a.addr)
	case opRemove:
		return s.manager.Remove(a.token, a.id)
	}
	return nil
}

// refresh reads the settings again.
func (s *Service) refresh() {
	read, err := s.readSettings()
	if err != nil {
		s.config.Log.Warn("cannot read the endpoints", "err", err)
		return
	}
	s.apply(read)
}

func (s *Service) readSettings() (settingsInput, error) {
	endpoints, err := s.kernel.Endpoints()
	if err != nil {
		return settingsInput{}, err
	}
	limits := s.config.Limits
	if !limits.Known {
		if limits, err = s.kernel.Limits(); err != nil {
			return settingsInput{}, err
		}
	}
	return settingsInput{limits: limits, endpoints: endpoints}, nil
}

// survey reads the connections and then their subflows: of a connection that
// began in between the events tell, and one known without its subflows would be
// served wrongly.
func (s *Service) survey() error {
	var in snapshotInput
	var err error
	if in.connections, err = s.kernel.Connections(); err != nil {
		return err
	}
	if in.subflows, err = s.kernel.Subflows(); err != nil {
		return err
	}
	s.apply(in)
	return nil
}
