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
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// TestAbuse: a message that breaks the rules ends the client with the reason,
// and none of the descriptors that came with it stays open.
func TestAbuse(t *testing.T) {
	good := attach{Version}.append(nil)
	tests := []struct {
		name        string
		attached    bool
		octets      []byte
		descriptors int
		want        error // nil: the end without a word
	}{
		{"no descriptor", false, good, 0, errDescriptors},
		{"two descriptors", false, good, 2, errDescriptors},
		{"many descriptors", false, good, 200, errDescriptors},
		{"another version", false, attach{Version + 1}.append(nil), 1, errVersion},
		{"not attach", false, request{Op: opRemove}.append(nil), 1, errOrder},
		{"the server's message", false, attached{token}.append(nil), 1, errOrder},
		{"junk", false, []byte("GET / HTTP/1.1\r\n\r\n"), 1, errKind},
		{"long message", false, make([]byte, 8<<10), 1, errLong},
		{"empty message", false, nil, 0, nil},
		{"empty message with a descriptor", false, nil, 1, nil},
		{"empty message with two descriptors", false, nil, 2, nil},
		{"request without descriptor", true, request{Op: opRemove}.append(nil), 0, errDescriptors},
		{"request with two descriptors", true, request{Op: opRemove}.append(nil), 2, errDescriptors},
		{"attached twice", true, good, 1, errOrder},
		{"half a message", false, good[:2], 1, errShort},
		{"half a request", true, request{Op: opCreate}.append(nil)[:9], 1, errShort},
		{"bad request", true, append(request{Op: opRemove}.append(nil), 0), 1, errLong},
	}
	f, b := serveFakes(t, Config{})
	raw := f.connect(t, token)
	b.attach(raw).Close() // what the runtime opens once is open now
	before := openFDs(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dialRaw(t, b)
			defer c.conn.Close()
			if test.attached {
				c.hello(raw)
			} else {
				expect[greeting](c)
			}
			c.write(test.octets, raw, test.descriptors)
			if test.want != nil {
				if e := expect[end](c); !strings.Contains(e.Text, test.want.Error()) {
					t.Errorf("end %q, want %q", e.Text, test.want)
				}
			}
			if m, err := c.read(); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %+v, %v", m, err)
			}
		})
	}
	if len(f.Calls()) != 0 {
		t.Errorf("calls %+v", f.Calls())
	}
	noMoreFDs(t, before)
}

// noMoreFDs waits until no more descriptors are open than before.
func noMoreFDs(t testing.TB, before int) {
	t.Helper()
	var now int
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); {
		if now = openFDs(t); now <= before {
			return
		}
	}
	t.Errorf("%d descriptors are open, %d were", now, before)
}

// TestNoDescriptorKept: while a client is attached the broker has its unix
// socket open and nothing else.
func TestNoDescriptorKept(t *testing.T) {
	f, b := serveFakes(t, Config{})
	raw := f.connect(t, token)
	b.attach(raw).Close()
	noMoreFDs(t, openFDs(t))
	before := openFDs(t)
	c := b.attach(raw)
	for range 10 {
		_ = c.Remove(token, 9) // refused: there is no such id
	}
	noMoreFDs(t, before+2) // both ends of the unix socket
	c.Close()
	noMoreFDs(t, before)
}

// TestStuckClient: a client that does not read for too long loses its place.
func TestStuckClient(t *testing.T) {
	h := hooks{make(chan string, 8)}
	config := h.config()
	config.Limits.WriteTimeout = 50 * time.Millisecond
	f, b := serveFakes(t, config)
	dialRaw(t, b).hello(f.connect(t, token))
	h.expect(t, "attach 1001")
	// Not faster than the broker takes them, so that they fill the socket.
	for deadline := time.Now().Add(eventTimeout); len(h.calls) == 0 && time.Now().Before(deadline); {
		f.Emit(mptcp.Event{Type: mptcp.SubflowPriority, Token: token})
		runtime.Gosched()
	}
	h.expect(t, "detach 1001")
}

