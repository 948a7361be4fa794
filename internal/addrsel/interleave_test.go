package addrsel

import (
	"net/netip"
	"strings"
	"testing"
)

// ranked makes a list out of letters: a capital for IPv6, a small one for IPv4,
// what follows a space being unreachable.
func ranked(list string) []Ranked {
	reachable, unreachable, _ := strings.Cut(list, " ")
	var out []Ranked
	for i, c := range reachable + unreachable {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(c)})
		if c < 'a' {
			a = netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: byte(c)})
		}
		r := Ranked{Dest: Dest{Addr: a}, Rule: RuleUnchanged, Why: "sorted"}
		if i < len(reachable) {
			r.Source.Addr = a
		}
		out = append(out, r)
	}
	return out
}

func letters(rs []Ranked) string {
	var b strings.Builder
	for _, r := range rs {
		a := r.Addr.As16()
		b.WriteByte(a[15])
	}
	return b.String()
}

func TestInterleave(t *testing.T) {
	cases := []struct {
		name  string
		in    string
		count int
		want  string
	}{
		{"empty", "", 1, ""},
		{"one family", "ABC", 1, "ABC"},
		{"two of each", "ABcd", 1, "AcBd"},
		{"IPv4 first", "abCD", 1, "aCbD"},
		{"aggressive", "ABCDef", 2, "ABeCDf"},
		{"aggressive, few", "Aef", 2, "Aef"},
		{"more of the first", "ABCDe", 1, "AeBCD"},
		{"more of the other", "Abcd", 1, "Abcd"},
		{"mixed already", "AbCd", 1, "AbCd"},
		{"no count is the default", "ABcd", 0, "AcBd"},
		{"the unreachable stay behind", "AB cd", 1, "ABcd"},
		{"and are mixed among themselves", "AB CDe", 1, "ABCeD"},
		{"nothing reachable", " ABc", 1, "AcB"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if got := letters(Interleave(ranked(tc.in), tc.count)); got != tc.want {
				t.Errorf("Interleave(%q, %d) = %q, want %q", tc.in, tc.count, got, tc.want)
			}
		})
	}
}

func TestInterleaveWhy(t *testing.T) {
	want := []string{"sorted", "interleaved: first of the other family", "sorted", "interleaved: next of the other family", "sorted"}
	for i, r := range Interleave(ranked("ABCde"), 1) {
		if r.Why != want[i] || (r.Rule == RuleNone) != (want[i] != "sorted") {
			t.Errorf("place %d: %q by rule %d, want %q", i, r.Why, r.Rule, want[i])
		}
	}
	// Two of the first family in a row, the second from further down.
	got := Interleave(ranked("AbC"), 2)
	if letters(got) != "ACb" || got[1].Why != "interleaved: next of its family" || got[2].Why != "sorted" {
		t.Errorf("%s: %q, %q", letters(got), got[1].Why, got[2].Why)
	}
	// That it is unreachable is worth more than how it came to its place.
	if got := Interleave(ranked(" ABc"), 1); letters(got) != "AcB" || got[1].Why != "sorted" {
		t.Errorf("%s: %q", letters(got), got[1].Why)
	}
}
