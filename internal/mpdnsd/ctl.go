package mpdnsd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
)

// ctlError ends `mpdnsd ctl` with an exit code.
type ctlError struct {
	code int
	err  error
}

func (e *ctlError) Error() string { return "ctl: " + e.err.Error() }

func (e *ctlError) Unwrap() error { return e.err }

// ctlFailed gives an error of the client its exit code and, where there is one
// thing to try, says it.
func ctlFailed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*control.RefusedError)):
		return &ctlError{exitError, err}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		err = fmt.Errorf("%w\nis the daemon running, and with this socket? --socket PATH is another", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		err = fmt.Errorf("%w\nthe socket's mode says who may ask: sudo mpdnsd ctl, or control.mode and control.group", err)
	}
	return &ctlError{exitUnasked, err}
}

// ctl is what the subcommands share.
type ctl struct {
	socket string
	json   bool
}

const ctlLong = `ctl asks a running mpdnsd, over its control socket.

Exit codes: 0 done; 1 the daemon answered and did not do it, or holds nothing of
the name; 2 the command line is wrong; 3 the daemon could not be asked.`

// ctlCommand is `mpdnsd ctl`.
func ctlCommand() *cobra.Command {
	c := &ctl{}
	cmd := &cobra.Command{
		Use: "ctl COMMAND", Short: "Ask a running daemon", Long: ctlLong,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q of %s", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return errors.New("ctl: no command given") },
	}
	cmd.PersistentFlags().StringVar(&c.socket, "socket", control.DefaultPath, "ask at the unix socket `PATH`")
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "print the daemon's reply as JSON")
	cmd.AddCommand(
		ctlShow(c, "stats", "Show what the daemon holds and has done", (*control.Client).Stats, writeStats),
		ctlShow(c, "upstreams", "Show whom the daemon asks", (*control.Client).Upstreams, writeUpstreams),
		ctlShow(c, "version", "Show which program answers", (*control.Client).Version, writeVersion),
		ctlLookup(c), ctlVerdicts(c), ctlFlush(c), ctlReload(c),
	)
	return cmd
}

// ctlShow is a subcommand without arguments that shows a reply.
func ctlShow[T any](c *ctl, use, short string, ask func(*control.Client, context.Context) (T, error), write func(io.Writer, T)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := ask(control.NewClient(c.socket), cmd.Context())
			if err != nil {
				return ctlFailed(err)
			}
			return show(c, cmd, v, write)
		},
	}
}

// show prints a reply, in words or as it came.
func show[T any](c *ctl, cmd *cobra.Command, v T, write func(io.Writer, T)) error {
	if c.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
	}
	write(cmd.OutOrStdout(), v)
	return nil
}

func ctlLookup(c *ctl) *cobra.Command {
	return &cobra.Command{
		Use: "lookup NAME", Short: "Show what the cache holds of a name, and how old it is", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			held, err := control.NewClient(c.socket).Lookup(cmd.Context(), args[0])
			if err != nil {
				return ctlFailed(err)
			}
			if len(held.Entries) == 0 && !c.json {
				return &ctlError{exitError, fmt.Errorf("the cache holds nothing of %s", held.Name)}
			}
			return show(c, cmd, held, writeHeld)
		},
	}
}

func ctlFlush(c *ctl) *cobra.Command {
	var all, zone bool
	cmd := &cobra.Command{
		Use: "flush {NAME | --zone NAME | --all}", Short: "Forget cached answers: of a name, of all below it, or all",
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) == 1) || len(args) > 1 || all && zone {
				return errors.New("ctl flush: want one of NAME, --zone NAME, --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			client := control.NewClient(c.socket)
			var done control.Flushed
			switch {
			case all:
				done, err = client.FlushAll(cmd.Context())
			case zone:
				done, err = client.FlushZone(cmd.Context(), args[0])
			default:
				done, err = client.FlushName(cmd.Context(), args[0])
			}
			if err != nil {
				return ctlFailed(err)
			}
			return show(c, cmd, done, writeFlushed)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "forget everything")
	cmd.Flags().BoolVar(&zone, "zone", false, "NAME and all names below it")
	return cmd
}

func ctlReload(c *ctl) *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Read configuration and zones again", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := control.NewClient(c.socket).Reload(cmd.Context()); err != nil {
				return ctlFailed(err)
			}
			return show(c, cmd, struct{}{}, func(w io.Writer, _ struct{}) { fmt.Fprintln(w, "reloaded") })
		},
	}
}
