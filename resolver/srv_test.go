package resolver_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestLookupService: the targets of SRV records are looked up in both families, and
// the addresses of each are one host's, whatever aliases lead to them.
func TestLookupService(t *testing.T) {
	r, _ := over(t, dnstest.Zone(
		"_sip._tcp.example. 30 IN SRV 20 0 5060 H2.example.",
		"_sip._tcp.example. 30 IN SRV 10 1 5060 h1.example.",
		"_sip._tcp.example. 30 IN SRV 10 9 5060 h1.example.",
		"_sip._tcp.example. 30 IN SRV 30 0 5060 none.example.",
		"h1.example. 60 IN A 192.0.2.1", "h1.example. 60 IN AAAA 2001:db8::b1",
		"h2.example. 60 IN CNAME box.elsewhere.test.",
		"box.elsewhere.test. 60 IN A 192.0.2.9", "box.elsewhere.test. 60 IN AAAA 2001:db8::a9",
	))
	r.WaitAll = true
	a, err := r.LookupService(t.Context(), "_sip._tcp.example")
	if err != nil {
		t.Fatal(err)
	}
	want := []resolver.Service{
		{Priority: 10, Weight: 9, Port: 5060, Target: "h1.example."},
		{Priority: 10, Weight: 1, Port: 5060, Target: "h1.example."},
		{Priority: 20, Port: 5060, Target: "H2.example."},
		{Priority: 30, Port: 5060, Target: "none.example."},
	}
	if d := cmp.Diff(want, a.Families[0].Services, cmpopts.EquateComparable(netip.Addr{})); d != "" || a.Families[0].Type != "SRV" {
		t.Error(d)
	}
	var asked []string
	for _, f := range a.Families[1:] {
		asked = append(asked, fmt.Sprint(f.Type, " ", f.Name, " ", len(f.Addrs)))
	}
	if want := "AAAA h1.example. 1,A h1.example. 1,AAAA H2.example. 1,A H2.example. 1,AAAA none.example. 0,A none.example. 0"; strings.Join(asked, ",") != want {
		t.Errorf("asked %v", asked)
	}
	if a.Name != "_sip._tcp.example" || a.Canonical != "_sip._tcp.example." || a.TTL(time.Now()) > 30*time.Second {
		t.Errorf("%s, %s, %v", a.Name, a.Canonical, a.TTL(time.Now()))
	}
	hosts := a.Hosts()
	if len(hosts) != 2 || hosts[0].Verdict != "likely" || hosts[0].Addrs.Len() != 2 || hosts[1].Addrs.Len() != 2 {
		t.Errorf("hosts %+v", hosts)
	}
	if e := a.Record.At(0); a.Record.Len() != 4 || e.Port() != 5060 {
		t.Errorf("record %v", a.Record)
	}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	for _, p := range a.Pairs() {
		kinds := fmt.Sprint(p.Evidence)
		if strings.Contains(kinds, "other-canonical") || strings.Contains(kinds, "foreign-canonical") {
			t.Errorf("%v, %v: a target's name is no alias: %s", p.A, p.B, kinds)
		}
		if p.A == one && p.B == two && (p.Verdict != "different" || !strings.Contains(kinds, "other-target")) {
			t.Errorf("addresses of two targets: %+v", p)
		}
	}
}

// TestLookupServiceFamiliesOfOneTarget: where the families of one target lead to
// different names, that speaks against one host as of any name.
func TestLookupServiceFamiliesOfOneTarget(t *testing.T) {
	base := dnstest.Zone(
		"_x._tcp.example. 60 IN SRV 1 0 1 h.example.", "_x._tcp.example. 60 IN SRV 1 0 2 i.example.",
		"h.example. 60 IN A 192.0.2.1", "i.example. 60 IN A 192.0.2.2",
	)
	alias := dnstest.Always(dnstest.Action{Answer: []string{"h.example. 60 IN CNAME six.example.", "six.example. 60 IN AAAA 2001:db8::1"}})
	r, _ := over(t, dnstest.Overlay(base, func(q dnstest.Query) bool { return q.Type == "AAAA" && strings.HasPrefix(q.Name, "h.") }, alias))
	r.WaitAll = true
	a, err := r.LookupService(t.Context(), "_x._tcp.example.")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, p := range a.Pairs() {
		other := slices.ContainsFunc(p.Evidence, func(e resolver.Evidence) bool { return e.Kind == "other-canonical" })
		if within := p.A.Is6() != p.B.Is6() && (p.A.String() == "192.0.2.1" || p.B.String() == "192.0.2.1"); other != within {
			t.Errorf("%v, %v: %+v", p.A, p.B, p.Evidence)
		} else if within {
			found = true
		}
	}
	if !found || a.Record.At(0).Port() != 0 {
		t.Errorf("record %v", a.Record)
	}
}

// TestLookupServiceFails: no such service, none wanted, no address, and more
// targets than are asked for.
func TestLookupServiceFails(t *testing.T) {
	records := []string{
		"_off._tcp.example. 60 IN SRV 0 0 0 .",
		"_lame._tcp.example. 60 IN SRV 0 0 1 gone.example.",
		"_bad._tcp.example. 60 IN SRV 0 0 1 a\\032b.example.",
	}
	for i := range resolver.MaxTargets + 3 {
		records = append(records, fmt.Sprintf("_many._tcp.example. 60 IN SRV 0 0 1 h%d.example.", i), fmt.Sprintf("h%d.example. 60 IN A 192.0.2.%d", i, i+1))
	}
	r, _ := over(t, dnstest.Zone(records...))
	r.WaitAll = true
	for name, want := range map[string]error{
		"_no._tcp.example": resolver.ErrNoSuchName, "_off._tcp.example": resolver.ErrNoData,
		"_lame._tcp.example": resolver.ErrNoSuchName, "_bad._tcp.example": resolver.ErrNoData, "a b": resolver.ErrBadName,
	} {
		a, err := r.LookupService(t.Context(), name)
		if e := new(resolver.Error); !errors.Is(err, want) || !errors.As(err, &e) || a == nil {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	a, err := r.LookupService(t.Context(), "_many._tcp.example")
	if err != nil || len(a.Families[0].Services) != resolver.MaxTargets+3 || a.Record.Len() != resolver.MaxTargets {
		t.Errorf("many targets: %d addresses, %v", a.Record.Len(), err)
	}
}
