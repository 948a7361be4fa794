package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// Why a session ends.
var (
	errStopping   = errors.New("the broker is stopping")
	errConnection = errors.New("the connection is closed")
	errManager    = errors.New("the path manager has ended")
	errOrder      = errors.New("message out of order")
	errVersion    = errors.New("the versions of the protocol differ")
	errOther      = errors.New("the descriptor is another connection's")
	errSlow       = errors.New("the client is too slow")
)

// endTimeout is how long the last message waits for room at the client.
const endTimeout = 100 * time.Millisecond

// proofTimeout is how long a report waits for the event that proves it: the
// kernel sends it to all who listen at once.
const proofTimeout = 100 * time.Millisecond

// session is one client. Its own goroutine reads and answers; a second one, pump,
// sends events.
type session struct {
	server   *Server
	conn     *net.UnixConn
	receiver receiver
	log      *slog.Logger
	limiter  *rate.Limiter

	// Set once the client is attached.
	token      uint32
	connection *connection
	uid        uint32 // the client's user

	writing sync.Mutex // one message and its deadline at a time
	buffer  []byte     // guarded by writing

	mu    sync.Mutex    // guards all below
	view  view          // of the connection
	noted chan struct{} // closed and replaced when the view changes
	joins refusals      // of the client
}

func newSession(s *Server, conn *net.UnixConn, peer unix.Ucred) *session {
	return &session{
		server:   s,
		conn:     conn,
		uid:      peer.Uid,
		receiver: receiver{conn: conn},
		noted:    make(chan struct{}),
		joins:    make(refusals),
		log:      s.config.Log.With("uid", peer.Uid, "pid", peer.Pid),
		limiter:  rate.NewLimiter(rate.Limit(s.config.Limits.Requests), s.config.Limits.Burst),
	}
}

// run serves the client to its end.
func (s *session) run(ctx context.Context) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := interrupt(inner, s.conn)
	err := s.serve(inner, cancel)
	stop()
	if ctx.Err() != nil {
		err = errStopping
	}
	s.finish(err)
}

// serve returns why the session ends.
func (s *session) serve(ctx context.Context, cancel context.CancelCauseFunc) error {
	events, err := s.hello(ctx)
	if err != nil {
		return err
	}
	defer s.server.detach(s.token)
	var pump sync.WaitGroup
	pump.Go(func() { cancel(s.pump(ctx, events.Events())) })
	defer pump.Wait()
	defer events.Close()
	err = s.requests(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// hello greets the client and attaches it to its connection.
func (s *session) hello(ctx context.Context) (*mptcp.Subscription, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.server.config.Limits.HelloTimeout)); err != nil {
		return nil, err
	}
	if err := s.send(ctx, greeting{Version}); err != nil {
		return nil, err
	}
	m, fd, err := s.receive(ctx)
	if err != nil {
		return nil, err
	}
	// As long as the descriptor is open the connection cannot be closed, so
	// that its end is not missed.
	defer unix.Close(fd)
	switch hello, ok := m.(attach); {
	case !ok:
		return nil, errOrder
	case hello.Version != Version:
		return nil, fmt.Errorf("%w: client %d, broker %d", errVersion, hello.Version, Version)
	}
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return s.attach(ctx, fd)
}

// attach takes the descriptor as proof of the right to its connection.
func (s *session) attach(ctx context.Context, fd int) (*mptcp.Subscription, error) {
	p, err := s.server.prove(fd)
	if err != nil {
		return nil, err
	}
	events, err := s.server.config.Manager.Subscribe(p.token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errManager, err)
	}
	s.token = p.token
	s.connection = s.server.attach(p.token)
	s.log = s.log.With("token", fmt.Sprintf("%08x", p.token))
	s.log.Info("broker client attached", "local", p.local, "remote", p.remote)
	if err := s.welcome(ctx); err != nil {
		events.Close()
		s.server.detach(p.token)
		return nil, err
	}
	return events, nil
}

