package main

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
)

// dialView is one dial as it is printed; the JSON schema is this type (see
// docs/json.md).
type dialView struct {
	Target    string         `json:"target"`
	Connected bool           `json:"connected"`
	ElapsedMS float64        `json:"elapsed_ms"`
	ResolveMS float64        `json:"resolve_ms"`
	ConnectMS float64        `json:"connect_ms"`
	JoinMS    float64        `json:"join_ms,omitempty"`
	Family    string         `json:"family"` // ipv4 or ipv6: of the first subflow
	Local     string         `json:"local"`
	Remote    string         `json:"remote"`
	MPTCP     bool           `json:"mptcp"`
	ID        uint32         `json:"id,omitempty"` // the local token
	Fallback  string         `json:"fallback"`     // why the connection is plain TCP, or empty
	Manager   string         `json:"manager"`      // direct, broker, kernel, none
	Why       string         `json:"why,omitempty"`
	Candidate int            `json:"candidates"`
	Paths     []pathView     `json:"paths"`
	Rejected  []rejectedView `json:"rejected"`
	Attempts  []attemptView  `json:"attempts"`
	Error     string         `json:"error,omitempty"`
}

// pathView is one subflow.
type pathView struct {
	Local         string  `json:"local"`
	Remote        string  `json:"remote"`
	State         string  `json:"state"`
	Verdict       string  `json:"verdict"`
	RTTMS         float64 `json:"rtt_ms,omitempty"`
	BytesSent     uint64  `json:"bytes_sent"`
	BytesReceived uint64  `json:"bytes_received"`
}

// rejectedView is an address that did not become a path.
type rejectedView struct {
	Address string `json:"address"`
	Verdict string `json:"verdict"`
	Error   string `json:"error"`
}

// attemptView is one attempt of the race for the first subflow.
type attemptView struct {
	Address   string  `json:"address"`
	StartedMS float64 `json:"started_ms"`
	ElapsedMS float64 `json:"elapsed_ms"`
	Error     string  `json:"error,omitempty"`
}

func newDialView(target string, conn *dialer.Conn, elapsed time.Duration) dialView {
	report := conn.Report()
	view := dialView{
		Target: target, Connected: true, ElapsedMS: milliseconds(elapsed),
		ResolveMS: milliseconds(report.Resolve), ConnectMS: milliseconds(report.Connect), JoinMS: milliseconds(report.Joined),
		Local: conn.TCPConn.LocalAddr().String(), Remote: conn.TCPConn.RemoteAddr().String(),
		MPTCP: report.Fallback == "", ID: conn.ID(), Fallback: report.Fallback, Manager: report.Manager, Why: report.Why,
		Paths: []pathView{}, Rejected: []rejectedView{}, Attempts: []attemptView{},
	}
	view.Family = familyOf(view.Remote)
	view.Candidate = 1 // a literal address
	if report.Answer != nil {
		view.Candidate = report.Answer.Record.Len()
	}
	for _, p := range conn.Paths() {
		view.Paths = append(view.Paths, newPathView(p))
	}
	for _, j := range report.Joins {
		if j.Verdict != dialer.Joined {
			view.Rejected = append(view.Rejected, rejectedView{j.Remote.String(), string(j.Verdict), errorText(j.Err)})
		}
	}
	for _, at := range report.Attempts {
		view.Attempts = append(view.Attempts, attemptView{at.Remote.String(), milliseconds(at.Started), milliseconds(at.Elapsed), errorText(at.Err)})
	}
	return view
}

func newPathView(p dialer.Path) pathView {
	return pathView{
		Local: p.Local.String(), Remote: p.Remote.String(), State: p.State, Verdict: string(p.Verdict),
		RTTMS: milliseconds(p.RTT), BytesSent: p.BytesSent, BytesReceived: p.BytesReceived,
	}
}

func familyOf(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err == nil && ap.Addr().Unmap().Is4() {
		return "ipv4"
	}
	return "ipv6"
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// writeDial prints the same as text: three lines of times, then the paths.
func writeDial(w io.Writer, view dialView, st style) {
	fmt.Fprintf(w, "resolved   %8s   %s\n", ms(view.ResolveMS), count(view.Candidate, "address", "addresses"))
	protocol := fmt.Sprintf("Multipath TCP, id %08x", view.ID)
	if !view.MPTCP {
		protocol = "plain TCP: " + view.Fallback
	}
	fmt.Fprintf(w, "connected  %8s   %s from %s   %s\n", ms(view.ConnectMS), view.Remote, addressOf(view.Local), protocol)
	fmt.Fprintln(w, joinLine(view))
	fmt.Fprintln(w)
	writePaths(w, view, st)
}

// joinLine says how many of the other addresses joined and who did it.
func joinLine(view dialView) string {
	joined := max(len(view.Paths)-1, 0)
	if view.JoinMS > 0 {
		return fmt.Sprintf("joined     %8s   %d of %d in %s: %s",
			ms(view.ConnectMS+view.JoinMS), joined, joined+len(view.Rejected), ms(view.JoinMS), view.Why)
	}
	if joined > 0 {
		return fmt.Sprintf("joined     %d, %s", joined, view.Why)
	}
	return "joined     none: " + view.Why
}

func writePaths(w io.Writer, view dialView, st style) {
	local, remote := len("local"), len("remote")
	for _, p := range view.Paths {
		local, remote = max(local, len(addressOf(p.Local))), max(remote, len(p.Remote))
	}
	for _, r := range view.Rejected {
		remote = max(remote, len(r.Address))
	}
	row := fmt.Sprintf("  %%-5s %%-%ds  %%-%ds  %%-9s %%9s  %%s", local, remote)
	fmt.Fprintln(w, st.paint(st.dim, fmt.Sprintf(row, "path", "local", "remote", "state", "rtt", "verdict")))
	for i, p := range view.Paths {
		line := fmt.Sprintf(row, fmt.Sprint(i), addressOf(p.Local), p.Remote, p.State, ms(p.RTTMS), inWords(p.Verdict, ""))
		fmt.Fprintln(w, st.paint(st.good, line))
	}
	for _, r := range view.Rejected {
		line := fmt.Sprintf(row, "-", "", r.Address, "-", "", inWords(r.Verdict, r.Error))
		fmt.Fprintln(w, st.paint(st.warn, line))
	}
}

// inWords says what a verdict means; why is the error behind it, told where it
// adds something.
func inWords(verdict, why string) string {
	if why == dialer.ErrRefusalUnclear.Error() {
		return why
	}
	switch dialer.Verdict(verdict) {
	case dialer.Joined:
		return "same host, proven"
	case dialer.LimitReached:
		return "same host, proven; it takes no more subflows"
	case dialer.Refused:
		return "refused: another host or a closed port (--probe tells which)"
	case dialer.OtherHost:
		return "another host: it speaks Multipath TCP and does not know this connection"
	case dialer.ClosedPort:
		return "refused: nothing listens on this port there"
	case dialer.NotMPTCP:
		return "no Multipath TCP in the answer: another host, or something on the path"
	}
	if why == "" {
		return verdict
	}
	return verdict + ": " + why
}

// addressOf leaves the port out.
func addressOf(addrPort string) string {
	if ap, err := netip.ParseAddrPort(addrPort); err == nil {
		return ap.Addr().Unmap().String()
	}
	return addrPort
}

func ms(v float64) string { return fmt.Sprintf("%.1f ms", v) }
