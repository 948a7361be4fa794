package mpdnsd

import (
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
)

// defaultFolder makes the folder of the default socket.
func (w *world) defaultFolder() {
	w.t.Helper()
	if err := os.Mkdir(filepath.Dir(broker.DefaultPath), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// checkGone wants no socket and the kernel's path manager, as before the daemon.
func (w *world) checkGone() {
	w.t.Helper()
	if _, err := os.Lstat(broker.DefaultPath); !os.IsNotExist(err) {
		w.t.Errorf("the socket is still there: %v", err)
	}
	if m := w.manager(); m != mptcp.KernelPathManager {
		w.t.Errorf("path manager %s, want the kernel's", m)
	}
}

// TestPathBroker: a program without privilege finds the daemon and gets all its
// subflows. The daemon's end leaves them, and nothing else.
func TestPathBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.defaultFolder()
		d := w.daemon("--paths-manager", "userspace")
		d.logs(`msg="path broker" manager=userspace socket=/run/mpdnsd/paths.sock mode=0666`)
		if m := w.manager(); m != mptcp.UserspacePathManager {
			t.Errorf("path manager %s", m)
		}
		p := w.program("", server1, server2, server3)
		s := p.state()
		if s.Manager != "broker" || s.Verdicts[server2] != dialer.Joined || s.Verdicts[server3] != dialer.Joined {
			t.Errorf("%+v", s)
		}
		w.await(p.token, server1, server2, server3)
		d.logs(`msg="broker client attached" uid=0 pid=[0-9]+ token=[0-9a-f]{8} local=` + client1)
		d.stop()
		w.checkGone()
		d.logs(`msg="broker client detached" uid=0 pid=[0-9]+ token=[0-9a-f]{8} reason="the broker is stopping"`)
		p.state()
		w.await(p.token, server1, server2, server3)
		p.finish()
	})
}

// TestPathBrokerKilled: a connection outlives the daemon's death in
// mid-transfer, and the next daemon takes up what the dead one left.
func TestPathBrokerKilled(t *testing.T) {
	inWorld(t, func(w *world) {
		w.defaultFolder()
		d := w.daemon("--paths-manager", "userspace")
		p := w.program("", server1, server2, server3)
		before := p.state()
		w.await(p.token, server1, server2, server3)
		d.kill()
		if after := p.state(); after.Chunks <= before.Chunks {
			t.Errorf("%d chunks, then %d", before.Chunks, after.Chunks)
		}
		w.await(p.token, server1, server2, server3)
		if m := w.manager(); m != mptcp.UserspacePathManager {
			t.Errorf("path manager %s: the kill was too orderly for this test", m)
		}
		d = w.daemon("--paths-manager", "userspace")
		d.logs("left by a service that was killed")
		q := w.program("", server1, server2, server3)
		if s := q.state(); s.Manager != "broker" {
			t.Errorf("%+v", s)
		}
		w.await(q.token, server1, server2, server3)
		p.state()
		w.await(p.token, server1, server2, server3)
		d.stop()
		w.checkGone()
		p.finish()
		q.finish()
	})
}

// TestOrdinaryConnection: a program that knows nothing of the daemon gets what
// the configured endpoints say; a connection brought to the broker does not.
func TestOrdinaryConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		w.defaultFolder()
		endpoint := mptcp.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(client2), 0), Flags: mptcp.EndpointSubflow}
		if err := mptcp.AddEndpoint(endpoint); err != nil {
			t.Fatal(err)
		}
		d := w.daemon("--paths-manager", "userspace")
		p := w.program("", server1, server2)
		d.logs("broker client attached")
		c, token := w.ordinary()
		if err := carry(c, rand.NewChaCha8([32]byte{})); err != nil {
			t.Fatal(err)
		}
		if from := w.await(token, server1, server1); !slices.Contains(from, client2) {
			t.Errorf("subflows from %q", from)
		}
		p.state()
		w.await(p.token, server1, server2)
		d.stop() // which does not hand the connection over to the endpoints
		p.state()
		w.await(p.token, server1, server2)
		p.finish()
	})
}

