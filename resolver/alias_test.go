package resolver_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestAliases: chains within a reply, in whatever order, and from reply to
// reply.
func TestAliases(t *testing.T) {
	one := func(rr ...string) dnstest.Action { return dnstest.Action{Answer: rr} }
	tests := map[string]struct {
		replies map[string]dnstest.Action // by name asked
		chain   []string
		want    []string
		ttl     time.Duration
	}{
		"within the reply": {
			map[string]dnstest.Action{"a.example.": one("a.example. 300 IN CNAME b.example.", "b.example. 20 IN CNAME c.example.", "c.example. 60 IN A 192.0.2.1")},
			[]string{"b.example.", "c.example."},
			[]string{"192.0.2.1"},
			20 * time.Second,
		},
		"out of order": {
			map[string]dnstest.Action{"a.example.": one("c.example. 60 IN A 192.0.2.1", "b.example. 300 IN CNAME c.example.", "a.example. 300 IN CNAME b.example.")},
			[]string{"b.example.", "c.example."},
			[]string{"192.0.2.1"},
			60 * time.Second,
		},
		"letter case": {
			map[string]dnstest.Action{"a.example.": one("A.Example. 60 IN CNAME B.example.", "b.EXAMPLE. 60 IN A 192.0.2.1")},
			[]string{"b.example."},
			[]string{"192.0.2.1"},
			60 * time.Second,
		},
		"across replies": {
			map[string]dnstest.Action{
				"a.example.": one("a.example. 10 IN CNAME b.example."),
				"b.example.": one("b.example. 20 IN CNAME c.example."),
				"c.example.": one("c.example. 60 IN A 192.0.2.1"),
			},
			[]string{"b.example.", "c.example."},
			[]string{"192.0.2.1"},
			10 * time.Second,
		},
		"records of other names": {
			map[string]dnstest.Action{"a.example.": one("evil.example. 60 IN A 198.51.100.66", "a.example. 60 IN A 192.0.2.1", "evil.example. 60 IN CNAME a.example.")},
			nil,
			[]string{"192.0.2.1"},
			60 * time.Second,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := virtual(t, "", onServer(typed("A", func(q dnstest.Query) dnstest.Action { return tc.replies[q.Name] }, dnstest.Always(dnstest.NoData()))))
			r.Servers = []string{serverAddr}
			r.WaitAll = true
			a, err := r.Lookup(t.Context(), "a.example")
			if err != nil || !same(set(a), tc.want) {
				t.Fatalf("got %v, %v; want %v", set(a), err, tc.want)
			}
			f := a.Families[1]
			if !slices.Equal(f.Chain, tc.chain) || f.TTL != tc.ttl {
				t.Errorf("chain %v ttl %v, want %v %v", f.Chain, f.TTL, tc.chain, tc.ttl)
			}
			if len(tc.chain) > 0 && a.Canonical != tc.chain[len(tc.chain)-1] {
				t.Errorf("canonical name %s", a.Canonical)
			}
		})
	}
}

// TestAliasesThatDoNotEnd: loops and chains without end are found, and cost a
// bounded number of queries.
func TestAliasesThatDoNotEnd(t *testing.T) {
	tests := map[string]dnstest.Script{
		"to itself": func(q dnstest.Query) dnstest.Action {
			return dnstest.Action{Answer: []string{q.Name + " 60 IN CNAME " + q.Name}}
		},
		"within the reply": dnstest.Always(dnstest.Action{Answer: []string{
			"a.example. 60 IN CNAME b.example.", "b.example. 60 IN CNAME c.example.", "c.example. 60 IN CNAME b.example.",
		}}),
		"across replies": func(q dnstest.Query) dnstest.Action {
			next := map[string]string{"a.example.": "b.example.", "b.example.": "c.example.", "c.example.": "a.example."}[q.Name]
			return dnstest.Action{Answer: []string{q.Name + " 60 IN CNAME " + next}}
		},
		"always another": func(q dnstest.Query) dnstest.Action {
			return dnstest.Action{Answer: []string{fmt.Sprintf("%s 60 IN CNAME x%s", q.Name, q.Name)}}
		},
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			r, n := virtual(t, "", onServer(script))
			r.Servers = []string{serverAddr}
			_, err := r.Lookup(t.Context(), "a.example")
			if !errors.Is(err, resolver.ErrAliasLoop) {
				t.Errorf("got %v, want an alias loop", err)
			}
			if got := len(n.Server(serverAddr).Queries()); got > 2*(resolver.MaxAliases+1) {
				t.Errorf("%d queries", got)
			}
		})
	}
}

// TestAliasToNothing: NXDOMAIN and NODATA at the end of a chain are those of
// the name asked; with an SOA record no more is asked.
func TestAliasToNothing(t *testing.T) {
	chain := []string{"@ 60 IN CNAME b.example."}
	tests := map[string]struct {
		action dnstest.Action
		want   error
	}{
		"no such name": {dnstest.Action{Answer: chain, Authority: []string{dnstest.SOA}, RCode: 3}, resolver.ErrNoSuchName},
		"no data":      {dnstest.Action{Answer: chain, Authority: []string{dnstest.SOA}}, resolver.ErrNoData},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, n := virtual(t, "", onServer(dnstest.Always(tc.action)))
			r.Servers = []string{serverAddr}
			a, err := r.Lookup(t.Context(), "a.example")
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if got := len(n.Server(serverAddr).Queries()); got != 2 {
				t.Errorf("%d queries, want 2", got)
			}
			if a.Families[0].TTL != 60*time.Second {
				t.Errorf("negative TTL %v, want the SOA's 60 s", a.Families[0].TTL)
			}
		})
	}
}
