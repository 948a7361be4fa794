package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

const (
	// acceptPause is how long the server waits after it could not accept a
	// client for want of descriptors or memory.
	acceptPause = 50 * time.Millisecond
	// stopTimeout is how long Serve waits for its clients' end: closing a
	// stranger's descriptor can take as long as the stranger likes (SO_LINGER, a
	// file system of its own).
	stopTimeout = 2 * time.Second
	// refusalsLogged is how many refusals a second are logged, all clients
	// together.
	refusalsLogged = 10
)

// errStuck is the end of a server of which a client could not be ended.
var errStuck = errors.New("broker: the descriptor of a client cannot be closed; the end of the process will")

// Why a client is not admitted.
var (
	errClients = errors.New("too many clients")
	errPerUser = errors.New("too many connections of this user")
)

// Server serves clients. Use [NewServer]. Its methods are safe for concurrent
// use.
type Server struct {
	config   Config
	policy   policy
	prove    func(fd int) (proof, error)
	own      func() (machine, error)
	refusals *rate.Limiter // of the log
	journal  *journal

	mu      sync.Mutex // guards all below, and the calls of the owner
	clients int
	users   map[uint32]int
	conns   map[uint32]*connection // by token
}

// connection is an MPTCP connection that has clients, mostly one.
type connection struct {
	clients int        // guarded by Server.mu
	busy    sync.Mutex // held for one request, so that the limits hold
}

// NewServer returns a server for the connections of the calling thread's network
// namespace, which must be the manager's. From now on it follows the
// connections; Serve ends that.
func NewServer(c Config) (*Server, error) {
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	p, err := newProver()
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	j, err := newJournal(c.Manager)
	if err != nil {
		return nil, fmt.Errorf("broker: follow the connections: %w", err)
	}
	return &Server{
		journal:  j,
		config:   c,
		policy:   policy{allow: c.Allow, subflows: c.Limits.Subflows},
		prove:    p.prove,
		own:      thisMachine,
		refusals: rate.NewLimiter(refusalsLogged, refusalsLogged),
		users:    make(map[uint32]int),
		conns:    make(map[uint32]*connection),
	}, nil
}

// thisMachine reads what can be reached at this machine.
func thisMachine() (m machine, err error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return m, fmt.Errorf("list this machine's addresses: %w", err)
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			m.addrs = append(m.addrs, p.Addr().Unmap())
		}
	}
	m.listeners, err = mptcp.Listeners()
	return m, err
}

// Serve serves the clients of l, a listener of network "unixpacket" such as
// [Listen] returns, until ctx is done; then it returns nil, or an error where a
// client holds it up. Before it returns
// it closes l and ends its clients, whose subflows stay. It may be called once.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	if network := l.Addr().Network(); network != "unixpacket" {
		return fmt.Errorf("broker: listener is of network %s, want unixpacket", network)
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup // the journal, the closer and the sessions
	group.Go(s.journal.run)
	group.Go(func() {
		<-ctx.Done()
		_ = l.Close() // it may be closed already
	})
	err := s.accept(ctx, l, &group)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	s.journal.events.Close()
	ended := make(chan struct{})
	go func() { // outlives Serve only where the kernel holds a session up
		group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-time.After(stopTimeout):
		return errors.Join(err, errStuck)
	}
}

// accept starts a session for each client.
func (s *Server) accept(ctx context.Context, l *net.UnixListener, sessions *sync.WaitGroup) error {
	for {
		conn, err := l.AcceptUnix()
		switch {
		case err == nil:
			s.start(ctx, conn, sessions)
		case ctx.Err() != nil || !exhausted(err):
			return fmt.Errorf("broker: accept: %w", err)
		default:
			s.config.Log.Warn("broker cannot accept a client", "err", err)
			pause(ctx)
		}
	}
}

// exhausted reports whether err is a lack that can pass.
func exhausted(err error) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func pause(ctx context.Context) {
	t := time.NewTimer(acceptPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// start admits a client and begins its session, or sends it away.
func (s *Server) start(ctx context.Context, conn *net.UnixConn, sessions *sync.WaitGroup) {
	peer, err := credentials(conn)
	c := newSession(s, conn, peer)
	if err == nil {
		err = s.admit(peer.Uid)
	}
	if err != nil {
		c.finish(err)
		return
	}
	sessions.Go(func() {
		defer s.dismiss(peer.Uid)
		c.run(ctx)
	})
}

// credentials returns who connected (SO_PEERCRED).
func credentials(conn *net.UnixConn) (peer unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer, err
	}
	var failure error
	err = raw.Control(func(fd uintptr) {
		var p *unix.Ucred
		if p, failure = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failure == nil {
			peer = *p
		}
	})
	return peer, errors.Join(err, failure)
}

// admit counts a client of a user.
func (s *Server) admit(uid uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients >= s.config.Limits.Clients {
		return errClients
	}
	if s.users[uid] >= s.config.Limits.PerUser {
		return errPerUser
	}
	s.clients++
	s.users[uid]++
	return nil
}

// dismiss undoes admit.
func (s *Server) dismiss(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients--
	if s.users[uid]--; s.users[uid] == 0 {
		delete(s.users, uid)
	}
}

// attach counts a client of a connection.
func (s *Server) attach(token uint32) *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[token]
	if c == nil {
		c = new(connection)
		s.conns[token] = c
		s.config.Owner.Claim(token)
	}
	c.clients++
	return c
}

// detach undoes attach.
func (s *Server) detach(token uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[token]
	if c.clients--; c.clients == 0 {
		delete(s.conns, token)
		s.config.Owner.Release(token)
	}
}

// logRefusal logs that a client was refused, unless there were many.
func (s *Server) logRefusal(log *slog.Logger, what string, err error) {
	if s.refusals.Allow() {
		log.Warn("broker refuses "+what, "err", err)
	}
}
