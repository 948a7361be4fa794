package resolver_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/resolver"
)

// ptr is the PTR record of an address.
func ptr(addr, name string) string {
	reverse, _ := dns.ReverseAddr(addr)
	return reverse + " 60 IN PTR " + name
}

// kinds are those of the evidence of an answer's only pair.
func kinds(t *testing.T, a *resolver.Answer) string {
	t.Helper()
	pairs := a.Pairs()
	if len(pairs) != 1 {
		t.Fatalf("%d pairs", len(pairs))
	}
	var out []string
	for _, e := range pairs[0].Evidence {
		if strings.Contains(e.Kind, "reverse") || e.Kind == "siblings" {
			out = append(out, e.Kind)
		}
	}
	return strings.Join(out, " ")
}

// TestReverse: what the PTR names of two addresses are to each other, and that a
// name counts as confirmed only if it has the address itself.
func TestReverse(t *testing.T) {
	const four, six = "192.0.2.1", "2001:db8::1"
	tests := map[string]struct {
		records []string
		want    string
	}{
		"confirmed":   {[]string{ptr(four, "h.example."), ptr(six, "h.example."), "h.example. 60 IN A " + four, "h.example. 60 IN AAAA " + six}, "same-reverse-confirmed"},
		"one only":    {[]string{ptr(four, "h.example."), ptr(six, "h.example."), "h.example. 60 IN A " + four, "h.example. 60 IN AAAA 2001:db8::2"}, "same-reverse"},
		"unconfirmed": {[]string{ptr(four, "h.example."), ptr(six, "h.example.")}, "same-reverse"},
		"siblings":    {[]string{ptr(four, "h1.example."), ptr(six, "h2.example.")}, "siblings"},
		"others":      {[]string{ptr(four, "h.example."), ptr(six, "k.example.")}, "other-reverse"},
		"one has one": {[]string{ptr(four, "h.example.")}, ""},
		"none":        {nil, ""},
		"not a host":  {[]string{ptr(four, `a\.b.example.`), ptr(six, `a\.b.example.`)}, "same-reverse"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := over(t, dnstest.Zone(append(tc.records, "www.example. 60 IN A "+four, "www.example. 60 IN AAAA "+six)...))
			r.Reverse, r.WaitAll = true, true
			a, err := r.Lookup(t.Context(), "www.example.")
			if err != nil {
				t.Fatal(err)
			}
			if got := kinds(t, a); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestReverseOff: nobody is asked for PTR names unless told to.
func TestReverseOff(t *testing.T) {
	r, s := over(t, dual())
	if _, err := r.Lookup(t.Context(), "www.example."); err != nil || s.Count("", "PTR") != 0 {
		t.Errorf("%v, %d PTR questions", err, s.Count("", "PTR"))
	}
}

// TestReverseOfOneAddress: there is nothing to compare it with.
func TestReverseOfOneAddress(t *testing.T) {
	r, s := over(t, dual())
	r.Reverse = true
	if _, err := r.Lookup(t.Context(), "four.example."); err != nil || s.Count("", "PTR") != 0 {
		t.Errorf("%v, %d PTR questions", err, s.Count("", "PTR"))
	}
}

// TestReverseFromServersThatDoNotAnswer: the look-up succeeds with its addresses,
// in bounded time.
func TestReverseFromServersThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := virtual(t, one, onServer(typed("PTR", drop, dual())))
		r.Reverse, r.WaitAll = true, true
		a, took, err := timed(t, r, "www.example.")
		if err != nil || !same(set(a), wwwBoth) || took != 5*time.Second {
			t.Errorf("got %v, %v after %v", set(a), err, took)
		}
	})
}

// TestReverseIsBounded: of a hostile answer, in addresses and in names of each.
func TestReverseIsBounded(t *testing.T) {
	var records []string
	addr := netip.MustParseAddr("2001:db8::1")
	for i := range hostid.MaxAddrs + 20 {
		records = append(records, fmt.Sprintf("www.example. 60 IN AAAA %v", addr))
		for k := range 6 {
			records = append(records, ptr(addr.String(), fmt.Sprintf("h%d-%d.example.", i, k)))
		}
		addr = addr.Next()
	}
	synctest.Test(t, func(t *testing.T) {
		r, n := virtual(t, one, onServer(dnstest.Zone(records...)))
		r.Reverse, r.WaitAll = true, true
		a, err := r.Lookup(t.Context(), "www.example.")
		if err != nil || a.Record.Len() != hostid.MaxAddrs+20 {
			t.Fatalf("%d addresses, %v", a.Record.Len(), err)
		}
		s := n.Server(serverAddr)
		if got := s.Count("", "PTR"); got != hostid.MaxAddrs {
			t.Errorf("%d PTR questions, want %d", got, hostid.MaxAddrs)
		}
		if got := s.Count("", "AAAA"); got != 1+4*hostid.MaxAddrs {
			t.Errorf("%d AAAA questions, want 4 for each address", got)
		}
	})
}
