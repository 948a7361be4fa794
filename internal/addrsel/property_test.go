package addrsel

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// genAddr draws addresses that meet every row of the policy table and every
// scope, from few enough values that ties are common.
func genAddr() *rapid.Generator[netip.Addr] {
	prefixes := []string{
		"2001:db8:1:", "2001:db8:3ffe:", "2001:0:1:", "2002:c633:6401:", "fd00:1:1:",
		"fe80:0:0:", "fec0:0:0:", "3ffe:1:1:", "ff05:0:0:", "ff0e:0:0:",
	}
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		host := string(rune('1' + rapid.IntRange(0, 3).Draw(t, "host")))
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1:
			return netip.MustParseAddr("192.0.2." + host)
		case 2:
			return netip.MustParseAddr("169.254.1." + host)
		case 3:
			return netip.MustParseAddr("::ffff:10.0.0." + host)
		case 4:
			return netip.IPv6Loopback()
		default:
			return netip.MustParseAddr(rapid.SampledFrom(prefixes).Draw(t, "prefix") + ":" + host)
		}
	})
}

func genDest() *rapid.Generator[Dest] {
	return rapid.Custom(func(t *rapid.T) Dest {
		d := Dest{
			Addr: genAddr().Draw(t, "addr"),
			RTT:  time.Duration(rapid.IntRange(0, 2).Draw(t, "rtt")) * time.Millisecond,
			Used: rapid.Bool().Draw(t, "used"),
		}
		if rapid.IntRange(0, 5).Draw(t, "reachable") > 0 {
			d.Source = Source{
				Addr:       genAddr().Draw(t, "source"),
				Prefix:     rapid.SampledFrom([]int{0, 16, 64, 128}).Draw(t, "prefix"),
				Deprecated: rapid.Bool().Draw(t, "deprecated"),
				Home:       rapid.Bool().Draw(t, "home"),
				CareOf:     rapid.Bool().Draw(t, "care-of"),
				Tunnel:     rapid.Bool().Draw(t, "tunnel"),
			}
		}
		return d
	})
}

func genPolicy() *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		conf := rapid.SampledFrom([]string{
			"",
			"precedence ::/0 40\n", // families tie
			"label ::/0 1\nprecedence ::/0 1\nscopev4 0.0.0.0/0 14\n",
			"precedence ::ffff:0:0/96 100\n",
		}).Draw(t, "gai.conf")
		p, err := ParseGaiConf(strings.NewReader(conf))
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
}

// The comparison behind the sort is a strict weak order whatever the policy: it
// is antisymmetric, and both "before" and "equal" are transitive.
func TestCompareIsStrictWeakOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy().Draw(t, "policy")
		a := newCandidate(p, genDest().Draw(t, "a"))
		b := newCandidate(p, genDest().Draw(t, "b"))
		c := newCandidate(p, genDest().Draw(t, "c"))
		ab, ruleAB := compare(&a, &b)
		ba, ruleBA := compare(&b, &a)
		bc, _ := compare(&b, &c)
		ac, _ := compare(&a, &c)
		if ab != -ba || ruleAB != ruleBA {
			t.Fatalf("compare(a, b) = %d by rule %d, compare(b, a) = %d by rule %d", ab, ruleAB, ba, ruleBA)
		}
		if (ab == 0) != (ruleAB == RuleNone) {
			t.Fatalf("order %d by rule %d", ab, ruleAB)
		}
		if ab <= 0 && bc <= 0 && (ac > 0 || (ac == 0) != (ab == 0 && bc == 0)) {
			t.Fatalf("not transitive: a-b %d, b-c %d, a-c %d", ab, bc, ac)
		}
	})
}

// The result is a permutation, sorting it again changes nothing, and what no rule
// tells apart keeps its order.
func TestSortProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy().Draw(t, "policy")
		in := rapid.SliceOfN(genDest(), 0, 12).Draw(t, "dests")
		for i := range in {
			in[i].Source.Interface = i // tells duplicates apart; no rule looks at it
		}
		got := Sort(p, in)
		out := dests(got)
		if !samePermutation(in, out) {
			t.Fatalf("not a permutation:\n in %v\nout %v", in, out)
		}
		if again := Sort(p, out); !slices.Equal(again, got) {
			t.Fatalf("sorting again:\n got %v\nfrom %v", again, got)
		}
		for i := range got {
			checkRanked(t, p, in, got, i)
		}
	})
}

