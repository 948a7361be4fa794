package mpdnsd

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// The addresses of the lab, a link each.
const (
	client1, client2          = "10.0.1.2", "10.0.2.2"
	server1, server2, server3 = "10.1.1.2", "10.1.2.2", "10.1.3.2"
)

const (
	labDelay = time.Millisecond // of a link, in each direction
	labChunk = 16 << 10         // octets that travel there and back
)

// world is a lab: the test's process is the client, and the server returns what
// it is sent.
type world struct {
	t      *testing.T
	lab    *testlab.Lab
	server *testlab.Host
	port   uint16
}

// inWorld runs f in a lab, with an empty /run.
func inWorld(t *testing.T, f func(w *world)) {
	labtest.Run(t, func(t *testing.T) {
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			t.Fatalf("mount: %v", err)
		}
		w := &world{t: t, lab: labtest.New(t, testlab.Options{})}
		link := func(a string) testlab.LinkSpec {
			return testlab.LinkSpec{Delay: labDelay, Addrs: []netip.Prefix{netip.MustParsePrefix(a + "/24")}}
		}
		for _, a := range []string{client1, client2} {
			if _, err := w.lab.AddClientLink(link(a)); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if w.server, err = w.lab.AddHost("server", link(server1), link(server2), link(server3)); err != nil {
			t.Fatal(err)
		}
		limits := mptcp.Limits{Subflows: 8, AddAddrAccepted: 8}
		if err := errors.Join(mptcp.SetLimits(limits), w.server.Do(func() error { return mptcp.SetLimits(limits) })); err != nil {
			t.Fatal(err)
		}
		w.echo()
		f(w)
	})
}

// echo listens on all of the server's addresses and returns what comes.
func (w *world) echo() {
	w.t.Helper()
	ln, err := w.server.Listen("tcp", ":0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.port = ln.Addr().(*net.TCPAddr).AddrPort().Port()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_, _ = io.Copy(c, c) // the client sees what fails
				_ = c.Close()
			})
		}
	})
	w.t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
}

// manager is the path manager that the client's namespace is set to.
func (w *world) manager() string {
	w.t.Helper()
	s, err := mptcp.ReadSystem()
	if err != nil {
		w.t.Fatal(err)
	}
	return s.PathManager
}

// subflows lists the two ends of a connection's established subflows, sorted by
// the server's.
func (w *world) subflows(token uint32) (locals, remotes []string) {
	w.t.Helper()
	all, err := mptcp.Subflows()
	if err != nil {
		w.t.Fatal(err)
	}
	slices.SortStableFunc(all, func(a, b mptcp.SubflowState) int { return a.Remote.Compare(b.Remote) })
	for _, s := range all {
		if s.Token == token && s.TCP.State == mptcp.StateEstablished {
			locals, remotes = append(locals, s.Local.Addr().String()), append(remotes, s.Remote.Addr().String())
		}
	}
	return locals, remotes
}

// await waits until a connection has one subflow to each of the addresses given,
// and returns their local addresses.
func (w *world) await(token uint32, want ...string) []string {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(waitTime)
	for {
		locals, remotes := w.subflows(token)
		if slices.Equal(remotes, want) {
			return locals
		}
		select {
		case <-tick.C:
		case <-timeout:
			w.t.Fatalf("subflows to %q, want %q", remotes, want)
		}
	}
}

// labDaemon is a daemon in the client's namespace.
type labDaemon struct {
	t   *testing.T
	cmd *exec.Cmd
	log *logBuffer
}

// daemonArgs are what each daemon is started with.
var daemonArgs = []string{"--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"}

// daemon starts mpdnsd and waits until it is ready.
func (w *world) daemon(args ...string) *labDaemon {
	w.t.Helper()
	return w.start(exec.Command("mpdnsd", append(slices.Clone(daemonArgs), args...)...))
}

func (w *world) start(cmd *exec.Cmd) *labDaemon {
	w.t.Helper()
	d := &labDaemon{t: w.t, cmd: cmd, log: newLogBuffer()}
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			d.kill()
		}
	})
	d.logs("msg=ready")
	return d
}

// logs waits for a line of the log.
func (d *labDaemon) logs(pattern string) []string {
	d.t.Helper()
	m, err := d.log.wait(pattern)
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

// stop ends the daemon in order.
func (d *labDaemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		log, _ := d.log.get()
		d.t.Errorf("the daemon ended with %v:\n%s", err, log)
	}
}

func (d *labDaemon) signal(s os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// kill ends the daemon as a crash does.
func (d *labDaemon) kill() {
	d.signal(syscall.SIGKILL)
	_ = d.cmd.Wait() // it did not end well
}

// labProgram is a program without privilege that uses the dialer.
type labProgram struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	token uint32
}

// program connects to addresses of the server. socket is the broker's, empty for
// the default. The program carries no data yet.
func (w *world) program(socket string, addrs ...string) *labProgram {
	w.t.Helper()
	args := []string{socket}
	for _, a := range addrs {
		args = append(args, netip.AddrPortFrom(netip.MustParseAddr(a), w.port).String())
	}
	p := &labProgram{t: w.t, cmd: exec.Command("pathprogram", args...)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		w.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := testlab.WithoutNetAdmin(p.cmd.Start); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait() // it did not end well
		}
	})
	p.token = p.read().Token
	return p
}

// read reads one report of the program.
func (p *labProgram) read() (s programState) {
	p.t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		p.t.Fatalf("the program's report: %v: %s", err, line)
	}
	return s
}

// state lets the program carry a chunk at least, wait for its joins and report.
func (p *labProgram) state() programState {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		p.t.Fatal(err)
	}
	return p.read()
}

// finish ends the program, which fails if its connection did.
func (p *labProgram) finish() {
	p.t.Helper()
	if err := p.in.Close(); err != nil {
		p.t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the program: %v", err)
	}
}

// ordinary is a connection as a program that knows nothing of this makes it.
func (w *world) ordinary() (*net.TCPConn, uint32) {
	w.t.Helper()
	d := net.Dialer{Timeout: waitTime}
	d.SetMultipathTCP(true)
	c, err := d.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(server1), w.port).String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := mptcp.GetInfo(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.(*net.TCPConn), info.Token
}

// carry sends a chunk and compares what comes back.
func carry(c net.Conn, random *rand.ChaCha8) error {
	sent, back := make([]byte, labChunk), make([]byte, labChunk)
	if _, err := random.Read(sent); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(waitTime)); err != nil {
		return err
	}
	if _, err := c.Write(sent); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, back); err != nil {
		return err
	}
	if sha256.Sum256(sent) != sha256.Sum256(back) {
		return errors.New("other octets came back")
	}
	return nil
}

// configuration writes a configuration file with a section of the path broker.
func (w *world) configuration(paths string) (file string) {
	w.t.Helper()
	file = filepath.Join(w.t.TempDir(), "mpdnsd.toml")
	rewrite(w.t, file, paths)
	return file
}

func rewrite(t *testing.T, file, paths string) {
	t.Helper()
	if err := os.WriteFile(file, []byte("[paths]\nenabled = true\n"+paths), 0o600); err != nil {
		t.Fatal(err)
	}
}
