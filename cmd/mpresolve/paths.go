package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// connectionView is one Multipath TCP connection of the machine; the JSON schema
// of paths is this type (see docs/json.md).
type connectionView struct {
	ID            uint32     `json:"id"` // the local token
	Local         string     `json:"local"`
	Remote        string     `json:"remote"`
	State         string     `json:"state"`
	UID           uint32     `json:"uid"`
	Process       string     `json:"process,omitempty"` // where this user may see it
	Manager       string     `json:"manager"`           // kernel, userspace
	BytesSent     uint64     `json:"bytes_sent"`
	BytesReceived uint64     `json:"bytes_received"`
	Paths         []pathView `json:"paths"`
}

func (a *app) pathsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "paths",
		Short: "List this machine's Multipath TCP connections and their subflows",
		Long: `Lists the Multipath TCP connections of this network namespace with every subflow,
whichever process they belong to, as the kernel's socket diagnosis tells it. No
privilege is needed; the process is named where this user may see it.

Exit codes: 0 listed, 3 the kernel does not tell.`,
		Example: "  mpresolve paths\n  mpresolve paths --json | jq .paths",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.paths() },
	}
}

func (a *app) paths() error {
	st, err := a.style()
	if err != nil {
		return err
	}
	connections, err := mptcp.Connections()
	if err != nil {
		return &exitError{code: exitFailed, err: fmt.Errorf("listing connections: %w", err)}
	}
	subflows, err := mptcp.Subflows()
	if err != nil {
		return &exitError{code: exitFailed, err: fmt.Errorf("listing subflows: %w", err)}
	}
	views := connectionViews(connections, subflows, processes("/proc"))
	if a.json {
		encoder := json.NewEncoder(a.stdout)
		for _, v := range views {
			if err := encoder.Encode(v); err != nil {
				return &exitError{code: exitFailed, err: err}
			}
		}
		return nil
	}
	writeConnections(a.stdout, views, st)
	return nil
}

// connectionViews puts the subflows to their connections, in the order of the
// connections' local ends.
func connectionViews(connections []mptcp.Connection, subflows []mptcp.SubflowState, names map[uint32]string) []connectionView {
	slices.SortFunc(connections, func(a, b mptcp.Connection) int {
		return cmp.Or(a.Local.Compare(b.Local), a.Remote.Compare(b.Remote), cmp.Compare(a.Info.Token, b.Info.Token))
	})
	slices.SortFunc(subflows, func(a, b mptcp.SubflowState) int {
		return cmp.Or(boolCompare(b.Initial, a.Initial), a.Remote.Compare(b.Remote), a.Local.Compare(b.Local))
	})
	views := make([]connectionView, 0, len(connections))
	for _, c := range connections {
		if c.Info.Flags&mptcp.InfoFallback != 0 {
			continue // plain TCP by now
		}
		view := connectionView{
			ID: c.Info.Token, Local: c.Local.String(), Remote: c.Remote.String(), State: stateName(c.State), UID: c.UID,
			Process: names[c.Inode], Manager: "userspace", BytesSent: c.Info.BytesSent, BytesReceived: c.Info.BytesReceived,
			Paths: []pathView{},
		}
		if c.Info.SubflowsMax > 0 {
			view.Manager = "kernel"
		}
		for _, s := range subflows {
			if s.Token == c.Info.Token {
				view.Paths = append(view.Paths, subflowView(s))
			}
		}
		views = append(views, view)
	}
	return views
}

func subflowView(s mptcp.SubflowState) pathView {
	state, verdict := stateName(s.TCP.State), "joined"
	if s.Backup {
		state = "backup"
	}
	if s.Initial {
		verdict = "first"
	}
	return pathView{
		Local: s.Local.String(), Remote: s.Remote.String(), State: state, Verdict: verdict,
		RTTMS: milliseconds(s.TCP.RTT), BytesSent: s.TCP.BytesSent, BytesReceived: s.TCP.BytesReceived,
	}
}

// stateName is a TCP state (RFC 9293 section 3.3.2) in a word.
func stateName(state uint8) string {
	switch state {
	case mptcp.StateEstablished:
		return "active"
	case mptcp.StateSynSent:
		return "connecting"
	}
	return "closing"
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func writeConnections(w io.Writer, views []connectionView, st style) {
	if len(views) == 0 {
		fmt.Fprintln(w, "no Multipath TCP connections")
	}
	for i, v := range views {
		if i > 0 {
			fmt.Fprintln(w)
		}
		process := v.Process
		if process == "" {
			process = fmt.Sprintf("uid %d", v.UID)
		}
		fmt.Fprintf(w, "%s  %s  %s -> %s  %s, path manager %s\n", st.paint(st.bold, fmt.Sprintf("%08x", v.ID)), process,
			addressOf(v.Local), v.Remote, count(len(v.Paths), "path", "paths"), v.Manager)
		for _, p := range v.Paths {
			fmt.Fprintf(w, "  %-9s %-25s %-25s %9s  sent %s, received %s  %s\n", p.State, addressOf(p.Local), p.Remote,
				ms(p.RTTMS), octets(float64(p.BytesSent)), octets(float64(p.BytesReceived)), p.Verdict)
		}
	}
}

// octets writes a number of octets with a binary prefix (IEC 80000-13).
func octets(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
