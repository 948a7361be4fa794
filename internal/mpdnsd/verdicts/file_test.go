package verdicts

import (
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

const name = "www.example."

var first, second, third = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")

// at is a connection to an address.
func at(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, 443) }

// keeping opens a store with a file, and returns its log.
func keeping(t *testing.T, path string) (*Store, *strings.Builder) {
	t.Helper()
	log := new(strings.Builder)
	s, err := Open(Config{File: path, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// knows tells whether a store has a proof.
func knows(s *Store, x, y netip.Addr) bool {
	return len(s.Memory().Evidence(name, []netip.Addr{x, y}, time.Now())) > 0
}

// TestFile: what was known is known to the next run; of a run that is killed, all but
// what is younger than the interval.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "verdicts")
		s, log := keeping(t, path)
		if !strings.Contains(log.String(), "none yet") {
			t.Error(log)
		}
		s.Prove(name, at(first), second, hostid.Joined, time.Now())
		time.Sleep(SaveInterval)
		synctest.Wait()
		s.Prove(name, at(first), third, hostid.Joined, time.Now())
		killed := path + ".killed"
		octets, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(killed, octets, 0o600); err != nil {
			t.Fatal(err)
		}
		s.Close()
		after, _ := keeping(t, path)
		if !knows(after, first, second) || !knows(after, first, third) {
			t.Error("the end lost something")
		}
		after.Close()
		after, log = keeping(t, killed)
		if !knows(after, first, second) || knows(after, first, third) || !strings.Contains(log.String(), "pairs=1") {
			t.Errorf("after a crash: %v", log)
		}
		after.Close()
	})
}

// TestFileIsLeftAlone: what has not changed is not written.
func TestFileIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "verdicts")
		s, _ := keeping(t, path)
		s.Prove(name, at(first), second, hostid.Joined, time.Now())
		s.Close()
		s, _ = keeping(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * SaveInterval)
		s.Close()
		if _, err := os.Stat(path); err == nil {
			t.Error("written without need")
		}
	})
}

// TestBadFile: whatever the file is, the daemon starts; what cannot be read is set
// aside and said, and what is no file at all stays as it is.
func TestBadFile(t *testing.T) {
	good, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	good.Prove(name, at(first), second, hostid.Joined, time.Now())
	octets := good.snapshot(time.Now())
	flipped := append([]byte(nil), octets...)
	flipped[len(flipped)/2] ^= 1
	write := func(b []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, b, 0o600) }
	}
	for what, tt := range map[string]struct {
		prepare func(path string) error
		aside   bool // it is set aside
		kept    bool // it is not replaced
		log     string
	}{
		"damaged":    {write(flipped), true, false, "checksum"},
		"truncated":  {write(octets[:len(octets)-5]), true, false, "set aside"},
		"empty":      {write(nil), true, false, "without the mark"},
		"foreign":    {write([]byte("#!/bin/sh\nexit 0\n")), true, false, "without the mark"},
		"dangling":   {func(p string) error { return os.Symlink(p+".none", p) }, false, false, "none yet"},
		"a folder":   {func(p string) error { return os.Mkdir(p, 0o700) }, false, true, "not a regular file"},
		"unreadable": {unreadable, true, false, "set aside"},
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "verdicts")
			if err := tt.prepare(path); err != nil {
				t.Fatal(err)
			}
			s, log := keeping(t, path)
			s.Prove(name, at(first), third, hostid.Joined, time.Now())
			s.Close()
			if !strings.Contains(log.String(), tt.log) {
				t.Error(log)
			}
			if _, err := os.Lstat(path + ".damaged"); (err == nil) != tt.aside {
				t.Errorf("set aside: %v", err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() == tt.kept {
				t.Errorf("the file now: %v, %v", info, err)
			}
			if tt.kept {
				return
			}
			s, _ = keeping(t, path)
			defer s.Close()
			if !knows(s, first, third) || knows(s, first, second) {
				t.Error("the new file does not hold what is new")
			}
		})
	}
}

// unreadable makes a file that not even root reads: a loop of links cannot be
// followed.
func unreadable(path string) error { return os.Symlink(path, path) }

// TestMissingFolder: it is said at once, once, and a folder that comes is used.
func TestMissingFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "late")
		s, log := keeping(t, filepath.Join(dir, "verdicts"))
		if !strings.Contains(log.String(), "its folder is needed") {
			t.Error(log)
		}
		s.Prove(name, at(first), second, hostid.Joined, time.Now())
		time.Sleep(5 * SaveInterval)
		synctest.Wait()
		if n := strings.Count(log.String(), "not written"); n != 1 {
			t.Errorf("said %d times:\n%v", n, log)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(SaveInterval)
		synctest.Wait()
		if info, err := os.Stat(filepath.Join(dir, "verdicts")); err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
			t.Errorf("%v, %v", info, err)
		}
		s.Close()
	})
}

// TestName: one spelling for all.
func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"www.example": name, "WWW.Example.": name, "www.example:443": name, "www.example.:443": name,
		"[2001:db8::1]:443": "2001:db8::1.", "192.0.2.1:80": "192.0.2.1.", "a..b": "a..b", "A..B:1": "a..b", "": "", ":443": "",
	} {
		if got := Name(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
