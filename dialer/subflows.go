package dialer

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/netmon"
)

// lateAnswers is how long after connecting the answers of the look-up are still
// taken in (Happy Eyeballs v3: one second): a late family's addresses can still
// be joined.
const lateAnswers = time.Second

var (
	errConnEnded = errors.New("the connection ended first")
	errFellBack  = errors.New("the connection fell back to plain TCP")
	errPlain     = errors.New("the connection is plain TCP")
	// errNoSubflows: Dialer.MaxSubflows is negative.
	errTooManyLocals = errors.New("the connection has used as many local addresses as it can number")
	errNoSubflows    = errors.New("Dialer.MaxSubflows allows none")
)

// wire is the connection as the subflows' goroutine uses it.
type wire interface {
	subflowInfos() ([]mptcp.SubflowInfo, error)
	fellBack() bool
	nudge() // make an idle connection exchange something within about a second
	calm()  // undo nudge
}

// subflows adds the subflows of one connection. start begins its goroutine,
// stop ends it and waits for it.
type subflows struct {
	wire     wire
	token    uint32
	first    netip.AddrPort // the remote end of the first subflow
	began    netip.AddrPort // its local end
	key      string         // of the memory: the name with the port
	memory   *hostid.Memory
	managers *sharedManager
	attach   attachFunc     // asks the broker; nil: nobody
	monitors *sharedMonitor // nil: this machine's network is not known
	policy   PathPolicy
	use      PathUse
	late     *lookup // where further addresses come from
	probe    func(ctx context.Context, remote netip.AddrPort) hostid.Outcome

	// Owned by the goroutine.
	pm        mptcp.PathManager
	shared    sharedVerdicts // who keeps verdicts for the machine; nil: nobody
	timer     *time.Timer
	lookAt    time.Time // when the paths are looked at next; zero while there are not several
	probes    chan probed
	calls     chan func(context.Context) // run by the goroutine
	states    <-chan netmon.State        // nil: the network is not known
	remotes   []netip.AddrPort           // of the peer, in order
	local     localRule
	network   netmon.State
	known     bool                 // network is
	listed    bool                 // network has had the address that the connection began at
	ids       map[netip.Addr]uint8 // the local addresses used so far
	destroyed map[uint16]bool      // local ports of subflows destroyed here whose end has not been told yet

	started time.Time

	events    pathEvents
	unwatch   func()        // ends the hold on created; may be nil
	denied    bool          // the peer's wish is known, and heeded
	created   *createdWatch // nil: what the peer says of its first address is not known
	announced AnnouncedPolicy
	unknown   UnknownPolicy
	consulted map[netip.Addr]bool      // the broker was asked what is known of them
	remoteIDs map[uint8]netip.AddrPort // the peer's addresses by their ids
	replacing sync.Mutex               // one change of the sets at a time
	done      chan struct{}            // closed when the goroutine has ended
	insist    bool                     // addresses that failed lately are tried too
	rechecked netip.Addr               // the one that is joined though believed to be another host's
	replaced  bool                     // remotes are a set of their own, in which the first address need not be

	mu         sync.Mutex // guards all below
	joiner     joiner
	steerer    steerer
	refused    []*join       // the joins of the last change of the sets that was taken back
	failure    error         // why this process manages no path, nil when it does
	via        string        // managerDirect or managerBroker, "" while there is no path manager
	toldDenied bool          // the peer does not want joins of its first address, as the broker told
	left       bool          // the subflow that the connection began with was given up
	begun      bool          // the first candidates were given to the joiner
	open       bool          // the look-up may still bring addresses
	ended      bool          // the goroutine has ended
	doing      bool          // what the joiner asked for is being done: verdicts are being remembered
	changed    chan struct{} // closed and replaced at each change

	cancel context.CancelFunc
	group  errgroup.Group // the goroutine and its probes
}

// start begins to offer candidates and, where more is true, what the look-up
// brings later.
func (s *subflows) start(candidates []netip.AddrPort, more bool) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.open, s.started = more, time.Now()
	s.changed, s.done = make(chan struct{}), make(chan struct{})
	s.probes, s.calls = make(chan probed), make(chan func(context.Context))
	s.ids, s.destroyed = make(map[netip.Addr]uint8), make(map[uint16]bool)
	s.consulted = make(map[netip.Addr]bool)
	s.remoteIDs = make(map[uint8]netip.AddrPort)
	s.timer = stoppedTimer()
	s.steerer = steerer{use: s.use, primary: ends{s.began, s.first}}
	s.group.Go(func() error {
		s.run(ctx, candidates)
		return nil
	})
}

// stop ends the goroutine and its probes, and returns when they have ended.
func (s *subflows) stop() {
	s.cancel()
	_ = s.group.Wait() // its functions return nil
}

