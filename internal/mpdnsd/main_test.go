package mpdnsd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/testdata/zones"
)

// leakFree is the test's main with a check for goroutines left behind.
type leakFree struct{ m *testing.M }

func (l leakFree) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(leakFree{m}, map[string]func(){
		"mpdnsd":      func() { os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr)) },
		"nameprogram": nameProgramMain,
		"pathprogram": programMain,
		"goresolve":   goResolveMain,
	})
}

// waitTime bounds what a test waits for.
const waitTime = 10 * time.Second

// TestScripts runs the command as a process.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setupScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"daemon":  cmdDaemon,
			"query":   cmdQuery,
			"signal":  cmdSignal,
			"waitlog": cmdWaitLog,
			"waitend": cmdWaitEnd,
		},
	})
}

// setupScript gives a script the shared zone files.
func setupScript(env *testscript.Env) error {
	files, err := fs.Glob(zones.FS, "*")
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := fs.ReadFile(zones.FS, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o600); err != nil {
			return err
		}
	}
	env.Values["process"] = new(scriptDaemon)
	return nil
}

// scriptDaemon is a daemon that a script runs.
type scriptDaemon struct {
	cmd  *exec.Cmd
	log  *logBuffer
	addr string
	done chan error
}

// logBuffer is a log that can be waited for.
type logBuffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed and replaced at each write
}

func newLogBuffer() *logBuffer { return &logBuffer{grown: make(chan struct{})} }

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.grown)
	b.grown = make(chan struct{})
	return b.text.Write(p)
}

func (b *logBuffer) get() (text string, grown <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String(), b.grown
}

// wait returns the first match of pattern and its groups.
func (b *logBuffer) wait(pattern string) ([]string, error) {
	re := regexp.MustCompile(pattern)
	timeout := time.After(waitTime)
	for {
		text, grown := b.get()
		if m := re.FindStringSubmatch(text); m != nil {
			return m, nil
		}
		select {
		case <-grown:
		case <-timeout:
			return nil, fmt.Errorf("no %q in the log:\n%s", pattern, text)
		}
	}
}

// listening is the log line that has the real address.
const listening = `msg=listening address=(\S+)`

// cmdDaemon starts mpdnsd with the arguments and waits until it is ready.
func cmdDaemon(ts *testscript.TestScript, _ bool, args []string) {
	p := ts.Value("process").(*scriptDaemon)
	p.log, p.done = newLogBuffer(), make(chan error, 1)
	p.cmd = exec.Command(lookPath(ts, "mpdnsd"), args...)
	p.cmd.Dir, p.cmd.Stderr = ts.MkAbs("."), p.log
	ts.Check(p.cmd.Start())
	go func() { p.done <- p.cmd.Wait() }()
	ts.Defer(func() { _ = p.cmd.Process.Kill() })
	_, err := p.log.wait("msg=ready")
	ts.Check(err)
	m, err := p.log.wait(listening)
	ts.Check(err)
	p.addr = m[1]
}

// lookPath finds a command on the script's path.
func lookPath(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		for _, file := range []string{filepath.Join(dir, name), filepath.Join(dir, name+".exe")} {
			if info, err := os.Stat(file); err == nil && !info.IsDir() {
				return file
			}
		}
	}
	ts.Fatalf("no %s on the path", name)
	return ""
}

// cmdQuery asks the daemon: query udp|tcp NAME TYPE WANT, WANT being a regular
// expression for the code and the records.
func cmdQuery(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: query udp|tcp NAME TYPE WANT")
	}
	got, err := ask(args[0], ts.Value("process").(*scriptDaemon).addr, args[1], args[2])
	ts.Check(err)
	if !regexp.MustCompile(args[3]).MatchString(got) {
		ts.Fatalf("got %s\nwant %s", got, args[3])
	}
}

// ask returns the response code and the answer's records.
func ask(network, addr, name, typ string) (string, error) {
	t, err := dnswire.ParseType(typ)
	if err != nil {
		return "", err
	}
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), uint16(t))
	c := dns.Client{Net: network, Timeout: waitTime}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		return "", err
	}
	out := dns.RcodeToString[r.Rcode]
	for _, rr := range r.Answer {
		out += "; " + strings.Join(strings.Fields(rr.String()), " ")
	}
	return out, nil
}

// cmdSignal sends TERM or HUP.
func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[args[0]]
	ts.Check(ts.Value("process").(*scriptDaemon).cmd.Process.Signal(sig))
}

// cmdWaitLog waits until the daemon's log matches.
func cmdWaitLog(ts *testscript.TestScript, _ bool, args []string) {
	_, err := ts.Value("process").(*scriptDaemon).log.wait(args[0])
	ts.Check(err)
}

// cmdWaitEnd waits until the daemon has ended with exit code 0.
func cmdWaitEnd(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case err := <-ts.Value("process").(*scriptDaemon).done:
		ts.Check(err)
	case <-time.After(waitTime):
		ts.Fatalf("the daemon has not ended")
	}
}

