package dialer

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/mpaddr"
	"github.com/af-multipath/mpresolve/resolver"
)

// fourRecords is a name of two hosts with two addresses each.
var fourRecords = []netip.Addr{server1v6, otherv6, server2v4, otherv4}

// synsTo counts the SYNs to these addresses.
func (w *world) synsTo(addrs ...netip.Addr) (n int) {
	for _, s := range w.SYNs() {
		if slices.Contains(addrs, s.Dst.Addr()) {
			n++
		}
	}
	return n
}

// dialAndUse dials labName, which must lead to the server, waits for the verdicts
// and their probes, and sends something.
func dialAndUse(t *testing.T, d *Dialer) Report {
	t.Helper()
	c := dialName(t, d, "tcp")
	if c.remote.Addr() != server1v6 {
		t.Fatalf("connected to %v", c.remote)
	}
	r := joined(t, c)
	if err := <-transfer(t, c, 256<<10); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTwoHostsRemembered: of a name with two hosts of two addresses each, the
// first dial costs one join for each address of the other host, the second none,
// and when addresses have changed hands the next proof corrects what was believed.
// No octet ever goes to the other host.
func TestTwoHostsRemembered(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		served := serve(t, w.server, false)
		foreign := serve(t, w.other, false)
		d := asking(t, zone(fourRecords...))
		d.Probe = true
		r := dialAndUse(t, d)
		v := verdicts(r)
		if r.WastedJoins != 2 || r.MissedJoins != 0 || v[server2v4] != Joined || v[otherv4] != OtherHost || v[otherv6] != OtherHost {
			t.Errorf("first dial: %d wasted, %d missed, %v", r.WastedJoins, r.MissedJoins, v)
		}
		w.ResetSYNs()
		r = dialAndUse(t, d)
		if n := w.synsTo(otherv4, otherv6); n != 0 || r.WastedJoins != 0 || verdicts(r)[server2v4] != Joined {
			t.Errorf("second dial: %d SYNs to the other host, %d wasted, %v", n, r.WastedJoins, verdicts(r))
		}
		for _, j := range r.Joins {
			if j.Remote.Addr() != server2v4 && (j.Believed != "different" || j.Err == nil) {
				t.Errorf("second dial: %+v, want it left alone as another host's", j)
			}
		}
		if n := foreign.octets.Load(); n != 0 {
			t.Errorf("the other host saw %d octets", n)
		}

		until(t, "the end of the connections", func() bool {
			return served.ended.Load() == served.accepted.Load() && foreign.ended.Load() == foreign.accepted.Load()
		})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w = newLab(t)
		w.server = w.host(t, "server", []netip.Addr{otherv4, server1v6})
		w.other = w.host(t, "other", []netip.Addr{server2v4, otherv6})
		serve(t, w.server, false)
		foreign = serve(t, w.other, false)
		r = dialAndUse(t, d)
		if v := verdicts(r); r.WastedJoins != 1 || v[server2v4] != OtherHost {
			t.Errorf("after renumbering: %d wasted, %v, want the one that was proven before", r.WastedJoins, v)
		}
		w.ResetSYNs()
		r = dialAndUse(t, d)
		if n := w.synsTo(server2v4, otherv6); n != 0 || r.WastedJoins != 0 {
			t.Errorf("corrected: %d SYNs to the other host, %d wasted, %v", n, r.WastedJoins, verdicts(r))
		}
		if n := foreign.octets.Load(); n != 0 {
			t.Errorf("the other host saw %d octets", n)
		}
	})
}

// TestAnswerKnowsJoins: the answer in the report divides the name's addresses by
// what the joins have shown, at the next dial from the start, also of a connection
// to which nothing is joined.
func TestAnswerKnowsJoins(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		serve(t, w.other, false)
		d := asking(t, zone(fourRecords...))
		d.Probe = true
		own, foreign := mpaddr.FromAddrs(labPort, server1v6, server2v4), mpaddr.FromAddrs(labPort, otherv6, otherv4)
		check := func(what string, a *resolver.Answer) {
			t.Helper()
			hosts := a.Hosts()
			if len(hosts) != 2 || !hosts[0].Addrs.SameSet(own) || hosts[0].Verdict != "proven" || !hosts[1].Addrs.SameSet(foreign) {
				t.Errorf("%s: hosts %+v", what, hosts)
			}
		}
		check("first dial", dialAndUse(t, d).Answer)
		check("plain TCP", dialName(t, d, "tcp6").Report().Answer)
	})
}

