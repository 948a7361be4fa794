package main

import (
	"fmt"
	"slices"
	"time"
)

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

// percentile returns the smallest of the times that at least p of a hundred do
// not exceed (the nearest rank), 0 of none. It sorts the list.
func percentile(list []time.Duration, p int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[max((len(list)*p+99)/100, 1)-1]
}