// TestRunInProcess runs the daemon within the test, tells a service manager,
// reloads by hand, and leaves no goroutine behind.
func TestRunInProcess(t *testing.T) {
	manager, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Skipf("no unix datagram sockets here: %v", err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", manager.LocalAddr().String())
	told := bufio.NewReader(&packets{manager})

	zone := filepath.Join(t.TempDir(), "example.zone")
	write := func(addr string) {
		text := "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nwww 60 A " + addr + "\n"
		if err := os.WriteFile(zone, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("192.0.2.1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reload, log, code := make(chan os.Signal), newLogBuffer(), make(chan int)
	go func() {
		code <- run(ctx, process{reload: reload}, []string{"--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--zone", zone}, io.Discard, log)
	}()
	m, err := log.wait(listening)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := told.ReadString('\n'); err != nil || line != "READY=1\n" {
		t.Errorf("told the manager %q, %v", line, err)
	}
	if got, err := ask("udp", m[1], "www.example", "A"); err != nil || got != "NOERROR; www.example. 60 IN A 192.0.2.1" {
		t.Errorf("%q, %v", got, err)
	}
	write("192.0.2.2")
	reload <- syscall.SIGHUP
	if _, err := log.wait("reloaded; the cache is kept"); err != nil {
		t.Fatal(err)
	}
	if line, err := told.ReadString('\n'); err != nil || line != "RELOADING=1\n" {
		t.Errorf("told the manager %q, %v", line, err)
	}
	if runtime.GOOS == "linux" {
		if line, err := told.ReadString('\n'); err != nil || !strings.HasPrefix(line, "MONOTONIC_USEC=") {
			t.Errorf("told the manager %q, %v", line, err)
		}
	}
	if line, err := told.ReadString('\n'); err != nil || line != "READY=1\n" {
		t.Errorf("told the manager %q, %v", line, err)
	}
	if got, err := ask("tcp", m[1], "www.example", "A"); err != nil || got != "NOERROR; www.example. 60 IN A 192.0.2.2" {
		t.Errorf("after the reload: %q, %v", got, err)
	}
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d", c)
	}
	if line, err := told.ReadString('\n'); err != nil || line != "STOPPING=1\n" {
		t.Errorf("told the manager %q, %v", line, err)
	}
}

// packets makes lines of datagrams.
type packets struct{ net.PacketConn }

func (p *packets) Read(b []byte) (int, error) {
	n, _, err := p.ReadFrom(b[:len(b)-1])
	b[n] = '\n'
	return n + 1, err
}

func TestListenError(t *testing.T) {
	for errno, want := range map[syscall.Errno][]string{
		syscall.EACCES:        {"permission denied", "setcap cap_net_bind_service=+ep", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "mpdnsd --listen 127.0.0.1:5353"},
		syscall.EADDRINUSE:    {"in use", "mpdnsd --listen 127.0.0.1:5353"},
		syscall.EADDRNOTAVAIL: {"127.0.0.1:53: "},
	} {
		e := &listenError{netip.MustParseAddrPort("127.0.0.1:53"), fmt.Errorf("listening on 127.0.0.1:53: %w", os.NewSyscallError("bind", errno))}
		for _, part := range want {
			if !strings.Contains(e.Error(), part) {
				t.Errorf("no %q in: %v", part, e)
			}
		}
	}
}

func TestLookupGroup(t *testing.T) {
	for name, want := range map[string]int{"": -1, "0": 0, "4711": 4711} {
		if got, err := lookupGroup("paths.group", name); err != nil || got != want {
			t.Errorf("%q: %d, %v", name, got, err)
		}
	}
	if got, err := lookupGroup("paths.group", "no such group"); err == nil {
		t.Errorf("a group that is not there has the number %d", got)
	}
}

// TestPathsErrorAdvice has the cases that are no lab's.
func TestPathsErrorAdvice(t *testing.T) {
	paths := config.Paths{Socket: "/run/mpdnsd/paths.sock", Group: "net"}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{mptcp.ErrUnsupported, "mpresolve doctor"},
		{&socketError{paths.Socket, &fs.PathError{Op: "chown", Path: paths.Socket, Err: syscall.EPERM}}, "SupplementaryGroups=net"},
		{&socketError{paths.Socket, os.NewSyscallError("bind", syscall.EACCES)}, `sudo chown "$(id -un)" /run/mpdnsd`},
		{fmt.Errorf("write: %w", fs.ErrPermission), "ProtectKernelTunables="},
	} {
		if text := (&pathsError{paths, tt.err}).Error(); !strings.HasPrefix(text, "path broker: ") || !strings.Contains(text, tt.want) {
			t.Errorf("no %q in: %s", tt.want, text)
		}
	}
	if text := (&pathsError{paths, io.EOF}).Error(); text != "path broker: EOF" {
		t.Errorf("%q", text)
	}
}

func TestParseZone(t *testing.T) {
	for in, want := range map[string][2]string{
		"demo.example.zone":     {"", "demo.example.zone"},
		"example.org=org.zone":  {"example.org", "org.zone"},
		"/a=b/c.zone":           {"", "/a=b/c.zone"},
		"example.org=/a=b/zone": {"example.org", "/a=b/zone"},
		"a..b=c":                {"", "a..b=c"},
	} {
		if z := parseZone(in); z.Origin != want[0] || z.File != want[1] {
			t.Errorf("%s: %+v", in, z)
		}
	}
}