// welcome tells the client that it is attached, and what happened before.
func (s *session) welcome(ctx context.Context) error {
	if err := s.send(ctx, attached{s.token}); err != nil {
		return err
	}
	s.view = s.server.journal.look(s.token) // pump has not begun
	for _, e := range s.view.past(s.token) {
		if err := s.send(ctx, event{e}); err != nil {
			return err
		}
	}
	return nil
}

// receive reads one message, unless ctx is done.
func (s *session) receive(ctx context.Context) (message, int, error) {
	if err := ctx.Err(); err != nil { // its deadline may have been overwritten
		return nil, -1, err
	}
	return s.receiver.receive()
}

// requests answers one request after the other.
func (s *session) requests(ctx context.Context) error {
	for {
		if err := s.limiter.Wait(ctx); err != nil {
			return err
		}
		m, fd, err := s.receive(ctx)
		if err != nil {
			return err
		}
		r, ok := m.(request)
		var found []known
		if ok {
			found, err = s.execute(ctx, r, fd)
		}
		_ = unix.Close(fd) // not ours to report
		if !ok {
			return errOrder
		}
		if errors.As(err, new(refusal)) {
			s.server.logRefusal(s.log, "to "+r.Op.String(), err)
		}
		if err := s.send(ctx, newReply(r.ID, found, err)); err != nil {
			return err
		}
	}
}

// execute does what r asks for, if fd proves the right to it and the policy
// allows it.
func (s *session) execute(ctx context.Context, r request, fd int) ([]known, error) {
	s.connection.busy.Lock()
	defer s.connection.busy.Unlock()
	p, err := s.server.prove(fd)
	switch {
	case errors.Is(err, mptcp.ErrFallback):
		return nil, &mptcp.OpError{Op: r.Op.String(), Errno: syscall.ENOTCONN, Msg: mptcp.ErrFallback.Error()}
	case err != nil:
		return nil, refusal{err}
	case p.token != s.token:
		return nil, refusal{errOther}
	}
	if err := s.allow(r, p); err != nil {
		return nil, err
	}
	if r.Op == opLookUp {
		return lookUp(s.server.config.Memory, r.Name, p.remote.Addr(), r.Addrs, s.uid, time.Now()), nil
	}
	return nil, s.command(ctx, r, p)
}

// command does what is allowed.
func (s *session) command(ctx context.Context, r request, p proof) error {
	manager := s.server.config.Manager
	switch r.Op {
	case opCreate:
		s.begin(r.Subflow.Remote) // the event can come before the answer
		return manager.CreateSubflow(s.token, r.Subflow)
	case opDestroy:
		return manager.DestroySubflow(s.token, r.Subflow)
	case opBackup:
		return manager.SetBackup(s.token, r.Subflow, r.Backup)
	case opAnnounce:
		return s.announce(r)
	case opReport:
		f := s.finding(ctx, r, p)
		s.server.config.Memory.Record(f)
		s.withdraw(f, p)
		return nil
	default:
		err := manager.Remove(s.token, r.AddrID)
		if err == nil {
			s.server.journal.withdrawn(s.token, r.AddrID)
		}
		return err
	}
}

// finding is what a client reports, and whether the broker has seen it too.
func (s *session) finding(ctx context.Context, r request, p proof) Finding {
	return Finding{
		Name: r.Name, First: p.remote.Addr(), Port: p.remote.Port(), Addr: r.Addrs[0], Outcome: r.Outcome, Time: time.Now(),
		Proven: s.awaitProof(ctx, r.Outcome, r.Addrs[0]), UID: s.uid,
	}
}

// awaitProof tells whether the broker has seen what proves an outcome. A client
// with a path manager of its own can have the kernel's event first; the broker's
// is under way then.
func (s *session) awaitProof(ctx context.Context, o Outcome, addr netip.Addr) bool {
	if !o.provable() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	for {
		s.mu.Lock()
		proven, noted := s.view.proves(o, addr), s.noted
		s.mu.Unlock()
		if proven {
			return true
		}
		select {
		case <-noted:
		case <-ctx.Done():
			return false
		}
	}
}