// TestStopWithStuckClient: the broker's end does not wait for a client.
func TestStopWithStuckClient(t *testing.T) {
	h := hooks{make(chan string, 8)}
	config := h.config()
	config.Limits.WriteTimeout = time.Hour
	f, b := serveFakes(t, config)
	dialRaw(t, b).hello(f.connect(t, token))
	h.expect(t, "attach 1001")
	for range 20000 {
		f.Emit(mptcp.Event{Type: mptcp.SubflowPriority, Token: token})
		runtime.Gosched()
	}
	b.stop()
	h.expect(t, "detach 1001")
}

// TestLog: who attached, and who was refused, can be read in the log; a flood
// of refusals cannot fill it.
func TestLog(t *testing.T) {
	var log strings.Builder
	f, b := serveFakes(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := b.attach(f.connect(t, token))
	for range 5 * refusalsLogged {
		if err := c.CreateSubflow(token, mptcp.Subflow{Remote: netip.AddrPortFrom(other.Addr(), 22)}); !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
	}
	b.stop()
	text := log.String()
	for _, want := range []string{
		fmt.Sprintf(`msg="broker client attached" uid=%d pid=%d token=00001001 local=%v remote=%v`, os.Getuid(), os.Getpid(), here, peer),
		`msg="broker refuses to create subflow"`, errPort.Error(), `msg="broker client detached"`, errStopping.Error(),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "broker refuses"); n > 2*refusalsLogged {
		t.Errorf("%d refusals are logged", n)
	}
}

// TestSilentClient: who does not attach in time is sent away.
func TestSilentClient(t *testing.T) {
	_, b := serveFakes(t, Config{Limits: Limits{HelloTimeout: 50 * time.Millisecond}})
	c := dialRaw(t, b)
	expect[greeting](c)
	if e := expect[end](c); e.Text != errSlow.Error() {
		t.Errorf("end: %s", e.Text)
	}
}

// lines is a log whose lines can be waited for.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// TestExhausted: without a free descriptor a client waits, and is served when
// there is one again.
func TestExhausted(t *testing.T) {
	log := make(lines, 1024)
	_, b := serveFakes(t, Config{Log: slog.New(slog.NewTextHandler(log, nil))})
	fill := takeDescriptors(t)
	unix.Close(fill[0])
	c := dialRaw(t, b)
	select {
	case line := <-log:
		if !strings.Contains(line, "cannot accept") {
			t.Errorf("logged: %s", line)
		}
	case <-time.After(eventTimeout):
		t.Error("nothing is logged")
	}
	closeAll(fill[1:])
	expect[greeting](c)
}

// takeDescriptors takes all descriptors that the process can have, after it has
// lowered their number for the length of the test.
func takeDescriptors(t *testing.T) (taken []int) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(openFDs(t)) + 50
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	})
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if errors.Is(err, unix.EMFILE) {
			return taken
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
}

// TestStuckDescriptor: a client whose descriptor takes long to close costs its
// own place, not the others' service nor the broker's end.
func TestStuckDescriptor(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	silent, err := l.Accept() // and does not read
	if err != nil {
		t.Fatal(err)
	}
	fill(t, conn.(*net.TCPConn))
	server, err := NewServer(Config{Manager: mptcptest.New()})
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, path: filepath.Join(t.TempDir(), "paths.sock")}
	socket, err := Listen(b.path, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	// The descriptor waits in the broker's queue until nobody else has it.
	c := dialRaw(t, b)
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c.write(attach{Version}.append(nil), raw, 1)
	conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- server.Serve(ctx, socket) }()
	expect[greeting](c)
	expect[greeting](dialRaw(t, b)) // others are served
	begin := time.Now()
	cancel()
	if err := <-result; !errors.Is(err, errStuck) {
		t.Errorf("the end: %v", err)
	}
	if took := time.Since(begin); took > 2*stopTimeout {
		t.Errorf("the end took %v", took)
	}
	silent.Close() // resets, so that nothing lingers
	expect[end](c)
}

// fill makes the close of a connection linger: there is data that nobody takes.
func fill(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(3600); err != nil {
		t.Fatal(err)
	}
	if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := c.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}
