package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// The server has two links with an address of each family; another host has
// one link.
var (
	server1v4 = netip.MustParseAddr("10.1.1.2")
	server1v6 = netip.MustParseAddr("2001:db8:11::2")
	server2v4 = netip.MustParseAddr("10.1.2.2")
	server2v6 = netip.MustParseAddr("2001:db8:12::2")
	client2v6 = netip.MustParseAddr("2001:db8:2::2")
	otherv6   = netip.MustParseAddr("2001:db8:21::2")
)

const labPort = 7000

func at(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, labPort) }

// world is a lab whose client host is the process itself, with a broker.
type world struct {
	*testlab.Lab
	*broker
	server, other *testlab.Host
}

// inLab runs a test in a lab with the userspace path manager, an echo server
// on two hosts, and a broker with the configuration's other fields.
func inLab(t *testing.T, config Config, test func(t *testing.T, w *world)) {
	labtest.Run(t, func(t *testing.T) {
		w := &world{Lab: labtest.New(t, testlab.Options{})}
		for _, spec := range []testlab.LinkSpec{
			link("10.0.1.2/24", "2001:db8:1::2/64"), link("10.0.2.2/24", "2001:db8:2::2/64"),
		} {
			if _, err := w.AddClientLink(spec); err != nil {
				t.Fatal(err)
			}
		}
		w.server = w.host(t, "server", link("10.1.1.2/24", "2001:db8:11::2/64"), link("10.1.2.2/24", "2001:db8:12::2/64"))
		w.other = w.host(t, "other", link("10.2.1.2/24", "2001:db8:21::2/64"))
		if err := mptcp.SetPathManager(mptcp.UserspacePathManager); err != nil {
			t.Fatal(err)
		}
		config.Manager = openManager(t)
		w.broker = serve(t, config, nil)
		test(t, w)
	})
}

func link(addrs ...string) testlab.LinkSpec {
	spec := testlab.LinkSpec{Delay: time.Millisecond}
	for _, a := range addrs {
		spec.Addrs = append(spec.Addrs, netip.MustParsePrefix(a))
	}
	return spec
}

// host adds a host with an echo server.
func (w *world) host(t *testing.T, name string, links ...testlab.LinkSpec) *testlab.Host {
	t.Helper()
	h, err := w.AddHost(name, links...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.Listen("tcp", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, l)
	return h
}

func openManager(t testing.TB) mptcp.PathManager {
	t.Helper()
	pm, err := mptcp.OpenPathManager()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pm.Close() })
	return pm
}

// tokenOf reads a connection's token.
func tokenOf(raw syscall.RawConn) (uint32, error) {
	info, err := mptcp.GetInfo(raw)
	return info.Token, err
}

// childEnv makes the test binary a program without privilege that uses the
// broker: see TestMain.
const childEnv = "MPRESOLVE_BROKER_CHILD"

// childReport is what such a program prints.
type childReport struct {
	Direct   string // what the kernel says without a broker
	Remote   string // of the path that was added
	Refused  string
	Subflows int
}

// runChild is the program: it connects, and adds a path through the broker.
func runChild(path string) error {
	c, err := dial(true, at(server1v6))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := echo(c); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var r childReport
	if _, err := mptcp.OpenPathManager(); err != nil {
		r.Direct = err.Error()
	}
	if err := r.join(path, raw); err != nil {
		return err
	}
	if err := echo(c); err != nil { // the data is unaffected
		return err
	}
	info, err := mptcp.GetInfo(raw)
	if err != nil {
		return err
	}
	r.Subflows = info.Subflows
	return json.NewEncoder(os.Stdout).Encode(r)
}

func (r *childReport) join(path string, raw syscall.RawConn) error {
	pm, err := Attach(context.Background(), path, raw)
	if err != nil {
		return err
	}
	defer pm.Close()
	token, err := tokenOf(raw)
	if err != nil {
		return err
	}
	sub, err := pm.Subscribe(token)
	if err != nil {
		return err
	}
	if err := pm.CreateSubflow(token, mptcp.Subflow{Remote: at(server2v6)}); err != nil {
		return err
	}
	for r.Remote == "" {
		select {
		case e := <-sub.Events():
			if e.Type == mptcp.SubflowEstablished && e.Token == token {
				r.Remote = e.Remote.String()
			}
		case <-time.After(eventTimeout):
			return errors.New("no event")
		}
	}
	err = pm.CreateSubflow(token, mptcp.Subflow{Remote: netip.AddrPortFrom(server2v6, 22)})
	if !errors.Is(err, ErrRefused) {
		return fmt.Errorf("another port: %w", err)
	}
	r.Refused = err.Error()
	return nil
}

