package addrsel

// DefaultPreferredFamilyCount is the Preferred Address Family Count of Happy
// Eyeballs v3: how many destinations of the first family come before the first
// of the other. 1 is the recommended value, 2 the aggressive one.
const DefaultPreferredFamilyCount = 1

// Interleave returns r, an order made by [Sort], with the families mixed as
// Happy Eyeballs v3 asks, so that one family without connectivity costs one
// attempt and not all of them: after preferredFamilyCount destinations of the
// first one's family comes one of the other, and so on, until one family is used
// up. A count below 1 stands for the default. The order inside a family does not
// change, and unreachable destinations stay behind the reachable ones.
//
// A reachable destination that is moved up has Rule [RuleNone] and a Why that says
// so; the others keep what Sort gave them.
func Interleave(r []Ranked, preferredFamilyCount int) []Ranked {
	return interleaveAll(make([]Ranked, 0, len(r)), r, preferredFamilyCount)
}

// interleaveAll appends r to out, which is empty: the reachable, then the others.
func interleaveAll(out, r []Ranked, preferredFamilyCount int) []Ranked {
	if preferredFamilyCount < 1 {
		preferredFamilyCount = DefaultPreferredFamilyCount
	}
	reachable := len(r)
	for i, x := range r {
		if !x.Source.Addr.IsValid() {
			reachable = i
			break
		}
	}
	out = interleave(out, r[:reachable], preferredFamilyCount)
	return interleave(out, r[reachable:], preferredFamilyCount)
}

// usual is how many destinations of a family most names have at most.
const usual = 8

// interleave appends r to out, families mixed.
func interleave(out, r []Ranked, count int) []Ranked {
	if len(r) == 0 {
		return out
	}
	firstIs6 := isIPv6(r[0])
	first, other := make([]int, 0, usual), make([]int, 0, usual) // places in r
	for i := range r {
		if isIPv6(r[i]) == firstIs6 {
			first = append(first, i)
		} else {
			other = append(other, i)
		}
	}
	start, others := len(out), 0
	for len(first) > 0 && len(other) > 0 {
		n := min(count, len(first))
		for _, i := range first[:n] {
			out = append(out, moved(r[i], i, len(out)-start, "interleaved: next of its family"))
		}
		why := "interleaved: next of the other family"
		if others == 0 {
			why = "interleaved: first of the other family"
		}
		out = append(out, moved(r[other[0]], other[0], len(out)-start, why))
		first, other, others = first[n:], other[1:], others+1
	}
	for _, i := range append(first, other...) {
		out = append(out, r[i])
	}
	return out
}

// moved returns x, which stood at place from and now stands at to, with why if
// that is further up and there is no graver thing to say of it.
func moved(x Ranked, from, to int, why string) Ranked {
	if to < from && x.Source.Addr.IsValid() {
		x.Rule, x.Why = RuleNone, why
	}
	return x
}

func isIPv6(r Ranked) bool { return r.Addr.Is6() && !r.Addr.Is4In6() }
