package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestExplain: the blocks come within hosts first, hold each pair once, and name
// what their pairs share.
func TestExplain(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }
	reason := func(kind string, strength float64, says string, left time.Duration) resolver.Evidence {
		return resolver.Evidence{Kind: kind, Strength: strength, Says: says, Expires: now.Add(left)}
	}
	pair := func(a, b byte, verdict string, confidence float64, evidence ...resolver.Evidence) resolver.Pair {
		return resolver.Pair{A: addr(a), B: addr(b), Verdict: verdict, Confidence: confidence, Evidence: evidence}
	}
	inferred := pair(2, 3, "different", 0.001)
	inferred.Inferred = true
	view := lookupView{
		Addresses: []addressView{{Address: "192.0.2.1:443"}, {Address: "192.0.2.2:443"}, {Address: "192.0.2.3:443"}, {Address: "192.0.2.4:443"}},
		Hosts:     []hostView{{Addresses: []string{"192.0.2.1", "192.0.2.2"}}, {Addresses: []string{"192.0.2.3", "192.0.2.4"}}},
		Pairs: []resolver.Pair{
			pair(1, 3, "different", 0.01, reason("siblings", -2.89, "differ (a1, a2)", 3*time.Hour), reason("several", 0, "nothing", time.Hour)),
			pair(1, 4, "different", 0.02, reason("siblings", -2.89, "differ (a1, a3)", 2*time.Hour), reason("several", 0, "nothing", time.Hour)),
			pair(1, 2, "same", 1, reason("joined", 20, "joined", 90*time.Second)),
			inferred,
			pair(3, 4, "unknown", 0.67),
		},
	}
	var out strings.Builder
	writeExplanation(&out, view, now, style{})
	_, got, _ := strings.Cut(out.String(), "unknown.\n")
	want := `
  same       within host 1: #1-#2  (1 pair, confidence over 0.999)
     +20.00  joined                  joined  for 2 min

  unknown    within host 2: #3-#4  (1 pair, confidence 0.670)
             nothing is known of the two themselves

  different  hosts 1-2  (2 pairs, confidence 0.010 to 0.020)
      -2.89  siblings                differ (a1, a2) and so on  for 2 h

  different  hosts 1-2  (1 pair, confidence 0.001, follows from other pairs)
             nothing is known of the two themselves
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestExplainHoldsEveryPair: the pairs of the blocks are all pairs of an answer.
func TestExplainHoldsEveryPair(t *testing.T) {
	var addrs []netip.Addr
	for i := range byte(20) {
		addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, i + 1}))
	}
	answer := &resolver.Answer{Name: "www.example.", Record: mpaddr.FromAddrs(443, addrs...)}
	view := newLookupView(target{"www.example", 443}, answer, time.Now())
	total := 0
	for _, b := range explain(view.places(), answer.Pairs()) {
		total += len(b.addrs)
	}
	if total != 190 {
		t.Errorf("%d pairs, want 190", total)
	}
}

func TestExpiry(t *testing.T) {
	now := time.Now()
	for left, want := range map[time.Duration]string{
		-time.Second: "expired", 0: "expired", 59 * time.Second: "for 59 s", 90 * time.Second: "for 2 min",
		time.Hour: "for 1 h", 24*time.Hour - time.Millisecond: "for 24 h",
	} {
		if got := expiry(now.Add(left), now); got != want {
			t.Errorf("%v: %q, want %q", left, got, want)
		}
	}
}
