package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/resolver"
)

// lookupFlags are the flags of a look-up; dial shares those that choose servers.
type lookupFlags struct {
	servers []string
	timeout time.Duration
	types   []string
	file    string
	short   bool
	hex     bool
	https   bool
	noHosts bool
	graph   string
	explain bool
	probe   bool
	service bool
	broker  string
}

func (f *lookupFlags) register(cmd *cobra.Command) {
	f.registerServers(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.types, "type", "t", nil, "also look up records of this `TYPE` (repeatable)")
	flags.StringVarP(&f.file, "file", "f", "", "read names from `FILE`, one a line (- is standard input)")
	flags.BoolVarP(&f.short, "short", "s", false, "print one address a line, in dial order")
	flags.BoolVarP(&f.hex, "hex", "x", false, "print the octets of the AF_MULTIPATH record")
	flags.StringVar(&f.graph, "graph", "", "also draw the hosts and their addresses into `FILE`, as .svg or .dot")
	flags.BoolVar(&f.https, "https", false, "ask for HTTPS records too")
	flags.BoolVarP(&f.explain, "explain", "e", false, "show what speaks for and against each two addresses being one host; asks for HTTPS records and reverse names too")
	flags.BoolVarP(&f.probe, "probe", "p", false, "prove which addresses are one host by joining them; wants NAME:PORT")
	flags.BoolVar(&f.service, "service", false, "look up services, _SERVICE._PROTO.NAME: the targets of their SRV records, each a host of its own")
	f.registerBroker(cmd)
}

// registerBroker adds the flag that says who adds subflows.
func (f *lookupFlags) registerBroker(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.broker, "broker", "", "`SOCKET` of the path broker that --probe joins by, or off (default: "+broker.DefaultPath+")")
}

// registerServers adds the flags that say whom to ask.
func (f *lookupFlags) registerServers(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "wait this long for an answer to one try (default: the system's, 5s)")
	f.registerSources(cmd)
}

// registerSources adds those that also go without a time-out of one try.
func (f *lookupFlags) registerSources(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.servers, "server", nil, "ask `ADDR[:PORT]` instead of the system's servers (repeatable)")
	flags.BoolVar(&f.noHosts, "no-hosts", false, "do not read the hosts file")
}

// resolver makes the resolver that the flags describe.
func (f *lookupFlags) resolver() (*resolver.Resolver, error) {
	for _, s := range f.servers {
		if err := checkServer(s); err != nil {
			return nil, err
		}
	}
	if f.timeout < 0 {
		return nil, usageError("--timeout %v: must not be negative", f.timeout)
	}
	return &resolver.Resolver{
		Servers: f.servers,
		Timeout: f.timeout,
		HTTPS:   f.https || f.explain,
		Reverse: f.explain,
		NoHosts: f.noHosts,
		WaitAll: true,
	}, nil
}

// checkServer wants an address, with a port or without.
func checkServer(s string) error {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return nil
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return nil
	}
	return &exitError{
		code: exitUsage,
		err:  fmt.Errorf("--server %q: not an address", s),
		hint: "write 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353",
	}
}

// lookup is the root command: every name in turn, in the order given.
func (a *app) lookup(ctx context.Context, f lookupFlags, args []string) error {
	targets, err := a.targets(&f, args)
	if err != nil {
		return err
	}
	st, err := a.style()
	if err != nil {
		return err
	}
	r, err := f.resolver()
	if err != nil {
		return err
	}
	var drawing func(graph) string
	if f.graph != "" {
		if drawing, err = graphFormat(f.graph); err != nil {
			return err
		}
	}
	var views []lookupView
	code := exitFound
	for i, target := range targets {
		if i > 0 && !a.json && !f.short {
			fmt.Fprintln(a.stdout)
		}
		view, err := lookupOne(ctx, r, target, &f)
		views = append(views, view)
		if printErr := a.printLookup(view, f, st); printErr != nil {
			return &exitError{code: exitFailed, err: printErr}
		}
		if err != nil {
			a.complain(err, hintOf(err))
			code = max(code, lookupCode(err))
		}
		if ctx.Err() != nil {
			return &exitError{code: exitFailed, err: errors.New("interrupted")}
		}
	}
	if f.graph != "" {
		if err := writeGraph(f.graph, drawing, views); err != nil {
			return err
		}
	}
	if code != exitFound {
		return &exitError{code: code}
	}
	return nil
}

func (a *app) printLookup(view lookupView, f lookupFlags, st style) error {
	switch {
	case a.json:
		return json.NewEncoder(a.stdout).Encode(view)
	case f.short:
		writeShort(a.stdout, view)
	default:
		writeLookup(a.stdout, view, st)
		if f.explain && len(view.Addresses) > 0 {
			writeExplanation(a.stdout, view, time.Now(), st)
		}
		if f.hex && len(view.Addresses) > 0 {
			fmt.Fprintf(a.stdout, "\n")
			writeRecordHex(a.stdout, view)
		}
	}
	return nil
}

