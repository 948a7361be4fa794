package control

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a daemon that notes what it was asked.
type fake struct {
	mu      sync.Mutex
	scopes  []Scope
	names   []dnswire.Name
	reloads int
	err     error
}

var (
	fakeStats = Stats{Version: Version{"v1", "go1", 7}, Started: time.Unix(1e9, 0).UTC(), Listeners: []string{"127.0.0.1:53"}, Cache: Cache{Entries: 3}}
	fakeHeld  = Held{Name: "www.example.", Entries: []Entry{{Type: "A", Class: "IN", Status: "NOERROR", AgeMS: 5, TTLMS: 10, Records: []string{"x"}}}}
	fakeUps   = Upstreams{[]Route{{Zone: ".", Strategy: "failover", Servers: []Upstream{{Address: "192.0.2.53:53", Proto: "udp"}}}}}
)

func (f *fake) Version() Version                             { return fakeStats.Version }
func (f *fake) Stats(context.Context) (Stats, error)         { return fakeStats, f.err }
func (f *fake) Upstreams(context.Context) (Upstreams, error) { return fakeUps, f.err }

func (f *fake) Lookup(_ context.Context, name dnswire.Name) (Held, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = append(f.names, name)
	return fakeHeld, f.err
}

func (f *fake) Flush(_ context.Context, s Scope) (Flushed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scopes = append(f.scopes, s)
	return Flushed{len(f.scopes)}, f.err
}

func (f *fake) Reload(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reloads++
	return f.err
}

func start(t *testing.T, d Daemon) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, d, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close the socket is still there: %v", err)
		}
	})
	return NewClient(path)
}

// TestRequests puts each request through the socket, there and back.
func TestRequests(t *testing.T) {
	f := &fake{}
	c := start(t, f)
	ctx := t.Context()
	check := func(what string, got, want any, err error) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", what, err, d)
		}
	}
	v, err := c.Version(ctx)
	check("version", v, fakeStats.Version, err)
	s, err := c.Stats(ctx)
	check("stats", s, fakeStats, err)
	u, err := c.Upstreams(ctx)
	check("upstreams", u, fakeUps, err)
	h, err := c.Lookup(ctx, "WWW.example")
	check("lookup", h, fakeHeld, err)
	for i, flush := range []func() (Flushed, error){
		func() (Flushed, error) { return c.FlushAll(ctx) },
		func() (Flushed, error) { return c.FlushName(ctx, "a.example") },
		func() (Flushed, error) { return c.FlushZone(ctx, ".") },
	} {
		n, err := flush()
		check("flush", n, Flushed{i + 1}, err)
	}
	check("reload", nil, nil, c.Reload(ctx))
	name := func(s string) dnswire.Name {
		n, err := dnswire.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	check("names", f.names, []dnswire.Name{name("www.example")}, nil)
	check("scopes", f.scopes, []Scope{{}, {Name: name("a.example")}, {Name: dnswire.Root, Below: true}}, nil)
	check("reloads", f.reloads, 1, nil)
}

// TestRefusals are errors that the daemon or its parser gives.
func TestRefusals(t *testing.T) {
	c := start(t, &fake{err: errors.New("f.toml:1:1: wrong\nf.toml:2:1: too")})
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"daemon":     {c.Reload(t.Context()), "f.toml:1:1: wrong\nf.toml:2:1: too"},
		"name":       {second(c.Lookup(t.Context(), "a..b")), `name "a..b": name "a..b": label 2: empty label`},
		"no name":    {second(c.FlushName(t.Context(), "")), "want one of all=1, name=NAME, zone=NAME"},
		"a long one": {second(c.Lookup(t.Context(), strings.Repeat("a", 1000))), "label longer than 63 octets"},
	} {
		var refused *RefusedError
		if !errors.As(tt.err, &refused) || !strings.Contains(refused.Text, tt.want) {
			t.Errorf("%s: %v, want %q", name, tt.err, tt.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestNoDaemon is what can be said where nobody answers.
func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, err := NewClient(path).Stats(t.Context())
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "asking the daemon at "+path) || errors.As(err, new(*RefusedError)) {
		t.Errorf("no socket: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewClient(path).Stats(ctx); err == nil {
		t.Error("an answer after the caller gave up")
	}
}

// TestStrangeRequests: what is no request of ours gets a short answer, what is
// too large is refused, and the next client is served.
func TestStrangeRequests(t *testing.T) {
	c := start(t, &fake{})
	for name, text := range map[string]string{
		"not HTTP":      "\x00\x01\x02\r\n\r\n",
		"other path":    "GET / HTTP/1.0\r\n\r\n",
		"wrong method":  "GET /reload HTTP/1.0\r\n\r\n",
		"giant header":  "GET /stats HTTP/1.0\r\nX: " + strings.Repeat("x", 2*maxHeader+8192) + "\r\n\r\n",
		"two scopes":    "POST /flush?all=1&name=a HTTP/1.0\r\n\r\n",
		"nothing named": "POST /flush HTTP/1.0\r\n\r\n",
	} {
		conn, err := net.Dial("unix", c.path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text)) // the answer may come before the end of what is too large
		b := make([]byte, 64)
		n, _ := conn.Read(b)
		if got := string(b[:n]); !strings.HasPrefix(got, "HTTP/1.") || !strings.Contains(got, " 4") {
			t.Errorf("%s: %q, want a status of 4xx", name, got)
		}
		_ = conn.Close()
	}
	if _, err := c.Stats(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestListen replaces what a dead daemon left, and nothing else.
func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	l, err := Listen(path, 0o640, os.Getegid())
	if err != nil {
		t.Fatalf("a socket left behind: %v", err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if l, err := Listen(path, 0o600, -1); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket in use: %v, %v", l, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(file, 0o600, -1); err == nil {
		t.Errorf("a file was replaced: %v", l)
	}
}
