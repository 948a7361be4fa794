package main

import (
	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/internal/mpdnsd"
)

// daemonCommand runs mpdnsd inside this executable. The demo needs the daemon as
// a process of its own and has only this file on disk to start.
func (a *app) daemonCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "mpdnsd",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := mpdnsd.Main(args, a.stdout, a.stderr); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
}
