package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

// Bounds of proving by joining.
const (
	// maxProbeRounds is how many connections are made: one for each host, and one
	// more for each dialer.DefaultMaxSubflows addresses of it.
	maxProbeRounds = 16
	// probeConnect bounds each connection, and probeWait the wait for its joins: a
	// second until it is fully established (RFC 8684 section 3.2), then twice
	// dialer.DefaultJoinTimeout, for joins and for looking into refusals.
	probeConnect = 10 * time.Second
	probeWait    = 10 * time.Second
)

// probeView is what connections told of which addresses are one host.
type probeView struct {
	ElapsedMS   float64         `json:"elapsed_ms"`
	Connections []probedView    `json:"connections"`
	Unsettled   []unsettledView `json:"unsettled"` // the addresses of which no join could tell
	Error       string          `json:"error,omitempty"`

	hint string
}

// probedView is one connection and the joins to it.
type probedView struct {
	Remote  string     `json:"remote"`
	Manager string     `json:"manager"`
	Why     string     `json:"why,omitempty"`
	Joins   []joinView `json:"joins"`
}

// joinView is what became of one address offered to a connection.
type joinView struct {
	Address string `json:"address"`
	Verdict string `json:"verdict"`
	Error   string `json:"error,omitempty"`
}

// unsettledView is an address and why nothing is proven of it.
type unsettledView struct {
	Address string `json:"address"`
	Why     string `json:"why"`
}

// prober connects to the hosts of one name, one after the other: the addresses
// that join a connection are its host, those that refuse and speak Multipath TCP
// are tried among themselves next.
type prober struct {
	dialer *dialer.Dialer
	name   string
	memory *hostid.Memory
	view   *probeView
	others []mpaddr.Endpoint // of other hosts than those connected to
}

// probe proves by joining which addresses of the answer are one host, and has the
// answer's hosts judged by it. It knows nothing from before.
func probe(ctx context.Context, answer *resolver.Answer, port uint16, broker string) *probeView {
	start := time.Now()
	p := prober{
		dialer: &dialer.Dialer{
			Timeout: probeConnect, Probe: true, Broker: broker, Fallback: dialer.FallbackError,
			Unknown: dialer.JoinAny, // whatever the machine's other programs have learned
		},
		name:   answer.Name,
		memory: hostid.NewMemory(0),
		view:   &probeView{Connections: []probedView{}, Unsettled: []unsettledView{}},
	}
	p.run(ctx, endpoints(answer.Record.WithPort(port)))
	answer.Remember(p.memory)
	p.view.ElapsedMS = milliseconds(time.Since(start))
	return p.view
}

func endpoints(set mpaddr.Addr) []mpaddr.Endpoint {
	var out []mpaddr.Endpoint
	for _, e := range set.All() {
		out = append(out, e)
	}
	return out
}

// run makes connections until every address is settled or nothing more can be
// told. An address alone is settled: it is another host than all before.
func (p *prober) run(ctx context.Context, set []mpaddr.Endpoint) {
	for range maxProbeRounds {
		if len(set) < 2 {
			set, p.others = p.others, nil
		}
		if len(set) < 2 {
			return
		}
		set = p.connect(ctx, set)
	}
	p.unsettled(append(set, p.others...), fmt.Sprintf("%d connections were made, and no more are", maxProbeRounds))
}

// connect makes one connection to the set, and returns what is left to be offered
// to its host: itself and the addresses that it had no room for.
func (p *prober) connect(ctx context.Context, set []mpaddr.Endpoint) []mpaddr.Endpoint {
	conn, err := p.dialer.Connect(ctx, mpaddr.New(set...))
	if err != nil {
		p.failed(set, err)
		return nil
	}
	defer conn.Close()
	waiting, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	_ = conn.WaitJoins(waiting) // what has no verdict by then is in the report
	report := conn.Report()
	first := netip.MustParseAddrPort(conn.TCPConn.RemoteAddr().String())
	first = netip.AddrPortFrom(first.Addr().Unmap(), first.Port())
	view := probedView{Remote: first.String(), Manager: report.Manager, Why: report.Why, Joins: []joinView{}}
	again := set[:0:0]
	for _, e := range set {
		if e.AddrPort() == first {
			continue
		}
		j := joinOf(report, e.AddrPort())
		view.Joins = append(view.Joins, joinView{endpointText(e), string(j.Verdict), errorText(j.Err)})
		if p.settle(first.Addr(), e, j) {
			again = append(again, e)
		}
	}
	p.view.Connections = append(p.view.Connections, view)
	if len(again) == len(set)-1 || ctx.Err() != nil { // nobody joins anything
		p.untold(again, report)
		return nil
	}
	if len(again) == 0 {
		return nil
	}
	return append([]mpaddr.Endpoint{mpaddr.EndpointFrom(first)}, again...)
}

