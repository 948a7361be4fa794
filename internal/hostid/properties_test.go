package hostid_test

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// The properties hold for any sequence of outcomes over a few names, addresses
// and minutes.
var (
	drawNode    = rapid.Custom(func(t *rapid.T) netip.Addr { return node(rapid.ByteRange('a', 'e').Draw(t, "node")) })
	drawNodes   = rapid.SliceOfN(drawNode, 0, 8)
	drawName    = rapid.SampledFrom([]string{"", name, "other.example:80"})
	drawOutcome = rapid.Custom(func(t *rapid.T) hostid.Outcome { return hostid.Outcome(rapid.ByteRange(0, 11).Draw(t, "outcome")) })
	drawMinutes = rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(0, 2000).Draw(t, "minutes")) * time.Minute
	})
)

// fill records any outcomes and returns a time not before any of them.
func fill(t *rapid.T, m *hostid.Memory) time.Time {
	now := start
	for range rapid.IntRange(0, 40).Draw(t, "records") {
		now = now.Add(drawMinutes.Draw(t, "later"))
		m.Record(drawName.Draw(t, "name"), drawNode.Draw(t, "first"), drawNode.Draw(t, "addr"), drawOutcome.Draw(t, "outcome"), now)
	}
	return now
}

// TestLaterProofOverrules: after a join succeeded, the address is the proven
// same and to be tried, whatever was kept of it.
func TestLaterProofOverrules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := hostid.NewMemory(rapid.IntRange(1, 20).Draw(t, "capacity"))
		now := fill(t, m)
		first, addr := drawNode.Draw(t, "first"), drawNode.Draw(t, "addr")
		if first == addr {
			return
		}
		m.Record(name, first, addr, hostid.Joined, now)
		for _, c := range m.Order(name, first, []netip.Addr{addr}, now) {
			if c.Verdict != hostid.Same || !c.Try {
				t.Fatalf("%+v", c)
			}
		}
	})
}

// TestFailureProvesNothing: no outcome but OtherHost makes addresses different.
func TestFailureProvesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := hostid.NewMemory(0)
		now := start
		for range rapid.IntRange(0, 40).Draw(t, "records") {
			now = now.Add(drawMinutes.Draw(t, "later"))
			if o := drawOutcome.Draw(t, "outcome"); o != hostid.OtherHost {
				m.Record(name, drawNode.Draw(t, "first"), drawNode.Draw(t, "addr"), o, now)
			}
		}
		for _, c := range m.Order(name, drawNode.Draw(t, "first"), drawNodes.Draw(t, "addrs"), now) {
			if c.Verdict == hostid.Different {
				t.Fatalf("%+v", c)
			}
		}
	})
}

// TestBounded: whatever is recorded, no more pairs are kept than allowed.
func TestBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 12).Draw(t, "capacity")
		m := hostid.NewMemory(capacity)
		for range rapid.IntRange(0, 60).Draw(t, "records") {
			addr := func() netip.Addr {
				a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "addr"))
				return a
			}
			m.Record(rapid.String().Draw(t, "name"), addr(), addr(), drawOutcome.Draw(t, "outcome"), start)
			if m.Len() > capacity {
				t.Fatalf("%d pairs of %d", m.Len(), capacity)
			}
		}
	})
}

// TestOrderIsComplete: each address once, without the first, those to be tried
// before those not, and no one who is believed different among the former.
func TestOrderIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := hostid.NewMemory(0)
		now := fill(t, m).Add(drawMinutes.Draw(t, "after"))
		first, addrs := drawNode.Draw(t, "first"), drawNodes.Draw(t, "addrs")
		want := map[netip.Addr]bool{}
		for _, a := range addrs {
			if a != first {
				want[a] = true
			}
		}
		held := false
		for _, c := range m.Order(name, first, addrs, now) {
			if !want[c.Addr] {
				t.Fatalf("%s is not asked for, or comes twice", c.Addr)
			}
			delete(want, c.Addr)
			if c.Try && (held || c.Verdict == hostid.Different) || c.Why == "" {
				t.Fatalf("%+v", c)
			}
			if !c.Try && !c.Until.After(now) {
				t.Fatalf("held without end: %+v", c)
			}
			held = held || !c.Try
		}
		if len(want) != 0 {
			t.Fatalf("left out: %v", want)
		}
	})
}

// TestEverythingEnds: after the longest lifetime every address may be tried
// again, and no verdict is left.
func TestEverythingEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := hostid.NewMemory(0)
		now := fill(t, m).Add(hostid.JoinedLifetime)
		for _, c := range m.Order(name, drawNode.Draw(t, "first"), drawNodes.Draw(t, "addrs"), now) {
			if !c.Try || c.Verdict != hostid.Unknown {
				t.Fatalf("%+v", c)
			}
		}
	})
}
