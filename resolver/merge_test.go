package resolver_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

var mergeTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// result is one family's addresses.
func result(typ string, ttl time.Duration, addrs ...string) resolver.FamilyResult {
	f := resolver.FamilyResult{Type: typ, Name: "www.example.", TTL: ttl, Proto: "udp", Server: serverAddr}
	for _, a := range addrs {
		f.Addrs = append(f.Addrs, netip.MustParseAddr(a))
	}
	return f
}

// fromSources are the source addresses for destinations, "dest source" each.
func fromSources(pairs ...string) func(netip.Addr) resolver.Source {
	m := map[netip.Addr]resolver.Source{}
	for _, p := range pairs {
		d, s, _ := strings.Cut(p, " ")
		m[netip.MustParseAddr(d)] = resolver.Source{Addr: netip.MustParseAddr(s)}
	}
	return func(dest netip.Addr) resolver.Source { return m[dest] }
}

func dropped(a *resolver.Answer) []string {
	var out []string
	for _, d := range a.Dropped {
		out = append(out, d.Addr.String())
	}
	return out
}

func TestMergeFilters(t *testing.T) {
	const ttl = time.Minute
	publicSource := fromSources("192.0.2.1 203.0.113.2", "10.0.0.1 203.0.113.2", "2001:db8::1 2001:db8:ff::2", "fd00::1 2001:db8:ff::2")
	inside := fromSources("192.0.2.1 10.0.0.2", "10.0.0.1 10.0.0.2", "2001:db8::1 2001:db8:ff::2", "fd00::1 fd00::2", "100.64.0.1 100.64.0.2")
	tests := map[string]struct {
		a, aaaa    []string
		sources    func(netip.Addr) resolver.Source
		keep, drop []string
	}{
		"public":      {[]string{"192.0.2.1"}, []string{"2001:db8::1"}, publicSource, []string{"192.0.2.1", "2001:db8::1"}, nil},
		"unspecified": {[]string{"0.0.0.0", "192.0.2.1"}, []string{"::"}, publicSource, []string{"192.0.2.1"}, []string{"0.0.0.0", "::"}},
		"loopback":    {[]string{"127.0.0.53", "192.0.2.1"}, []string{"::1"}, publicSource, []string{"192.0.2.1"}, []string{"127.0.0.53", "::1"}},
		"multicast":   {[]string{"224.0.0.1", "192.0.2.1"}, []string{"ff02::1"}, publicSource, []string{"192.0.2.1"}, []string{"224.0.0.1", "ff02::1"}},
		"broadcast":   {[]string{"255.255.255.255", "0.1.2.3", "192.0.2.1"}, nil, publicSource, []string{"192.0.2.1"}, []string{"255.255.255.255", "0.1.2.3"}},
		"link-local":  {[]string{"169.254.1.1", "192.0.2.1"}, []string{"fe80::1"}, publicSource, []string{"192.0.2.1"}, []string{"169.254.1.1", "fe80::1"}},
		"mapped":      {[]string{"192.0.2.1"}, []string{"::ffff:192.0.2.9"}, publicSource, []string{"192.0.2.1"}, []string{"::ffff:192.0.2.9"}},
		"private alone": {
			[]string{"10.0.0.1"}, []string{"fd00::1"}, publicSource, []string{"10.0.0.1", "fd00::1"}, nil,
		},
		"private beside public of the family": {
			[]string{"10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "192.0.2.1"},
			nil, inside,
			[]string{"192.0.2.1"},
			[]string{"10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1"},
		},
		"site-local and ULA beside public": {
			nil, []string{"fec0::1", "fd00::1", "2001:db8::1"}, inside, []string{"2001:db8::1"}, []string{"fec0::1", "fd00::1"},
		},
		"private AAAA beside public A, from outside": {
			[]string{"192.0.2.1"}, []string{"fd00::1"}, publicSource, []string{"192.0.2.1"}, []string{"fd00::1"},
		},
		"private AAAA beside public A, from inside": {
			[]string{"192.0.2.1"}, []string{"fd00::1"}, inside, []string{"192.0.2.1", "fd00::1"}, nil,
		},
		"shared space beside public AAAA, from inside": {
			[]string{"100.64.0.1"}, []string{"2001:db8::1"}, inside, []string{"100.64.0.1", "2001:db8::1"}, nil,
		},
		"private A beside public AAAA, no way to it": {
			[]string{"10.0.0.9"}, []string{"2001:db8::1"}, publicSource, []string{"2001:db8::1"}, []string{"10.0.0.9"},
		},
		"duplicates": {[]string{"192.0.2.1", "192.0.2.1"}, nil, publicSource, []string{"192.0.2.1"}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			families := []resolver.FamilyResult{result("AAAA", ttl, tc.aaaa...), result("A", ttl, tc.a...)}
			a := resolver.Merge("www.example", 0, families, resolver.MergeOptions{Source: tc.sources, Now: mergeTime})
			if !same(set(a), tc.keep) || !same(dropped(a), tc.drop) {
				t.Errorf("kept %v, dropped %v; want %v, %v", set(a), a.Dropped, tc.keep, tc.drop)
			}
			for _, d := range a.Dropped {
				if d.Why == "" {
					t.Errorf("%v was dropped without a reason", d.Addr)
				}
			}
			if len(a.Reasons()) != a.Record.Len() {
				t.Errorf("%d reasons for %d addresses", len(a.Reasons()), a.Record.Len())
			}
		})
	}
}