// checkRanked checks the place of got[i] against the one after it and against all
// the later ones that tie with it.
func checkRanked(t *rapid.T, p Policy, in []Dest, got []Ranked, i int) {
	if (got[i].Rule == RuleNone) != (i == len(got)-1) || got[i].Why == "" {
		t.Fatalf("place %d: rule %d, why %q", i, got[i].Rule, got[i].Why)
	}
	a := newCandidate(p, got[i].Dest)
	for _, later := range got[i+1:] {
		b := newCandidate(p, later.Dest)
		order, _ := compare(&a, &b)
		if order > 0 {
			t.Fatalf("%v stands above %v", got[i].Dest, later.Dest)
		}
		if order < 0 || a.is6 != b.is6 {
			continue
		}
		if a.is6 && a.common < b.common {
			t.Fatalf("rule 9: %d bits above %d", a.common, b.common)
		}
		if (!a.is6 || a.common == b.common) && slices.Index(in, got[i].Dest) > slices.Index(in, later.Dest) {
			t.Fatalf("rule 10: %v and %v changed places", got[i].Dest, later.Dest)
		}
	}
}

// Interleaving is a permutation that keeps the order inside each family and puts
// at most count of the first family in a row while there are others.
func TestInterleaveProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sorted := Sort(DefaultPolicy(), rapid.SliceOfN(genDest(), 0, 12).Draw(t, "dests"))
		count := rapid.IntRange(0, 3).Draw(t, "count")
		before := slices.Clone(sorted)
		got := Interleave(sorted, count)
		if !slices.Equal(before, sorted) {
			t.Fatal("the argument was changed")
		}
		if !samePermutation(dests(sorted), dests(got)) {
			t.Fatalf("not a permutation:\n in %v\nout %v", dests(sorted), dests(got))
		}
		for _, six := range []bool{true, false} {
			if !slices.Equal(ofFamily(sorted, six), ofFamily(got, six)) {
				t.Fatalf("order inside a family changed")
			}
		}
		if len(got) > 0 && got[0] != sorted[0] {
			t.Fatalf("first became %v", got[0])
		}
		checkRuns(t, got, max(count, 1))
	})
}

// checkRuns checks the runs of the first family among the reachable.
func checkRuns(t *rapid.T, got []Ranked, count int) {
	run := 0
	for i, r := range got {
		if !r.Source.Addr.IsValid() {
			return
		}
		if isIPv6(r) != isIPv6(got[0]) {
			run = 0
			continue
		}
		if run++; run <= count {
			continue
		}
		for _, later := range got[i:] {
			if later.Source.Addr.IsValid() && isIPv6(later) != isIPv6(got[0]) {
				t.Fatalf("%d in a row before %v", run, later.Dest)
			}
		}
	}
}

func dests(rs []Ranked) []Dest {
	out := []Dest{}
	for _, r := range rs {
		out = append(out, r.Dest)
	}
	return out
}

func ofFamily(rs []Ranked, six bool) []Dest {
	var out []Dest
	for _, r := range rs {
		if isIPv6(r) == six {
			out = append(out, r.Dest)
		}
	}
	return out
}

func samePermutation(a, b []Dest) bool {
	count := map[Dest]int{}
	for _, d := range a {
		count[d]++
	}
	for _, d := range b {
		count[d]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return len(a) == len(b)
}

// TestOrderIsTheSame: Order is Sort and Interleave, whatever the number.
func TestOrderIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := genPolicy().Draw(t, "policy")
		dests := rapid.SliceOfN(genDest(), 0, 2*usual).Draw(t, "dests")
		count := rapid.IntRange(0, 3).Draw(t, "count")
		var want []netip.Addr
		for _, r := range Interleave(Sort(policy, dests), count) {
			want = append(want, r.Addr)
		}
		if got := Order(nil, policy, dests, count); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// TestOrderAllocatesNothing for as many destinations as names have.
func TestOrderAllocatesNothing(t *testing.T) {
	var dests []Dest
	for range usual {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(len(dests))})
		dests = append(dests, Dest{Addr: a, Source: Source{Addr: a}})
	}
	dst := make([]netip.Addr, 0, usual)
	if n := testing.AllocsPerRun(100, func() { Order(dst, Policy{}, dests, 0) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
