package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/af-multipath/mpresolve/resolver"
)

// Bounds of probe-file. Each name has one connection at a time open.
const (
	defaultParallel    = 4
	maxParallel        = 64
	defaultProbeBudget = 30 * time.Second
)

// probeFileFlags are the flags of probe-file.
type probeFileFlags struct {
	lookup   lookupFlags
	parallel int
	budget   time.Duration // of one name
}

// nameView is what probe-file tells of one name; the JSON schema is this type
// (see docs/json.md).
type nameView struct {
	Name      string        `json:"name"`
	Port      uint16        `json:"port"`
	Addresses []verdictView `json:"addresses"`
	Hosts     []hostView    `json:"hosts"`
	Told      bool          `json:"told"` // every address is proven
	ElapsedMS float64       `json:"elapsed_ms"`
	Error     string        `json:"error,omitempty"`
}

// verdictView is one address and what is known of it.
type verdictView struct {
	Address string `json:"address"`
	Host    int    `json:"host"`    // the place in hosts, from 0
	Verdict string `json:"verdict"` // first, or the best that a join to any connection told
}

func (a *app) probeFileCommand() *cobra.Command {
	var f probeFileFlags
	cmd := &cobra.Command{
		Use:   "probe-file [flags] FILE",
		Short: "Prove for a list of names which addresses are one host",
		Long: `Reads NAME:PORT lines from FILE (- is standard input; blank lines and # comments
are passed over), does for each what mpresolve --probe does, and prints one JSON
object a line as each name is done: its addresses with their verdicts, its hosts, or
the error. Malformed lines are reported all at once, before anything is sent.

On a terminal, standard error shows how far it is. Ctrl-C ends it after the lines
that are done.

Exit codes: 0 every name's addresses are proven, 1 a name was not found, 2 usage, 3 a
name could not be told or asked for, or interrupted; the greatest counts.`,
		Example: `  mpresolve probe-file names.txt > verdicts.jsonl
  mpresolve probe-file --parallel 8 --timeout 10s names.txt
  printf 'www.example.net:443\n' | mpresolve probe-file - | jq .hosts`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &exitError{code: exitUsage, err: fmt.Errorf("probe-file takes one FILE, %d given", len(args)), hint: "try: mpresolve probe-file names.txt, or - for standard input"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.probeFile(cmd.Context(), f, args[0]) },
	}
	f.lookup.registerSources(cmd)
	f.lookup.registerBroker(cmd)
	cmd.Flags().IntVar(&f.parallel, "parallel", defaultParallel, fmt.Sprintf("probe this many names at once, %d at most", maxParallel))
	cmd.Flags().DurationVar(&f.budget, "timeout", defaultProbeBudget, "give up a name after this long")
	return cmd
}

func (f probeFileFlags) check() error {
	switch {
	case f.parallel < 1 || f.parallel > maxParallel:
		return usageError("--parallel %d: must be from 1 to %d", f.parallel, maxParallel)
	case f.budget <= 0:
		return usageError("--timeout %v: must be more than nothing", f.budget)
	}
	return nil
}

func (a *app) probeFile(ctx context.Context, f probeFileFlags, file string) error {
	if err := f.check(); err != nil {
		return err
	}
	r, err := f.lookup.resolver()
	if err != nil {
		return err
	}
	targets, err := a.readTargets(file, true)
	if err != nil {
		return err
	}
	batch := &batch{out: json.NewEncoder(a.stdout), progress: a.terminal(), total: len(targets)}
	err = f.probeAll(ctx, r, targets, batch)
	batch.clear()
	switch {
	case err != nil:
		return &exitError{code: exitFailed, err: fmt.Errorf("writing the verdicts: %w", err)}
	case ctx.Err() != nil:
		return &exitError{code: exitFailed, err: fmt.Errorf("interrupted: %d of %s done", batch.done, count(batch.total, "name", "names"))}
	case batch.code != exitFound:
		return &exitError{code: batch.code}
	}
	return nil
}

// probeAll probes the names, a few at once, until all are done or ctx ends. The
// error is that of writing a line.
func (f probeFileFlags) probeAll(ctx context.Context, r *resolver.Resolver, targets []target, batch *batch) error {
	var names errgroup.Group
	names.SetLimit(f.parallel)
	for _, t := range targets {
		names.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			view, code := f.probeName(ctx, r, t)
			if ctx.Err() != nil {
				return nil // it was cut off: nothing is known of it
			}
			return batch.add(view, code)
		})
	}
	return names.Wait()
}

// probeName looks one name up and probes it, within the time of one name.
func (f probeFileFlags) probeName(ctx context.Context, r *resolver.Resolver, t target) (nameView, int) {
	ctx, cancel := context.WithTimeout(ctx, f.budget)
	defer cancel()
	start := time.Now()
	lookup := f.lookup
	lookup.probe = true
	full, err := lookupOne(ctx, r, t, &lookup)
	view := nameView{
		Name: t.name, Port: t.port, Addresses: full.verdicts(), Hosts: full.Hosts,
		Told: err == nil, ElapsedMS: milliseconds(time.Since(start)), Error: full.Error,
	}
	code := exitFound
	if err != nil {
		code = lookupCode(err)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		view.Error, code = fmt.Sprintf("gave up after %v: %s", f.budget, view.Error), exitFailed
	}
	return view, code
}

// verdicts are the addresses with what the probe told of each.
func (v lookupView) verdicts() []verdictView {
	places := v.places()
	out := make([]verdictView, 0, len(v.Addresses))
	for _, a := range v.Addresses {
		verdict := "not tried"
		if v.Probe != nil {
			verdict = v.Probe.verdict(a.Address)
		}
		out = append(out, verdictView{a.Address, places[withoutPort(a.Address)].host - 1, verdict})
	}
	return out
}

// batch gathers the results of the names; its methods may be called by several
// goroutines at once.
type batch struct {
	progress io.Writer // nil where there is no terminal
	total    int

	mu   sync.Mutex // guards what follows
	out  *json.Encoder
	done int
	code int // the worst
}

// add prints a name's line.
func (b *batch) add(view nameView, code int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done++
	b.code = max(b.code, code)
	b.clear()
	err := b.out.Encode(view)
	if b.progress != nil {
		fmt.Fprintf(b.progress, "%d of %s done, last %s", b.done, count(b.total, "name", "names"), view.Name)
	}
	return err
}

// clear takes the progress off the terminal (ECMA-48 EL).
func (b *batch) clear() {
	if b.progress != nil {
		fmt.Fprint(b.progress, "\r\x1b[K")
	}
}

// terminal is standard error where that is a terminal, nil elsewhere.
func (a *app) terminal() io.Writer {
	file, ok := a.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return file
}
