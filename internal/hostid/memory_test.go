package hostid_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

const name = "www.example.net:443"

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func node(letter byte) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, 2, letter})
}

func list(letters string) (out []netip.Addr) {
	for i := range len(letters) {
		out = append(out, node(letters[i]))
	}
	return out
}

// show writes choices as letters: "b=c?|d!" is b proven the same, c unknown,
// and, not to be tried, d believed different.
func show(choices []hostid.Choice) string {
	var s strings.Builder
	held := false
	for _, c := range choices {
		if !c.Try && !held {
			held = true
			s.WriteByte('|')
		}
		s.WriteByte(c.Addr.As4()[3])
		s.WriteByte("?=!"[c.Verdict])
	}
	return s.String()
}

// record is one call of Record: "ab" at minute.
type record struct {
	minute  int
	pair    string
	outcome hostid.Outcome
}

func TestOrder(t *testing.T) {
	for _, test := range []struct {
		name    string
		records []record
		minute  int
		first   byte
		addrs   string
		want    string
	}{
		{"nothing known", nil, 0, 'a', "dcb", "d?c?b?"},
		{"proven first", []record{{0, "ac", hostid.Joined}}, 1, 'a', "bcd", "c=b?d?"},
		{"a proof ends", []record{{0, "ac", hostid.Joined}}, 24 * 60, 'a', "bcd", "b?c?d?"},
		{"the pair counts both ways", []record{{0, "ac", hostid.Joined}}, 1, 'c', "ba", "a=b?"},
		{"another first address", []record{{0, "ac", hostid.OtherHost}}, 1, 'b', "ac", "a?c?"},
		{"refused, too soon", []record{{0, "ab", hostid.Refused}}, 9, 'a', "bc", "c?|b?"},
		{"refused, last afterwards", []record{{0, "ab", hostid.Refused}}, 10, 'a', "bc", "c?b?"},
		{"believed different", []record{{0, "ab", hostid.OtherHost}}, 59, 'a', "bc", "c?|b!"},
		{"different no longer", []record{{0, "ab", hostid.OtherHost}}, 60, 'a', "bc", "c?b?"},
		{"limit reached", []record{{0, "ab", hostid.LimitReached}}, 4, 'a', "bc", "c?|b="},
		{"limit reached before", []record{{0, "ab", hostid.LimitReached}}, 5, 'a', "cb", "b=c?"},
		{"proof overrules belief", []record{{0, "ab", hostid.OtherHost}, {1, "ab", hostid.Joined}}, 2, 'a', "cb", "b=c?"},
		{"belief overrules older proof", []record{{0, "ab", hostid.Joined}, {1, "ab", hostid.OtherHost}}, 2, 'a', "bc", "c?|b!"},
		{"failure leaves the proof", []record{{0, "ab", hostid.Joined}, {1, "ab", hostid.TimedOut}}, 2, 'a', "bc", "c?|b="},
		{"and is over soon", []record{{0, "ab", hostid.Joined}, {1, "ab", hostid.TimedOut}}, 3, 'a', "cb", "b=c?"},
		{"an older outcome told later", []record{{1, "ab", hostid.Joined}, {0, "ab", hostid.OtherHost}}, 2, 'a', "b", "b="},
		{"sameness carries over", []record{{0, "ab", hostid.Joined}, {0, "bc", hostid.Joined}}, 1, 'a', "dcb", "c=b=d?"},
		{"not by way of one not asked for", []record{{0, "ab", hostid.Joined}, {0, "bc", hostid.Joined}}, 1, 'a', "dc", "d?c?"},
		{"so does difference", []record{{0, "ab", hostid.Joined}, {0, "bc", hostid.OtherHost}}, 1, 'a', "bcd", "b=d?|c!"},
		{"not by one not asked for", []record{{0, "ab", hostid.Joined}, {0, "bc", hostid.OtherHost}, {0, "cd", hostid.Joined}}, 1, 'a', "bd", "b=d?"},
		{"so does difference of the same", []record{{0, "ab", hostid.Joined}, {0, "bc", hostid.OtherHost}, {0, "cd", hostid.Joined}}, 1, 'a', "bcd", "b=|c!d!"},
		{"the pair goes before the rest", []record{{0, "ab", hostid.Joined}, {0, "bc", hostid.Joined}, {1, "ac", hostid.OtherHost}}, 2, 'a', "bc", "b=|c!"},
		{"first, doubles, mapped", []record{{0, "ab", hostid.Joined}}, 1, 'a', "acbbca", "b=c?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := hostid.NewMemory(0)
			for _, r := range test.records {
				m.Record(name, node(r.pair[0]), node(r.pair[1]), r.outcome, start.Add(time.Duration(r.minute)*time.Minute))
			}
			now := start.Add(time.Duration(test.minute) * time.Minute)
			got := m.Order(name, node(test.first), list(test.addrs), now)
			if show(got) != test.want {
				t.Errorf("%s, want %s: %+v", show(got), test.want, got)
			}
			if got := m.Order("other.example:443", node(test.first), list(test.addrs), now); strings.ContainsAny(show(got), "|=!") {
				t.Errorf("another name: %s", show(got))
			}
		})
	}
}