// joinOf returns what became of an address, the best where it was offered from
// several addresses of this machine.
func joinOf(report dialer.Report, remote netip.AddrPort) dialer.Join {
	best := dialer.Join{Remote: remote, Verdict: dialer.NotTried}
	for _, j := range report.Joins {
		if j.Remote == remote && (best.Verdict == dialer.NotTried || outcomeOf(j.Verdict).Verdict() == hostid.Same) {
			best = j
		}
	}
	return best
}

// settle keeps what a join told, and reports whether it was not tried.
func (p *prober) settle(first netip.Addr, e mpaddr.Endpoint, j dialer.Join) (again bool) {
	o := outcomeOf(j.Verdict)
	p.memory.Record(p.name, first, e.Addr(), o, time.Now())
	switch {
	case o == hostid.NotTried:
		return true
	case o.Verdict() == hostid.Same:
	case o.Verdict() == hostid.Different:
		p.others = append(p.others, e)
	default:
		p.unsettled([]mpaddr.Endpoint{e}, inWords(string(j.Verdict), errorText(j.Err)))
	}
	return false
}

// outcomeOf is a verdict as the memory keeps it.
func outcomeOf(v dialer.Verdict) hostid.Outcome {
	outcomes := []hostid.Outcome{
		hostid.Joined, hostid.LimitReached, hostid.Refused, hostid.OtherHost, hostid.ClosedPort,
		hostid.NotMPTCP, hostid.TimedOut, hostid.Unreachable,
	}
	i := slices.IndexFunc(outcomes, func(o hostid.Outcome) bool { return o.String() == string(v) })
	if i < 0 {
		return hostid.NotTried
	}
	return outcomes[i]
}

// failed notes that there was no connection to any of the set.
func (p *prober) failed(set []mpaddr.Endpoint, err error) {
	switch {
	case errors.Is(err, dialer.ErrMultipathUnsupported):
		p.view.hint = "mpresolve doctor says what this machine lacks"
	case errors.Is(err, dialer.ErrNotMultipath):
		p.view.hint = "only hosts that speak Multipath TCP can prove that addresses are theirs"
	}
	p.unsettled(set, err.Error())
}

// untold notes that nothing was offered to a connection, and why.
func (p *prober) untold(set []mpaddr.Endpoint, report dialer.Report) {
	if report.Manager != "direct" && report.Manager != "broker" {
		p.view.hint = "joining needs CAP_NET_ADMIN or mpdnsd's path broker, and net.mptcp.path_manager=userspace; mpresolve doctor says what to do"
		p.unsettled(set, report.Why)
		return
	}
	for _, e := range set {
		why := "no verdict in time"
		if j := joinOf(report, e.AddrPort()); j.Err != nil {
			why = j.Err.Error()
		}
		p.unsettled([]mpaddr.Endpoint{e}, why)
	}
}

// unsettled notes addresses of which nothing is proven.
func (p *prober) unsettled(set []mpaddr.Endpoint, why string) {
	for _, e := range set {
		p.view.Unsettled = append(p.view.Unsettled, unsettledView{endpointText(e), why})
	}
}

// failure is the error of a probe that could not tell; nil where it could, and
// where there was none.
func (v *probeView) failure(t target) error {
	if v == nil || len(v.Unsettled) == 0 {
		return nil
	}
	v.Error = fmt.Sprintf("probing could not tell the host of %s: %s", count(len(v.Unsettled), "address", "addresses"), v.Unsettled[0].Why)
	return &exitError{code: exitFailed, err: fmt.Errorf("%s:%d: %s", t.name, t.port, v.Error), hint: v.hint}
}

// verdict is what is known of one address: first where a connection began with
// it, else the best of what the joins told.
func (v *probeView) verdict(address string) string {
	best := string(dialer.NotTried)
	for _, c := range v.Connections {
		if c.Remote == address {
			return string(dialer.First)
		}
		for _, j := range c.Joins {
			same := outcomeOf(dialer.Verdict(j.Verdict)).Verdict() == hostid.Same
			if j.Address == address && (best == string(dialer.NotTried) || same) {
				best = j.Verdict
			}
		}
	}
	return best
}

// writeProbe prints each connection with its joins.
func writeProbe(w io.Writer, view *probeView, st style) {
	if view == nil {
		return
	}
	if len(view.Connections) == 0 && len(view.Unsettled) == 0 {
		fmt.Fprintf(w, "\n  probe  the only address: there is nothing to join\n")
		return
	}
	fmt.Fprintf(w, "\n  probe  %s in %s\n", count(len(view.Connections), "connection", "connections"), ms(view.ElapsedMS))
	for _, c := range view.Connections {
		fmt.Fprintf(w, "\n    connected to %s: %s\n", c.Remote, c.Why)
		width := 0
		for _, j := range c.Joins {
			width = max(width, len(j.Address))
		}
		for _, j := range c.Joins {
			line := fmt.Sprintf("      %-*s  %s", width, j.Address, inWords(j.Verdict, j.Error))
			colour := st.warn
			if outcomeOf(dialer.Verdict(j.Verdict)).Verdict() == hostid.Same {
				colour = st.good
			}
			fmt.Fprintln(w, st.paint(colour, strings.TrimRight(line, " ")))
		}
	}
}
