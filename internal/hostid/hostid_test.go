package hostid_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// all are the outcomes with what they say.
var all = []struct {
	outcome hostid.Outcome
	text    string
	verdict hostid.Verdict
	failed  bool
}{
	{hostid.NotTried, "not tried", hostid.Unknown, false},
	{hostid.Joined, "joined", hostid.Same, false},
	{hostid.LimitReached, "limit reached", hostid.Same, true},
	{hostid.Refused, "refused", hostid.Unknown, true},
	{hostid.OtherHost, "other MPTCP host", hostid.Different, true},
	{hostid.ClosedPort, "closed port", hostid.Unknown, true},
	{hostid.NotMPTCP, "not MPTCP", hostid.Unknown, true},
	{hostid.TimedOut, "timed out", hostid.Unknown, true},
	{hostid.Unreachable, "unreachable", hostid.Unknown, true},
}

func TestOutcomes(t *testing.T) {
	for _, test := range all {
		o := test.outcome
		if o.String() != test.text || o.Verdict() != test.verdict || o.Failed() != test.failed {
			t.Errorf("%s: verdict %s, failed %v", o, o.Verdict(), o.Failed())
		}
		if (o.Lifetime() > 0) != (o.Verdict() != hostid.Unknown) || (o.Pause() > 0) != o.Failed() {
			t.Errorf("%s: lifetime %v, pause %v", o, o.Lifetime(), o.Pause())
		}
	}
	if beyond := hostid.Outcome(len(all)); beyond.String() != "outcome 9" || beyond.Verdict() != hostid.Unknown {
		t.Errorf("outcome %d is %q", len(all), beyond)
	}
	if s := hostid.Same.String() + hostid.Different.String() + hostid.Unknown.String() + hostid.Verdict(7).String(); s != "samedifferentunknownverdict 7" {
		t.Error(s)
	}
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestGroups(t *testing.T) {
	for _, test := range []struct {
		name string
		in   []string // address, canonical name
		want []hostid.Group
	}{
		{"none", nil, nil},
		{"one address", []string{"192.0.2.1 a.example."}, []hostid.Group{
			{Canonical: "a.example.", Addrs: addrs("192.0.2.1"), Why: "the only address"},
		}},
		{"one name, two spellings", []string{"192.0.2.1 A.example.", "2001:db8::1 a.EXAMPLE"}, []hostid.Group{
			{Canonical: "A.example.", Addrs: addrs("192.0.2.1", "2001:db8::1"), Why: `all are addresses of "A.example."; only a join can tell whether they are one host`},
		}},
		{"no name", []string{"192.0.2.1 ", "192.0.2.2 "}, []hostid.Group{
			{Addrs: addrs("192.0.2.1", "192.0.2.2"), Why: "all addresses; only a join can tell whether they are one host"},
		}},
		{
			"two names, one address of both, one twice",
			[]string{"192.0.2.1 a.", "192.0.2.2 b.", "192.0.2.1 b.", "::ffff:192.0.2.2 b.", "192.0.2.3 a."},
			[]hostid.Group{
				{Canonical: "a.", Addrs: addrs("192.0.2.1", "192.0.2.3"), Why: `the addresses of canonical name "a.", one of 2`},
				{Canonical: "b.", Addrs: addrs("192.0.2.2"), Why: `the addresses of canonical name "b.", one of 2`},
			},
		},
	} {
		candidates := []hostid.Candidate{{Canonical: "no address"}}
		for _, s := range test.in {
			addr, name, _ := strings.Cut(s, " ")
			candidates = append(candidates, hostid.Candidate{Addr: netip.MustParseAddr(addr), Canonical: name})
		}
		if got := hostid.Groups(candidates); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}