// TestOrderBeforeARecord: a join that another goroutine recorded after the caller
// had taken the time is no reason to wait.
func TestOrderBeforeARecord(t *testing.T) {
	m := hostid.NewMemory(0)
	now := time.Unix(1000, 0)
	m.Record("name", node('a'), node('b'), hostid.Joined, now.Add(time.Millisecond))
	if c := m.Order("name", node('a'), list("b"), now)[0]; !c.Try || c.Verdict != hostid.Same {
		t.Errorf("choice %+v, want the same host, to be tried", c)
	}
}

func TestChoiceExplains(t *testing.T) {
	m := hostid.NewMemory(0)
	m.Record(name, node('a'), node('b'), hostid.Joined, start)
	m.Record(name, node('b'), node('c'), hostid.OtherHost, start)
	m.Record(name, node('a'), node('d'), hostid.TimedOut, start)
	m.Record(name, node('b'), node('e'), hostid.Joined, start)
	want := map[byte]hostid.Choice{
		'b': {Try: true, Verdict: hostid.Same, Odds: hostid.Join.Strength(), Last: hostid.Joined, Until: start.Add(hostid.JoinedLifetime), Why: "joined 1m0s ago"},
		'c': {Verdict: hostid.Different, Odds: hostid.OtherPeer.Strength(), Until: start.Add(hostid.OtherHostLifetime), Why: "192.0.2.98 and 192.0.2.99 are different hosts"},
		'd': {Odds: hostid.Prior, Last: hostid.TimedOut, Until: start.Add(hostid.TimedOutPause), Why: "timed out 1m0s ago"},
		'e': {Try: true, Verdict: hostid.Same, Odds: hostid.Join.Strength(), Why: "the same host by way of another address"},
		'f': {Try: true, Odds: hostid.Prior, Why: "nothing is known"},
	}
	for _, c := range m.Order(name, node('a'), list("bcdef"), start.Add(time.Minute)) {
		w := want[c.Addr.As4()[3]]
		w.Addr = c.Addr
		if c != w {
			t.Errorf("%+v\nwant %+v", c, w)
		}
	}
}

func TestRecordIgnores(t *testing.T) {
	m := hostid.NewMemory(0)
	long := strings.Repeat("x", hostid.MaxName+1)
	m.Record(long, node('a'), node('b'), hostid.Joined, start)
	m.Record(name, node('a'), node('a'), hostid.Joined, start)
	m.Record(name, netip.Addr{}, node('a'), hostid.Joined, start)
	m.Record(name, node('a'), netip.Addr{}, hostid.Joined, start)
	m.Record(name, node('a'), node('b'), hostid.NotTried, start)
	m.Record(name, node('a'), node('b'), hostid.Outcome(200), start)
	if m.Len() != 0 {
		t.Errorf("%d pairs", m.Len())
	}
	mapped := netip.AddrFrom16(node('b').As16())
	m.Record(name, node('a'), mapped, hostid.Joined, start)
	if got := show(m.Order(name, node('a'), list("cb"), start)); got != "b=c?" {
		t.Errorf("mapped address: %s", got)
	}
	if got := m.Order(name, netip.Addr{}, append(list("b"), netip.Addr{}), start); len(got) != 1 || !got[0].Try {
		t.Errorf("no first address: %+v", got)
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	m := hostid.NewMemory(2)
	m.Record(name, node('a'), node('b'), hostid.Joined, start)
	m.Record(name, node('a'), node('c'), hostid.Joined, start)
	m.Order(name, node('a'), list("b"), start) // uses ab
	m.Record(name, node('a'), node('d'), hostid.Joined, start)
	if got := show(m.Order(name, node('a'), list("bcd"), start)); got != "b=d=c?" {
		t.Error(got)
	}
	if m.Len() != 2 {
		t.Errorf("%d pairs", m.Len())
	}
}

func TestForget(t *testing.T) {
	m := hostid.NewMemory(0)
	m.Record(name, node('a'), node('b'), hostid.Joined, start)
	m.Record("other", node('a'), node('b'), hostid.Joined, start)
	m.Forget(name)
	if m.Len() != 1 || show(m.Order(name, node('a'), list("b"), start)) != "b?" {
		t.Errorf("%d pairs", m.Len())
	}
}

// TestManyAddresses: those beyond MaxAddrs are not judged, and not lost.
func TestManyAddresses(t *testing.T) {
	m := hostid.NewMemory(0)
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
	}
	m.Record(name, node('a'), many[10], hostid.Joined, start)
	m.Record(name, node('a'), many[hostid.MaxAddrs], hostid.Joined, start)
	got := m.Order(name, node('a'), many, start)
	if len(got) != len(many) || got[0].Addr != many[10] || got[1].Verdict != hostid.Unknown {
		t.Errorf("%d choices, first %+v", len(got), got[:2])
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	m := hostid.NewMemory(16)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for n := range 200 {
				other := fmt.Sprintf("host%d", n%10)
				m.Record(other, node('a'), node(byte(n)), hostid.Outcome(n%9), start)
				m.Order(other, node('a'), list("bcd"), start)
				if i == 0 && n%50 == 0 {
					m.Forget(other)
				}
			}
		})
	}
	wait.Wait()
	if m.Len() > 16 {
		t.Errorf("%d pairs", m.Len())
	}
}

func BenchmarkOrder(b *testing.B) {
	m := hostid.NewMemory(0)
	for _, c := range []byte("bcdefg") {
		m.Record(name, node('a'), node(c), hostid.Joined, start)
	}
	addrs := list("bcdefgh")
	b.ReportAllocs()
	for b.Loop() {
		m.Order(name, node('a'), addrs, start)
	}
}
