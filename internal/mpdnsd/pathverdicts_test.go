package mpdnsd

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/verdicts"
)

// TestPathVerdicts: a proof is everybody's, a hint its user's; the later one is told.
func TestPathVerdicts(t *testing.T) {
	store, err := verdicts.Open(verdicts.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	v := &pathVerdicts{store}
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
	want(1, addr, broker.LimitReached, true)
	want(3, addr, broker.LimitReached, true)
	record(1, third, broker.Refused, false, now)
	want(1, third, broker.Refused, false)
	want(2, third, 0, false)
	record(1, third, broker.Announced, true, now.Add(-48*time.Hour))
	want(1, third, broker.Refused, false) // the announcement has expired
	record(1, third, broker.Announced, true, now)
	want(9, third, broker.Announced, true)
	record(3, addr, broker.Refused, false, now.Add(time.Second))
	want(3, addr, broker.Refused, false) // the address may have changed hands
	want(1, addr, broker.LimitReached, true)
	record(1, addr, broker.Joined, true, now.Add(2*time.Second))
	want(3, addr, broker.Joined, true)
}

// TestWithdrawn: a proof that a refusal contradicts is nobody's, whoever met it, under
// each spelling of the name; a hint is its user's.
func TestWithdrawn(t *testing.T) {
	store, err := verdicts.Open(verdicts.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	v := &pathVerdicts{store}
	first, addr := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	now := time.Now()
	f := broker.Finding{Name: "a.example:443", First: first, Port: 443, Addr: addr, Outcome: broker.Joined, Proven: true, UID: 1, Time: now.Add(-time.Hour)}
	v.Record(f)
	f.Port, f.Outcome, f.UID, f.Time = 81, broker.Refused, 2, now
	if v.Withdraw(f) {
		t.Error("withdrawn by a refusal at another port")
	}
	f.Name, f.Port, f.Proven = "A.example.:443", 443, false
	v.Record(f)
	if !v.Withdraw(f) || v.Withdraw(f) {
		t.Error("not withdrawn, or twice")
	}
	for uid, want := range map[uint32]broker.Outcome{1: 0, 2: broker.Refused, 3: 0} {
		if f, ok := v.LookUp("a.example", first, addr, uid); f.Outcome != want || ok != (want != 0) || f.Proven {
			t.Errorf("user %d is told %+v, %v", uid, f, ok)
		}
	}
	if e := store.Memory().Evidence("a.example.", []netip.Addr{addr, first}, now); len(e) != 0 {
		t.Errorf("the MULTIPATH answer has %v", e)
	}
}

// TestVerdictNames: a client's spelling of a name, with a port or without, is the same
// name, and that of the MULTIPATH answer.
func TestVerdictNames(t *testing.T) {
	store, err := verdicts.Open(verdicts.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	v := &pathVerdicts{store}
	first, addr := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	v.Record(broker.Finding{Name: "WWW.example:443", First: first, Addr: addr, Outcome: broker.Joined, Proven: true, Time: time.Now()})
	for _, name := range []string{"www.Example", "www.example.", "WWW.example:443", "www.example.:80"} {
		if f, ok := v.LookUp(name, first, addr, 9); !ok || f.Name != name || !f.Proven {
			t.Errorf("%s: %+v, %v", name, f, ok)
		}
	}
	if _, ok := v.LookUp("example:443", first, addr, 9); ok {
		t.Error("known under another name")
	}
	if e := store.Memory().Evidence("www.example.", []netip.Addr{addr, first}, time.Now()); len(e) != 1 {
		t.Errorf("the MULTIPATH answer has %v", e)
	}
}

// TestWriteVerdicts: what was proven, whose hints there are, and how it is shown.
func TestWriteVerdicts(t *testing.T) {
	store, err := verdicts.Open(verdicts.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	v := &pathVerdicts{store}
	now := time.Now()
	record := func(name, addr string, o broker.Outcome, proven bool, uid uint32, age time.Duration) {
		v.Record(broker.Finding{
			Name: name, First: netip.MustParseAddr("192.0.2.1"), Addr: netip.MustParseAddr(addr), Outcome: o, Proven: proven, UID: uid, Time: now.Add(-age),
		})
	}
	record("www.example", "2001:db8::1", broker.Joined, true, 0, time.Hour)
	record("www.example", "2001:db8::2", broker.Announced, true, 0, time.Minute)
	record("www.example", "2001:db8::2", broker.TimedOut, true, 0, time.Second)
	record("a..b\x1b[1m", "192.0.2.2", broker.OtherHost, false, 1000, time.Minute)
	record("www.example", "192.0.2.3", broker.Refused, false, 7, time.Minute)
	record(":443", "192.0.2.4", broker.Announced, false, 2000, time.Minute)
	show := func(name string, limit int) string {
		all, more := v.remembered(name, now, limit)
		var b strings.Builder
		writeVerdicts(&b, control.Verdicts{Verdicts: all, Truncated: more})
		return b.String()
	}
	want := `www.example.
  192.0.2.1    2001:db8::2  same       announced by the peer, age 1m0s, expires in 59m0s; last timed out, age 1s; not tried for 1m59s
  192.0.2.1    2001:db8::1  same       joined, age 1h0m, expires in 23h0m
  192.0.2.1    192.0.2.3    unknown    last refused, age 1m0s; not tried for 9m0s; says uid 7
"a..b\x1b[1m"
  192.0.2.1    192.0.2.2    different  other MPTCP host, age 1m0s, expires in 59m0s; not tried for 59m0s; says uid 1000
(addresses without a name)
  192.0.2.1    192.0.2.4    same       announced by the peer, age 1m0s, expires in 59m0s; says uid 2000
`
	if got := show("", 9); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := show("www.example.", 2); !strings.HasSuffix(got, "\nthere are more than 1024\n") || strings.Contains(got, "uid") {
		t.Errorf("got\n%s", got)
	}
}

// TestOutcomes: each of the broker's outcomes has its own here, and comes back.
func TestOutcomes(t *testing.T) {
	for o := broker.Joined; o <= broker.Unreachable; o++ {
		if h := outcomeOf(o); h == hostid.NotTried || findingOf(h) != o {
			t.Errorf("%v is %v, which is %v", o, h, findingOf(h))
		}
	}
	if h := outcomeOf(broker.Unreachable + 1); h != hostid.NotTried || findingOf(h) != 0 || outcomeOf(0) != h {
		t.Errorf("%v, %v", h, findingOf(h))
	}
}
