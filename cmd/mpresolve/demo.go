package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// demoStopDelay is how long an interrupted demo may take to take its lab apart.
const demoStopDelay = 5 * time.Second

// demoFlags are the flags of demo.
type demoFlags struct {
	keep  bool
	steps bool
}

// demoSteps name what the demo shows, in order.
var demoSteps = []struct{ name, title string }{
	{"lookup", "one name, one record: A and AAAA asked at once and merged"},
	{"record", "any DNS client gets the record: TYPE65400, decoded"},
	{"dial", "one connection over every path; the other host is refused"},
	{"wire", "what crossed the wire: joins to the other host, and none of the data"},
	{"cut", "a path is cut in mid-transfer and the transfer goes on"},
	{"broker", "a program without privilege has its paths added by mpdnsd"},
	{"plain", "a host without Multipath TCP: plain TCP, and the reason"},
}

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole on real kernel Multipath TCP, in a lab of its own",
		Long: `Builds a lab of network namespaces inside this machine's kernel (no privilege is
needed: it lives in a user namespace), runs the real mpdnsd, mpresolve and dialer in
it, and takes it apart again. Nothing outside the lab is touched. Where the kernel
does not allow a lab, it says so and shows what works over loopback.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.keep, "keep", false, "leave the lab up until interrupted, and print how to enter it")
	cmd.Flags().BoolVar(&f.steps, "steps", false, "name the steps and end")
	return cmd
}

func (a *app) demo(ctx context.Context, f demoFlags) error {
	if f.steps {
		for i, s := range demoSteps {
			fmt.Fprintf(a.stdout, "%d  %-7s %s\n", i+1, s.name, s.title)
		}
		return nil
	}
	if testlab.Inside() {
		return a.demoInside(ctx, f)
	}
	err := testlab.Available()
	if err == nil {
		return a.reexec(ctx)
	}
	if !errors.Is(err, testlab.ErrUnavailable) {
		return &exitError{code: exitFailed, err: fmt.Errorf("demo: %w", err)}
	}
	fmt.Fprintf(a.stdout, "No lab on this machine: %v\n", err)
	fmt.Fprintln(a.stdout, "What follows is the part that works over loopback.")
	return a.demoLoopback(ctx)
}

// reexec runs the same command line again inside the lab's namespaces.
func (a *app) reexec(ctx context.Context) error {
	runtime.LockOSThread() // the child dies with the thread that started it
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return &exitError{code: exitFailed, err: fmt.Errorf("demo: %w", err)}
	}
	cmd := selfCommand(ctx, self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	if err := testlab.Reexec(cmd); err != nil {
		return &exitError{code: exitFailed, err: fmt.Errorf("demo: %w", err)}
	}
	if err := cmd.Wait(); err != nil {
		return &exitError{code: exitFailed} // the child said why
	}
	return nil
}

// selfCommand runs this executable, whose path is self, under the name that it
// was started by. When ctx ends it is interrupted and has time to clean up.
func selfCommand(ctx context.Context, self string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = demoStopDelay
	return cmd
}

// narrator prints the demo's steps and counts what was shown.
type narrator struct {
	w     io.Writer
	st    style
	step  int
	shown []string
	start time.Time
}

// begin announces the next step.
func (n *narrator) begin(name string) {
	n.step++
	for _, s := range demoSteps {
		if s.name == name {
			fmt.Fprintf(n.w, "\n%s\n", n.st.paint(n.st.bold, fmt.Sprintf("%d. %s", n.step, s.title)))
		}
	}
}

// command shows a command line as a person would type it.
func (n *narrator) command(args ...string) {
	fmt.Fprintf(n.w, "   $ %s\n", strings.Join(args, " "))
}

// output indents what a command printed.
func (n *narrator) output(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Fprintf(n.w, "   %s\n", strings.TrimRight(line, "\n"))
	}
}

// line prints one indented line.
func (n *narrator) line(format string, args ...any) {
	fmt.Fprintf(n.w, "   "+format+"\n", args...)
}

// proved records a sentence for the summary.
func (n *narrator) proved(format string, args ...any) {
	n.shown = append(n.shown, fmt.Sprintf(format, args...))
}

// summary ends the demo.
func (n *narrator) summary() {
	fmt.Fprintf(n.w, "\n%s\n", n.st.paint(n.st.bold, "What was shown"))
	for _, s := range n.shown {
		fmt.Fprintf(n.w, "   - %s\n", s)
	}
	fmt.Fprintf(n.w, "   %.1f s in all. The lab ends with this process; nothing outside it was touched.\n", time.Since(n.start).Seconds())
}