func TestMergeKeepsOwn(t *testing.T) {
	for _, proto := range []string{"hosts", "literal", "special", "zone"} {
		f := result("A", time.Minute, "127.0.0.1", "10.0.0.1", "192.0.2.1")
		f.Proto = proto
		if a := resolver.Merge("box", 0, []resolver.FamilyResult{f}, resolver.MergeOptions{}); len(a.Dropped) != 0 {
			t.Errorf("%s: dropped %v", proto, a.Dropped)
		}
	}
	f := result("A", time.Minute, "127.0.0.1", "10.0.0.1", "192.0.2.1")
	if a := resolver.Merge("box", 0, []resolver.FamilyResult{f}, resolver.MergeOptions{KeepLocal: true}); len(a.Dropped) != 0 {
		t.Errorf("KeepLocal: dropped %v", a.Dropped)
	}
}

func TestMergeOrder(t *testing.T) {
	sources := fromSources("192.0.2.1 203.0.113.2", "192.0.2.2 203.0.113.2", "2001:db8::1 2001:db8:ff::2", "2001:db8::2 2001:db8:ff::2")
	six, four := []string{"2001:db8::1", "2001:db8::2"}, []string{"192.0.2.1", "192.0.2.2"}
	noSix := fromSources("192.0.2.1 203.0.113.2", "192.0.2.2 203.0.113.2")
	rtts := func(fast string) func(netip.Addr) (time.Duration, bool) {
		return func(a netip.Addr) (time.Duration, bool) {
			if a.String() == fast {
				return time.Millisecond, true
			}
			return time.Second, true
		}
	}
	tests := map[string]struct {
		o    resolver.MergeOptions
		want []string
	}{
		"interleaved":    {resolver.MergeOptions{Source: sources}, []string{"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"}},
		"aggressive":     {resolver.MergeOptions{Source: sources, PreferredFamilyCount: 2}, []string{"2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"}},
		"no IPv6":        {resolver.MergeOptions{Source: noSix}, []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"}},
		"nothing known":  {resolver.MergeOptions{}, []string{"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"}},
		"faster history": {resolver.MergeOptions{Source: sources, History: rtts("2001:db8::2")}, []string{"2001:db8::2", "192.0.2.1", "2001:db8::1", "192.0.2.2"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			families := []resolver.FamilyResult{result("A", time.Minute, four...), result("AAAA", time.Hour, six...)}
			tc.o.Now = mergeTime
			a := resolver.Merge("www.example", 443, families, tc.o)
			if !slices.Equal(set(a), tc.want) {
				t.Errorf("got %v, want %v", set(a), tc.want)
			}
			if a.Record.At(0).Port() != 443 {
				t.Errorf("port %d", a.Record.At(0).Port())
			}
			if a.TTL(mergeTime) != time.Minute || a.TTL(mergeTime.Add(time.Hour)) != 0 {
				t.Errorf("TTL %v then %v", a.TTL(mergeTime), a.TTL(mergeTime.Add(time.Hour)))
			}
		})
	}
}

// TestMergeHints: the hints of HTTPS records stand in for a family that has not
// been answered, and for no other.
func TestMergeHints(t *testing.T) {
	https := result("HTTPS", time.Second)
	https.Services = []resolver.Service{
		{Priority: 1, Target: "www.example.", Hints: result("", 0, "192.0.2.1", "2001:db8::1", "127.0.0.1").Addrs},
		{Priority: 2, Target: "other.example.", Hints: result("", 0, "192.0.2.66").Addrs},
		{Priority: 0, Target: "www.example.", Hints: result("", 0, "192.0.2.67").Addrs},
	}
	pending, none := result("A", 0), result("A", 0)
	pending.Err, none.Err = &resolver.Error{Kind: resolver.ErrPending}, &resolver.Error{Kind: resolver.ErrNoData}
	tests := map[string]struct {
		others []resolver.FamilyResult
		want   []string
		ttl    time.Duration
	}{
		"nothing else yet":  {nil, []string{"192.0.2.1", "2001:db8::1"}, time.Second},
		"A pending":         {[]resolver.FamilyResult{pending}, []string{"192.0.2.1", "2001:db8::1"}, time.Second},
		"AAAA answered":     {[]resolver.FamilyResult{result("AAAA", time.Minute, "2001:db8::9")}, []string{"192.0.2.1", "2001:db8::9"}, time.Second},
		"no A":              {[]resolver.FamilyResult{none}, []string{"2001:db8::1"}, time.Second},
		"both are answered": {[]resolver.FamilyResult{result("AAAA", time.Minute, "2001:db8::9"), result("A", time.Hour, "192.0.2.9")}, []string{"2001:db8::9", "192.0.2.9"}, time.Minute},
		"neither has any":   {[]resolver.FamilyResult{none, result("AAAA", time.Minute)}, nil, resolver.Forever},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			families := append([]resolver.FamilyResult{https}, tc.others...)
			a := resolver.Merge("www.example", 0, families, resolver.MergeOptions{Now: mergeTime})
			if !same(set(a), tc.want) || a.TTL(mergeTime) != tc.ttl || len(a.Families) != len(families) {
				t.Errorf("got %v, TTL %v, %d families", set(a), a.TTL(mergeTime), len(a.Families))
			}
		})
	}
}

