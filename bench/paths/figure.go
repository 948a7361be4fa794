package main

import "github.com/af-multipath/mpresolve/bench/benchfig"

// figure is what one measurement found, in runs that took turns with the
// baseline's.
type figure struct {
	name     string
	unit     string
	against  string    // what the baseline is; "" where there is none
	ours     []float64 // one of each run
	baseline []float64 // of the same runs; empty where there is none
	bound    bound
}

// bound is what a figure is to keep. The zero bound is none.
type bound struct {
	of      measure
	atLeast bool // the limit is the least that will do, not the most
	limit   float64
}

// measure says which number a bound is for.
type measure uint8

const (
	nothing measure = iota
	ofRatio         // ours divided by the baseline's
	ofOurs          // ours itself
)

func ratioAtMost(limit float64) bound  { return bound{of: ofRatio, limit: limit} }
func ratioAtLeast(limit float64) bound { return bound{ofRatio, true, limit} }
func atMost(limit float64) bound       { return bound{of: ofOurs, limit: limit} }
func atLeast(limit float64) bound      { return bound{ofOurs, true, limit} }

// add takes in one run.
func (f *figure) add(ours, baseline float64) {
	f.ours = append(f.ours, ours)
	f.baseline = append(f.baseline, baseline)
}

// result is a figure as it is shown.
type result struct {
	Name     string   `json:"figure"`
	Unit     string   `json:"unit"`
	Ours     float64  `json:"ours"`               // the median
	Baseline *float64 `json:"baseline,omitempty"` // the median
	Against  string   `json:"against,omitempty"`  // what the baseline is
	// Ratio is the median of the runs' own ratios.
	Ratio *float64 `json:"ratio,omitempty"`
	Bound string   `json:"bound,omitempty"`
	Met   *bool    `json:"met,omitempty"` // absent where there is no bound
	Runs  int      `json:"runs"`
}

// result computes what is shown. A figure without runs has met nothing.
func (f figure) result() result {
	r := result{Name: f.name, Unit: f.unit, Ours: benchfig.Median(f.ours), Against: f.against, Runs: len(f.ours)}
	if len(f.baseline) > 0 {
		r.Baseline, r.Ratio = ptr(benchfig.Median(f.baseline)), ptr(benchfig.MedianRatio(f.ours, f.baseline))
	}
	switch f.bound.of {
	case nothing:
		return r
	case ofRatio:
		r.Bound = f.bound.text("x")
		r.Met = ptr(r.Ratio != nil && f.bound.met(*r.Ratio))
	case ofOurs:
		r.Bound = f.bound.text(" " + f.unit)
		r.Met = ptr(r.Runs > 0 && f.bound.met(r.Ours))
	}
	return r
}

func (b bound) met(value float64) bool {
	if b.atLeast {
		return value >= b.limit
	}
	return value <= b.limit
}

func (b bound) text(unit string) string {
	sign := "≤"
	if b.atLeast {
		sign = "≥"
	}
	return sign + " " + benchfig.Number(b.limit) + unit
}

func ptr[T any](v T) *T { return &v }
