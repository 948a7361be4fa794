package benchfig_test

import (
	"testing"

	"github.com/af-multipath/mpresolve/bench/benchfig"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		list []float64
		want float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	} {
		if got := benchfig.Median(tt.list); got != tt.want {
			t.Errorf("median of %v: %v, want %v", tt.list, got, tt.want)
		}
	}
}

// TestMedianRatio: ratios are taken run by run, so that a slow moment of the
// machine counts on both sides.
func TestMedianRatio(t *testing.T) {
	for _, tt := range []struct {
		ours, baseline []float64
		want           float64
	}{
		{nil, nil, 0},
		{[]float64{1, 20, 3}, []float64{1, 10, 1}, 2},
		{[]float64{1, 5}, []float64{0, 1}, 5},
		{[]float64{4, 5}, []float64{2}, 2},
	} {
		if got := benchfig.MedianRatio(tt.ours, tt.baseline); got != tt.want {
			t.Errorf("%v / %v: %v, want %v", tt.ours, tt.baseline, got, tt.want)
		}
	}
}

// TestNumber: what is larger needs fewer decimals.
func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.256: "0.26", 7: "7", 12.345: "12.35", 123.45: "123.5", 1234.5: "1234"} {
		if got := benchfig.Number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
