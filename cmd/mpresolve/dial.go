package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/resolver"
)

// defaultWait is how long dial waits for the joins. An idle connection is fully
// established after about one second (a keep-alive probe), then a join takes a
// round trip.
const defaultWait = 2 * time.Second

// dialFlags are the flags of dial.
type dialFlags struct {
	lookup  lookupFlags
	network string
	wait    time.Duration
	connect time.Duration
	stdin   bool
	probe   bool
	plain   bool
	broker  string
	watch   bool
	limit   time.Duration
}

func (a *app) dialCommand() *cobra.Command {
	var f dialFlags
	cmd := &cobra.Command{
		Use:   "dial [flags] HOST:PORT",
		Short: "Connect over every path and show what became of each address",
		Long: `Resolves HOST, connects to the best address by Happy Eyeballs, offers the other
addresses to the same Multipath TCP connection, and shows every path with its state
and every refused address with its verdict.

With --stdin, standard input is sent over the connection and what comes back is
written to standard output until the peer closes; the report then goes to standard
error.

Exit codes: 0 connected, 1 no such name, 2 usage, 3 not connected.`,
		Example: `  mpresolve dial www.example.net:443
  mpresolve dial --json --wait 5s www.example.net:https
  mpresolve dial --watch --stdin files.example.net:9 < large.file
  printf 'GET / HTTP/1.0\r\n\r\n' | mpresolve dial --stdin www.example.net:80`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &exitError{code: exitUsage, err: fmt.Errorf("dial takes one HOST:PORT, %d given", len(args)), hint: "try: mpresolve dial www.example.net:443"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.dial(cmd.Context(), f, args[0]) },
	}
	f.lookup.registerServers(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.network, "network", "tcp", "network: tcp, tcp4, tcp6, multipath")
	flags.DurationVar(&f.wait, "wait", defaultWait, "wait at most this long for the joins")
	flags.DurationVar(&f.connect, "connect-timeout", 0, "give up the whole dial after this long (default: never)")
	flags.BoolVar(&f.stdin, "stdin", false, "send standard input, print the reply")
	flags.BoolVar(&f.probe, "probe", false, "tell another host from a closed port by a fresh connection to each refused address")
	flags.BoolVar(&f.watch, "watch", false, "show the paths live until the peer closes; without a terminal, a JSON line a second")
	flags.DurationVar(&f.limit, "for", 0, "end --watch after this long (default: when the peer closes)")
	flags.StringVar(&f.broker, "broker", "", "`SOCKET` of the path broker, or off (default: "+broker.DefaultPath+")")
	flags.BoolVar(&f.plain, "no-mptcp", false, "use plain TCP")
	return cmd
}

// dialer makes the dialer that the flags describe.
func (f *dialFlags) dialer() (*dialer.Dialer, error) {
	switch f.network {
	case "tcp", "tcp4", "tcp6", "multipath":
	default:
		return nil, usageError("--network %q: unknown value (tcp, tcp4, tcp6, multipath)", f.network)
	}
	r, err := f.lookup.resolver()
	if err != nil {
		return nil, err
	}
	r.WaitAll = false
	d := &dialer.Dialer{Resolver: r, Timeout: f.connect, Probe: f.probe, Broker: f.broker}
	if f.plain {
		d.Multipath = dialer.MultipathOff
	}
	return d, nil
}

func (a *app) dial(ctx context.Context, f dialFlags, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return &exitError{code: exitUsage, err: fmt.Errorf("dial %q: not HOST:PORT", address), hint: "try: mpresolve dial " + address + ":443"}
	}
	st, err := a.style()
	if err != nil {
		return err
	}
	d, err := f.dialer()
	if err != nil {
		return err
	}
	start := time.Now()
	nc, err := d.DialContext(ctx, f.network, address)
	if err != nil {
		return a.dialFailed(address, time.Since(start), err)
	}
	conn, ok := nc.(*dialer.Conn)
	if !ok {
		nc.Close()
		return &exitError{code: exitFailed, err: fmt.Errorf("dial %s: unexpected kind of connection", address)}
	}
	defer conn.Close()
	return a.use(ctx, f, address, conn, start, st)
}

// use waits for the joins, reports, and carries the data where asked to.
func (a *app) use(ctx context.Context, f dialFlags, address string, conn *dialer.Conn, start time.Time, st style) error {
	report := a.stdout
	if f.stdin {
		report = a.stderr
	}
	waitCtx, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	if err := conn.WaitJoins(waitCtx); err != nil && ctx.Err() != nil { // how the joins ended is in the report
		return &exitError{code: exitFailed, err: errors.New("interrupted")}
	}
	view := newDialView(address, conn, time.Since(start))
	if err := a.printDial(report, view, st); err != nil {
		return &exitError{code: exitFailed, err: err}
	}
	if !f.stdin && !f.watch {
		return nil
	}
	if f.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.limit)
		defer cancel()
	}
	if err := a.transfer(ctx, f, conn, report, st); err != nil {
		return &exitError{code: exitFailed, err: fmt.Errorf("dial %s: %w", address, err)}
	}
	return nil
}

// transfer carries the data, and shows the paths meanwhile where asked to.
// Without --stdin nothing is sent, and what comes is thrown away.
func (a *app) transfer(ctx context.Context, f dialFlags, conn *dialer.Conn, report io.Writer, st style) error {
	in, out := io.Reader(nil), io.Discard
	if f.stdin {
		in, out = a.stdin, a.stdout
	}
	if !f.watch {
		return carry(ctx, conn, in, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { return watch(ctx, report, conn, st, st != style{}) })
	err := carry(ctx, conn, in, out)
	if ctx.Err() != nil {
		err = nil // ended as asked
	}
	cancel()
	return errors.Join(err, group.Wait())
}

func (a *app) printDial(w io.Writer, view dialView, st style) error {
	if a.json {
		return json.NewEncoder(w).Encode(view)
	}
	writeDial(w, view, st)
	return nil
}

// dialFailed reports a dial that gave no connection.
func (a *app) dialFailed(address string, elapsed time.Duration, err error) error {
	if a.json {
		view := dialView{Target: address, ElapsedMS: milliseconds(elapsed), Manager: "none", Paths: []pathView{}, Rejected: []rejectedView{}, Error: err.Error()}
		if err := json.NewEncoder(a.stdout).Encode(view); err != nil {
			return &exitError{code: exitFailed, err: err}
		}
	}
	code := exitFailed
	if errors.Is(err, resolver.ErrNotFound) {
		code = exitNotFound
	}
	return &exitError{code: code, err: err, hint: hintOf(err)}
}

// carry copies both directions until the peer closes. The end of the input is
// passed on as a half close. A read of the input that is still waiting when the
// peer closes is left to the end of the process: there is no way to cancel it.
func carry(ctx context.Context, conn *dialer.Conn, in io.Reader, out io.Writer) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	sent := make(chan error, 1)
	if in != nil {
		go func() {
			_, err := io.Copy(conn, in)
			sent <- errors.Join(err, conn.CloseWrite())
		}()
	}
	if _, err := io.Copy(out, conn); err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	select {
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	default:
	}
	return nil
}
