package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/af-multipath/mpresolve/internal/addrsel"
	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// serverTimeout is how long doctor waits for a DNS server.
const serverTimeout = 2 * time.Second

// machine is what doctor looks at. [diagnose] turns it into findings.
type machine struct {
	os         string
	supported  error // nil when a Multipath TCP socket can be made
	system     mptcp.System
	systemErr  error
	blackholed bool           // at present, as a connection over loopback shows
	rpFilter   map[string]int // of the interfaces that filter strictly
	interfaces int            // that are up and not loopback
	source4    netip.Addr     // what a packet to the Internet would come from
	source6    netip.Addr
	broker     error // nil when a path broker answers
	resolvPath string
	warnings   []string
	servers    []serverState
}

// serverState is one DNS server of resolv.conf and how it answered.
type serverState struct {
	server  string
	elapsed time.Duration
	err     error
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can do, and what to do about the rest",
		Long: `Looks at the kernel, its Multipath TCP settings, this process's privilege, both
address families and the DNS servers. Each line is ok, note or fix; a fix comes with
the command to type. Nothing is changed.

Exit codes: 0 always, unless the output cannot be written.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
}

func (a *app) doctor(ctx context.Context) error {
	st, err := a.style()
	if err != nil {
		return err
	}
	view := diagnose(examine(ctx))
	if a.json {
		err = json.NewEncoder(a.stdout).Encode(view)
	} else {
		writeDoctor(a.stdout, view, st)
	}
	if err != nil {
		return &exitError{code: exitFailed, err: err}
	}
	return nil
}

// wellKnown4 and wellKnown6 are addresses of the Internet (the F root server)
// whose routes doctor looks up. Nothing is sent to them.
var (
	wellKnown4 = netip.MustParseAddr("192.5.5.241")
	wellKnown6 = netip.MustParseAddr("2001:500:2f::f")
)

// examine looks at this machine.
func examine(ctx context.Context) machine {
	m := machine{os: runtime.GOOS, supported: mptcp.Supported()}
	m.system, m.systemErr = mptcp.ReadSystem()
	m.blackholed, _ = mptcp.ProbeBlackhole()
	m.rpFilter, m.interfaces = readRPFilter("/proc/sys/net/ipv4/conf")
	sources := addrsel.Sources(ctx, []netip.Addr{wellKnown4, wellKnown6})
	m.source4, m.source6 = sources[0].Addr, sources[1].Addr
	m.broker = brokerAnswers()
	system, now := sysconf.Default(), time.Now()
	conf := system.Resolv(now)
	m.resolvPath, m.warnings = conf.Path, system.Warnings(now)
	if _, err := addrsel.ParseGaiConf(bytes.NewReader(system.GaiConf(now))); err != nil {
		m.warnings = append(m.warnings, err.Error())
	}
	m.servers = askServers(ctx, conf.Servers)
	return m
}

// brokerAnswers returns nil when something listens on the path broker's socket.
func brokerAnswers() error {
	conn, err := net.Dial("unixpacket", broker.DefaultPath)
	if err != nil {
		return err
	}
	return conn.Close()
}

// askServers asks each server for the root's name servers, all at once.
func askServers(ctx context.Context, servers []netip.AddrPort) []serverState {
	states := make([]serverState, len(servers))
	var group errgroup.Group
	for i, addr := range servers {
		group.Go(func() error {
			server := upstream.NewServer(addr, upstream.Options{Timeout: serverTimeout, Attempts: 1})
			q := upstream.Query{Question: dnswire.Question{Name: "\x00", Type: dnswire.TypeNS, Class: dnswire.ClassINET}}
			start := time.Now()
			_, err := server.Exchange(ctx, q)
			states[i] = serverState{serverText(addr.String()), time.Since(start), err}
			return nil
		})
	}
	group.Wait() //nolint:errcheck // the goroutines return no errors
	return states
}

// doctorView is what doctor prints.
type doctorView struct {
	Findings []finding `json:"findings"`
	Summary  string    `json:"summary"`
}

// finding is one line: what was looked at, what was seen, what to do.
type finding struct {
	Level string `json:"level"` // ok, note, fix
	What  string `json:"what"`
	Seen  string `json:"seen"`
	Do    string `json:"do,omitempty"`
}

func writeDoctor(w io.Writer, view doctorView, st style) {
	codes := map[string]string{"ok": st.good, "note": st.warn, "fix": st.bad}
	width := 0
	for _, f := range view.Findings {
		width = max(width, len(f.What))
	}
	for _, f := range view.Findings {
		fmt.Fprintf(w, "%s  %-*s  %s\n", st.paint(codes[f.Level], fmt.Sprintf("%-4s", f.Level)), width, f.What, f.Seen)
		if f.Do != "" {
			fmt.Fprintf(w, "      %*s  %s\n", width, "", f.Do)
		}
	}
	fmt.Fprintf(w, "\n%s\n", view.Summary)
}
