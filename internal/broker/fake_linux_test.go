package broker

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// The ends of the scripted connections.
var (
	here  = netip.MustParseAddrPort("198.51.100.8:40000")
	peer  = netip.MustParseAddrPort("203.0.113.1:443")
	other = netip.MustParseAddrPort("203.0.113.2:443")
	own   = netip.MustParseAddr("198.51.100.9") // another address of this machine
)

// fakeMachine is this machine in scripted tests.
var fakeMachine = machine{[]netip.Addr{own}, []mptcp.Listener{{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), here.Port())}}}

// fakes are scripted connections; a pipe stands for the socket of each. The
// broker, the unix socket and the descriptors are real.
type fakes struct {
	*mptcptest.PathManager
	closing atomic.Bool // all connections' peers have closed

	mu     sync.Mutex // guards tokens
	tokens map[uint64]uint32
}

// serveFakes runs a broker on top of a scripted path manager.
func serveFakes(t testing.TB, config Config) (*fakes, *broker) {
	t.Helper()
	f := &fakes{PathManager: mptcptest.New(), tokens: make(map[uint64]uint32)}
	t.Cleanup(func() { f.Close() })
	config.Manager = f
	return f, serve(t, config, func(s *Server) {
		s.prove = f.prove
		s.own = func() (machine, error) { return fakeMachine, nil }
	})
}

// connect makes a fully established connection, whose socket it returns.
func (f *fakes) connect(t testing.TB, token uint32) syscall.RawConn {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	raw, err := r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tokens[inode(int(fd))] = token
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Connect(token, here, peer)
	f.Establish(token)
	return raw
}

func inode(fd int) uint64 {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return 0
	}
	return stat.Ino
}

func (f *fakes) prove(fd int) (proof, error) {
	f.mu.Lock()
	token, ok := f.tokens[inode(fd)]
	f.mu.Unlock()
	if !ok {
		return proof{}, errNotSocket
	}
	info, _, err := f.FullInfo(token)
	if err != nil {
		return proof{}, err
	}
	return proof{token: token, local: here, remote: peer, subflows: info.Subflows, closing: f.closing.Load()}, nil
}

// rawClient speaks to the broker octet by octet.
type rawClient struct {
	t    *testing.T
	conn *net.UnixConn
}

func dialRaw(t *testing.T, b *broker) *rawClient {
	t.Helper()
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Net: "unixpacket", Name: b.path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &rawClient{t, c}
}

// write sends octets with a number of descriptors of raw.
func (c *rawClient) write(b []byte, raw syscall.RawConn, descriptors int) {
	c.t.Helper()
	socket, err := c.conn.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		var fds []int
		for range descriptors {
			fds = append(fds, int(fd))
		}
		err := socket.Control(func(out uintptr) {
			if errno := sendmsg(out, b, fds); errno != 0 {
				c.t.Errorf("send: %v", errno)
			}
		})
		if err != nil {
			c.t.Error(err)
		}
	})
	if err != nil {
		c.t.Error(err)
	}
}

// sendmsg is sendmsg(2). The wrappers that there are put an octet into empty
// messages that have descriptors.
func sendmsg(to uintptr, b []byte, fds []int) syscall.Errno {
	var h unix.Msghdr
	if len(b) > 0 {
		vec := unix.Iovec{Base: &b[0]}
		vec.SetLen(len(b))
		h.Iov = &vec
		h.SetIovlen(1)
	}
	if len(fds) > 0 {
		oob := unix.UnixRights(fds...)
		h.Control = &oob[0]
		h.SetControllen(len(oob))
	}
	_, _, errno := unix.Syscall(unix.SYS_SENDMSG, to, uintptr(unsafe.Pointer(&h)), unix.MSG_NOSIGNAL)
	return errno
}

// read returns the next message, or the error.
func (c *rawClient) read() (message, error) {
	return (&Client{conn: c.conn}).receive(make([]byte, MaxMessage+1))
}

// expect reads a message of the type of want.
func expect[M message](c *rawClient) M {
	c.t.Helper()
	m, err := c.read()
	got, ok := m.(M)
	if err != nil || !ok {
		c.t.Fatalf("got %+v, %v; want %T", m, err, got)
	}
	return got
}

// hello attaches.
func (c *rawClient) hello(raw syscall.RawConn) {
	c.t.Helper()
	expect[greeting](c)
	c.write(attach{Version}.append(nil), raw, 1)
	expect[attached](c)
	if e := expect[event](c); e.Type != mptcp.Created {
		c.t.Errorf("after attached: %+v", e)
	}
}

// openFDs counts the descriptors of the process.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

var _ mptcp.PathManager = (*fakes)(nil)
