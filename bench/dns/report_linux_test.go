package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// TestTable writes a report with each kind of cell.
func TestTable(t *testing.T) {
	r := &report{Date: "2026-01-02", Machine: "a machine", Peers: []string{ours, "unbound", "dnsdist", cEcho}}
	w := r.add(measurement{name: "load", figures: []figure{{"a load", "µs", []goal{
		{limit: 0.8}, {of: cEcho, limit: 1.3}, {of: "unbound", limit: 0.5}, {of: "bind9", limit: 1}, {limit: 2.5, absolute: true},
	}}}})[0]
	for _, v := range [][]float64{{2, 4, 3, 1}, {2, 4, 2, 2}, {3, 6, 4, 2}} {
		for i, p := range r.Peers {
			w.add(p, v[i:i+1], 0, nil)
		}
	}
	w.add("unbound", nil, 0, errors.New("went away"))
	var out bytes.Buffer
	if err := r.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	want := `2026-01-02, a machine

| load | unit | mpdnsd | unbound | dnsdist | C echo | ratios |
|---|---|---|---|---|---|---|
| a load | µs | 2 | 4 | 3 | 2 | 0.75 of dnsdist (≤ 0.80: met), 1.50 of C echo (≤ 1.30: NOT met), 0.50 of unbound (≤ 0.50: met), ≤ 2.50: met |

a load: unbound: 1 rounds without a figure: went away
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestGivenUp asks a peer no more that fails again.
func TestGivenUp(t *testing.T) {
	w := (&report{}).add(measurement{figures: []figure{{title: "a load"}}})[0]
	for i := range maxErrors {
		if w.failed("unbound") {
			t.Fatal(i)
		}
		w.add("unbound", nil, 0, errors.New("broken"))
	}
	if !w.failed("unbound") || w.failed("dnsdist") {
		t.Error(w.Errors)
	}
	if got := w.goalText(); got != "-" {
		t.Error(got)
	}
	if !strings.Contains(w.String(), "broken") {
		t.Error(w)
	}
}

// TestTally has the counts that make a load fail.
func TestTally(t *testing.T) {
	for _, tt := range []struct {
		tally
		fails bool
	}{
		{tally{answered: 1000}, false},
		{tally{answered: 1000, lost: 1, late: 1}, false},
		{tally{answered: 1000, lost: 2}, true},
		{tally{answered: 1000, wrong: 1}, true},
		{tally{answered: 1000, late: 1}, true}, // twice
		{tally{lost: 1}, true},
	} {
		if err := tt.err(); (err != nil) != tt.fails {
			t.Errorf("%+v: %v", tt.tally, err)
		}
	}
}

// TestLinkMatches follows the ids of a slot.
func TestLinkMatches(t *testing.T) {
	l := &link{slots: make([]slot, 16)}
	next := inOrder(all(1))
	answer := make([]byte, 12)
	for turn := range 5000 {
		i := turn % 16
		before := l.id(i)
		l.fill(i, next)
		copy(answer, l.slots[i].packet[:2])
		if got := l.match(answer); got != i {
			t.Fatalf("turn %d: slot %d, want %d", turn, got, i)
		}
		answer[0], answer[1] = byte(before>>8), byte(before)
		if got := l.match(answer); got != -1 {
			t.Fatalf("turn %d: took the answer of an earlier query", turn)
		}
		if l.outstanding() != 1 {
			t.Fatal(l.outstanding())
		}
		l.slots[i].busy = false
	}
	if l.match(nil) != -1 || l.match(answer[:11]) != -1 {
		t.Error("took what is no message")
	}
}