// TestLeaveUnknown: with that policy nothing is joined that may be another
// host's, and the report says what was missed.
func TestLeaveUnknown(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		d := asking(t, zone(fourRecords...))
		d.Unknown = LeaveUnknown
		c := dialName(t, d, "tcp")
		r := joined(t, c)
		if r.WastedJoins != 0 || r.MissedJoins != 3 || w.synsTo(server2v4, otherv4, otherv6) != 0 {
			t.Errorf("%d wasted, %d missed: %+v", r.WastedJoins, r.MissedJoins, r.Joins)
		}
		if _, err := c.Reconnect(timeout(t), record(server1v6, server2v4)); err != nil {
			t.Fatal(err)
		}
		if v := verdicts(joined(t, c))[server2v4]; v != Joined {
			t.Errorf("%q, want joined: it was asked for", v)
		}
		c2 := dialName(t, d, "tcp")
		r = joined(t, c2)
		if v := verdicts(r)[server2v4]; v != Joined || r.MissedJoins != 2 {
			t.Errorf("%q, %d missed, want the proven address joined", v, r.MissedJoins)
		}
	})
}

// machine is a broker's memory of verdicts, as the daemon's: what tells nothing
// of the host is not told on.
type machine struct{ memory *hostid.Memory }

func (m machine) Record(f broker.Finding) {
	m.memory.Record(f.Name, f.First, f.Addr, outcomeShared(f.Outcome), f.Time)
}

func (m machine) LookUp(name string, first, addr netip.Addr, uid uint32) (broker.Finding, bool) {
	for _, c := range m.memory.Order(name, first, []netip.Addr{addr}, time.Now()) {
		if c.Verdict != hostid.Unknown {
			return broker.Finding{Name: name, First: first, Addr: addr, Outcome: sharedOutcome(c.Last), Time: time.Now(), UID: uid}, true
		}
	}
	return broker.Finding{}, false
}

// Withdraw keeps what there is.
func (machine) Withdraw(broker.Finding) bool { return false }

// TestBrokerSharesVerdicts: what one program has learned of a name's hosts, the
// next one knows, by the broker.
func TestBrokerSharesVerdicts(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		farv4, farv6 := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:31::2")
		far := w.host(t, "far", []netip.Addr{farv4, farv6})
		serve(t, w.server, false)
		foreign := serve(t, far, false)
		path, _ := startBroker(t, broker.Config{Memory: machine{hostid.NewMemory(0)}})
		names := zone(server1v6, server2v6, farv6, farv4)
		set := record(server1v6, server2v6, farv6, farv4)
		probing := func() *Dialer {
			d := withoutRight(path)
			d.Resolver, d.Probe = asking(t, names).Resolver, true
			return d
		}

		r := joined(t, dialName(t, probing(), "tcp"))
		if v := verdicts(r); r.WastedJoins != 2 || v[server2v6] != Joined || v[farv6] != OtherHost {
			t.Fatalf("first program: %d wasted, %v", r.WastedJoins, v)
		}
		w.ResetSYNs()
		r = joined(t, dialName(t, probing(), "tcp"))
		if n := w.synsTo(farv4, farv6); n != 0 || r.WastedJoins != 0 || verdicts(r)[server2v6] != Joined {
			t.Errorf("second program: %d SYNs to the other host, %d wasted, %+v", n, r.WastedJoins, r.Joins)
		}

		joined(t, connect(t, probing(), set))
		w.ResetSYNs()
		child := dialWithout(t, path, set)
		if n := w.synsTo(farv4, farv6); n != 0 || child.Verdicts[server2v6.String()] != Joined || child.Manager != managerBroker {
			t.Errorf("another process: %d SYNs to the other host, %+v", n, child)
		}
		if n := foreign.octets.Load(); n != 0 {
			t.Errorf("the other host saw %d octets", n)
		}
	})
}

// TestJoinAny: with that policy what is known to be another host's is joined all the
// same, to find out anew.
func TestJoinAny(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		serve(t, w.other, false)
		path, _ := startBroker(t, broker.Config{Memory: newProofs()})
		for range 2 {
			d := asking(t, zone(fourRecords...))
			d.Broker, d.Probe, d.Unknown = path, true, JoinAny
			if r := joined(t, dialName(t, d, "tcp")); r.WastedJoins != 2 || verdicts(r)[otherv6] != OtherHost {
				t.Errorf("%d wasted, %+v", r.WastedJoins, r.Joins)
			}
		}
	})
}