// withdraw has the memory take back what a refusal that the broker has seen itself
// contradicts: that the address is one host with the connection's peer, or with an
// address that was joined to this very connection, which is the peer's too. The
// connection was alive when the join was refused, for it still is.
func (s *session) withdraw(f Finding, p proof) {
	if !f.Outcome.refusal() || p.closing {
		return
	}
	s.mu.Lock()
	begun, refused := s.joins.take(netip.AddrPortFrom(f.Addr, f.Port))
	peers := append(s.view.joinedBeside(f.Addr), f.First)
	s.mu.Unlock()
	if !refused {
		return
	}
	f.Time, f.Proven = begun, true
	for _, a := range peers {
		f.First = a
		if s.server.config.Memory.Withdraw(f) {
			s.log.Info("broker saw a join refused: a proof is withdrawn", "name", f.Name, "first", f.First, "addr", f.Addr)
		}
	}
}

// announce announces an address if the connection has room for one more.
func (s *session) announce(r request) error {
	j := s.server.journal
	if !j.room(s.token, r.AddrID) {
		return refusal{fmt.Errorf("announce %v: %w: %d", r.Addr, errAnnounced, MaxAnnounced)}
	}
	err := s.server.config.Manager.Announce(s.token, r.AddrID, r.Addr)
	if err == nil {
		j.told(s.token, r.AddrID)
	}
	return err
}

// allow asks the policy. What a client does to subflows that there are is its
// own affair.
func (s *session) allow(r request, p proof) error {
	var err error
	switch r.Op {
	case opCreate:
		if err = s.server.policy.room(p.subflows); err == nil {
			err = s.allowTarget(r.Subflow.Remote, p.remote)
		}
	case opAnnounce:
		var own machine
		if own, err = s.server.own(); err != nil {
			return err
		}
		err = s.server.policy.announce(r.Addr, p.local, p.remote, own)
	case opReport, opLookUp:
		if err = errNoMemory; s.server.config.Memory != nil {
			err = allAbout(r.Addrs, p.remote.Addr())
		}
	}
	if err != nil {
		return refusal{err}
	}
	return nil
}

func (s *session) allowTarget(remote, peer netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server.policy.target(remote, peer, s.view.announced)
}

// pump sends the connection's events until they end, and returns why.
func (s *session) pump(ctx context.Context, events <-chan mptcp.Event) error {
	for e := range events {
		s.note(e)
		if err := s.send(ctx, event{e}); err != nil {
			return err
		}
		if e.Type == mptcp.Closed {
			return errConnection
		}
	}
	return errManager
}

// begin notes a join that the client asked for.
func (s *session) begin(remote netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joins.begin(remote, time.Now())
}

// note keeps what the broker decides by.
func (s *session) note(e mptcp.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.note(e)
	s.joins.note(e)
	close(s.noted)
	s.noted = make(chan struct{})
}

// send writes one message, unless ctx is done. It waits for a client that does
// not read, but not for long.
func (s *session) send(ctx context.Context, m message) error {
	return s.sendWithin(ctx, s.server.config.Limits.WriteTimeout, m)
}

func (s *session) sendWithin(ctx context.Context, timeout time.Duration, m message) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // its deadline may have been overwritten
		return err
	}
	s.buffer = m.append(s.buffer[:0])
	_, err := s.conn.Write(s.buffer)
	return err
}

// finish logs why the client ends, tells it, and closes.
func (s *session) finish(err error) {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		s.log.Info("broker client left")
		err = nil
	case errors.Is(err, errStopping), errors.Is(err, errConnection), errors.Is(err, errManager):
		s.log.Info("broker client detached", "reason", err)
	default:
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errSlow
		}
		s.server.logRefusal(s.log, "a client", err)
	}
	if err != nil {
		_ = s.sendWithin(context.Background(), endTimeout, end{err.Error()}) // the client may be gone
	}
	_ = s.conn.Close() // nothing more to say
}
