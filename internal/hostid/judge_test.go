package hostid_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// about is evidence about the pairs within letters, or between two sets of them
// divided by "|", seen so many minutes after start and counting for an hour.
func about(k hostid.Kind, letters string, minute int) hostid.Evidence {
	a, b, _ := strings.Cut(letters, "|")
	seen := start.Add(time.Duration(minute) * time.Minute)
	return hostid.Evidence{Kind: k, A: list(a), B: list(b), Source: "test", Seen: seen, Expires: seen.Add(time.Hour)}
}

// partition writes hosts as letters: "ab= c?" is a and b the same, c unknown.
func partition(j hostid.Judgement) string {
	var out []string
	for _, h := range j.Hosts() {
		text := ""
		for _, a := range h.Addrs {
			text += string(rune(a.As4()[3]))
		}
		out = append(out, text+string("?="[h.Verdict]))
	}
	return strings.Join(out, " ")
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name     string
		addrs    string
		evidence []hostid.Evidence
		want     string
	}{
		{"nothing", "", nil, ""},
		{"one address", "a", nil, "a="},
		{"nothing known", "abc", nil, "abc?"},
		{"published", "abcd", []hostid.Evidence{about(hostid.Published, "abcd", 0)}, "abcd="},
		{"published in part", "abcd", []hostid.Evidence{about(hostid.Published, "ad", 0)}, "abcd?"},
		{"two names", "abcd", []hostid.Evidence{about(hostid.OtherCanonical, "ac|bd", 0)}, "ac? bd?"},
		{"weak evidence decides nothing", "ab", []hostid.Evidence{about(hostid.EqualEnd, "ab", 0)}, "ab?"},
		{"nor when repeated", "ab", slices.Repeat([]hostid.Evidence{about(hostid.EqualEnd, "ab", 0)}, 50), "ab?"},
		{"but with other evidence", "ab", []hostid.Evidence{about(hostid.EqualEnd, "ab", 0), about(hostid.SameReverseConfirmed, "ab", 0)}, "ab="},
		{"contradiction", "ab", []hostid.Evidence{about(hostid.Published, "ab", 0), about(hostid.OtherCanonical, "a|b", 0)}, "ab?"},
		{"proof outranks", "ab", []hostid.Evidence{about(hostid.OtherCanonical, "a|b", 0), about(hostid.Join, "ab", -20)}, "ab="},
		{"and the other way", "ab", []hostid.Evidence{about(hostid.Published, "a|b", 0), about(hostid.OtherPeer, "ab", -20)}, "a= b="},
		{"a later proof", "ab", []hostid.Evidence{about(hostid.Join, "ab", -3), about(hostid.OtherPeer, "ab", -2)}, "a= b="},
		{"later still", "ab", []hostid.Evidence{about(hostid.Announcement, "ab", -1), about(hostid.OtherPeer, "ab", -2)}, "ab="},
		{"a weaker proof later", "ab", []hostid.Evidence{about(hostid.Join, "ab", 0), about(hostid.Announcement, "ab", 0), about(hostid.OtherPeer, "ab", -1)}, "ab="},
		{"proofs at one time", "ab", []hostid.Evidence{about(hostid.OtherPeer, "ab", -1), about(hostid.Announcement, "ab", -1)}, "ab="},
		{"expired", "ab", []hostid.Evidence{about(hostid.Published, "ab", -60)}, "ab?"},
		{"no expiry", "ab", []hostid.Evidence{{Kind: hostid.Published, A: list("ab")}}, "ab?"},
		{"unknown kind", "ab", []hostid.Evidence{about(hostid.Kind(200), "ab", 0)}, "ab?"},
		{"about others", "ab", []hostid.Evidence{about(hostid.Published, "cd", 0)}, "ab?"},
		{"sameness carries over", "abc", []hostid.Evidence{about(hostid.Join, "ab", 0), about(hostid.Published, "bc", 0)}, "abc="},
		{"difference too", "abcd", []hostid.Evidence{about(hostid.Join, "ab", 0), about(hostid.Join, "cd", 0), about(hostid.OtherPeer, "bc", 0)}, "ab= cd="},
		{"a pair against its chain", "abc", []hostid.Evidence{about(hostid.Join, "ab", 0), about(hostid.Join, "bc", 0), about(hostid.OtherPeer, "ac", 0)}, "ab= c="},
		{"unknown stays where it may", "abc", []hostid.Evidence{about(hostid.OtherPeer, "ab", 0)}, "ac? b="},
		{"with the likelier", "abc", []hostid.Evidence{about(hostid.OtherPeer, "ab", 0), about(hostid.EqualEnd, "bc", 0)}, "a= bc?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := hostid.Judge(list(test.addrs), test.evidence, start)
			if got := partition(j); got != test.want {
				t.Errorf("hosts %q, want %q", got, test.want)
			}
		})
	}
}