// TestLabUnprivileged: a process without CAP_NET_ADMIN gets a path through the
// broker, and not without it.
func TestLabUnprivileged(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, w *world) {
		r := runWithout(t, w.path)
		if !strings.Contains(r.Direct, mptcp.ErrNotPermitted.Error()) {
			t.Errorf("without the broker: %s", r.Direct)
		}
		if r.Remote != at(server2v6).String() || r.Subflows != 1 {
			t.Errorf("path to %s, %d subflows", r.Remote, r.Subflows)
		}
		if !strings.Contains(r.Refused, "remote port is not the connection's") {
			t.Errorf("another port: %s", r.Refused)
		}
		for _, s := range w.SYNs() {
			if s.Dst.Port() == 22 {
				t.Errorf("%+v was sent", s)
			}
		}
	})
}

// runWithout runs the child in a process that has all of this one's
// capabilities but CAP_NET_ADMIN.
func runWithout(t *testing.T, path string) (r childReport) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*eventTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	var out []byte
	err = testlab.WithoutNetAdmin(func() (err error) {
		out, err = cmd.Output()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// TestLabLife walks one connection through all commands, and to its end.
func TestLabLife(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, w *world) {
		c, raw := connect(t, true, at(server1v6))
		token, err := tokenOf(raw)
		if err != nil {
			t.Fatal(err)
		}
		client := w.attach(raw)
		sub := subscribe(t, client, token)
		if err := client.CreateSubflow(token, mptcp.Subflow{Remote: at(server2v6)}); err != nil {
			t.Fatal(err)
		}
		e := next(t, sub, mptcp.SubflowEstablished)
		flow := mptcp.Subflow{Local: e.Local, Remote: e.Remote}
		// The first one: a joined one takes it only a round trip later.
		local := c.LocalAddr().(*net.TCPAddr).AddrPort()
		if err := client.SetBackup(token, mptcp.Subflow{Local: local, Remote: at(server1v6)}, true); err != nil {
			t.Error(err)
		}
		// Nobody listens on the port that a client connects from.
		if err := client.Announce(token, 7, netip.AddrPortFrom(client2v6, 0)); !errors.Is(err, ErrRefused) {
			t.Errorf("announced where nobody listens: %v", err)
		}
		if err := client.DestroySubflow(token, flow); err != nil {
			t.Error(err)
		}
		next(t, sub, mptcp.SubflowClosed)
		if err := client.DestroySubflow(token, flow); !errors.Is(err, mptcp.ErrSubflowNotFound) {
			t.Errorf("destroyed twice: %v", err)
		}
		if err := client.Remove(token, 9); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("unknown id removed: %v", err)
		}
		if err := echo(c); err != nil {
			t.Error(err)
		}
		// Nothing but c holds the connection: its end comes at once.
		c.Close()
		next(t, sub, mptcp.Closed)
		ended(t, sub)
		if err := client.Err(); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), errConnection.Error()) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestLabFirstSubflowGone: the connection's own port is known for as long as it
// lives, also after the subflow that it began with has ended.
func TestLabFirstSubflowGone(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, w *world) {
		c, raw := connect(t, true, at(server1v6))
		client := w.attach(raw)
		sub := subscribe(t, client, client.token)
		if err := client.CreateSubflow(client.token, mptcp.Subflow{Remote: at(server2v6)}); err != nil {
			t.Fatal(err)
		}
		next(t, sub, mptcp.SubflowEstablished)
		local := c.LocalAddr().(*net.TCPAddr).AddrPort()
		if err := client.DestroySubflow(client.token, mptcp.Subflow{Local: local, Remote: at(server1v6)}); err != nil {
			t.Fatal(err)
		}
		next(t, sub, mptcp.SubflowClosed)
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
		if err := client.CreateSubflow(client.token, mptcp.Subflow{Remote: at(server2v6)}); err != nil {
			t.Fatal(err)
		}
		next(t, sub, mptcp.SubflowEstablished)
		err := client.CreateSubflow(client.token, mptcp.Subflow{Remote: netip.AddrPortFrom(server2v6, 22)})
		if !errors.Is(err, ErrRefused) {
			t.Errorf("another port: %v", err)
		}
	})
}

// TestLabNotEstablished: the kernel's refusal arrives as such.
func TestLabNotEstablished(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, w *world) {
		c, err := dial(true, at(server1v6))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, _ := c.SyscallConn()
		client := w.attach(raw)
		err = client.CreateSubflow(client.token, mptcp.Subflow{Remote: at(server2v6)})
		if !errors.Is(err, mptcp.ErrNotEstablished) {
			t.Errorf("%v", err)
		}
	})
}

