package resolver_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

func TestLookupRecords(t *testing.T) {
	r, _ := over(t, dnstest.Zone(
		"example. 300 IN MX 10 mx.example.",
		`example. 60 IN TXT "v=spf1 -all" "second"`,
		`example. 60 IN TYPE65400 \# 3 032700`,
		"alias.example. 30 IN CNAME example.",
		"1.2.0.192.in-addr.arpa. 60 IN PTR h1.example.",
		`a\.b.example. 60 IN TXT dotted`,
	))
	tests := []struct {
		name, typ string
		want      []string
		ttl       float64
	}{
		{"example", "MX", []string{"10 mx.example."}, 300},
		{"example", "mx", []string{"10 mx.example."}, 300},
		{"example", "TXT", []string{`"v=spf1 -all" "second"`}, 60},
		{"example", "TYPE65400", []string{`\# 3 032700`}, 60},
		{"alias.example", "MX", []string{"example.", "10 mx.example."}, 30},
		{"192.0.2.1", "PTR", []string{"h1.example."}, 60},
		{`a\.b.example`, "TXT", []string{`"dotted"`}, 60},
	}
	for _, tc := range tests {
		t.Run(tc.name+" "+tc.typ, func(t *testing.T) {
			rec, err := r.LookupRecords(t.Context(), tc.name, tc.typ)
			if err != nil {
				t.Fatal(err)
			}
			var data []string
			for _, rr := range rec.RRs {
				data = append(data, rr.Data)
			}
			if !slices.Equal(data, tc.want) || rec.TTL.Seconds() != tc.ttl {
				t.Errorf("got %q, ttl %v; want %q, %v s", data, rec.TTL, tc.want, tc.ttl)
			}
		})
	}
}

func TestLookupRecordsFailures(t *testing.T) {
	r, s := over(t, dual())
	tests := []struct {
		name, typ string
		want      error
	}{
		{"www.example", "MX", resolver.ErrNoData},
		{"no.example", "MX", resolver.ErrNoSuchName},
		{"www.example", "NONSENSE", resolver.ErrBadType},
		{"www.example", "AXFR", resolver.ErrBadType},
		{"www..example", "MX", resolver.ErrBadName},
	}
	for _, tc := range tests {
		_, err := r.LookupRecords(t.Context(), tc.name, tc.typ)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s %s: got %v, want %v", tc.name, tc.typ, err, tc.want)
		}
	}
	if n := len(s.Queries()); n != 2 {
		t.Errorf("%d queries, want 2: bad types and names are not sent", n)
	}
}

func TestLookupRecordsUsesTheSearchList(t *testing.T) {
	s := dnstest.Start(t, dnstest.Zone("host.corp.example. 60 IN MX 5 mx.example."))
	r := config(t, "search corp.example\n", "")
	r.Servers = []string{s.Addr()}
	rec, err := r.LookupRecords(t.Context(), "host", "MX")
	if err != nil || rec.RRs[0].Name != "host.corp.example." {
		t.Errorf("got %+v, %v", rec, err)
	}
}

func TestLookupAddr(t *testing.T) {
	s := dnstest.Start(t, dnstest.Zone(
		"1.2.0.192.in-addr.arpa. 60 IN PTR h1.example.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 IN PTR h6.example.",
	))
	r := config(t, "", "192.0.2.9 nine.example nine\n")
	r.Servers = []string{s.Addr()}
	tests := map[string][]string{
		"192.0.2.1":   {"h1.example."},
		"2001:db8::1": {"h6.example."},
		"192.0.2.9":   {"nine.example", "nine"},
	}
	for addr, want := range tests {
		if names, err := r.LookupAddr(t.Context(), addr); err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: got %q, %v; want %q", addr, names, err, want)
		}
	}
	if _, err := r.LookupAddr(t.Context(), "192.0.2.7"); !errors.Is(err, resolver.ErrNotFound) {
		t.Errorf("unknown address: %v", err)
	}
	if _, err := r.LookupAddr(t.Context(), "www.example"); !errors.Is(err, resolver.ErrBadName) {
		t.Errorf("a name: %v", err)
	}
}