// run is the goroutine.
func (s *subflows) run(ctx context.Context, candidates []netip.AddrPort) {
	defer s.end()
	if s.unwatch != nil {
		defer s.unwatch()
	}
	pm, release, err := s.manage(ctx)
	if err != nil {
		s.giveUp(candidates, err)
		return
	}
	defer func() { release() }()
	s.pm = pm
	events, err := pm.Subscribe(s.token)
	if err != nil {
		s.giveUp(candidates, err)
		return
	}
	defer s.watch()()
	s.offer(ctx, candidates)
	s.noteSighting()
	s.update(func() { s.begun = true })
	s.loop(ctx, events.Events())
	events.Close()
	for s.brokerGone() {
		release()
		if release, events = s.reattach(ctx); events == nil {
			return
		}
		s.resume(ctx)
		s.loop(ctx, events.Events())
		events.Close()
	}
}

// loop takes in events until nothing more can happen to the subflows.
func (s *subflows) loop(ctx context.Context, events <-chan mptcp.Event) {
	lateUntil := s.started.Add(lateAnswers)
	for s.busy() {
		s.setTimer(lateUntil)
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				s.fail(lost(s.pm))
				return
			}
			if e.Type == mptcp.Closed {
				return
			}
			s.event(ctx, e)
		case a, ok := <-s.answers():
			s.take(ctx, a, ok)
		case p := <-s.probes:
			s.feed(ctx, s.doubt(p))
		case state, ok := <-s.states:
			s.moved(ctx, state, ok)
		case call := <-s.calls:
			call(ctx)
		case <-s.timer.C:
			if !time.Now().Before(lateUntil) {
				s.closeLookup()
			}
			s.feed(ctx, ticked{})
			s.heed(ctx)
			s.look()
		}
	}
}

// look steers the paths when it is time.
func (s *subflows) look() {
	if !s.lookAt.IsZero() && !time.Now().Before(s.lookAt) {
		s.lookAt = time.Time{}
		s.steer()
	}
}

// event takes in what the path manager tells.
func (s *subflows) event(ctx context.Context, e mptcp.Event) {
	s.heed(ctx)
	switch {
	case e.Type == mptcp.SubflowClosed && s.destroyed[e.Local.Port()]:
		delete(s.destroyed, e.Local.Port()) // the joiner knows, and may have begun another one there
	case e.Type == mptcp.SubflowClosed && e.Local == s.began:
		s.tell(PathClosed, s.began, s.first, whyClosed(e))
		s.replan(ctx, wanted{reason: errNotWanted}) // its address is one to join now
	case e.Type == mptcp.Created:
		s.madeByPeer(ctx, e)
	case e.Type == mptcp.Announced:
		s.offeredByPeer(ctx, e)
	case e.Type == mptcp.Removed:
		s.withdrawnByPeer(ctx, e)
	case e.Type == mptcp.SubflowPriority:
		change := PathActive
		if e.Backup {
			change = PathBackup
		}
		s.tell(change, e.Local, e.Remote, nil)
	case e.Type == mptcp.SubflowEstablished:
		s.learn(e)
		s.feed(ctx, pathEvent{e})
		s.tidy(ctx)
	default:
		s.feed(ctx, pathEvent{e})
	}
}

// whyClosed returns the reason of a subflow's end.
func whyClosed(e mptcp.Event) error {
	if e.HasError {
		return e.Errno
	}
	return errSubflowClosed
}

// answers is where late answers come from, nil when none will.
func (s *subflows) answers() <-chan answered {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return nil
	}
	return s.late.answers()
}

// take offers what a late answer brings.
func (s *subflows) take(ctx context.Context, a answered, ok bool) {
	if ok {
		s.offer(ctx, a.candidates)
	}
	if !ok || a.complete {
		s.closeLookup()
	}
}

// closeLookup takes no more answers.
func (s *subflows) closeLookup() {
	s.late.stop()
	s.noteSighting()
	s.update(func() { s.open = false })
}

// busy reports whether anything can still change.
func (s *subflows) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure == nil && (s.joiner.over == nil || s.open || !s.joiner.settled() || s.joiner.count(joinActive) > 0)
}

// setTimer sets the timer for what comes first.
func (s *subflows) setTimer(lateUntil time.Time) {
	s.mu.Lock()
	at := s.joiner.deadline()
	if s.open && (at.IsZero() || lateUntil.Before(at)) {
		at = lateUntil
	}
	switch several := s.joiner.count(joinActive) > 0; {
	case !several:
		s.lookAt = time.Time{}
	case s.lookAt.IsZero():
		s.lookAt = time.Now().Add(steerInterval)
	}
	if !s.lookAt.IsZero() && (at.IsZero() || s.lookAt.Before(at)) {
		at = s.lookAt
	}
	s.mu.Unlock()
	s.timer.Stop()
	if !at.IsZero() {
		s.timer.Reset(time.Until(at))
	}
}