// TestOverruledStaysOverruled: an older proof does not come back when the later
// one that overruled it expires.
func TestOverruledStaysOverruled(t *testing.T) {
	older, later := about(hostid.Join, "ab", 0), about(hostid.OtherPeer, "ab", 1)
	older.Expires = start.Add(24 * time.Hour)
	if p := hostid.Judge(list("ab"), []hostid.Evidence{older, later}, start.Add(2*time.Hour)).Pair(node('a'), node('b')); p.Verdict != hostid.Unknown {
		t.Errorf("%+v", p)
	}
}

// TestWeakerProofAdds: an announcement after a join takes nothing from it, neither
// log-odds nor time.
func TestWeakerProofAdds(t *testing.T) {
	older, later := about(hostid.Join, "ab", 0), about(hostid.Announcement, "ab", 1)
	older.Expires = start.Add(24 * time.Hour)
	for _, hours := range []time.Duration{0, 3} {
		p := hostid.Judge(list("ab"), []hostid.Evidence{older, later}, start.Add(hours*time.Hour)).Pair(node('a'), node('b'))
		if p.Odds != hostid.Join.Strength() || !p.Until.Equal(older.Expires) {
			t.Errorf("after %d hours: %+v", hours, p)
		}
	}
}

func TestPairExplains(t *testing.T) {
	e := []hostid.Evidence{
		about(hostid.EqualEnd, "ab", 0), about(hostid.Published, "ab", -10), about(hostid.OtherPeer, "bc", 0), about(hostid.SameReverse, "ab", -60),
	}
	j := hostid.Judge(list("abc"), e, start)
	p := j.Pair(node('a'), node('b'))
	if p.Verdict != hostid.Same || p.Inferred || !p.Until.Equal(start.Add(50*time.Minute)) || len(p.Evidence) != 2 || p.Evidence[0].Kind != hostid.Published {
		t.Errorf("own: %+v", p)
	}
	if p = j.Pair(node('c'), node('a')); p.Verdict != hostid.Different || !p.Inferred || !p.Until.Equal(start.Add(time.Hour)) || p.By != [2]netip.Addr{node('c'), node('b')} {
		t.Errorf("inferred: %+v", p)
	}
	if p = j.Pair(node('a'), node('z')); p.Verdict != hostid.Unknown || p.Odds != hostid.Prior {
		t.Errorf("not judged: %+v", p)
	}
	if got := j.Reasons(0); len(got) != 3 || got[0].Kind != hostid.Published || got[1].Kind != hostid.OtherPeer {
		t.Errorf("reasons: %v", got)
	}
	if h := j.Hosts()[0]; h.Proven || h.Confidence < 0.99 {
		t.Errorf("host %+v", h)
	}
	if h := hostid.Judge(list("ab"), []hostid.Evidence{about(hostid.Join, "ab", 0)}, start).Hosts()[0]; !h.Proven {
		t.Errorf("joined: %+v", h)
	}
	if got, want := e[2].String(), "192.0.2.98, 192.0.2.99: refused the join, and a fresh connection spoke Multipath TCP"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// drawEvidence draws evidence of any kind about any of the letters a to e.
var drawEvidence = rapid.Custom(func(t *rapid.T) hostid.Evidence {
	e := about(hostid.Kind(rapid.IntRange(0, len(hostid.Kinds())).Draw(t, "kind")), "", rapid.IntRange(-80, 0).Draw(t, "minute"))
	e.A = rapid.SliceOfN(drawNode, 1, 4).Draw(t, "a")
	if rapid.Bool().Draw(t, "across") {
		e.B = rapid.SliceOfN(drawNode, 1, 4).Draw(t, "b")
	}
	return e
})

// level orders verdicts.
func level(v hostid.Verdict) int {
	return map[hostid.Verdict]int{hostid.Different: 0, hostid.Unknown: 1, hostid.Same: 2}[v]
}

// TestMoreForNeverLowers: evidence for one pair, seen now, lowers neither its
// log-odds nor its verdict, whatever else there is; evidence against raises
// neither.
func TestMoreForNeverLowers(t *testing.T) {
	property := func(t *rapid.T) {
		evidence := rapid.SliceOfN(drawEvidence, 0, 14).Draw(t, "evidence")
		a, b := drawNode.Draw(t, "one"), drawNode.Draw(t, "other")
		kind := hostid.Kind(rapid.IntRange(0, len(hostid.Kinds())-1).Draw(t, "added"))
		if kind.Sign() == 0 {
			return
		}
		added := about(kind, "", 0)
		added.A = []netip.Addr{a, b}
		before := hostid.Judge(list("abcde"), evidence, start).Pair(a, b)
		after := hostid.Judge(list("abcde"), append(slices.Clone(evidence), added), start).Pair(a, b)
		odds, verdict := after.Odds-before.Odds, level(after.Verdict)-level(before.Verdict)
		if kind.Sign() > 0 && (odds < 0 || verdict < 0) {
			t.Fatalf("%s: %+v became %+v", kind, before, after)
		}
		if kind.Sign() < 0 && verdict > 0 {
			t.Fatalf("%s: %+v became %+v", kind, before, after)
		}
	}
	for range 20 { // a hundred draws each: what has to meet is rare
		rapid.Check(t, property)
	}
}

// TestJudgeProperties: the hosts are a partition without a pair believed
// different; the order of the evidence does not matter; a host said to be the
// same has no other pair; a verdict has log-odds to match.
func TestJudgeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		evidence := rapid.SliceOfN(drawEvidence, 0, 20).Draw(t, "evidence")
		addrs := drawNodes.Draw(t, "addrs")
		j := hostid.Judge(addrs, evidence, start)
		seen := map[netip.Addr]bool{}
		for i, h := range j.Hosts() {
			for k, a := range h.Addrs {
				if seen[a] || !slices.Contains(addrs, a) {
					t.Fatalf("%s is not asked for, or comes twice", a)
				}
				seen[a] = true
				for _, b := range h.Addrs[:k] {
					if v := j.Pair(a, b).Verdict; v == hostid.Different || h.Verdict == hostid.Same && v != hostid.Same {
						t.Fatalf("%s and %s are %s in %+v", a, b, v, h)
					}
				}
			}
			if r := j.Reasons(i); len(r) > hostid.MaxReasons {
				t.Fatalf("%d reasons", len(r))
			}
		}
		for _, a := range addrs {
			if !seen[a] {
				t.Fatalf("%s is left out", a)
			}
			for _, b := range addrs {
				if p := j.Pair(a, b); (p.Verdict == hostid.Same) != (p.Odds >= hostid.Decisive) || (p.Verdict == hostid.Different) != (p.Odds <= -hostid.Decisive) {
					t.Fatalf("%+v", p)
				}
			}
		}
		slices.Reverse(evidence)
		if again := hostid.Judge(addrs, evidence, start); !reflect.DeepEqual(j.Hosts(), again.Hosts()) {
			t.Fatalf("%+v in reverse order is %+v", j.Hosts(), again.Hosts())
		}
	})
}

