package mpdnsd

import (
	"net/netip"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
)

// TestPathVerdicts: a proof is everybody's and stands above hints, which are
// their user's and bounded.
func TestPathVerdicts(t *testing.T) {
	v := newPathVerdicts()
	first, addr, third := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3")
	now := time.Now()
	record := func(uid uint32, a netip.Addr, o broker.Outcome, proven bool, at time.Time) {
		v.Record(broker.Finding{Name: "a.example", First: first, Addr: a, Outcome: o, Proven: proven, UID: uid, Time: at})
	}
	want := func(uid uint32, a netip.Addr, o broker.Outcome, proven bool) {
		t.Helper()
		f, ok := v.LookUp("a.example", first, a, uid)
		if ok != (o != 0) || f.Outcome != o || f.Proven != proven {
			t.Errorf("user %d, %v: %+v, %v", uid, a, f, ok)
		}
	}
	want(1, addr, 0, false)
	record(1, addr, broker.OtherHost, false, now)
	want(1, addr, broker.OtherHost, false)
	want(2, addr, 0, false)
	record(2, addr, broker.LimitReached, true, now)
	want(1, addr, broker.Joined, true)
	want(3, addr, broker.Joined, true)
	record(1, third, broker.Refused, false, now)
	want(1, third, 0, false)
	record(1, third, broker.Announced, true, now.Add(-48*time.Hour))
	want(1, third, 0, false) // expired
	record(1, third, broker.Announced, true, now)
	want(9, third, broker.Announced, true)
	for uid := range uint32(10 * maxHintUsers) {
		record(uid, addr, broker.OtherHost, false, now)
	}
	if len(v.hints) != maxHintUsers {
		t.Errorf("the hints of %d users are kept", len(v.hints))
	}
}
