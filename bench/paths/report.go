package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/af-multipath/mpresolve/bench/benchfig"
)

// report is everything that a run prints.
type report struct {
	Machine string   `json:"machine"`
	Figures []result `json:"figures"`
	Notes   []string `json:"notes,omitempty"`
	// LoadBefore and LoadAfter are the load averages of the last minute, empty
	// where the system has none; what else the machine does is in them.
	LoadBefore string `json:"loadBefore,omitempty"`
	LoadAfter  string `json:"loadAfter,omitempty"`
	// Seconds is how long the run took, CPUSeconds what this process, router
	// and servers included, and its children used.
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpuSeconds"`
}

func (r report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r report) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tours\tbaseline\tratio\tbound\tmet\truns")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%s %s\t%s\t%s\t%s\t%s\t%d\n",
			f.Name, benchfig.Number(f.Ours), f.Unit, baselineText(f), ratioText(f), orDash(f.Bound), metText(f), f.Runs)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	_, err := fmt.Fprintf(w, "%s; load average %s before, %s after; %.0f s, of which %.0f s of CPU time for lab, servers and clients\n",
		r.Machine, orDash(r.LoadBefore), orDash(r.LoadAfter), r.Seconds, r.CPUSeconds)
	return err
}

func baselineText(f result) string {
	if f.Baseline == nil {
		return "-"
	}
	return fmt.Sprintf("%s %s (%s)", benchfig.Number(*f.Baseline), f.Unit, f.Against)
}

func ratioText(f result) string {
	if f.Ratio == nil {
		return "-"
	}
	return fmt.Sprintf("%.2fx", *f.Ratio)
}

func metText(f result) string {
	switch {
	case f.Met == nil:
		return "-"
	case *f.Met:
		return "yes"
	default:
		return "NO"
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// describe names what the figures were made with. What the system does not tell
// is left out.
func describe() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	control, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	parts := []string{runtime.Version(), fmt.Sprintf("%d CPUs", runtime.NumCPU()), runtime.GOOS}
	for _, text := range [][]byte{kernel, control} {
		if word := strings.TrimSpace(string(text)); word != "" {
			parts = append(parts, word)
		}
	}
	return strings.Join(parts, ", ")
}

// load returns the load average of the last minute, "" where there is none.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg") // absent: not said
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
