package labtest

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// The child learns from testEnv which test it is started for, and writes to
// file descriptor statusFD how that test ended.
const (
	testEnv  = "MPRESOLVE_LAB_TEST"
	statusFD = 3
)

// How a test ended, as the child writes it.
const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// Run runs fn in a child process that is alone in new namespaces: the calling
// test is started again there, by name, and the child's process is the lab's
// client host. Everything before Run in the test is run in both processes;
// the test should hold nothing else. The outcome and output of the child
// become the test's: failure, skip, crash, data race. Its coverage is counted.
//
// Tests that call Run may be parallel. A test calls it at most once; a subtest
// may call it too.
func Run(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	if testlab.Inside() {
		runInside(t, fn)
		return
	}
	Need(t)
	status, err := runChild(t)
	switch {
	case err != nil:
		t.Fatalf("in the lab: %v", err)
	case status == skipped:
		t.Skip("skipped in the lab")
	case status != passed:
		t.Fatalf("the lab's process ended with status %q of the test", status)
	}
}

func runInside(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	if os.Getenv(testEnv) == t.Name() {
		unix.CloseOnExec(statusFD)
		t.Cleanup(func() { reportStatus(t) })
	}
	Need(t)
	fn(t)
}

func reportStatus(t *testing.T) {
	status := passed
	switch {
	case t.Failed():
		status = failed
	case t.Skipped():
		status = skipped
	}
	pipe := os.NewFile(statusFD, "status")
	if _, err := pipe.WriteString(status); err != nil {
		t.Errorf("report to the parent process: %v", err)
	}
	if err := pipe.Close(); err != nil {
		t.Errorf("report to the parent process: %v", err)
	}
}

// runChild runs the test's child process to its end.
func runChild(t *testing.T) (status string, err error) {
	// The child is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the test binary: %w", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("make the status pipe: %w", err)
	}
	defer func() { _ = reader.Close() }()
	ctx, cancel, timeout := childTime(t)
	defer cancel()
	out := &lineWriter{to: t.Output()}
	cmd := exec.CommandContext(ctx, exe, childArgs(t.Name(), timeout)...)
	// The race detector sleeps for a second at exit, by default; a setting of
	// the environment comes later and counts.
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0"}, os.Environ()...)
	cmd.Env = append(cmd.Env, testEnv+"="+t.Name())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{writer}
	cmd.WaitDelay = time.Second
	err = testlab.Reexec(cmd)
	_ = writer.Close()
	if err != nil {
		return "", err
	}
	err = cmd.Wait()
	out.flush()
	if ctx.Err() != nil {
		err = fmt.Errorf("killed at the deadline: %w", err)
	}
	// A command that outlives the child may hold the pipe open.
	_ = reader.SetReadDeadline(time.Now().Add(time.Second))
	b, _ := io.ReadAll(io.LimitReader(reader, 16))
	return string(b), err
}

// childTime divides the time that the test has left: the child ends itself a
// little before its parent would, with its stacks, and is killed if it cannot.
func childTime(t *testing.T) (context.Context, context.CancelFunc, time.Duration) {
	deadline, ok := t.Deadline()
	if !ok {
		ctx, cancel := context.WithCancel(t.Context())
		return ctx, cancel, 0
	}
	left := time.Until(deadline)
	margin := min(left/4, 10*time.Second)
	ctx, cancel := context.WithDeadline(t.Context(), deadline.Add(-margin/4))
	return ctx, cancel, max(left-margin, time.Millisecond)
}

// childArgs are the flags with which the child runs just the one test.
func childArgs(name string, timeout time.Duration) []string {
	args := []string{
		"-test.run=" + pattern(name),
		"-test.v=true",
		"-test.count=1",
		"-test.paniconexit0",
		"-test.timeout=" + timeout.String(),
	}
	flag.Visit(func(f *flag.Flag) {
		switch {
		case f.Name == "test.gocoverdir", f.Name == "test.short", !strings.HasPrefix(f.Name, "test."):
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return append(args, flag.Args()...)
}

// pattern matches exactly one test, or one subtest.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// lineWriter passes on whole lines, without those that the testing package
// writes about the run as such.
type lineWriter struct {
	to   io.Writer
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, after, ok := strings.Cut(string(w.rest), "\n")
		if !ok {
			return len(b), nil
		}
		w.rest = []byte(after)
		if err := w.line(line); err != nil {
			return 0, err
		}
	}
}

func (w *lineWriter) line(s string) error {
	if s == "PASS" {
		return nil
	}
	for _, prefix := range []string{"=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME ", "coverage: "} {
		if strings.HasPrefix(s, prefix) {
			return nil
		}
	}
	_, err := io.WriteString(w.to, s+"\n")
	return err
}

// flush passes on a last line without an end.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		// The test's log takes whatever it is given.
		_ = w.line(string(w.rest))
		w.rest = nil
	}
}