// hintOf returns the one thing to try that an error carries, or "".
func hintOf(err error) string {
	var e *resolver.Error
	var exit *exitError
	switch {
	case errors.As(err, &e):
		return e.Hint
	case errors.As(err, &exit):
		return exit.hint
	}
	return ""
}

// lookupCode is the exit code for a failed look-up.
func lookupCode(err error) int {
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, resolver.ErrNotFound), errors.Is(err, resolver.ErrFiltered):
		return exitNotFound
	case errors.Is(err, resolver.ErrBadName), errors.Is(err, resolver.ErrBadType), errors.Is(err, resolver.ErrBadServer), errors.Is(err, resolver.ErrBadPrefix):
		return exitUsage
	}
	return exitFailed
}

// target is one thing to look up.
type target struct {
	name string
	port uint16
}

// targets gathers the names from the arguments and the file, and takes @ADDR
// arguments as servers.
func (a *app) targets(f *lookupFlags, args []string) ([]target, error) {
	var targets []target
	for _, arg := range args {
		if server, ok := strings.CutPrefix(arg, "@"); ok {
			f.servers = append(f.servers, server)
			continue
		}
		t, err := parseTarget(arg)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	if f.file != "" {
		more, err := a.readTargets(f.file, f.probe && !f.service)
		if err != nil {
			return nil, err
		}
		targets = append(targets, more...)
	}
	if i := slices.IndexFunc(targets, func(t target) bool { return t.port == 0 }); f.probe && !f.service && i >= 0 {
		return nil, &exitError{code: exitUsage, err: fmt.Errorf("--probe %q: no port to connect to", targets[i].name), hint: "try: mpresolve --probe " + targets[i].name + ":443"}
	}
	if len(targets) == 0 {
		return nil, &exitError{code: exitUsage, err: errors.New("no name given"), hint: "try: mpresolve www.example.net, or mpresolve --help"}
	}
	return targets, nil
}

// readTargets reads names, one a line; blank lines and # comments are passed over.
func (a *app) readTargets(file string, wantPort bool) ([]target, error) {
	input := a.stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, &exitError{code: exitUsage, err: fmt.Errorf("reading names: %w", err)}
		}
		defer opened.Close()
		input = opened
	}
	return scanTargets(input, file, wantPort)
}

// scanTargets reads all lines, and reports all that are malformed.
func scanTargets(input io.Reader, file string, wantPort bool) ([]target, error) {
	var targets []target
	var malformed []error
	lines := bufio.NewScanner(input)
	for number := 1; lines.Scan(); number++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		t, err := parseTarget(text)
		if err == nil {
			err = t.check(wantPort)
		}
		if err != nil {
			malformed = append(malformed, fmt.Errorf("%s:%d: %w", file, number, err))
		}
		targets = append(targets, t)
	}
	if err := lines.Err(); err != nil {
		return nil, &exitError{code: exitFailed, err: fmt.Errorf("reading names from %s: %w", file, err)}
	}
	if len(malformed) > 0 {
		return nil, &exitError{code: exitUsage, err: errors.Join(malformed...)}
	}
	return targets, nil
}

// check finds what can be wrong with a target before it is looked up. Names in
// other letters than ASCII are left to the look-up.
func (t target) check(wantPort bool) error {
	if wantPort && t.port == 0 {
		return usageError("%q: no port; write NAME:PORT", t.name)
	}
	if _, err := netip.ParseAddr(t.name); err == nil {
		return nil
	}
	if strings.ContainsFunc(t.name, unicode.IsSpace) {
		return usageError("%q: one name a line", t.name)
	}
	if strings.ContainsFunc(t.name, func(r rune) bool { return r > unicode.MaxASCII }) {
		return nil
	}
	if _, err := dnswire.ParseName(t.name); err != nil {
		return usageError("%q: %w", t.name, err)
	}
	return nil
}

// parseTarget splits NAME[:PORT]. An IPv6 address needs brackets when a port
// follows it; the port may be a number or a service name.
func parseTarget(arg string) (target, error) {
	if _, err := netip.ParseAddr(strings.Trim(arg, "[]")); err == nil {
		return target{name: strings.Trim(arg, "[]")}, nil
	}
	if !strings.Contains(arg, ":") {
		return target{name: arg}, nil
	}
	host, service, err := net.SplitHostPort(arg)
	if err != nil || host == "" {
		return target{}, usageError("%q: not NAME or NAME:PORT", arg)
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return target{}, usageError("%q: no such port or service: %s", arg, service)
	}
	return target{name: host, port: uint16(port)}, nil
}