// feed gives the joiner an event and does what it asks for, with what follows
// from that.
func (s *subflows) feed(ctx context.Context, ev joinEvent) {
	for queue := []joinEvent{ev}; len(queue) > 0 && ctx.Err() == nil; queue = queue[1:] {
		var actions []joinAction
		s.update(func() { s.doing, actions = true, s.joiner.step(time.Now(), queue[0]) })
		for _, a := range actions {
			if next := s.do(ctx, a); next != nil {
				queue = append(queue, next)
			}
		}
	}
	s.update(func() { s.doing = false })
}

// do does one action and returns its result, if it has one at once.
func (s *subflows) do(ctx context.Context, a joinAction) joinEvent {
	switch a.kind {
	case createSubflow:
		return s.create(a)
	case destroySubflow:
		s.destroy(a, func(state uint8) bool { return state == mptcp.StateSynSent })
	case dropSubflow:
		s.destroy(a, func(state uint8) bool {
			return state == mptcp.StateSynSent || inUse(state) && a.local.IsValid()
		})
	case probeAddress:
		s.group.Go(func() error {
			select {
			case s.probes <- probed{remote: a.remote, from: a.from, outcome: s.probe(ctx, a.remote)}:
			case <-ctx.Done():
			}
			return nil
		})
	case readSubflows:
		if infos, err := s.wire.subflowInfos(); err == nil {
			return seen{infos}
		}
	case awaitReady:
		if s.wire.fellBack() {
			return abandoned{errFellBack}
		}
		s.wire.nudge()
	case noteReady:
		s.wire.calm()
	case notePath:
		s.tell(a.change, a.local, a.remote, a.err)
	case noteOutcome:
		s.remember(a.remote.Addr(), a.outcome)
	}
	return nil
}

// create sends the SYN of a join.
func (s *subflows) create(a joinAction) joinEvent {
	flow := mptcp.Subflow{Remote: a.remote, Backup: a.backup}
	if a.from != (origin{}) {
		id, err := s.localID(a.from.addr)
		if err != nil {
			return created{a.remote, a.from, err}
		}
		flow.Local, flow.LocalID, flow.IfIndex = netip.AddrPortFrom(a.from.addr, 0), id, a.from.index
	}
	err := s.pm.CreateSubflow(s.token, flow)
	if errors.Is(err, mptcp.ErrKernelManaged) || errors.Is(err, mptcp.ErrNotPermitted) {
		s.update(func() { s.failure = err })
	}
	return created{a.remote, a.from, err}
}

// localID returns the id of a local address on this connection, which it keeps.
func (s *subflows) localID(a netip.Addr) (uint8, error) {
	if id, ok := s.ids[a]; ok {
		return id, nil
	}
	if len(s.ids) >= maxLocalIDs {
		return 0, errTooManyLocals
	}
	id := uint8(len(s.ids) + 1)
	s.ids[a] = id
	return id, nil
}

// destroy ends the subflows of a path that are in a state. They may have ended
// by themselves meanwhile, so there is no error to report.
func (s *subflows) destroy(a joinAction, state func(uint8) bool) {
	infos, err := s.wire.subflowInfos()
	if err != nil {
		return
	}
	n := join{remote: a.remote, from: a.from, local: a.local}
	for _, i := range infos {
		if n.matches(i.Local, i.Remote.Addr()) && i.Local != s.began && state(i.TCP.State) {
			s.destroyed[i.Local.Port()] = true
			_ = s.pm.DestroySubflow(s.token, mptcp.Subflow{Local: i.Local, Remote: i.Remote, LocalID: s.ids[i.Local.Addr()]})
		}
	}
}

// giveUp records that this process cannot add the candidates.
func (s *subflows) giveUp(candidates []netip.AddrPort, err error) {
	list := s.choices(candidates)
	s.update(func() {
		s.failure = err
		s.joiner.step(time.Now(), abandoned{err})
		s.joiner.step(time.Now(), offered{list})
	})
}

// fail records that this process can add nothing more.
func (s *subflows) fail(err error) {
	s.update(func() {
		s.failure = err
		s.joiner.close(err)
	})
}

// end is the last thing the goroutine does.
func (s *subflows) end() {
	s.cancel()
	s.late.stop()
	s.wire.calm()
	s.update(func() {
		s.open, s.ended = false, true
		s.joiner.close(errConnEnded)
	})
	s.events.end()
	close(s.done)
}

// update changes what the lock guards and wakes those who wait for it.
func (s *subflows) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait returns when every address has its verdict, or ctx's error.
func (s *subflows) wait(ctx context.Context) error {
	return s.waitFor(ctx, func() bool { return s.begun && !s.open && !s.doing && s.joiner.settled() })
}

// waitFor returns when a condition on what the lock guards holds or the
// goroutine has ended, or ctx's error.
func (s *subflows) waitFor(ctx context.Context, holds func() bool) error {
	for {
		s.mu.Lock()
		done := s.ended || holds()
		changed := s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
