package mpdnsd

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/paths"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// watchedManager is the path manager as the service uses it: it looks at whose
// connection each command is about.
type watchedManager struct {
	mptcp.PathManager
	t *testing.T

	mu     sync.Mutex // guards all below; held during commands
	owned  map[uint32]bool
	served map[uint32]int // commands of the service
}

// own says whether a client of the broker owns a connection.
func (m *watchedManager) own(token uint32, owned bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owned[token] = owned
}

func (m *watchedManager) watch(token uint32, command func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.served[token]++
	if m.owned[token] {
		m.t.Errorf("a command of the service for connection %#x, which a client owns", token)
	}
	return command()
}

func (m *watchedManager) CreateSubflow(token uint32, s mptcp.Subflow) error {
	return m.watch(token, func() error { return m.PathManager.CreateSubflow(token, s) })
}

func (m *watchedManager) DestroySubflow(token uint32, s mptcp.Subflow) error {
	return m.watch(token, func() error { return m.PathManager.DestroySubflow(token, s) })
}

func (m *watchedManager) SetBackup(token uint32, s mptcp.Subflow, backup bool) error {
	return m.watch(token, func() error { return m.PathManager.SetBackup(token, s, backup) })
}

func (m *watchedManager) Announce(token uint32, id uint8, addr netip.AddrPort) error {
	return m.watch(token, func() error { return m.PathManager.Announce(token, id, addr) })
}

func (m *watchedManager) Remove(token uint32, id uint8) error {
	return m.watch(token, func() error { return m.PathManager.Remove(token, id) })
}

const (
	ownedConnections = 20
	ownerTurns       = 15 // times that each is brought to the broker and given back
)

// TestOneOwner: connections of the service are brought to the broker and given
// back while their subflows come and go. From the moment that the client is told
// that it is attached until it begins to leave, the service does nothing to its
// connection; before and after, it does.
func TestOneOwner(t *testing.T) {
	inWorld(t, func(w *world) {
		pm, err := mptcp.OpenPathManager()
		if err != nil {
			t.Fatal(err)
		}
		defer pm.Close()
		watched := &watchedManager{PathManager: pm, t: t, owned: make(map[uint32]bool), served: make(map[uint32]int)}
		endpoint := mptcp.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(client2), 0), Flags: mptcp.EndpointSubflow | mptcp.EndpointBackup}
		if err := mptcp.AddEndpoint(endpoint); err != nil {
			t.Fatal(err)
		}
		service, err := paths.Open(paths.Config{Manager: watched, Switch: true, Limits: mptcp.Limits{Known: true, Subflows: 4, AddAddrAccepted: 4}})
		if err != nil {
			t.Fatal(err)
		}
		defer service.Close()
		socket := filepath.Join(t.TempDir(), "paths.sock")
		stop := serveOwner(t, socket, broker.Config{
			Manager: pm, Owner: service, Limits: broker.Limits{Requests: 10000, Burst: 10000},
		})
		var bringing sync.WaitGroup
		for range ownedConnections {
			c, token := w.ordinary()
			if err := carry(c, rand.NewChaCha8([32]byte{})); err != nil {
				t.Fatal(err)
			}
			bringing.Go(func() { bring(t, watched, socket, c, token) })
		}
		bringing.Wait()
		stop()
		for token, n := range watched.served {
			if n == 0 {
				t.Errorf("connection %#x was never the service's", token)
			}
		}
		if len(watched.served) != ownedConnections {
			t.Errorf("%d connections were the service's", len(watched.served))
		}
		if st := service.Stats(); st.Claimed != 0 {
			t.Errorf("still claimed: %+v", st)
		}
	})
}

// serveOwner runs a broker until the function that it returns is called.
func serveOwner(t *testing.T, socket string, config broker.Config) (stop func()) {
	t.Helper()
	server, err := broker.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := broker.Listen(socket, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	return func() {
		cancel()
		serving.Wait()
	}
}

// bring is a goroutine: it takes a connection from the service and gives it back,
// and makes and ends a subflow meanwhile, of which the service would change the
// priority.
func bring(t *testing.T, watched *watchedManager, socket string, c net.Conn, token uint32) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	port := c.RemoteAddr().(*net.TCPAddr).AddrPort().Port()
	flow := mptcp.Subflow{
		Local:   netip.AddrPortFrom(netip.MustParseAddr(client2), 0),
		Remote:  netip.AddrPortFrom(netip.MustParseAddr(server2), port),
		LocalID: 1, // as the service numbers the endpoint
	}
	for range ownerTurns {
		pm, err := broker.Attach(context.Background(), socket, raw)
		if err != nil {
			t.Error(err)
			return
		}
		watched.own(token, true)
		if err := joinAndLeave(pm, token, flow); err != nil {
			t.Errorf("connection %#x: %v", token, err)
		}
		if err := carry(c, rand.NewChaCha8([32]byte{})); err != nil {
			t.Errorf("connection %#x: %v", token, err)
		}
		watched.own(token, false)
		if err := pm.Close(); err != nil {
			t.Error(err)
		}
	}
}

// joinAndLeave makes a subflow and ends it.
func joinAndLeave(pm mptcp.PathManager, token uint32, flow mptcp.Subflow) error {
	sub, err := pm.Subscribe(token)
	if err != nil {
		return err
	}
	if err := pm.CreateSubflow(token, flow); err != nil {
		return err
	}
	for e := range sub.Events() {
		switch {
		case e.Remote != flow.Remote:
		case e.Type == mptcp.SubflowEstablished:
			if err := pm.DestroySubflow(token, mptcp.Subflow{Local: e.Local, Remote: e.Remote}); err != nil {
				return err
			}
		case e.Type == mptcp.SubflowClosed && e.HasError:
			return e.Errno
		case e.Type == mptcp.SubflowClosed:
			return nil
		}
	}
	return broker.ErrGone
}
