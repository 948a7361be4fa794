package dialer

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// createdWatch knows which connections' peers asked not to be joined at the
// address that the connection began with (the C flag of RFC 8684 section 3.1).
// The kernel tells it once, when a connection is made, so the watch is held
// during a dial and while a connection has subflows to add. It needs the path
// manager of this process; a broker tells its clients of their own connections
// when they come.
type createdWatch struct {
	mu     sync.Mutex // guards all below
	users  int
	end    func()          // nil where there is nothing to watch with
	denied map[uint32]bool // the connections, by token
}

// hold begins to watch; the function it returns ends that.
func (w *createdWatch) hold(managers *sharedManager) (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.users++; w.users == 1 {
		w.begin(managers)
	}
	return sync.OnceFunc(w.release)
}

func (w *createdWatch) release() {
	w.mu.Lock()
	w.users--
	end := w.end
	if w.users > 0 {
		end = nil
	} else {
		w.end = nil
	}
	w.mu.Unlock()
	if end != nil {
		end()
	}
}

// begin starts the goroutine that reads the events of all connections. The lock
// is held.
func (w *createdWatch) begin(managers *sharedManager) {
	pm, err := managers.acquire()
	if err != nil {
		return
	}
	events, err := pm.Subscribe(0)
	if err != nil {
		_ = managers.release() // as below
		return
	}
	denied := make(map[uint32]bool)
	w.denied = denied
	var reader sync.WaitGroup
	reader.Go(func() {
		for e := range events.Events() {
			w.see(denied, e)
		}
	})
	w.end = func() {
		events.Close()
		reader.Wait()
		_ = managers.release() // nobody is left to be told
	}
}

func (w *createdWatch) see(denied map[uint32]bool, e mptcp.Event) {
	if e.Type != mptcp.Created && e.Type != mptcp.Closed {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Type == mptcp.Created && e.Flags&mptcp.FlagDenyJoinInitial != 0 {
		denied[e.Token] = true
	} else {
		delete(denied, e.Token)
	}
}

// denies reports whether the peer of a connection asked not to be joined at its
// first address.
func (w *createdWatch) denies(token uint32) bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.denied[token]
}

// watchCreated holds the watch during a dial. Dials to this machine's own
// addresses have no use for it.
func (d *Dialer) watchCreated(t target) (release func()) {
	local := len(t.candidates) > 0 && !slices.ContainsFunc(t.candidates, func(a netip.AddrPort) bool { return !a.Addr().IsLoopback() })
	if t.want == plainTCP || local || d.maxSubflows() == 0 {
		return func() {}
	}
	return d.created.hold(&d.managers)
}

// denies reports whether the peer asked not to be joined at the first address, by
// the watch or by the broker.
func (s *subflows) denies() bool {
	s.mu.Lock()
	told := s.toldDenied
	s.mu.Unlock()
	return told || s.created.denies(s.token)
}

// madeByPeer takes in what the peer said when the connection was made, as the
// broker tells it afterwards.
func (s *subflows) madeByPeer(ctx context.Context, e mptcp.Event) {
	s.update(func() { s.toldDenied = e.Flags&mptcp.FlagDenyJoinInitial != 0 })
	s.heed(ctx)
}

// heed gives up joins of the first address once it is known that the peer does
// not want them: the event can be read a moment after the one that allows joins.
func (s *subflows) heed(ctx context.Context) {
	if !s.denied && s.denies() {
		s.denied = true
		s.replan(ctx, wanted{reason: errDenied})
	}
}
