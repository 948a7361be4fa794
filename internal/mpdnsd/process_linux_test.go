package mpdnsd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// built is the daemon as it is meant to be built, without cgo.
func built(t testing.TB) string { return builtWith(t, "CGO_ENABLED=0") }

// builtWith is the daemon built with a setting in the environment.
func builtWith(t testing.TB, setting string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mpdnsd")
	cmd := exec.Command("go", "build", "-o", file, "github.com/af-multipath/mpresolve/cmd/mpdnsd")
	cmd.Env = append(os.Environ(), setting)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

// builds are the ways to build the daemon that differ in how threads are found.
func builds(t *testing.T) []string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Log("no gcc: only the daemon without cgo is tested")
		return []string{"CGO_ENABLED=0"}
	}
	return []string{"CGO_ENABLED=0", "CGO_ENABLED=1"}
}

var statusLine = regexp.MustCompile(`(?m)^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs):\s*(\S+)$`)

// TestPrivileges: a daemon that is started with every capability goes on, on all
// of its threads, with those that it needs, built with cgo or without.
func TestPrivileges(t *testing.T) {
	const bind, admin = 1 << unix.CAP_NET_BIND_SERVICE, 1 << unix.CAP_NET_ADMIN
	for name, tt := range map[string]struct {
		args []string
		want uint64
	}{
		"dns":   {nil, bind},
		"paths": {[]string{"--paths-socket", "/run/paths.sock"}, bind | admin},
	} {
		for _, build := range builds(t) {
			t.Run(name+" "+build, func(t *testing.T) {
				inWorld(t, func(w *world) {
					d := w.start(exec.Command(builtWith(t, build), append([]string{"--listen", "127.0.0.1:53", "--upstream", "127.0.0.1:9"}, tt.args...)...))
					d.logs("msg=privileges .*no_new_privs=true")
					checkThreads(t, d.cmd.Process.Pid, tt.want)
					d.signal(syscall.SIGHUP)
					d.logs("msg=\"reloaded")
					checkThreads(t, d.cmd.Process.Pid, tt.want)
					d.stop()
				})
			})
		}
	}
}

// checkThreads wants all threads of a process to have the capabilities of mask, and
// no way to more.
func checkThreads(t *testing.T, pid int, mask uint64) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads: %v, %v", tasks, err)
	}
	want := fmt.Sprintf("CapInh=%016x CapPrm=%016x CapEff=%016x CapAmb=%016x NoNewPrivs=1", 0, mask, mask, 0)
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range statusLine.FindAllStringSubmatch(string(text), -1) {
			got = append(got, m[1]+"="+m[2])
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s\nwant %s", task, s, want)
		}
	}
}

// TestPrivilegesWithoutProc: a program that cannot find all of its threads says so,
// and serves; without cgo it knows them.
func TestPrivilegesWithoutProc(t *testing.T) {
	for _, build := range builds(t) {
		t.Run(build, func(t *testing.T) {
			inWorld(t, func(w *world) {
				program := builtWith(t, build)
				if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
					t.Fatalf("mount: %v", err)
				}
				d := w.start(exec.Command(program, "--listen", "127.0.0.1:53", "--upstream", "127.0.0.1:9"))
				if build == "CGO_ENABLED=0" {
					d.logs("msg=privileges .*no_new_privs=true")
				} else {
					d.logs("level=WARN msg=\"privileges are kept\".*CGO_ENABLED=0")
				}
				d.stop()
			})
		})
	}
}

func TestKept(t *testing.T) {
	c := config.Default()
	if got := capabilityNames(kept(&c)); got != "net_bind_service" {
		t.Error(got)
	}
	c.Paths.Enabled = true
	if got := capabilityNames(kept(&c)); got != "net_bind_service,net_admin" {
		t.Error(got)
	}
	if got := capabilityNames(0); got != "none" {
		t.Error(got)
	}
}

// TestFileLimit: a limit that is too low for the settings and cannot be raised is
// warned of, with what to do. A lab gives no right to raise it.
func TestFileLimit(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		w := &world{t: t}
		d := w.start(exec.Command("sh", append([]string{"-c", `ulimit -n 1024; exec mpdnsd "$@"`, "sh"}, daemonArgs...)...))
		d.logs(`level=WARN msg="fewer file descriptors.*LimitNOFILE=3\d\d\d.*" limit=1024`)
		d.stop()
	})
}