const (
	loadOrdinary = 8
	loadPrograms = 2
	loadTurns    = 3
)

// TestPathBrokerUnderLoad: no connection is lost and no octet changed while the
// daemon comes and goes.
func TestPathBrokerUnderLoad(t *testing.T) {
	inWorld(t, func(w *world) {
		w.defaultFolder()
		endpoint := mptcp.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(client2), 0), Flags: mptcp.EndpointSubflow}
		if err := mptcp.AddEndpoint(endpoint); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		var carrying sync.WaitGroup
		begin := func() {
			for range loadOrdinary {
				c, token := w.ordinary()
				carrying.Go(func() { carryUntil(t, c, token, stop) })
			}
		}
		begin()
		var programs []*labProgram
		for range loadTurns {
			d := w.daemon("--paths-manager", "userspace")
			begin()
			for range loadPrograms {
				p := w.program("", server1, server2, server3)
				programs = append(programs, p)
				if s := p.state(); s.Manager != "broker" || s.Verdicts[server3] != dialer.Joined {
					t.Errorf("%+v", s)
				}
			}
			d.stop()
			w.checkGone()
		}
		close(stop)
		carrying.Wait()
		for _, p := range programs {
			p.state()
			p.finish()
		}
	})
}

// carryUntil is a goroutine: it carries chunks until stop, and one more.
func carryUntil(t *testing.T, c net.Conn, token uint32, stop <-chan struct{}) {
	random := rand.NewChaCha8([32]byte{byte(token)})
	for last := false; ; {
		if err := carry(c, random); err != nil {
			t.Errorf("connection %#x: %v", token, err)
			return
		}
		if last {
			return
		}
		select {
		case <-stop:
			last = true
		default:
		}
	}
}

// TestSocketActivation: the service manager's socket is served in place of the
// configured one, and left there; what paths.allow excludes is refused.
func TestSocketActivation(t *testing.T) {
	inWorld(t, func(w *world) {
		socket := filepath.Join(t.TempDir(), "handed.sock")
		l, err := broker.Listen(socket, 0o600, -1)
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close() // the file has it too
		defer f.Close()
		config := w.configuration("manager = \"userspace\"\nallow = [\"" + server1 + "/32\", \"" + server2 + "/32\"]\n")
		d := w.start(activated(f, append(daemonArgs, "--config", config)...))
		d.logs(`msg="path broker" manager=userspace socket=\S*handed.sock from="service manager" allow=`)
		p := w.program(socket, server1, server2, server3)
		s := p.state()
		if s.Manager != "broker" || s.Verdicts[server2] != dialer.Joined || s.Verdicts[server3] != dialer.NotTried {
			t.Errorf("%+v", s)
		}
		d.logs(`level=WARN msg="broker refuses to .*" uid=0 pid=[0-9]+ token=[0-9a-f]{8} err=".*` + server3 + `.*outside of the allowed prefixes"`)
		d.stop()
		if _, err := os.Lstat(socket); err != nil {
			t.Error(err)
		}
		p.finish()
	})
}

