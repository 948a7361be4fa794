// Package mpdnsd is the stub resolver daemon: Main is its command line, and
// the wiring of its parts stands here. The packet path is in package server,
// local zones in zone, the configuration file in config.
//
// It is a package, and not part of cmd/mpdnsd, because mpresolve's
// demonstration runs the same daemon.
package mpdnsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
)

// Exit codes.
const (
	exitOK      = 0
	exitError   = 1 // could not do its work
	exitUsage   = 2 // the command line or the configuration is wrong
	exitUnasked = 3 // ctl could not ask the daemon
)

const long = `mpdnsd is a caching DNS forwarder for one machine. It answers over UDP and TCP
from local zones, the hosts file, its cache and upstream servers, and gives for
any name the MULTIPATH record (TYPE65400): all of the host's addresses, IPv4
and IPv6, as one AF_MULTIPATH address. Told to, it also adds paths to Multipath
TCP connections of programs that have no privilege to do so (Linux).

Without --config it listens on 127.0.0.1:53 and [::1]:53 and asks the servers
of resolv.conf. Flags stand above the configuration file. SIGHUP reads the file
and the zones again; what is wrong with them is logged, and the old ones stay.
SIGTERM ends the daemon once what was asked is answered.`

const examples = `  mpdnsd --listen 127.0.0.1:5353
  mpdnsd --listen 127.0.0.1:5353 --upstream 192.0.2.53 --upstream [2001:db8::53]:5353
  mpdnsd --listen 127.0.0.1:5353 --zone demo.example.zone --zone example.org=org.zone
  mpdnsd --config /etc/mpdnsd/mpdnsd.toml --check
  sudo mpdnsd --paths-socket /run/mpdnsd/paths.sock --paths-manager userspace
  dig @127.0.0.1 -p 5353 server.demo.example TYPE65400
  mpdnsd ctl stats`

// flags is what the command line says.
type flags struct {
	config    string
	check     bool
	listen    []string
	allow     []string
	upstreams []string
	zones     []string
	// Either turns the path broker on; empty: not given.
	pathsSocket, pathsManager string
}

// Main runs the daemon with the arguments after the program's name, until
// SIGTERM or SIGINT, and returns the exit code: 0, 1 for what went wrong, 2
// for a wrong command line or configuration. Logs go to stderr.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	return run(ctx, process{reload: reload, confined: true}, args, stdout, stderr)
}

// process is what run has to know of the process it runs in.
type process struct {
	reload <-chan os.Signal
	// confined: the process is the daemon's alone, and may be robbed of its
	// privileges.
	confined bool
}

// run is Main with its signals as arguments.
func run(ctx context.Context, p process, args []string, stdout, stderr io.Writer) int {
	cmd := command(p)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var bad *badSetup
	var ctl *ctlError
	switch {
	case errors.As(err, &ctl):
		for line := range strings.Lines(ctl.Error()) {
			fmt.Fprintf(stderr, "mpdnsd: %s\n", strings.TrimRight(line, "\n"))
		}
		return ctl.code
	case errors.As(err, &bad):
		fmt.Fprintln(stderr, bad.err)
		return exitUsage
	case errors.As(err, new(*failure)):
		fmt.Fprintf(stderr, "mpdnsd: %v\n", err)
		return exitError
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "mpdnsd: %s\n", strings.TrimSpace(line))
	}
	fmt.Fprintln(stderr, "mpdnsd --help shows the flags")
	return exitUsage
}

// badSetup is an error of the configuration or the zones, whose text names
// files and lines.
type badSetup struct{ err error }

func (e *badSetup) Error() string { return e.err.Error() }

func (e *badSetup) Unwrap() error { return e.err }

// failure is an error of the daemon at work.
type failure struct{ err error }

func (e *failure) Error() string { return e.err.Error() }

func (e *failure) Unwrap() error { return e.err }

