// Paths measures what the dialer and the broker promise, each figure in turns
// with its baseline, in a lab of network namespaces that it makes itself:
//
//	go run ./bench/paths
//
// No privilege is needed, and the machine's own network is out of reach. What
// decides is a ratio within one run, since other work on the machine slows both
// sides; the times are of one machine at one moment. -only NAME makes one of the
// measurements, -runs N changes how often, -json prints the same for programs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/bench/benchfig"
	"github.com/af-multipath/mpresolve/internal/testlab"
)

const (
	// timeLimit bounds the whole run; it usually takes half of it.
	timeLimit = 5 * time.Minute
	// stopDelay is how long an interrupted run may take to take its lab apart.
	stopDelay = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	if !errors.Is(err, benchfig.ErrReported) {
		fmt.Fprintln(os.Stderr, "paths:", err)
	}
	os.Exit(1) //nolint:forbidigo // this is main
}

// settings are what the command line chooses.
type settings struct {
	only  string
	runs  int
	short bool
	json  bool
}

// run is the program: the outer process, the one in the lab, or a child there.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == childArg {
		return runChild(ctx, args[1:], stdin, stdout)
	}
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if !testlab.Inside() {
		return reexec(ctx, args, stdout, stderr)
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	return runInside(ctx, s, stdout, stderr)
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	set := flag.NewFlagSet("paths", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&s.only, "only", "", "make one `measurement`: "+strings.Join(names(), ", "))
	set.IntVar(&s.runs, "runs", 0, "make each measurement `n` times (0: its own number)")
	set.BoolVar(&s.short, "short", false, "show that it works: one run of each, short and small; the figures mean nothing")
	set.BoolVar(&s.json, "json", false, "print JSON")
	if err := set.Parse(args); err != nil {
		return s, err
	}
	if set.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if _, err := chosen(s.only); err != nil {
		return s, err
	}
	return s, nil
}

// reexec runs the same command line inside the lab's namespaces.
func reexec(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if err := testlab.Available(); err != nil {
		return err
	}
	return benchfig.Reexec(ctx, args, stopDelay, stdout, stderr)
}

// runInside makes the lab, measures and prints. What was measured before an
// error is printed too.
func runInside(ctx context.Context, s settings, stdout, stderr io.Writer) error {
	list, err := chosen(s.only)
	if err != nil {
		return err
	}
	b, err := newBench(s)
	if err != nil {
		return fmt.Errorf("build the lab: %w", err)
	}
	r := report{Machine: describe(), LoadBefore: load()}
	begin := time.Now()
	err = b.measureAll(ctx, list, &r, stderr)
	err = errors.Join(err, b.close())
	r.Seconds, r.CPUSeconds, r.LoadAfter = time.Since(begin).Seconds(), cpuTime().Seconds(), load()
	if s.json {
		return errors.Join(err, r.writeJSON(stdout))
	}
	return errors.Join(err, r.writeTable(stdout))
}

// measurement is one way of measuring; it makes one figure or more.
type measurement struct {
	name string
	runs int // with each, one of the baseline
	make func(ctx context.Context, b *bench, runs int) ([]figure, error)
}

// measurements are in the order of the table.
func measurements() []measurement {
	return []measurement{
		{"dial", 25, measureDial},
		{"record", 15, measureRecord},
		{"blackhole", 5, measureBlackhole},
		{"aggregate", 3, measureAggregate},
		{"cut", 11, measureCut},
		{"join", 9, measureJoin},
		{"broker", 2, measureBroker},
	}
}

func names() (all []string) {
	for _, m := range measurements() {
		all = append(all, m.name)
	}
	return all
}

// chosen returns the measurements that -only names, all for "".
func chosen(only string) ([]measurement, error) {
	for _, m := range measurements() {
		if m.name == only {
			return []measurement{m}, nil
		}
	}
	if only != "" {
		return nil, fmt.Errorf("no measurement %q: there are %s", only, strings.Join(names(), ", "))
	}
	return measurements(), nil
}

// measureAll makes the measurements and adds them to the report.
func (b *bench) measureAll(ctx context.Context, list []measurement, r *report, progress io.Writer) error {
	for _, m := range list {
		runs := m.runs
		if b.short {
			runs = 1
		}
		if b.runs > 0 {
			runs = b.runs
		}
		if !b.json && !b.short {
			fmt.Fprintf(progress, "%s, %d runs\n", m.name, runs)
		}
		figures, err := m.make(ctx, b, runs)
		for _, f := range figures {
			r.Figures = append(r.Figures, f.result())
		}
		r.Notes = append(r.Notes, b.takeNotes()...)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
