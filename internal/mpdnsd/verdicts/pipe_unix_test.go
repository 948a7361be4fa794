//go:build unix

package verdicts

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// TestPipe: a pipe that nobody writes to does not hold the daemon up, and stays.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verdicts")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := keeping(t, path)
	s.Prove(name, at(first), third, hostid.Joined, time.Now())
	s.Close()
	if !strings.Contains(log.String(), "not a regular file") {
		t.Error(log)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("the pipe now: %v, %v", info, err)
	}
}