// TestHostileSizes: hundreds of addresses and more evidence than is taken, the
// whole in bounds.
func TestHostileSizes(t *testing.T) {
	o := hostileObservation(600)
	evidence := o.Evidence(start)
	if len(evidence) > hostid.MaxEvidence {
		t.Fatalf("%d pieces", len(evidence))
	}
	var addrs []netip.Addr
	for _, a := range o.Addrs {
		addrs = append(addrs, a.Addr)
	}
	flood := slices.Repeat(evidence, 1+2*hostid.MaxEvidence/len(evidence))
	j := hostid.Judge(addrs, flood, start)
	n := 0
	for _, h := range j.Hosts() {
		n += len(h.Addrs)
	}
	if n != len(addrs) {
		t.Errorf("%d addresses of %d", n, len(addrs))
	}
	if h := j.Hosts()[0]; h.Verdict != hostid.Unknown || h.Proven {
		t.Errorf("with addresses that are not judged: %s", h.Verdict)
	}
	if p := j.Pair(addrs[0], addrs[hostid.MaxAddrs]); p.Verdict != hostid.Unknown {
		t.Errorf("beyond MaxAddrs: %+v", p)
	}
}

// hostileObservation has n addresses, each with everything.
func hostileObservation(n int) hostid.Observation {
	o := hostid.Observation{Name: "hostile.example"}
	var all []netip.Addr
	for i := range n {
		six := [16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)}
		a := netip.AddrFrom16(six)
		if i%2 == 0 {
			a = netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		}
		all = append(all, a)
		o.Addrs = append(o.Addrs, hostid.Address{Addr: a, Canonical: strings.Repeat("x", i%60+1), TTL: time.Duration(i+1) * time.Second})
		o.Services = append(o.Services, hostid.Service{Target: strings.Repeat("t", i%60+1), Addrs: []netip.Addr{a, all[0]}})
		for k := range 20 {
			o.Reverse = append(o.Reverse, hostid.Reverse{Addr: a, Name: strings.Repeat("p", (i+k)%60+1)})
		}
		o.Past = append(o.Past, hostid.Sighting{At: start, Addrs: slices.Clone(all[i/2:])})
	}
	return o
}