// TestMergeHosts: addresses of two canonical names are not one host.
func TestMergeHosts(t *testing.T) {
	six, four := result("AAAA", time.Minute, "2001:db8::1"), result("A", time.Minute, "192.0.2.1", "192.0.2.2")
	one := resolver.Merge("www.example", 0, []resolver.FamilyResult{six, four}, resolver.MergeOptions{})
	if len(one.Hosts()) != 1 || one.Hosts()[0].Addrs.Len() != 3 || one.Hosts()[0].Verdict != "unknown" || len(one.Hosts()[0].Why) == 0 {
		t.Errorf("one name: hosts %+v", one.Hosts())
	}
	four.Chain = []string{"cdn.example."}
	two := resolver.Merge("www.example", 0, []resolver.FamilyResult{six, four}, resolver.MergeOptions{})
	if len(two.Hosts()) != 2 || !two.Hosts()[1].Addrs.SameSet(mpaddr.MustParse("192.0.2.1:0,192.0.2.2:0")) {
		t.Errorf("two names: hosts %+v", two.Hosts())
	}
}

// TestMergeIsAPartition: every address that came in is in the record once, or
// dropped; and the hosts divide the record.
func TestMergeIsAPartition(t *testing.T) {
	pool := []string{
		"192.0.2.1", "192.0.2.2", "10.0.0.1", "127.0.0.1", "0.0.0.0", "169.254.1.1", "100.64.0.1", "198.51.100.1",
		"2001:db8::1", "2001:db8::2", "fd00::1", "::1", "::", "fe80::1", "ff02::1", "::ffff:192.0.2.1",
	}
	sources := fromSources("192.0.2.1 10.0.0.2", "10.0.0.1 10.0.0.2", "2001:db8::1 2001:db8:ff::2", "fd00::1 fd00::2")
	rapid.Check(t, func(t *rapid.T) {
		addrs := rapid.SliceOf(rapid.SampledFrom(pool)).Draw(t, "addrs")
		var four, six []string
		for _, a := range addrs {
			if netip.MustParseAddr(a).Is4() {
				four = append(four, a)
			} else {
				six = append(six, a)
			}
		}
		families := []resolver.FamilyResult{result("AAAA", time.Minute, six...), result("A", time.Minute, four...)}
		a := resolver.Merge("www.example", 0, families, resolver.MergeOptions{Source: sources, Now: mergeTime})
		seen := map[string]bool{}
		for _, s := range append(set(a), dropped(a)...) {
			seen[s] = true
		}
		for _, s := range addrs {
			if !seen[s] {
				t.Fatalf("%s was lost", s)
			}
		}
		for _, s := range set(a) {
			if slices.Contains(dropped(a), s) || !slices.Contains(addrs, s) {
				t.Fatalf("%s is in the record, and was dropped or never came in", s)
			}
		}
		inHosts := 0
		for _, h := range a.Hosts() {
			inHosts += h.Addrs.Len()
		}
		if inHosts != a.Record.Len() || len(a.Reasons()) != a.Record.Len() {
			t.Fatalf("record of %d, hosts of %d, %d reasons", a.Record.Len(), inHosts, len(a.Reasons()))
		}
	})
}
