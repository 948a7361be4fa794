package addrsel

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// pair is a destination and the source chosen for it, with marks for what the
// source is: "deprecated", "home", "care-of", "tunnel", "/64".
type pair struct{ dst, src, marks string }

func (p pair) dest(t testing.TB) Dest {
	t.Helper()
	d := Dest{Addr: netip.MustParseAddr(p.dst)}
	if p.src != "" {
		d.Source.Addr = netip.MustParseAddr(p.src)
	}
	for mark := range strings.FieldsSeq(p.marks) {
		switch mark {
		case "deprecated":
			d.Source.Deprecated = true
		case "home":
			d.Source.Home = true
		case "care-of":
			d.Source.CareOf = true
		case "tunnel":
			d.Source.Tunnel = true
		case "/32":
			d.Source.Prefix = 32
		case "used":
			d.Used = true
		default:
			rtt, err := time.ParseDuration(mark)
			if err != nil {
				t.Fatalf("unknown mark %q", mark)
			}
			d.RTT = rtt
		}
	}
	return d
}

// rankCase is a list in the order in which it should come out, with the rule that
// decides between each and the next; in says where the answer had them, if that
// matters.
type rankCase struct {
	name  string
	conf  string // gai.conf, "" for the default policy
	want  []pair
	rules []int
	fixed bool // the order given matters: do not try it backwards
}

func runRankCases(t *testing.T, cases []rankCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			policy, err := ParseGaiConf(strings.NewReader(tc.conf))
			if err != nil {
				t.Fatal(err)
			}
			var want []Dest
			for _, p := range tc.want {
				want = append(want, p.dest(t))
			}
			check(t, policy, want, want, tc.rules)
			if !tc.fixed {
				backwards := slices.Clone(want)
				slices.Reverse(backwards)
				check(t, policy, backwards, want, tc.rules)
			}
		})
	}
}

func check(t *testing.T, policy Policy, in, want []Dest, rules []int) {
	t.Helper()
	got := Sort(policy, in)
	var order []Dest
	var decided []int
	for _, r := range got {
		order = append(order, r.Dest)
		decided = append(decided, r.Rule)
	}
	if !slices.Equal(order, want) {
		t.Errorf("Sort(%v)\n got %v\nwant %v", addrs(in), addrs(order), addrs(want))
	}
	if rules = append(slices.Clone(rules), RuleNone); !slices.Equal(decided, rules) {
		t.Errorf("rules %v, want %v", decided, rules)
	}
}

func addrs(ds []Dest) []netip.Addr {
	var out []netip.Addr
	for _, d := range ds {
		out = append(out, d.Addr)
	}
	return out
}

// The examples of RFC 6724 section 10.2, in its order and with its names; each
// source is the one that the example's source selection arrives at.
func TestSortRFC6724Section10_2(t *testing.T) {
	runRankCases(t, []rankCase{
		{name: "prefer matching scope, IPv6", rules: []int{2}, want: []pair{
			{"2001:db8:1::1", "2001:db8:1::2", ""},
			{"198.51.100.121", "169.254.13.78", ""},
		}},
		{name: "prefer matching scope, IPv4", rules: []int{2}, want: []pair{
			{"198.51.100.121", "198.51.100.117", ""},
			{"2001:db8:1::1", "fe80::1", ""},
		}},
		{name: "prefer higher precedence", rules: []int{6}, want: []pair{
			{"2001:db8:1::1", "2001:db8:1::2", ""},
			{"10.1.2.3", "10.1.2.4", ""},
		}},
		{name: "prefer smaller scope", rules: []int{8}, want: []pair{
			{"fe80::1", "fe80::2", ""},
			{"2001:db8:1::1", "2001:db8:1::2", ""},
		}},
		{name: "prefer home address", rules: []int{4}, want: []pair{
			{"2001:db8:1::1", "2001:db8:3::1", "home"},
			{"fe80::1", "fe80::2", "care-of"},
		}},
		{name: "avoid deprecated addresses", rules: []int{3}, want: []pair{
			{"2001:db8:1::1", "2001:db8:1::2", ""},
			{"fe80::1", "fe80::2", "deprecated"},
		}},
		{name: "longest matching prefix", rules: []int{9}, want: []pair{
			{"2001:db8:1::1", "2001:db8:1::2", ""},
			{"2001:db8:3ffe::1", "2001:db8:3f44::2", ""},
		}},
		{name: "prefer matching label", rules: []int{5}, want: []pair{
			{"2002:c633:6401::1", "2002:c633:6401::2", ""},
			{"2001:db8:1::1", "2002:c633:6401::2", ""},
		}},
		{name: "prefer higher precedence, 6to4", rules: []int{6}, want: []pair{
			{"2001:db8:1::1", "2001:db8:1::2", ""},
			{"2002:c633:6401::1", "2002:c633:6401::2", ""},
		}},
	})
}

