package mpdnsd

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestHandedFiles(t *testing.T) {
	const pid = 77
	for _, tt := range []struct {
		name          string
		pid, n, names string
		want          []string
		wantErr       string
	}{
		{name: "none"},
		{name: "another process", pid: "78", n: "1"},
		{name: "none handed", pid: "77", n: "0"},
		{name: "one", pid: "77", n: "1", names: "paths", want: []string{"paths"}},
		{name: "without names", pid: "77", n: "2", want: []string{"unknown", "unknown"}},
		{name: "fewer names", pid: "77", n: "3", names: "a:", want: []string{"a", "unknown", "unknown"}},
		{name: "no number", pid: "77", n: "x", wantErr: `LISTEN_FDS="x" is not a number from 0 to 64`},
		{name: "negative", pid: "77", n: "-1", wantErr: `LISTEN_FDS="-1"`},
		{name: "many", pid: "77", n: "65", wantErr: `LISTEN_FDS="65"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{"LISTEN_PID": tt.pid, "LISTEN_FDS": tt.n, "LISTEN_FDNAMES": tt.names}
			got, err := handedNames(func(key string) string { return env[key] }, pid)
			if !slices.Equal(got, tt.want) || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%q, %v; want %q, %q", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

// TestPathsSocket: the one socket of the right type is taken, anything else is
// refused, and no descriptor is left open.
func TestPathsSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no SOCK_SEQPACKET over unix sockets")
	}
	dir := t.TempDir()
	listen := func(network, address string) *os.File {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	regular := func() *os.File {
		f, err := os.Create(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	right := func(name string) *os.File { return listen("unixpacket", filepath.Join(dir, name)) }
	for _, tt := range []struct {
		name    string
		files   []*os.File
		found   bool
		wantErr string
	}{
		{name: "none"},
		{name: "right", files: []*os.File{right("a")}, found: true},
		{name: "two", files: []*os.File{right("b"), right("c")}, wantErr: "one socket"},
		{name: "stream", files: []*os.File{listen("unix", filepath.Join(dir, "d"))}, wantErr: "ListenSequentialPacket="},
		{name: "tcp", files: []*os.File{right("e"), listen("tcp", "127.0.0.1:0")}, wantErr: "ListenSequentialPacket="},
		{name: "no socket", files: []*os.File{regular()}, wantErr: `file": `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := pathsSocket(tt.files)
			if (l != nil) != tt.found || (err == nil) != (tt.wantErr == "") {
				t.Errorf("%v, %v", l, err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("no %q in %v", tt.wantErr, err)
			}
			if l != nil {
				_ = l.Close() // nobody connected
			}
			for _, f := range tt.files {
				if f.Fd() != ^uintptr(0) {
					t.Errorf("%s is open", f.Name())
				}
			}
		})
	}
}