// activated is the daemon as a service manager starts it, with one socket.
func activated(socket *os.File, args ...string) *exec.Cmd {
	const script = `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=paths exec mpdnsd "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
	cmd.ExtraFiles = []*os.File{socket}
	return cmd
}

// TestReloadPaths: the socket's mode is applied, and the rest is said to need a
// restart.
func TestReloadPaths(t *testing.T) {
	inWorld(t, func(w *world) {
		socket := filepath.Join(t.TempDir(), "paths.sock")
		rest := "socket = \"" + socket + "\"\nmanager = \"userspace\"\n"
		config := w.configuration(rest + "mode = \"0600\"\n")
		d := w.daemon("--config", config)
		checkMode(t, socket, 0o600)
		rewrite(t, config, rest+"mode = \"0660\"\ngroup = \"0\"\n")
		d.signal(syscall.SIGHUP)
		d.logs(`(?s)msg="path broker" socket=\S+ mode=0660 group=0.*msg="reloaded`)
		checkMode(t, socket, 0o660)
		rewrite(t, config, rest+"mode = \"0660\"\nsubflows = 2\n")
		d.signal(syscall.SIGHUP)
		d.logs(`level=WARN msg="reload: of the settings of \[paths\], all but mode and group need a restart"`)
		rewrite(t, config, "socket = \"/other\"\nmode = \"0666\"\n")
		d.signal(syscall.SIGHUP)
		d.logs(`(?s)(need a restart.*){2}msg="reloaded`)
		checkMode(t, socket, 0o660)
		d.stop()
	})
}

func checkMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
}

// TestNoPathBroker: what is in the way is told with what to type, and nothing
// is left behind.
func TestNoPathBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := t.TempDir()
		live := filepath.Join(dir, "live.sock")
		l, err := broker.Listen(live, 0o600, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		free := filepath.Join(dir, "free.sock")
		for _, tt := range []struct {
			name string
			cmd  *exec.Cmd
			run  func(f func() error) error
			code int
			want []string
		}{
			{"capability", mpdnsd("--paths-socket", free), testlab.WithoutNetAdmin, exitError, []string{
				"CAP_NET_ADMIN is needed", "sudo setcap cap_net_admin,", "AmbientCapabilities=CAP_NET_ADMIN",
			}},
			{"folder", mpdnsd("--paths-manager", "userspace"), nil, exitError, []string{
				"listening on /run/mpdnsd/paths.sock: bind: no such file", `sudo install -d -o "$(id -un)" /run/mpdnsd`,
			}},
			{"in use", mpdnsd("--paths-socket", live), nil, exitError, []string{"address already in use", "ss -xlp | grep -F " + live}},
			{"file", mpdnsd("--paths-socket", file), nil, exitError, []string{"address already in use", "ls -l " + file}},
			{"group", mpdnsd("--config", w.configuration("group = \"nobodies\"\n")), nil, exitUsage, []string{
				`paths.group: this machine has no group "nobodies"`, "sudo groupadd --system nobodies",
			}},
			{"foreign group", mpdnsd("--config", w.configuration("socket = \""+free+"\"\ngroup = \"12345\"\n")), nil, exitError, []string{
				"listening on " + free + ": chown: ",
			}},
			{"read-only", readOnly(mpdnsd("--paths-manager", "userspace", "--paths-socket", free)), nil, exitError, []string{
				"read-only file system", "ProtectKernelTunables=",
			}},
			{"off", activated(f, daemonArgs...), nil, exitError, []string{"which is off: set enabled = true"}},
		} {
			if tt.run == nil {
				tt.run = func(f func() error) error { return f() }
			}
			var out []byte
			err := tt.run(func() (err error) {
				out, err = tt.cmd.CombinedOutput()
				return err
			})
			if tt.cmd.ProcessState.ExitCode() != tt.code {
				t.Errorf("%s: %v, want exit code %d", tt.name, err, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("%s: no %q in:\n%s", tt.name, want, out)
				}
			}
		}
		if m := w.manager(); m != mptcp.KernelPathManager {
			t.Errorf("path manager %s", m)
		}
		if _, err := os.Lstat(free); !os.IsNotExist(err) {
			t.Errorf("a socket is left: %v", err)
		}
	})
}

func mpdnsd(args ...string) *exec.Cmd {
	return exec.Command("mpdnsd", append(append([]string{}, daemonArgs...), args...)...)
}

// readOnly has the kernel's settings read-only for the command, as
// ProtectKernelTunables= does.
func readOnly(cmd *exec.Cmd) *exec.Cmd {
	const script = `mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"`
	return exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "sh"}, cmd.Args...)...)
}
