package resolver_test

import (
	"slices"
	"testing"

	"github.com/af-multipath/mpresolve/mpaddr"
)

func TestLookupOverLoopback(t *testing.T) {
	r, s := over(t, dual())
	a, err := r.Lookup(t.Context(), "www.example")
	if err != nil {
		t.Fatal(err)
	}
	want := mpaddr.MustParse("192.0.2.1:0,192.0.2.2:0,[2001:db8::1]:0")
	if !a.Record.SameSet(want) || len(a.Reasons()) != 3 || slices.Contains(a.Reasons(), "") {
		t.Errorf("record %v, reasons %q", a.Record, a.Reasons())
	}
	if len(a.Families) != 2 || a.Families[0].Type != "AAAA" || a.Families[1].Type != "A" || a.Families[0].Server != s.Addr() {
		t.Errorf("families %+v", a.Families)
	}
}
