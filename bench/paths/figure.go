package main

import (
	"fmt"
	"slices"
)

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
	r := result{Name: f.name, Unit: f.unit, Ours: median(f.ours), Against: f.against, Runs: len(f.ours)}
	if len(f.baseline) > 0 {
		r.Baseline, r.Ratio = ptr(median(f.baseline)), ptr(medianRatio(f.ours, f.baseline))
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
	return sign + " " + number(b.limit) + unit
}

// median returns the middle of a list, the mean of both middles of an even one,
// 0 of an empty one.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// medianRatio returns the median of the ratios of pairs. Pairs whose second is
// not positive are left out.
func medianRatio(ours, baseline []float64) float64 {
	var ratios []float64
	for i := range min(len(ours), len(baseline)) {
		if baseline[i] > 0 {
			ratios = append(ratios, ours[i]/baseline[i])
		}
	}
	return median(ratios)
}

// number prints a value with at least three significant digits.
func number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func ptr[T any](v T) *T { return &v }
