package exampletest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds of a server's life.
const (
	startTimeout = 60 * time.Second      // until it takes connections
	stopTimeout  = 20 * time.Second      // from the request to stop until it is killed
	pollInterval = 20 * time.Millisecond // between two looks at a server that says nothing
	portTries    = 100                   // ports looked at for one that is free
)

// Debian keeps some servers out of an ordinary user's PATH.
var programDirs = []string{"/usr/sbin", "/usr/local/sbin", "/usr/lib/postgresql/*/bin"}

// Program returns the path of a program, or skips the test and names the
// Debian package that has it. With MPRESOLVE_EXAMPLES=required the test fails.
func Program(t *testing.T, name, debianPackage string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range programDirs {
		paths, err := filepath.Glob(filepath.Join(dir, name))
		if err == nil && len(paths) > 0 {
			return paths[len(paths)-1]
		}
	}
	missing(t, name+" is not installed: apt-get install "+debianPackage)
	return ""
}

// noMultipath is why a test that needs Multipath TCP does not go on.
const noMultipath = "this system has no Multipath TCP (net.mptcp.enabled)"

// missing ends a test that lacks something: as skipped, or as failed where
// MPRESOLVE_EXAMPLES=required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MPRESOLVE_EXAMPLES") == "required" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Way is a way to start a server.
type Way struct {
	Name  string
	Check func(t *testing.T, c net.Conn) // what has to be true of a connection to it
	wrap  bool
}

// Ways returns the two ways to start a server that opens TCP sockets: as it is,
// and with its sockets turned to Multipath TCP by mptcpize.
func Ways() []Way {
	return []Way{
		{Name: "plain TCP", Check: CheckPlain},
		{Name: "Multipath TCP", Check: CheckMultipath, wrap: true},
	}
}

// Server is a program that takes connections.
type Server struct {
	Command []string // the path of the program, and its arguments
	Address string   // where it will take connections
	Ready   string   // what it prints when it does; "" for one that prints nothing
}

// Start runs a server until the test ends, as an ordinary user, and returns
// when it takes connections.
func (w Way) Start(t *testing.T, s Server) {
	t.Helper()
	if w.wrap {
		if !SystemHasMultipath() {
			missing(t, noMultipath)
		}
		s.Command = append([]string{Program(t, "mptcpize", "mptcpize"), "run"}, s.Command...)
	}
	ready, exited := s.launch(t)
	select {
	case <-ready:
	case err := <-exited:
		t.Fatalf("%s ended before it took connections: %v", s.Command, err)
	case <-time.After(startTimeout):
		t.Fatalf("%s takes no connections after %v", s.Command, startTimeout)
	}
}

// launch starts the program, and has it stopped when the test ends. The first
// channel is closed when the program takes connections; the second has its end.
func (s Server) launch(t *testing.T) (<-chan struct{}, <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := command(ctx, s.Command)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}

	ready, exited := make(chan struct{}), make(chan error, 1)
	var output string
	var work sync.WaitGroup
	work.Go(func() { output = follow(out, s.Ready, ready) })
	work.Go(func() {
		exited <- cmd.Wait()
		in.Close()
	})
	if s.Ready == "" {
		work.Go(func() { poll(ctx, s.Address, ready) })
	}
	t.Cleanup(func() {
		cancel()
		work.Wait()
		if t.Failed() {
			t.Logf("%s printed:\n%s", s.Command, output)
		}
	})
	return ready, exited
}

// command prepares a command that is run as an ordinary user and asked to stop
// when ctx ends.
func command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = ordinaryUser()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	return cmd
}

// follow reads a server's output to its end and returns it. It closes ready at
// the first line that has the mark in it.
func follow(out io.Reader, mark string, ready chan<- struct{}) string {
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if mark != "" && strings.Contains(lines.Text(), mark) {
			close(ready)
			mark = ""
		}
	}
	_, _ = io.Copy(&all, out) // a line too long for the scanner, and what follows
	return all.String()
}

// poll closes ready when address takes connections, or returns when ctx ends.
func poll(ctx context.Context, address string, ready chan<- struct{}) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		var d net.Dialer
		if c, err := d.DialContext(ctx, "tcp", address); err == nil {
			c.Close()
			close(ready)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Run runs a command to its end, as an ordinary user. The test fails where the
// command does.
func Run(t *testing.T, args ...string) {
	t.Helper()
	out, err := command(t.Context(), args).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Dir makes a folder of the ordinary user that servers run as, and removes it
// when the test ends.
func Dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mpresolve-example-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := giveAway(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Port returns a TCP port that nobody listens at, on neither of the addresses
// of localhost.
func Port(t *testing.T) string {
	t.Helper()
	for range portTries {
		four, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(four.Addr().String())
		six, err := net.Listen("tcp6", "[::1]:"+port)
		four.Close()
		if err == nil {
			six.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return port
		}
	}
	t.Fatalf("no free port in %d tries", portTries)
	return ""
}
