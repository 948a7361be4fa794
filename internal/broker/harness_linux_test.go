package broker

import (
	"context"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// eventTimeout bounds the wait for one event.
const eventTimeout = 10 * time.Second

// broker is a server under test.
type broker struct {
	t      testing.TB
	server *Server
	path   string
	cancel context.CancelFunc
	result chan error
	once   sync.Once
}

// serve runs a broker until the test ends; change may be nil.
func serve(t testing.TB, config Config, change func(*Server)) *broker {
	t.Helper()
	s, err := NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	b := &broker{t: t, server: s, path: filepath.Join(t.TempDir(), "paths.sock"), result: make(chan error, 1)}
	l, err := Listen(b.path, 0o666, -1)
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	go func() { b.result <- s.Serve(ctx, l) }()
	t.Cleanup(b.stop)
	return b
}

// stop ends the broker, which must leave nothing behind.
func (b *broker) stop() {
	b.t.Helper()
	b.once.Do(func() {
		b.cancel()
		if err := <-b.result; err != nil {
			b.t.Errorf("serve: %v", err)
		}
		if s := b.server; s.clients != 0 || len(s.users) != 0 || len(s.conns) != 0 {
			b.t.Errorf("left behind: %d clients, users %v, connections %v", s.clients, s.users, s.conns)
		}
	})
}

// attach attaches conn for the length of the test.
func (b *broker) attach(conn syscall.RawConn) *Client {
	b.t.Helper()
	pm, err := Attach(context.Background(), b.path, conn)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { pm.Close() })
	return pm.(*Client)
}

func subscribe(t testing.TB, pm mptcp.PathManager, token uint32) *mptcp.Subscription {
	t.Helper()
	sub, err := pm.Subscribe(token)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// next returns the next event of type want and passes over the others.
func next(t testing.TB, sub *mptcp.Subscription, want mptcp.EventType) mptcp.Event {
	t.Helper()
	timeout := time.After(eventTimeout)
	for {
		select {
		case e, ok := <-sub.Events():
			if !ok {
				t.Fatalf("events ended while waiting for %q", want)
			}
			if e.Type == want {
				return e
			}
		case <-timeout:
			t.Fatalf("no event %q", want)
		}
	}
}

// ended waits for the end of the events.
func ended(t testing.TB, sub *mptcp.Subscription) {
	t.Helper()
	timeout := time.After(eventTimeout)
	for {
		select {
		case _, ok := <-sub.Events():
			if !ok {
				return
			}
		case <-timeout:
			t.Fatal("the events do not end")
		}
	}
}

// echoes answers connections with what they send, until the test ends.
func echoes(t testing.TB, l net.Listener) {
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
}

// dial connects an AF_INET6 socket, of MPTCP or not, which takes subflows of
// both families.
func dial(multipath bool, remote netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv6unspecified}, Timeout: eventTimeout}
	d.SetMultipathTCP(multipath)
	c, err := d.Dial("tcp", remote.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// echo moves octets there and back, after which the connection is fully
// established.
func echo(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(eventTimeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("octets")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 6))
	return err
}

// connect makes an echoing connection for the length of the test.
func connect(t testing.TB, multipath bool, remote netip.AddrPort) (*net.TCPConn, syscall.RawConn) {
	t.Helper()
	c, err := dial(multipath, remote)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := echo(c); err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return c, raw
}