// RFC 6724 sections 10.3, 10.4 and 10.6: policies that an administrator sets.
func TestSortRFC6724Policies(t *testing.T) {
	const labels = "label ::1/128 0\nlabel ::/0 1\nlabel ::ffff:0:0/96 4\n"
	runRankCases(t, []rankCase{
		{
			name: "10.3 preference for IPv4", rules: []int{6},
			conf: "precedence ::1/128 50\nprecedence ::/0 40\nprecedence ::ffff:0:0/96 100\n",
			want: []pair{
				{"10.1.2.3", "10.1.2.4", ""},
				{"2001:db8:1::1", "2001:db8:1::2", ""},
			},
		},
		{
			name: "10.3 broken scope does not change it", rules: []int{2},
			conf: "precedence ::1/128 50\nprecedence ::/0 40\nprecedence ::ffff:0:0/96 100\n",
			want: []pair{
				{"2001:db8:1::1", "2001:db8:1::2", ""},
				{"198.51.100.121", "169.254.13.78", ""},
			},
		},
		{
			name: "10.4 preference for global scope", rules: []int{6},
			conf: "precedence ::/0 40\nprecedence fe80::/10 33\n",
			want: []pair{
				{"2001:db8:1::1", "2001:db8:1::2", ""},
				{"fe80::1", "fe80::2", ""},
			},
		},
		{
			name: "10.6 own ULA above global", rules: []int{6},
			conf: labels + "label fd11:1111:1111::/48 14\nprecedence ::/0 40\nprecedence fd11:1111:1111::/48 45\n",
			want: []pair{
				{"fd11:1111:1111:1::1", "fd11:1111:1111:1::2", ""},
				{"2001:db8:1::1", "2001:db8:1::2", ""},
			},
		},
		{
			name: "private IPv4 made site-local", rules: []int{2},
			conf: "scopev4 10.0.0.0/8 5\n",
			want: []pair{
				{"10.1.2.3", "10.1.2.4", ""},
				{"2001:db8:1::1", "fe80::2", ""},
			},
		},
	})
}

// Orders that other implementations once got wrong.
func TestSortRegressions(t *testing.T) {
	from10 := func(dsts ...string) []pair {
		var ps []pair
		for _, d := range dsts {
			ps = append(ps, pair{d, "10.2.3.4", ""})
		}
		return ps
	}
	runRankCases(t, []rankCase{
		{
			name: "golang 13283: a source in 10/8 does not favour 23/8", fixed: true,
			want: from10("54.83.193.112", "184.72.238.214", "23.23.172.185",
				"75.101.148.21", "23.23.134.56", "23.21.50.150"),
			rules: []int{10, 10, 10, 10, 10},
		},
		{
			name: "golang 18518: the IPv4 order of the answer stays, even in one subnet", fixed: true,
			want: from10("192.0.2.1", "10.2.3.5", "10.2.200.1", "10.2.3.4"), rules: []int{10, 10, 10},
		},
		{
			name: "mapped IPv4 is IPv4", rules: []int{6}, want: []pair{
				{"2001:db8:1::1", "2001:db8:1::2", ""},
				{"::ffff:10.1.2.3", "10.1.2.4", ""},
			},
		},
		{
			name: "rule 9 stops at the interface identifier", fixed: true, rules: []int{10}, want: []pair{
				{"2001:db8:1::ffff:1", "2001:db8:1::2", ""},
				{"2001:db8:1::1", "2001:db8:1::2", ""},
			},
		},
		{
			name: "rule 9 stops at the interface's prefix", fixed: true, rules: []int{10}, want: []pair{
				{"2001:db8:8000::1", "2001:db8:1::2", "/32"},
				{"2001:db8:1::1", "2001:db8:1::2", "/32"},
			},
		},
		{
			name: "a ULA source does not pull towards Teredo", rules: []int{5}, want: []pair{
				{"198.51.100.1", "192.168.1.2", ""},
				{"2001:db8:1::1", "fd00::2", ""},
			},
		},
		{
			name: "loopback of both families", rules: []int{6}, want: []pair{
				{"::1", "::1", ""},
				{"127.0.0.1", "127.0.0.1", ""},
			},
		},
	})
}

