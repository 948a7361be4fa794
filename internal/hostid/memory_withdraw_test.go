package hostid_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// TestWithdraw: what a refusal at a minute does to the proofs before, and what counts
// after it.
func TestWithdraw(t *testing.T) {
	type step struct {
		minute  int
		pair    string
		port    uint16
		outcome hostid.Outcome // NotTried: a refusal
		ok      bool           // of a refusal: there was a proof to take back
	}
	const refused = hostid.NotTried
	for name, test := range map[string]struct {
		steps []step
		want  string // of b and c to a, at the minute of the last step
	}{
		"nothing known":        {[]step{{1, "ab", 443, refused, false}}, "b?c?"},
		"a proof":              {[]step{{0, "ab", 443, hostid.Joined, false}, {1, "ab", 443, refused, true}}, "b?c?"},
		"an announcement":      {[]step{{0, "ab", 443, hostid.Announced, false}, {1, "ab", 443, refused, true}}, "b?c?"},
		"either way":           {[]step{{0, "ab", 443, hostid.Joined, false}, {1, "ba", 443, refused, true}}, "b?c?"},
		"no pause is left":     {[]step{{0, "ab", 443, hostid.LimitReached, false}, {1, "ab", 443, refused, true}}, "b?c?"},
		"another pair":         {[]step{{0, "ab", 443, hostid.Joined, false}, {1, "ac", 443, refused, false}}, "b=c?"},
		"another port":         {[]step{{0, "ab", 443, hostid.Joined, false}, {1, "ab", 81, refused, false}}, "b=c?"},
		"port not known":       {[]step{{0, "ab", 0, hostid.Joined, false}, {1, "ab", 81, refused, true}}, "b?c?"},
		"port of the last":     {[]step{{0, "ab", 80, hostid.Joined, false}, {1, "ab", 443, hostid.Joined, false}, {2, "ab", 80, refused, false}}, "b=c?"},
		"begun before":         {[]step{{1, "ab", 443, hostid.Joined, false}, {1, "ab", 443, refused, false}}, "b=c?"},
		"another host stays":   {[]step{{0, "ab", 443, hostid.OtherHost, false}, {1, "ab", 443, refused, false}}, "c?|b!"},
		"expired":              {[]step{{0, "ab", 443, hostid.Announced, false}, {61, "ab", 443, refused, false}}, "b?c?"},
		"proven again":         {[]step{{0, "ab", 443, hostid.Joined, false}, {1, "ab", 443, refused, true}, {2, "ab", 443, hostid.Joined, false}}, "b=c?"},
		"told late":            {[]step{{0, "ab", 443, hostid.Joined, false}, {2, "ab", 443, refused, true}, {1, "ab", 443, hostid.Joined, false}}, "b?c?"},
		"again, too soon":      {[]step{{0, "ab", 443, hostid.Joined, false}, {1, "ab", 443, refused, true}, {2, "ab", 443, hostid.Joined, false}, {10, "ab", 443, refused, false}}, "b=c?"},
		"again, after a while": {[]step{{0, "ab", 443, hostid.Joined, false}, {1, "ab", 443, refused, true}, {2, "ab", 443, hostid.Joined, false}, {11, "ab", 443, refused, true}}, "b?c?"},
	} {
		t.Run(name, func(t *testing.T) {
			m := hostid.NewMemory(0)
			var now time.Time
			for _, s := range test.steps {
				now = start.Add(time.Duration(s.minute) * time.Minute)
				first, addr := netip.AddrPortFrom(node(s.pair[0]), s.port), node(s.pair[1])
				if s.outcome != refused {
					m.RecordAt("a.example.", first, addr, s.outcome, now)
				} else if ok := m.Withdraw("a.example.", first, addr, now); ok != s.ok {
					t.Errorf("minute %d: %v", s.minute, ok)
				}
			}
			if got := show(m.Order("a.example.", node('a'), list("bc"), now)); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if m.Withdraw("a.example.", netip.AddrPortFrom(node('b'), 443), node('b'), now) || m.Withdraw("b.example.", netip.AddrPortFrom(node('a'), 443), node('b'), now) {
				t.Error("withdrawn of one address, or under another name")
			}
		})
	}
}

// TestSnapshotKeepsPorts: the port of a proof is known after a restart.
func TestSnapshotKeepsPorts(t *testing.T) {
	m := hostid.NewMemory(0)
	m.RecordAt("a.example.", netip.AddrPortFrom(node('a'), 443), node('b'), hostid.Joined, start)
	again := hostid.NewMemory(0)
	now := start.Add(time.Minute)
	if err := again.Restore(m.Snapshot(now), now); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]bool{81: false, 443: true} {
		if got := again.Withdraw("a.example.", netip.AddrPortFrom(node('a'), port), node('b'), now); got != want {
			t.Errorf("port %d: %v", port, got)
		}
	}
}
