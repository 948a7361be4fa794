package hostid_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// TestRemembered: what counts at a time is told, the last used first, and no more.
func TestRemembered(t *testing.T) {
	m := hostid.NewMemory(0)
	record := func(name string, a, b byte, o hostid.Outcome, minute time.Duration) {
		m.Record(name, node(a), node(b), o, start.Add(minute*time.Minute))
	}
	record(name, 'b', 'a', hostid.Joined, 0)
	record(name, 'a', 'b', hostid.TimedOut, 2)
	record(name, 'a', 'c', hostid.Refused, 0)
	record("other", 'a', 'b', hostid.OtherHost, 1)
	pair := func(name string, b byte) hostid.Remembered {
		return hostid.Remembered{Name: name, A: node('a'), B: node(b)}
	}
	same, refused, other := pair(name, 'b'), pair(name, 'c'), pair("other", 'b')
	same.Proof, same.Proven, same.Expires = hostid.Joined, start, start.Add(hostid.JoinedLifetime)
	same.Last, same.Settled, same.Resumes = hostid.TimedOut, start.Add(2*time.Minute), start.Add(4*time.Minute)
	refused.Last, refused.Settled, refused.Resumes = hostid.Refused, start, start.Add(hostid.RefusedPause)
	other.Proof, other.Proven, other.Expires = hostid.OtherHost, start.Add(time.Minute), start.Add(61*time.Minute)
	other.Last, other.Settled, other.Resumes = hostid.OtherHost, other.Proven, other.Expires
	for _, tt := range []struct {
		name   string
		minute time.Duration
		limit  int
		want   []hostid.Remembered
	}{
		{"", 3, 9, []hostid.Remembered{other, refused, same}},
		{"", 3, 2, []hostid.Remembered{other, refused}},
		{name, 3, 9, []hostid.Remembered{refused, same}},
		{"", 10, 9, []hostid.Remembered{other, same}},
		{"", 61, 9, []hostid.Remembered{same}},
		{"", 24 * 60, 9, nil},
		{"none", 3, 9, nil},
	} {
		got := m.Remembered(tt.name, start.Add(tt.minute*time.Minute), tt.limit)
		if d := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" {
			t.Errorf("%q after %d minutes: %s", tt.name, tt.minute, d)
		}
	}
	for _, want := range []hostid.Remembered{same, refused, other} {
		got, ok := m.RememberedPair(want.Name, want.B, want.A, start.Add(3*time.Minute))
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); d != "" || !ok {
			t.Error(d)
		}
	}
	if _, ok := m.RememberedPair(name, node('a'), node('c'), start.Add(hostid.RefusedPause)); ok {
		t.Error("told of what has expired")
	}
	for _, b := range []byte{'a', 'z'} {
		if _, ok := m.RememberedPair(name, node('a'), node(b), start); ok {
			t.Errorf("told of %c, of which nothing is known", b)
		}
	}
	if same.Verdict() != hostid.Same || refused.Verdict() != hostid.Unknown || other.Verdict() != hostid.Different {
		t.Error("verdicts")
	}
}

// TestSiblings: who is proven to be one host counts, by a chain too, while the
// proof lasts.
func TestSiblings(t *testing.T) {
	m := hostid.NewMemory(0)
	m.Record(name, node('a'), node('b'), hostid.Joined, start)
	m.Record(name, node('c'), node('b'), hostid.LimitReached, start)
	m.Record(name, node('d'), node('a'), hostid.Announced, start)
	m.Record(name, node('d'), node('c'), hostid.Announced, start)
	m.Record(name, node('a'), node('e'), hostid.OtherHost, start)
	m.Record(name, node('e'), node('f'), hostid.Joined, start)
	m.Record(name, node('a'), node('g'), hostid.TimedOut, start)
	m.Record("other", node('a'), node('h'), hostid.Joined, start)
	for _, tt := range []struct {
		first byte
		hours int
		want  int
	}{{'a', 0, 3}, {'c', 0, 3}, {'e', 0, 1}, {'z', 0, 0}, {'a', 2, 2}, {'a', 24, 0}} {
		if got := m.Siblings(name, node(tt.first), start.Add(time.Duration(tt.hours)*time.Hour)); got != tt.want {
			t.Errorf("of %c after %d hours: %d, want %d", tt.first, tt.hours, got, tt.want)
		}
	}
}