// scene is 20 addresses with 100 pieces of evidence.
func scene() ([]netip.Addr, []hostid.Evidence) {
	r := rand.New(rand.NewPCG(1, 1))
	addrs := list("abcdefghijklmnopqrst")
	evidence := []hostid.Evidence{about(hostid.Many, "abcdefghijklmnopqrst", 0), about(hostid.OneFamily, "abcdefghij", 0), about(hostid.OtherCanonical, "abcdefghij|klmnopqrst", 0)}
	for len(evidence) < 100 {
		i, k := r.IntN(20), r.IntN(20)
		e := about(hostid.Kind(r.IntN(len(hostid.Kinds()))), "", -r.IntN(30))
		e.A = []netip.Addr{addrs[i], addrs[k]}
		evidence = append(evidence, e)
	}
	return addrs, evidence
}

func BenchmarkJudge(b *testing.B) {
	addrs, evidence := scene()
	b.ReportAllocs()
	for b.Loop() {
		hostid.Judge(addrs, evidence, start)
	}
}

func BenchmarkJudgeHostile(b *testing.B) {
	o := hostileObservation(600)
	evidence := o.Evidence(start)
	var addrs []netip.Addr
	for _, a := range o.Addrs {
		addrs = append(addrs, a.Addr)
	}
	b.ReportAllocs()
	for b.Loop() {
		hostid.Judge(addrs, evidence, start)
	}
}

func BenchmarkEvidenceHostile(b *testing.B) {
	o := hostileObservation(600)
	b.ReportAllocs()
	for b.Loop() {
		o.Evidence(start)
	}
}
