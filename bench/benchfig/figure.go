// Package benchfig is what the programs in bench share: the arithmetic of
// figures, and the way into a lab.
package benchfig

import (
	"fmt"
	"slices"
)

// Median returns the middle of a list, the mean of both middles of an even one,
// 0 of an empty one.
func Median(list []float64) float64 {
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

// MedianRatio returns the median of the ratios of pairs. Pairs whose second is
// not positive are left out.
func MedianRatio(ours, baseline []float64) float64 {
	var ratios []float64
	for i := range min(len(ours), len(baseline)) {
		if baseline[i] > 0 {
			ratios = append(ratios, ours[i]/baseline[i])
		}
	}
	return Median(ratios)
}

// Number prints a value with two decimals, one from 100 on, none from 1000 on or
// where it is whole.
func Number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
