package main

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		name           string
		bound          bound
		ours, baseline []float64
		text           string
		met            bool
	}{
		{"ratio kept", ratioAtMost(1.1), []float64{11}, []float64{10}, "≤ 1.10x", true},
		{"ratio broken", ratioAtMost(1.1), []float64{12}, []float64{10}, "≤ 1.10x", false},
		{"least ratio kept", ratioAtLeast(1.85), []float64{19}, []float64{10}, "≥ 1.85x", true},
		{"least ratio broken", ratioAtLeast(1.85), []float64{18}, []float64{10}, "≥ 1.85x", false},
		{"value kept", atMost(0.5), []float64{0.5}, nil, "≤ 0.50 s", true},
		{"value broken", atMost(0.5), []float64{0.6}, nil, "≤ 0.50 s", false},
		{"least value", atLeast(1000), []float64{999}, nil, "≥ 1000 s", false},
		{"no runs, value", atMost(0.5), nil, nil, "≤ 0.50 s", false},
		{"no runs, ratio", ratioAtMost(1.1), nil, nil, "≤ 1.10x", false},
	} {
		r := figure{unit: "s", ours: tt.ours, baseline: tt.baseline, bound: tt.bound}.result()
		if r.Bound != tt.text || r.Met == nil || *r.Met != tt.met {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
	if r := (figure{unit: "s", ours: []float64{1}}).result(); r.Bound != "" || r.Met != nil || r.Ratio != nil {
		t.Errorf("no bound: %+v", r)
	}
}

// sample is a report with each kind of row.
func sample() report {
	return report{
		Machine: "go, 2 CPUs",
		Figures: []result{
			figure{"dial", "µs", "net.Dialer", []float64{100}, []float64{80}, ratioAtMost(1.1)}.result(),
			figure{"pause", "s", "", []float64{0.25}, nil, atMost(0.5)}.result(),
			figure{"memory", "KiB", "", []float64{32}, nil, bound{}}.result(),
		},
		Notes: []string{"A note."}, LoadBefore: "1.00", Seconds: 10, CPUSeconds: 5,
	}
}

func TestTable(t *testing.T) {
	var w strings.Builder
	if err := sample().writeTable(&w); err != nil {
		t.Fatal(err)
	}
	want := `figure  ours    baseline            ratio  bound     met  runs
dial    100 µs  80 µs (net.Dialer)  1.25x  ≤ 1.10x   NO   1
pause   0.25 s  -                   -      ≤ 0.50 s  yes  1
memory  32 KiB  -                   -      -         -    1

A note.
go, 2 CPUs; load average 1.00 before, - after; 10 s, of which 5 s of CPU time for lab, servers and clients
`
	if w.String() != want {
		t.Errorf("got\n%s\nwant\n%s", w.String(), want)
	}
}

// TestJSON: what is not known is absent, not zero.
func TestJSON(t *testing.T) {
	var w strings.Builder
	if err := sample().writeJSON(&w); err != nil {
		t.Fatal(err)
	}
	var r struct{ Figures []map[string]any }
	if err := json.Unmarshal([]byte(w.String()), &r); err != nil || len(r.Figures) != 3 {
		t.Fatalf("%v\n%s", err, w.String())
	}
	if met, ok := r.Figures[0]["met"].(bool); !ok || met {
		t.Errorf("%v", r.Figures[0])
	}
	if r.Figures[0]["ratio"] != 1.25 || r.Figures[0]["bound"] != "≤ 1.10x" {
		t.Errorf("%v", r.Figures[0])
	}
	for _, key := range []string{"baseline", "ratio", "bound", "met"} {
		if v, ok := r.Figures[2][key]; ok {
			t.Errorf("%s: %v", key, v)
		}
	}
}

func TestParseResident(t *testing.T) {
	got, err := parseResident("Name:\tpaths\nVmHWM:\t  9999 kB\nVmRSS:\t   12345 kB\nThreads:\t5\n")
	if got != 12345 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parseResident("Name:\tpaths\n"); err == nil {
		t.Error("no error without VmRSS")
	}
}

// TestMeter: the pause that has not ended counts as well.
func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m meter
		m.reset()
		check := func(octets int64, longest time.Duration) {
			t.Helper()
			if o, l := m.read(); o != octets || l != longest {
				t.Errorf("%d octets, longest pause %v; want %d, %v", o, l, octets, longest)
			}
		}
		write := func(after time.Duration) {
			t.Helper()
			time.Sleep(after) // virtual
			if n, err := m.Write(make([]byte, 10)); n != 10 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		write(time.Second)
		write(3 * time.Second)
		write(time.Second)
		check(30, 3*time.Second)
		time.Sleep(5 * time.Second) // virtual
		check(30, 5*time.Second)
		m.reset()
		check(0, 0)
	})
}