func TestSortOtherRules(t *testing.T) {
	runRankCases(t, []rankCase{
		{name: "1 unreachable is last", rules: []int{1}, want: []pair{
			{"10.1.2.3", "10.1.2.4", ""},
			{"2001:db8:1::1", "", ""},
		}},
		{name: "1 what is unreachable is still ordered by precedence", rules: []int{6}, want: []pair{
			{"2001:db8:1::1", "", ""},
			{"10.1.2.3", "", ""},
		}},
		{name: "4 home and care-of, home, none", rules: []int{4, 10, 4}, fixed: true, want: []pair{
			{"2001:db8:1::1", "2001:db8:1::2", "home care-of"},
			{"2001:db8:1::3", "2001:db8:1::4", "home"},
			{"2001:db8:1::5", "2001:db8:1::6", ""},
			{"2001:db8:1::7", "2001:db8:1::8", "care-of"},
		}},
		{name: "7 native transport", rules: []int{7}, want: []pair{
			{"2001:db8:2::1", "2001:db8:1::2", ""},
			{"2001:db8:1::1", "2001:db8:1::3", "tunnel"},
		}},
		{name: "lower RTT before longest prefix", rules: []int{RuleLowerRTT, RuleLowerRTT}, want: []pair{
			{"2001:db8:2::1", "2001:db8:1::2", "10ms"},
			{"2001:db8:3::1", "2001:db8:1::2", "20ms"},
			{"2001:db8:1::1", "2001:db8:1::2", ""},
		}},
		{name: "used before longest prefix, after RTT", rules: []int{RuleLowerRTT, RuleUsedBefore}, want: []pair{
			{"2001:db8:2::1", "2001:db8:1::2", "10ms"},
			{"2001:db8:3::1", "2001:db8:1::2", "used"},
			{"2001:db8:1::1", "2001:db8:1::2", ""},
		}},
		{name: "RTT does not outweigh precedence", rules: []int{6}, want: []pair{
			{"2001:db8:2::1", "2001:db8:1::2", "90ms"},
			{"10.1.2.3", "10.1.2.4", "1ms used"},
		}},
		{name: "RTT orders IPv4 too", rules: []int{RuleLowerRTT}, want: []pair{
			{"192.0.2.1", "10.1.2.4", "1ms"},
			{"192.0.2.2", "10.1.2.4", "2ms"},
		}},
	})
}

// Where a policy makes both families equal, rule 9 compares some pairs only. The
// IPv6 addresses are sorted among their places.
func TestSortPrefixAmongMixedFamilies(t *testing.T) {
	policy, err := ParseGaiConf(strings.NewReader("precedence ::/0 40\n"))
	if err != nil {
		t.Fatal(err)
	}
	in := []Dest{
		pair{"2001:db8:3ffe::1", "2001:db8:1::2", ""}.dest(t),
		pair{"192.0.2.1", "192.0.2.2", ""}.dest(t),
		pair{"2001:db8:1::1", "2001:db8:1::2", ""}.dest(t),
	}
	want := []Dest{in[2], in[1], in[0]}
	check(t, policy, in, want, []int{10, 10})
}