// TestLabPolicy has targets that are refused without a packet, and one that
// the connection's own peer makes good.
func TestLabPolicy(t *testing.T) {
	tests := []struct {
		name         string
		peer, target netip.AddrPort
		want         error // nil: created
	}{
		{"public", at(server1v6), at(server2v6), nil},
		{"private from public", at(server1v6), at(server2v4), errPrivate},
		{"private from private", at(server1v4), at(server2v4), nil},
		{"public from private", at(server1v4), at(server2v6), nil},
		{"loopback", at(server1v4), at(netip.MustParseAddr("127.0.0.1")), errNotPublic},
		{"outside the allowed", at(server1v6), at(otherv6), errDisallow},
		{"another port", at(server1v6), netip.AddrPortFrom(server2v6, 22), errPort},
	}
	config := Config{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:10::/44")}}
	inLab(t, config, func(t *testing.T, w *world) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				_, raw := connect(t, true, test.peer)
				client := w.attach(raw)
				sub := subscribe(t, client, client.token)
				err := client.CreateSubflow(client.token, mptcp.Subflow{Remote: test.target})
				if test.want == nil {
					if err != nil {
						t.Fatal(err)
					}
					next(t, sub, mptcp.SubflowEstablished)
					return
				}
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want.Error()) {
					t.Errorf("%v, want %v", err, test.want)
				}
			})
		}
	})
}

// TestLabSubflowLimit: the limit counts what the kernel has, and what is
// destroyed makes room.
func TestLabSubflowLimit(t *testing.T) {
	inLab(t, Config{Limits: Limits{Subflows: 1}}, func(t *testing.T, w *world) {
		_, raw := connect(t, true, at(server1v6))
		client := w.attach(raw)
		sub := subscribe(t, client, client.token)
		create := func() error {
			return client.CreateSubflow(client.token, mptcp.Subflow{Remote: at(server2v6)})
		}
		if err := create(); err != nil {
			t.Fatal(err)
		}
		e := next(t, sub, mptcp.SubflowEstablished)
		if err := create(); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), errSubflows.Error()) {
			t.Errorf("beyond the limit: %v", err)
		}
		if err := client.DestroySubflow(client.token, mptcp.Subflow{Local: e.Local, Remote: e.Remote}); err != nil {
			t.Fatal(err)
		}
		next(t, sub, mptcp.SubflowClosed)
		if err := create(); err != nil {
			t.Errorf("after one was destroyed: %v", err)
		}
	})
}

// TestLabProof has descriptors that prove nothing.
func TestLabProof(t *testing.T) {
	inLab(t, Config{}, func(t *testing.T, w *world) {
		l, err := w.Client().ListenPlain("tcp", ":7001")
		if err != nil {
			t.Fatal(err)
		}
		echoes(t, l)
		own := netip.AddrPortFrom(netip.MustParseAddr("10.0.1.2"), 7001)
		_, plain := connect(t, false, own)
		_, fallen := connect(t, true, own)
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		device, _ := file.SyscallConn()
		listener, _ := l.(*net.TCPListener).SyscallConn()
		tests := []struct {
			name string
			raw  syscall.RawConn
			want string
		}{
			{"file", device, errNotSocket.Error()},
			{"plain TCP", plain, errNotSocket.Error()},
			{"fallen back", fallen, mptcp.ErrFallback.Error()},
			{"foreign namespace", w.foreign(t), errNamespace.Error()},
			{"plain listener", listener, errNotSocket.Error()},
			{"MPTCP listener", w.listener(t), "the connection's ends"},
			{"unconnected", unconnected(t), "the connection's ends"},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				_, err := Attach(context.Background(), w.path, test.raw)
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
			})
		}
	})
}

// foreign is a good connection of another host.
func (w *world) foreign(t *testing.T) syscall.RawConn {
	t.Helper()
	var d net.Dialer
	d.SetMultipathTCP(true)
	c, err := w.other.DialContext(context.Background(), &d, "tcp", at(server1v6).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := echo(c); err != nil {
		t.Fatal(err)
	}
	raw, _ := c.(*net.TCPConn).SyscallConn()
	if _, err := tokenOf(raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

func (w *world) listener(t *testing.T) syscall.RawConn {
	t.Helper()
	l, err := w.Client().Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, _ := l.(*net.TCPListener).SyscallConn()
	return raw
}

// unconnected is an MPTCP socket that was never connected.
func unconnected(t *testing.T) syscall.RawConn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return rawFD(fd)
}
