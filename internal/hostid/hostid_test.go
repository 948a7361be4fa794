package hostid_test

import (
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
	{hostid.Announced, "announced by the peer", hostid.Same, false},
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
	if beyond := hostid.Outcome(len(all)); beyond.String() != "outcome 10" || beyond.Verdict() != hostid.Unknown {
		t.Errorf("outcome %d is %q", len(all), beyond)
	}
	if s := hostid.Same.String() + hostid.Different.String() + hostid.Unknown.String() + hostid.Verdict(7).String(); s != "samedifferentunknownverdict 7" {
		t.Error(s)
	}
}