func TestSortWhy(t *testing.T) {
	cases := []struct {
		name string
		in   []pair
		want []string
	}{
		{"label", []pair{
			{"2001:db8:1::10", "2001:db8:ff::2", ""}, {"192.0.2.10", "2001:db8::1", ""},
		}, []string{
			"source 2001:db8:ff::2 same scope, label 1 (RFC 6724 rules 2, 5)",
			"source 2001:db8::1 same scope (RFC 6724 rule 2)",
		}},
		{"precedence, then order, then reachability", []pair{
			{"2001:db8:1::10", "2001:db8:ff::2", ""},
			{"192.0.2.10", "203.0.113.7", ""},
			{"192.0.2.11", "203.0.113.7", ""},
			{"198.51.100.10", "", ""},
		}, []string{
			"source 2001:db8:ff::2 same scope, label 1, precedence 40 over 35 (RFC 6724 rules 2, 5, 6)",
			"source 203.0.113.7 same scope, label 4, in the order answered (RFC 6724 rules 2, 5, 10)",
			"source 203.0.113.7 reachable, the next is not (RFC 6724 rule 1)",
			"unreachable: no source address (RFC 6724 rule 1)",
		}},
		{"prefix, then round-trip time", []pair{
			{"2001:db8:1::1", "2001:db8:1::2", "11ms"},
			{"2001:db8:1::3", "2001:db8:1::2", ""},
			{"2001:db8:3ffe::1", "2001:db8:1::2", ""},
		}, []string{
			"source 2001:db8:1::2 same scope, label 1, round-trip time 11ms, the next's unknown (RFC 6724 rules 2, 5; Happy Eyeballs)",
			"source 2001:db8:1::2 same scope, label 1, 64 bits in common over 34 (RFC 6724 rules 2, 5, 9)",
			"source 2001:db8:1::2 same scope, label 1 (RFC 6724 rules 2, 5)",
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var in []Dest
			for _, p := range tc.in {
				in = append(in, p.dest(t))
			}
			for i, r := range Sort(Policy{}, in) {
				if r.Why != tc.want[i] {
					t.Errorf("%s:\n got %s\nwant %s", r.Addr, r.Why, tc.want[i])
				}
			}
		})
	}
}

// Every rule has words for it.
func TestSortWhyNamesEveryRule(t *testing.T) {
	c := newCandidate(DefaultPolicy(), pair{"2001:db8:1::1", "2001:db8:1::2", "5ms"}.dest(t))
	seen := map[string]bool{}
	for _, rule := range []int{1, 2, 3, 4, 5, 6, 7, 8, RuleLowerRTT, RuleUsedBefore, 9, 10} {
		why := explain(&c, &c, rule)
		if why == "" || seen[why] {
			t.Errorf("rule %d: %q is empty or another rule's", rule, why)
		}
		seen[why] = true
	}
}

func TestSortLeavesItsArgumentAlone(t *testing.T) {
	in := []Dest{pair{"10.1.2.3", "10.1.2.4", ""}.dest(t), pair{"2001:db8::1", "2001:db8::2", ""}.dest(t)}
	before := slices.Clone(in)
	Sort(DefaultPolicy(), in)
	if !slices.Equal(in, before) {
		t.Errorf("argument became %v", addrs(in))
	}
	if got := Sort(DefaultPolicy(), nil); len(got) != 0 {
		t.Errorf("Sort of nothing: %v", got)
	}
}

func BenchmarkSort(b *testing.B) {
	var in []Dest
	for _, p := range []pair{
		{"2001:db8:1::10", "2001:db8:ff::2", ""},
		{"2001:db8:2::10", "2001:db8:ff::2", ""},
		{"192.0.2.10", "203.0.113.7", ""},
		{"198.51.100.10", "203.0.113.7", ""},
		{"2001:db8:3::10", "2001:db8:ff::2", ""},
		{"192.0.2.11", "203.0.113.7", ""},
		{"fd00::10", "2001:db8:ff::2", ""},
		{"10.0.0.1", "", ""},
	} {
		in = append(in, p.dest(b))
	}
	policy := DefaultPolicy()
	b.ReportAllocs()
	for b.Loop() {
		Sort(policy, in)
	}
}
