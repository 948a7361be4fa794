package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// programEnv makes the test binary the program itself.
const programEnv = "MPRESOLVE_BENCH_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// program is the bench, to be run.
func program(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	labtest.Need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), programEnv+"=1"), &stderr
	return cmd, &stderr
}

// TestQuickRun measures the daemon and an echo. What the figures are is not
// looked at, but that each is there.
func TestQuickRun(t *testing.T) {
	cmd, stderr := program(t, "-quick", "-names", "20000", "-json", "-peers", ours+","+goEcho)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rows := 0
	for _, m := range measurements() {
		rows += len(m.figures)
	}
	if len(r.Rows) != rows {
		t.Errorf("%d rows, want %d", len(r.Rows), rows)
	}
	for _, w := range r.Rows {
		if len(w.Values[ours]) != 1 || w.Values[ours][0] <= 0 || len(w.Errors) > 0 {
			t.Errorf("%s: %v %v", w.Title, w.Values, w.Errors)
		}
	}
	if len(r.Rows) > 0 && len(r.Rows[0].Values[goEcho]) != 1 {
		t.Error("no floor", r.Rows[0].Values)
	}
}

// TestInterrupt leaves no process and no folder behind.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	cmd, _ := program(t, "-only", "slow", "-rounds", "1000", "-peers", ours+","+goEcho)
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	cmd.Stderr = nil
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	progress := bufio.NewReader(pipe)
	if line, err := progress.ReadString('\n'); line != ours+" answers\n" {
		t.Fatal(line, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	stderr, err := io.ReadAll(progress)
	if err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v\n%s", err, stderr)
	}
	if left := glob(t, dir, "*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, link := range glob(t, "/proc", "[0-9]*", "exe") {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, dir) {
			t.Errorf("%s still runs %s", link, to)
		}
	}
}

func glob(t *testing.T, parts ...string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestParse has the command lines that are refused, before anything is started.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args, want string
	}{
		{"", ""},
		{"-only hot -rounds 3 -json -peers unbound,mpdnsd", ""},
		{"-only nothing", "there are hot, "},
		{"-peers mpdnsd,nobody", `no peer "nobody": there are mpdnsd, `},
		{"-rounds 0", "at least 1"},
		{"-names 5", "1000 to 2000000"},
		{"more", `unexpected argument "more"`},
	} {
		_, err := parse(strings.Fields(tt.args), &bytes.Buffer{})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestParseSchedstat(t *testing.T) {
	if d, err := parseSchedstat("1500000 20 3\n"); err != nil || d != 1500*time.Microsecond {
		t.Error(d, err)
	}
	if _, err := parseSchedstat("nothing"); err == nil {
		t.Error("no error")
	}
}
