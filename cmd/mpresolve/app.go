package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes, as documented in --help.
const (
	exitFound    = 0
	exitNotFound = 1
	exitUsage    = 2
	exitFailed   = 3
)

// app is one run of the command: its streams and the flags that every
// subcommand shares. It is used by one goroutine.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	json  bool
	color string
}

// exitError ends the run with a code. A nil err means that everything there is
// to say was said already.
type exitError struct {
	code int
	err  error
	hint string // one thing to try, on a line of its own
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake in the command line.
func usageError(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitFound
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{code: exitUsage, err: err, hint: "see mpresolve --help"}
	}
	a.complain(exit.err, exit.hint)
	return exit.code
}

// complain writes an error to stderr: the program first, then what came back,
// and a hint on the next line.
func (a *app) complain(err error, hint string) {
	if err == nil {
		return
	}
	fmt.Fprintf(a.stderr, "mpresolve: %v\n", err)
	if hint != "" {
		fmt.Fprintf(a.stderr, "  %s\n", hint)
	}
}

const rootLong = `Looks names up the way a multipath dialer does: A and AAAA are asked at once and
merged into one AF_MULTIPATH record, printed in the order in which a dial would
try the addresses, with the reason for each place.

NAME may be a name or an address, with a port or without. @ADDR among the names
is short for --server ADDR.

The addresses of a name need not be one host. --explain shows what look-ups say of
it: for each two addresses, those with the same evidence together, the verdict, the
probability of one host, and each reason with its log-odds and for how long it
counts. --probe proves it: it connects to PORT with Multipath TCP, offers the other
addresses to the connection, and closes it without having sent data. --service takes
the name of a service: the targets of its SRV records are looked up, one host each.

Exit codes: 0 found (and with --probe every address proven), 1 not found, 2 usage,
3 could not ask, or --probe could not tell.`

const rootExample = `  mpresolve www.example.net
  mpresolve www.example.net:443 --json
  mpresolve @192.0.2.53 www.example.net --type MX --type TXT
  mpresolve -f names.txt --short
  mpresolve --explain www.example.net
  mpresolve --explain --service _sip._tcp.example.net
  mpresolve --probe www.example.net:443
  mpresolve probe-file names.txt
  mpresolve dial www.example.net:443
  mpresolve doctor
  mpresolve demo`

func (a *app) rootCommand() *cobra.Command {
	var f lookupFlags
	root := &cobra.Command{
		Use:           "mpresolve [flags] NAME[:PORT]...",
		Short:         "Look names up as one multipath record",
		Long:          rootLong,
		Example:       rootExample,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.lookup(cmd.Context(), f, args)
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &exitError{code: exitUsage, err: err, hint: "see mpresolve --help"}
	})
	persistent := root.PersistentFlags()
	persistent.BoolVar(&a.json, "json", false, "print JSON, one object per line")
	persistent.StringVar(&a.color, "color", "auto", "colour the output: auto, always, never")
	f.register(root)
	root.AddCommand(a.dialCommand(), a.probeFileCommand(), a.pathsCommand(), a.decodeCommand(), a.doctorCommand(), a.demoCommand(), a.daemonCommand())
	return root
}

// version is the module's version as the Go tool recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}

// style returns the escape codes that the output may use.
func (a *app) style() (style, error) {
	switch a.color {
	case "always":
		return ansi, nil
	case "never":
		return style{}, nil
	case "auto":
		file, ok := a.stdout.(*os.File)
		if ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
			return ansi, nil
		}
		return style{}, nil
	}
	return style{}, usageError("--color %q: unknown value (auto, always, never)", a.color)
}

// style holds the escape codes for each meaning; the zero value colours nothing.
type style struct{ bold, dim, good, warn, bad, reset string }

// ansi is the style for terminals (ECMA-48 SGR).
var ansi = style{bold: "\x1b[1m", dim: "\x1b[2m", good: "\x1b[32m", warn: "\x1b[33m", bad: "\x1b[31m", reset: "\x1b[0m"}

// paint wraps text in a code; colour never carries the meaning alone.
func (s style) paint(code, text string) string {
	if code == "" {
		return text
	}
	return code + text + s.reset
}
