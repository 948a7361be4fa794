package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// scripted serves one client with script, and waits for it at the test's end.
func scripted(t *testing.T, script func(c *net.UnixConn)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if c, err := l.AcceptUnix(); err == nil {
			defer c.Close()
			script(c)
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return path
}

func say(c *net.UnixConn, messages ...message) {
	for _, m := range messages {
		_, _ = c.Write(m.append(nil))
	}
}

// anything is a descriptor to pass.
func anything(t *testing.T) syscall.RawConn {
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
	return raw
}

// TestAttachFails has what a client can find in a broker's place.
func TestAttachFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, "stale")
	leave(t, stale)
	stream := filepath.Join(dir, "stream")
	l, err := net.Listen("unix", stream)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tests := []struct {
		name, path, want string
		is               error
	}{
		{"nothing", filepath.Join(dir, "nothing"), "no such file", ErrAbsent},
		{"no directory", filepath.Join(file, "s"), "not a directory", ErrAbsent},
		{"file", file, "refused", ErrAbsent},
		{"left behind", stale, "refused", ErrAbsent},
		{"stream socket", stream, "wrong type", ErrAbsent},
		{"silence", scripted(t, func(c *net.UnixConn) { _, _ = c.Read(make([]byte, 1)) }), "answers", ErrAbsent},
		{"hangs up", scripted(t, func(*net.UnixConn) {}), "EOF", io.EOF},
		{"is full", scripted(t, func(c *net.UnixConn) { say(c, end{"too many"}) }), "too many", ErrRefused},
		{"another version", scripted(t, func(c *net.UnixConn) { say(c, greeting{Version + 1}) }), fmt.Sprint("broker ", Version+1), ErrRefused},
		{"does not greet", scripted(t, func(c *net.UnixConn) { say(c, attached{token}) }), "order", errOrder},
		{"another protocol", scripted(t, func(c *net.UnixConn) { _, _ = c.Write([]byte("220 ready\r\n")) }), "unknown kind", errKind},
		{"says no", scripted(t, func(c *net.UnixConn) { say(c, greeting{Version}, end{"not yours"}) }), "not yours", ErrRefused},
		{"says nonsense", scripted(t, func(c *net.UnixConn) { say(c, greeting{Version}, reply{}) }), "order", errOrder},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			pm, err := Attach(ctx, test.path, anything(t))
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) || pm != nil {
				t.Errorf("%v, %v; want %v (%s)", pm, err, test.is, test.want)
			}
		})
	}
}

// TestAttachErrors has what the tests above cannot bring about as root.
func TestAttachErrors(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.EACCES: ErrRefused, syscall.EPERM: ErrRefused, syscall.EAGAIN: ErrRefused, syscall.EMFILE: syscall.EMFILE,
	} {
		err := attachError(t.Context(), os.NewSyscallError("connect", errno))
		if !errors.Is(err, want) || !errors.Is(err, errno) || errors.Is(err, ErrAbsent) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

// leave makes a socket that nobody listens at.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := Listen(path, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// TestAttachSendsNothingIntoTheVoid: without a greeting no descriptor is sent.
func TestAttachSendsNothingIntoTheVoid(t *testing.T) {
	first := make(chan error, 1)
	path := scripted(t, func(c *net.UnixConn) {
		_, err := c.Read(make([]byte, 1))
		first <- err
	})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := Attach(ctx, path, anything(t)); !errors.Is(err, ErrAbsent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := <-first; !errors.Is(err, io.EOF) {
		t.Errorf("the client sent something, or %v", err)
	}
}

// TestAttachCancelled: the caller's own decision is not a missing broker.
func TestAttachCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	path := scripted(t, func(c *net.UnixConn) {
		cancel()
		_, _ = c.Read(make([]byte, 1))
	})
	if _, err := Attach(ctx, path, anything(t)); !errors.Is(err, context.Canceled) || errors.Is(err, ErrAbsent) {
		t.Errorf("%v", err)
	}
}

// attachScripted attaches a client to a broker that follows a script after the
// hello.
func attachScripted(t *testing.T, script func(c *net.UnixConn)) *Client {
	t.Helper()
	path := scripted(t, func(c *net.UnixConn) {
		say(c, greeting{Version}, attached{token})
		_, _ = c.Read(make([]byte, MaxMessage))
		script(c)
	})
	return (&broker{t: t, path: path}).attach(anything(t))
}

// TestBadBroker: a broker that breaks the rules, or dies in the middle of a
// command, is gone.
func TestBadBroker(t *testing.T) {
	tests := []struct {
		name   string
		script func(c *net.UnixConn)
		want   string
	}{
		{"dies", func(*net.UnixConn) {}, ""},
		{"ends", func(c *net.UnixConn) { say(c, end{"tired"}) }, "tired"},
		{"junk", func(c *net.UnixConn) { _, _ = c.Write([]byte{99}) }, "unknown kind"},
		{"too long", func(c *net.UnixConn) { _, _ = c.Write(make([]byte, 4*MaxMessage)) }, "too long"},
		{"attached again", func(c *net.UnixConn) { say(c, attached{token}) }, "order"},
		{"silent", func(c *net.UnixConn) {
			say(c, reply{ID: 77}) // nobody asked
			for {
				if _, err := c.Read(make([]byte, MaxMessage)); err != nil {
					return
				}
			}
		}, "no answer within 50ms"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			asked := make(chan struct{})
			c := attachScripted(t, func(conn *net.UnixConn) {
				<-asked
				test.script(conn)
			})
			c.wait = 50 * time.Millisecond
			if test.name != "silent" {
				c.wait = eventTimeout
			}
			sub := subscribe(t, c, token)
			close(asked)
			err := c.Remove(token, 1)
			if !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			ended(t, sub)
			if err := c.Err(); !errors.Is(err, ErrGone) {
				t.Errorf("the client ended with %v", err)
			}
		})
	}
}

// TestCommandsAtOnce: replies find their commands.
func TestCommandsAtOnce(t *testing.T) {
	f, b := serveFakes(t, Config{})
	c := b.attach(f.connect(t, token))
	var group sync.WaitGroup
	for id := range uint8(20) {
		group.Go(func() {
			err := c.Remove(token, id)
			if (err == nil) != (id == 0) {
				t.Errorf("remove %d: %v", id, err)
			}
		})
	}
	group.Wait()
	if len(c.waiting) != 0 {
		t.Errorf("%d commands are waited for", len(c.waiting))
	}
}

// TestClosedConnection: without its connection a client can do nothing, but is
// not lost.
func TestClosedConnection(t *testing.T) {
	f, b := serveFakes(t, Config{})
	c := b.attach(f.connect(t, token))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if c.proof, err = r.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := c.Remove(token, 1); err == nil || errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
	if c.Err() != nil {
		t.Error(c.Err())
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	leave(t, path)
	l, err := Listen(path, 0o620, os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o620 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path, 0o600, -1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("in use: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600, -1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a file: %v", err)
	}
	if _, err := Listen(filepath.Join(path, "s"), 0o600, -1); err == nil {
		t.Error("below a file")
	}
}
