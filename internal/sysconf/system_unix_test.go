//go:build !windows

package sysconf

import (
	"os"
	"syscall"
	"testing"
)

// A file that cannot be opened by anyone, root included.
func TestSystemUnreadable(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.server("192.0.2.1")
	f.remove("resolv.conf")
	if err := os.Symlink("resolv.conf", f.path("resolv.conf")); err != nil {
		t.Fatal(err)
	}
	f.later()
	f.server("192.0.2.1", syscall.ELOOP.Error(), "going on with what it said before")
}

// Opening a pipe would wait for someone to write to it.
func TestSystemPipe(t *testing.T) {
	f := newFiles(t)
	if err := syscall.Mkfifo(f.path("resolv.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.server("127.0.0.1", "not a regular file")
}
