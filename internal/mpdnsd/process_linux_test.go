package mpdnsd

import (
	"fmt"
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
func built(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mpdnsd")
	cmd := exec.Command("go", "build", "-o", file, "github.com/af-multipath/mpresolve/cmd/mpdnsd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

var statusLine = regexp.MustCompile(`(?m)^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs):\s*(\S+)$`)

// TestPrivileges: a daemon that is started with every capability goes on, on all
// of its threads, with those that it needs.
func TestPrivileges(t *testing.T) {
	const bind, admin = 1 << unix.CAP_NET_BIND_SERVICE, 1 << unix.CAP_NET_ADMIN
	for name, tt := range map[string]struct {
		args []string
		want uint64
	}{
		"dns":   {nil, bind},
		"paths": {[]string{"--paths-socket", "/run/paths.sock"}, bind | admin},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				d := w.start(exec.Command(built(t), append([]string{"--listen", "127.0.0.1:53", "--upstream", "127.0.0.1:9"}, tt.args...)...))
				tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.cmd.Process.Pid))
				if err != nil || len(tasks) < 2 {
					t.Fatalf("threads: %v, %v", tasks, err)
				}
				mask := fmt.Sprintf("%016x", tt.want)
				want := "CapInh=0000000000000000 CapPrm=" + mask + " CapEff=" + mask + " CapAmb=0000000000000000 NoNewPrivs=1"
				for _, task := range tasks {
					text, err := os.ReadFile(task)
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
				d.logs("msg=privileges .*no_new_privs=true")
				d.signal(syscall.SIGHUP)
				d.logs("msg=\"reloaded")
				d.stop()
			})
		})
	}
}

// TestPrivilegesWithCgo: a program that cannot drop them says so, and serves.
func TestPrivilegesWithCgo(t *testing.T) {
	if err := errnoOf(syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)); err == 0 {
		return // this test program has no cgo: the test above shows the rest
	}
	labtest.Run(t, func(t *testing.T) {
		w := &world{t: t}
		d := w.daemon()
		d.logs("privileges are kept: .*CGO_ENABLED=0")
		d.stop()
	})
}

func errnoOf(_, _ uintptr, e syscall.Errno) syscall.Errno { return e }

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
