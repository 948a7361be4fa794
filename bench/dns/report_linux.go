package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/bench/benchfig"
)

// maxErrors is after how many rounds without a figure a peer is given up.
const maxErrors = 2

// report is everything that a run prints.
type report struct {
	Date    string   `json:"date"`
	Machine string   `json:"machine"`
	Peers   []string `json:"peers"` // in the order of the columns
	Rows    []*row   `json:"rows"`
	Notes   []string `json:"notes,omitempty"`
}

// row is one load's figures.
type row struct {
	Name   string               `json:"load"`
	Title  string               `json:"title"`
	Unit   string               `json:"unit"`
	Values map[string][]float64 `json:"values"`           // by peer, in the order of the rounds
	Errors map[string][]string  `json:"errors,omitempty"` // of the rounds that gave no figure
	Goals  []result             `json:"goals"`
	goals  []goal
	again  bool // the measurement is that of the row before: so are its errors
}

// result is what became of a goal.
type result struct {
	Of    string  `json:"of,omitempty"` // whose figure ours is divided by; "": nobody's
	Limit float64 `json:"limit"`
	Value float64 `json:"value"` // the median of the ratios in each round, or of ours
	Met   bool    `json:"met"`
}

func newReport(b *bench) *report {
	r := &report{Date: time.Now().Format(time.DateOnly), Machine: describe()}
	for _, p := range b.chosenPeers() {
		if b.programs[p.name] != "" {
			r.Peers = append(r.Peers, p.name)
		}
	}
	for _, p := range b.missing {
		text := "not measured, not installed: " + p.name
		if p.pkg != "" {
			text += " (apt-get install " + p.pkg + ")"
		} else {
			text += " (see bench/dns/install)"
		}
		r.Notes = append(r.Notes, text)
	}
	return r
}

// add makes the rows of a measurement.
func (r *report) add(m measurement) (rows []*row) {
	for _, f := range m.figures {
		rows = append(rows, &row{Name: m.name, Title: f.title, Unit: f.unit, Values: map[string][]float64{}, Errors: map[string][]string{}, goals: f.goals, again: len(rows) > 0})
	}
	r.Rows = append(r.Rows, rows...)
	return rows
}

// failed tells that a peer is not to be asked again.
func (w *row) failed(peer string) bool { return len(w.Errors[peer]) >= maxErrors }

// add takes in the i-th of values, or the error that there is instead.
func (w *row) add(peer string, values []float64, i int, err error) {
	if err != nil {
		w.Errors[peer] = append(w.Errors[peer], err.Error())
		return
	}
	w.Values[peer] = append(w.Values[peer], values[i])
}

// best returns the peer with the smallest median, ours and the floors apart.
func (w *row) best() (name string) {
	for _, p := range peers() {
		if p.name == ours || p.floor || len(w.Values[p.name]) == 0 {
			continue
		}
		if name == "" || benchfig.Median(w.Values[p.name]) < benchfig.Median(w.Values[name]) {
			name = p.name
		}
	}
	return name
}

// results compares ours with what the goals name. A goal whose peer is missing
// is left out.
func (w *row) results() (list []result) {
	if len(w.Values[ours]) == 0 {
		return nil
	}
	for _, g := range w.goals {
		if g.absolute {
			v := benchfig.Median(w.Values[ours])
			list = append(list, result{"", g.limit, v, v <= g.limit})
			continue
		}
		of := g.of
		if of == "" {
			of = w.best()
		}
		if len(w.Values[of]) == 0 {
			continue
		}
		ratio := benchfig.Median(w.Values[ours]) / benchfig.Median(w.Values[of])
		if len(w.Values[ours]) == len(w.Values[of]) { // of the same rounds
			ratio = benchfig.MedianRatio(w.Values[ours], w.Values[of])
		}
		list = append(list, result{of, g.limit, ratio, ratio <= g.limit})
	}
	return list
}

func (w *row) String() string {
	text := w.Name + " (" + w.Unit + "):"
	for _, p := range peers() {
		if v := w.Values[p.name]; len(v) > 0 {
			text += fmt.Sprintf(" %s %s;", p.name, benchfig.Number(benchfig.Median(v)))
		}
		for _, e := range w.Errors[p.name] {
			text += fmt.Sprintf(" %s: %s;", p.name, e)
		}
	}
	return text
}

func (r *report) writeJSON(out io.Writer) error {
	for _, w := range r.Rows {
		w.Goals = w.results()
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable writes Markdown.
func (r *report) writeTable(out io.Writer) error {
	fmt.Fprintf(out, "%s, %s\n\n| load | unit |", r.Date, r.Machine)
	for _, p := range r.Peers {
		fmt.Fprintf(out, " %s |", p)
	}
	fmt.Fprintf(out, " ratios |\n|---|---|%s---|\n", strings.Repeat("---|", len(r.Peers)))
	for _, w := range r.Rows {
		fmt.Fprintf(out, "| %s | %s |", w.Title, w.Unit)
		for _, p := range r.Peers {
			fmt.Fprintf(out, " %s |", w.cell(p))
		}
		fmt.Fprintf(out, " %s |\n", w.goalText())
	}
	for _, w := range r.Rows {
		if w.again {
			continue
		}
		for _, p := range r.Peers {
			if e := w.Errors[p]; len(e) > 0 {
				r.Notes = append(r.Notes, fmt.Sprintf("%s: %s: %d rounds without a figure: %s", w.Title, p, len(e), e[0]))
			}
		}
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(r.Notes, "\n"))
	return err
}

func (w *row) cell(peer string) string {
	if len(w.Values[peer]) == 0 {
		return "-"
	}
	return benchfig.Number(benchfig.Median(w.Values[peer]))
}

func (w *row) goalText() string {
	var parts []string
	for _, g := range w.results() {
		sign := "met"
		if !g.Met {
			sign = "NOT met"
		}
		if g.Of == "" {
			parts = append(parts, fmt.Sprintf("≤ %s: %s", benchfig.Number(g.Limit), sign))
		} else {
			parts = append(parts, fmt.Sprintf("%.2f of %s (≤ %.2f: %s)", g.Value, g.Of, g.Limit, sign))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// describe names what the figures were made with.
func describe() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // absent: not said
	return fmt.Sprintf("%s, %d CPUs, %s %s", runtime.Version(), runtime.NumCPU(), runtime.GOOS, strings.TrimSpace(string(kernel)))
}