// proofs is a machine's memory that keeps what the broker has seen itself.
type proofs struct {
	machine
	mu   sync.Mutex // guards seen
	seen map[netip.Addr]broker.Outcome
}

func newProofs() *proofs {
	return &proofs{machine: machine{hostid.NewMemory(0)}, seen: make(map[netip.Addr]broker.Outcome)}
}

func (p *proofs) Record(f broker.Finding) {
	p.machine.Record(f)
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.Proven {
		p.seen[f.Addr] = f.Outcome
	}
}

// TestOwnManagerSharesVerdicts: a program that adds its subflows itself tells the
// broker what it learns, which the broker has seen too, and knows what others have
// learned.
func TestOwnManagerSharesVerdicts(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		farv4, farv6 := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:31::2")
		far := w.host(t, "far", []netip.Addr{farv4, farv6})
		serve(t, w.server, false)
		serve(t, far, false)
		kept := newProofs()
		path, _ := startBroker(t, broker.Config{Memory: kept})
		names := zone(server1v6, server2v6, farv6, farv4)
		dial := func(d *Dialer) Report {
			t.Helper()
			d.Resolver, d.Probe = asking(t, names).Resolver, true
			w.ResetSYNs()
			return joined(t, dialName(t, d, "tcp"))
		}
		r := dial(&Dialer{Broker: path})
		if r.Manager != managerDirect || r.WastedJoins != 2 || verdicts(r)[server2v6] != Joined {
			t.Fatalf("first program: %s, %d wasted, %v", r.Manager, r.WastedJoins, verdicts(r))
		}
		kept.mu.Lock()
		if len(kept.seen) != 1 || kept.seen[server2v6] != broker.Joined {
			t.Errorf("proven are %v, want the join of %v", kept.seen, server2v6)
		}
		kept.mu.Unlock()
		for manager, d := range map[string]*Dialer{managerDirect: {Broker: path}, managerBroker: withoutRight(path)} {
			r := dial(d)
			if n := w.synsTo(farv4, farv6); r.Manager != manager || n != 0 || verdicts(r)[server2v6] != Joined {
				t.Errorf("next program, %s: %d SYNs to the other host, %+v", manager, n, r.Joins)
			}
		}
		if r := dial(&Dialer{Broker: BrokerOff}); r.WastedJoins != 2 {
			t.Errorf("without the broker: %d wasted, want 2", r.WastedJoins)
		}
	})
}

// TestOwnManagerNeedsNoBroker: a broker that hangs or dies costs a program with a
// path manager of its own no subflow.
func TestOwnManagerNeedsNoBroker(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		if r := joined(t, connect(t, &Dialer{Broker: hangingBroker(t)}, record(server1v6, server2v6))); verdicts(r)[server2v6] != Joined {
			t.Errorf("hanging: %+v", r)
		}
		path, kill := startBroker(t, broker.Config{Memory: newProofs()})
		c := connect(t, &Dialer{Broker: path}, record(server1v6))
		joined(t, c)
		kill()
		if _, err := c.Reconnect(timeout(t), record(server1v6, server2v6)); err != nil {
			t.Fatal(err)
		}
		if r := c.Report(); r.Manager != managerDirect || verdicts(r)[server2v6] != Joined {
			t.Errorf("died: %+v", r)
		}
	})
}

// TestSharedOutcomes: each outcome has one in the broker's terms, and back.
func TestSharedOutcomes(t *testing.T) {
	for o := hostid.NotTried; o <= hostid.Announced; o++ {
		if got := outcomeShared(sharedOutcome(o)); got != o {
			t.Errorf("%v becomes %v", o, got)
		}
	}
	if got := outcomeShared(200); got != hostid.NotTried {
		t.Errorf("an unknown outcome is %v", got)
	}
}

// TestLookupTellsTheHost: what the look-up says of the addresses is enough to
// join them where unknown ones are left alone; a record in hand says nothing.
func TestLookupTellsTheHost(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		four, six := netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8:41::203:0:113:2")
		serve(t, w.host(t, "dual", []netip.Addr{four, six}), false)
		d := asking(t, zone(six, four))
		d.Unknown = LeaveUnknown
		if r := joined(t, connect(t, d, record(six, four))); r.Joins[0].Verdict != NotTried || r.MissedJoins != 1 {
			t.Errorf("record in hand: %+v", r.Joins)
		}
		r := joined(t, dialName(t, d, "tcp"))
		if j := r.Joins[0]; j.Verdict != Joined || j.Believed != "same" {
			t.Errorf("name: %+v", j)
		}
	})
}