// command is the command line.
func command(p process) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:           "mpdnsd [flags]",
		Short:         "A DNS forwarder that gives all addresses of a host as one record",
		Long:          long,
		Example:       examples,
		Args:          cobra.NoArgs,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return start(cmd.Context(), &f, p, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.SetVersionTemplate("mpdnsd {{.Version}}\n")
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(ctlCommand())
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.config, "config", "", "read the configuration from `FILE`")
	fs.BoolVar(&f.check, "check", false, "check the configuration and the zones, and end")
	fs.StringArrayVar(&f.listen, "listen", nil, "take questions at `ADDR:PORT`, 0 being any free port (repeatable)")
	fs.StringArrayVar(&f.allow, "allow", nil, "answer the clients of the network `PREFIX`, 0.0.0.0/0 being all of IPv4 (repeatable; without: this machine alone)")
	fs.StringArrayVar(&f.upstreams, "upstream", nil, "ask the DNS server `ADDR[:PORT]` (repeatable)")
	fs.StringArrayVar(&f.zones, "zone", nil, "answer for the zone in `[ORIGIN=]FILE` (repeatable)")
	fs.StringVar(&f.pathsSocket, "paths-socket", "", "turn the path broker on, at the unix socket `PATH`")
	fs.StringVar(&f.pathsManager, "paths-manager", "", "turn the path broker on, with the path manager `kernel|userspace`")
	_ = cmd.MarkFlagFilename("config", "toml") // fails for a flag that is not there only
	return cmd
}

// version is the module's version, as the build has it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown version)"
	}
	return info.Main.Version
}

// start checks the setup and, unless that was all to be done, runs the daemon.
func start(ctx context.Context, f *flags, p process, stdout, stderr io.Writer) error {
	set, err := f.load()
	if err != nil {
		return err
	}
	if f.check {
		fmt.Fprintf(stdout, "the configuration is right: %s\n", set.summary())
		return nil
	}
	if err := newDaemon(f, p.confined, stderr).run(ctx, set, p.reload); err != nil {
		return &failure{err}
	}
	return nil
}

// parseAll parses a repeated flag.
func parseAll[T any](values []string, parse func(string) (T, error)) ([]T, []error) {
	var all []T
	var errs []error
	for _, v := range values {
		a, err := parse(v)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, a)
	}
	return all, errs
}

// apply puts the command line above the configuration.
func (f *flags) apply(c *config.Config) error {
	listen, errs := parseAll(f.listen, config.ParseListen)
	for i, err := range errs {
		errs[i] = fmt.Errorf("--listen: %w", err)
	}
	upstreams, more := parseAll(f.upstreams, config.ParseUpstream)
	for _, err := range more {
		errs = append(errs, fmt.Errorf("--upstream: %w", err))
	}
	allow, more := parseAll(f.allow, config.ParsePrefix)
	for _, err := range more {
		errs = append(errs, fmt.Errorf("--allow: %w", err))
	}
	if len(listen) > 0 {
		c.Listen = listen
	}
	if len(allow) > 0 {
		c.Allow = allow
	}
	if len(upstreams) > 0 {
		c.Upstream.Servers = upstreams
	}
	errs = append(errs, f.applyPaths(&c.Paths))
	for _, z := range f.zones {
		c.Zones = append(c.Zones, parseZone(z))
	}
	return errors.Join(errs...)
}

// applyPaths puts the flags of the path broker above the configuration.
func (f *flags) applyPaths(c *config.Paths) error {
	var errs []error
	if f.pathsSocket != "" {
		c.Enabled, c.Socket = true, f.pathsSocket
		if err := config.CheckSocket(f.pathsSocket); err != nil {
			errs = append(errs, fmt.Errorf("--paths-socket: %w", err))
		}
	}
	switch f.pathsManager {
	case "":
	case config.KernelManager, config.UserspaceManager:
		c.Enabled, c.Manager = true, f.pathsManager
	default:
		errs = append(errs, fmt.Errorf("--paths-manager: unknown value %q (%s, %s)", f.pathsManager, config.KernelManager, config.UserspaceManager))
	}
	return errors.Join(errs...)
}
