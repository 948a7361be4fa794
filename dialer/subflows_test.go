package dialer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// testToken is the connection of these tests.
const testToken = 7

// fakeWire is a connection of the scripted path manager.
type fakeWire struct {
	pm      *mptcptest.PathManager
	mu      sync.Mutex
	nudges  int
	nudged  bool
	onNudge func()
}

func (w *fakeWire) subflowInfos() ([]mptcp.SubflowInfo, error) {
	_, infos, err := w.pm.FullInfo(testToken)
	return infos, err
}

func (w *fakeWire) fellBack() bool {
	_, _, err := w.pm.FullInfo(testToken)
	return errors.Is(err, mptcp.ErrFallback)
}

func (w *fakeWire) nudge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.nudged {
		w.nudges++
		if w.onNudge != nil {
			w.onNudge()
		}
	}
	w.nudged = true
}

func (w *fakeWire) calm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nudged = false
}

// bench is a set of subflows over the scripted path manager.
type bench struct {
	*subflows
	pm    *mptcptest.PathManager
	wire  *fakeWire
	opens int
}

// newBench returns subflows for a connection to v6a that is not started.
func newBench() *bench {
	b := &bench{pm: mptcptest.New()}
	b.wire = &fakeWire{pm: b.pm}
	began := netip.MustParseAddrPort("[2001:db8:ff::1]:50000")
	b.pm.Connect(testToken, began, v6a)
	b.subflows = &subflows{
		wire: b.wire, token: testToken, first: v6a, began: began, key: "name:443",
		memory: hostid.NewMemory(0), late: &lookup{complete: true, cancel: func() {}},
		managers: &sharedManager{open: func() (mptcp.PathManager, error) { b.opens++; return b.pm, nil }},
		probe:    func(context.Context, netip.AddrPort) hostid.Outcome { return hostid.NotTried },
		joiner:   joiner{port: 443, max: DefaultMaxSubflows, timeout: DefaultJoinTimeout},
	}
	return b
}

// settle starts the subflows with candidates, waits for the verdicts, and
// returns the report and the time that it took.
func (b *bench) settle(t *testing.T, candidates ...netip.AddrPort) (Report, time.Duration) {
	t.Helper()
	begin := time.Now()
	b.start(candidates, false)
	if err := b.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	synctest.Wait() // a verdict is published before it is remembered and acted on
	return b.now(), took
}

// now returns the report of this moment.
func (b *bench) now() (r Report) {
	b.report(&r)
	return r
}

// creates returns the addresses for which a subflow was asked for, in order.
func (b *bench) creates() (out []netip.AddrPort) {
	for _, c := range b.pm.Calls() {
		if c.Op == "create" && c.Err == nil {
			out = append(out, c.Subflow.Remote)
		}
	}
	return out
}

func TestJoinVerdicts(t *testing.T) {
	const rtt = 20 * time.Millisecond
	tests := []struct {
		name   string
		script mptcptest.Script
		probe  hostid.Outcome
		want   Verdict
		err    error
		took   time.Duration
	}{
		{"joined", mptcptest.Script{Delay: rtt}, 0, Joined, nil, rtt},
		{"joined before the command returned", mptcptest.Script{}, 0, Joined, nil, 0},
		{"refused", mptcptest.Script{Result: mptcptest.Refuse, Delay: rtt}, 0, Refused, syscall.ECONNREFUSED, rtt},
		{"other host", mptcptest.Script{Result: mptcptest.Refuse, Delay: rtt}, hostid.OtherHost, OtherHost, syscall.ECONNREFUSED, rtt},
		{"closed port", mptcptest.Script{Result: mptcptest.Refuse, Delay: rtt}, hostid.ClosedPort, ClosedPort, syscall.ECONNREFUSED, rtt},
		{"not MPTCP", mptcptest.Script{Result: mptcptest.NotMPTCP, Delay: rtt}, 0, NotMPTCP, nil, rtt},
		{"silent", mptcptest.Script{Result: mptcptest.Silent}, 0, TimedOut, errNoAnswer, DefaultJoinTimeout},
		{"host unreachable", mptcptest.Script{Result: mptcptest.HostUnreachable, Delay: rtt}, 0, Unreachable, syscall.EHOSTUNREACH, rtt},
		{"net unreachable", mptcptest.Script{Result: mptcptest.NetUnreachable, Delay: rtt}, 0, Unreachable, syscall.ENETUNREACH, rtt},
		{"no route", mptcptest.Script{Err: syscall.EHOSTUNREACH}, 0, Unreachable, syscall.EHOSTUNREACH, 0},
		{"refused by the kernel", mptcptest.Script{Err: syscall.EINVAL}, 0, NotTried, syscall.EINVAL, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.pm.Establish(testToken)
				b.pm.Script(v4a.Addr(), tt.script)
				b.joiner.probe = tt.probe != 0
				b.probe = func(context.Context, netip.AddrPort) hostid.Outcome { return tt.probe }
				r, took := b.settle(t, v6a, v4a)
				defer b.stop()
				j := r.Joins[0]
				if len(r.Joins) != 1 || j.Remote != v4a || j.Verdict != tt.want {
					t.Fatalf("joins %+v, want %v %q", r.Joins, v4a, tt.want)
				}
				if !errors.Is(j.Err, tt.err) || took != tt.took {
					t.Errorf("error %v after %v, want %v after %v", j.Err, took, tt.err, tt.took)
				}
				choice := b.memory.Order(b.key, v6a.Addr(), []netip.Addr{v4a.Addr()}, time.Now())[0]
				if verdictOf(choice.Last) != tt.want {
					t.Errorf("remembered %q", choice.Last)
				}
			})
		})
	}
}

// TestJoinTimeout: a join without an answer is destroyed by its own ports, as
// its SYN would go on for two minutes.
func TestJoinTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.Silent})
		b.settle(t, v6a, v4a)
		defer b.stop()
		last := b.pm.Calls()[len(b.pm.Calls())-1]
		if last.Op != "destroy" || last.Err != nil || last.Subflow.Local.Port() == 0 || last.Subflow.Remote != v4a {
			t.Errorf("last call %+v, want the subflow destroyed", last)
		}
	})
}

// TestLimitReached: an end at once after the join is the peer's limit, a later
// one the end of the path.
func TestLimitReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.JoinThenClose, Delay: time.Millisecond})
		b.settle(t, v6a, v4a, v4b)
		defer b.stop()
		time.Sleep(time.Second)
		b.pm.Break(testToken, v4b, syscall.ECONNRESET)
		synctest.Wait()
		joins := b.now().Joins
		if joins[0].Verdict != LimitReached || !errors.Is(joins[0].Err, errSubflowLimit) {
			t.Errorf("%+v, want the limit", joins[0])
		}
		if joins[1].Verdict != Joined || !errors.Is(joins[1].Err, syscall.ECONNRESET) {
			t.Errorf("%+v, want joined and reset", joins[1])
		}
	})
}

// TestNotEstablished: nothing is offered but the first address until the
// connection is fully established, then all are.
func TestNotEstablished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.wire.onNudge = func() { time.AfterFunc(time.Second, func() { b.pm.Establish(testToken) }) }
		r, took := b.settle(t, v6a, v4a, v6b, v4b)
		defer b.stop()
		if took != time.Second || b.wire.nudges != 1 || b.wire.nudged {
			t.Errorf("took %v, nudged %d times, still %v", took, b.wire.nudges, b.wire.nudged)
		}
		if want := []netip.AddrPort{v4a, v6b, v4b}; !slices.Equal(b.creates(), want) {
			t.Errorf("created %v, want %v", b.creates(), want)
		}
		for _, j := range r.Joins {
			if j.Verdict != Joined {
				t.Errorf("%+v, want joined", j)
			}
		}
		if r.Joined != time.Second {
			t.Errorf("joined after %v", r.Joined)
		}
	})
}

// TestNeverEstablished: the tries end.
func TestNeverEstablished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		r, took := b.settle(t, v6a, v4a)
		defer b.stop()
		if took > 10*time.Minute || len(b.pm.Calls()) != maxEstablishTries+1 {
			t.Errorf("%d tries in %v", len(b.pm.Calls()), took)
		}
		if j := r.Joins[0]; j.Verdict != NotTried || !errors.Is(j.Err, errNotEstablished) || b.wire.nudged {
			t.Errorf("%+v, nudged %v", j, b.wire.nudged)
		}
	})
}

// TestFellBack: a connection that has become plain TCP is left alone.
func TestFellBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Fallback(testToken)
		r, _ := b.settle(t, v6a, v4a)
		defer b.stop()
		if j := r.Joins[0]; j.Verdict != NotTried || !errors.Is(j.Err, errFellBack) {
			t.Errorf("%+v, want the fallback", j)
		}
	})
}

// TestNotManaged: without the right to it, or on a connection of the kernel's
// own path manager, nothing is tried twice.
func TestNotManaged(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(b *bench)
		want  error
	}{
		{"kernel", func(b *bench) { b.pm.ConnectKernelManaged(testToken, v4b, v6a) }, mptcp.ErrKernelManaged},
		{"no capability", func(b *bench) { b.pm.Forbid() }, mptcp.ErrNotPermitted},
		{"cannot be opened", func(b *bench) {
			b.managers.open = func() (mptcp.PathManager, error) { return nil, mptcp.ErrUnsupported }
		}, mptcp.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				tt.setup(b)
				r, took := b.settle(t, v6a, v4a, v4b)
				defer b.stop()
				if took != 0 || len(b.creates()) != 0 || len(b.pm.Calls()) > 1 {
					t.Errorf("took %v, calls %+v", took, b.pm.Calls())
				}
				if !errors.Is(b.failure, tt.want) {
					t.Errorf("failure %v, want %v", b.failure, tt.want)
				}
				for _, j := range r.Joins {
					if j.Verdict != NotTried || !errors.Is(j.Err, tt.want) {
						t.Errorf("%+v, want %v", j, tt.want)
					}
				}
			})
		})
	}
}

// TestMaxSubflows: an address has its turn when one before it has failed.
func TestMaxSubflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.joiner.max = 1
		b.pm.Establish(testToken)
		b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.Refuse, Delay: time.Millisecond})
		r, _ := b.settle(t, v6a, v4a, v6b, v4b)
		defer b.stop()
		if want := []netip.AddrPort{v4a, v6b}; !slices.Equal(b.creates(), want) {
			t.Errorf("created %v, want %v", b.creates(), want)
		}
		if j := r.Joins[2]; j.Verdict != NotTried || !errors.Is(j.Err, errTooMany) {
			t.Errorf("%+v, want it left out", j)
		}
	})
}

// TestNotOffered: no other port, no address twice, none of a family that the
// socket cannot take.
func TestNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.joiner.ipv4Only = true
		b.pm.Establish(testToken)
		loopback := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 443)
		linkLocal := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%1"), 443)
		other := netip.AddrPortFrom(v4b.Addr(), 80)
		mapped := netip.AddrPortFrom(netip.AddrFrom16(v4a.Addr().As16()), 443)
		r, _ := b.settle(t, v6a, v4a, v4a, mapped, v6b, other, loopback, linkLocal)
		defer b.stop()
		if want := []netip.AddrPort{v4a}; !slices.Equal(b.creates(), want) {
			t.Errorf("created %v, want %v", b.creates(), want)
		}
		for _, j := range r.Joins {
			want := map[netip.AddrPort]error{
				v4a: nil, v6b: errIPv4Only, other: errOtherPort, loopback: errMisplaced, linkLocal: errMisplaced,
			}[j.Remote]
			if !errors.Is(j.Err, want) {
				t.Errorf("%v: %v, want %v", j.Remote, j.Err, want)
			}
		}
	})
}

// TestEventsLost: reading the kernel's list changes nothing that is known.
func TestEventsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.pm.Script(v4a.Addr(), mptcptest.Script{Delay: time.Second})
		b.settle(t, v6a, v4b)
		defer b.stop()
		b.pm.Emit(mptcp.Event{Type: mptcp.EventsLost})
		synctest.Wait()
		if j := b.now().Joins[0]; j.Verdict != Joined || j.Err != nil {
			t.Errorf("%+v, want it unchanged", j)
		}
	})
}

func TestCompareAfterLostEvents(t *testing.T) {
	now := time.Unix(1000, 0)
	j := joiner{port: 443, max: 8, timeout: time.Second, established: true}
	j.step(now, offered{[]choice{{remote: v4a}, {remote: v4b}, {remote: v6b}}})
	out := j.step(now, pathEvent{mptcp.Event{Type: mptcp.EventsLost}})
	if len(out) != 1 || out[0].kind != readSubflows {
		t.Fatalf("actions %+v, want the subflows read", out)
	}
	j.step(now, seen{[]mptcp.SubflowInfo{
		{Remote: v4a, TCP: mptcp.TCPInfo{State: mptcp.StateEstablished}},
		{Remote: v4b, TCP: mptcp.TCPInfo{State: mptcp.StateSynSent}},
	}})
	if j.joins[0].state != joinActive || j.joins[1].state != joinOffered || !errors.Is(j.joins[2].err, errUnseen) {
		t.Errorf("joins %+v %+v %+v", j.joins[0], j.joins[1], j.joins[2])
	}
}

// TestClose: the goroutine ends at once, whatever is under way, and gives the
// path manager back.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.Silent})
		b.pm.Script(v4b.Addr(), mptcptest.Script{Result: mptcptest.Refuse})
		b.joiner.probe = true
		b.probe = func(ctx context.Context, _ netip.AddrPort) hostid.Outcome {
			<-ctx.Done()
			return hostid.NotTried
		}
		b.start([]netip.AddrPort{v6a, v4a, v4b}, false)
		synctest.Wait()
		b.stop()
		if err := b.wait(t.Context()); err != nil {
			t.Error(err)
		}
		if j := b.now().Joins[0]; j.Verdict != NotTried || !errors.Is(j.Err, errConnEnded) {
			t.Errorf("%+v, want the end of the connection", j)
		}
		if b.managers.users != 0 || b.managers.pm != nil {
			t.Errorf("%d users of the path manager are left", b.managers.users)
		}
	})
}

// TestPeerCloses: the end of the connection ends the wait.
func TestPeerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.pm.Script(v4a.Addr(), mptcptest.Script{Result: mptcptest.Silent})
		time.AfterFunc(time.Second, func() { b.pm.Disconnect(testToken) })
		_, took := b.settle(t, v6a, v4a)
		defer b.stop()
		if took != time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestSharedManager: one path manager for all connections, closed with the last.
func TestSharedManager(t *testing.T) {
	opens := 0
	var pm *mptcptest.PathManager
	s := sharedManager{open: func() (mptcp.PathManager, error) {
		opens++
		pm = mptcptest.New()
		return pm, nil
	}}
	for range 2 {
		first, err := s.acquire()
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.acquire()
		if err != nil || second != first {
			t.Fatalf("second user got %v, %v", second, err)
		}
		if err := s.release(); err != nil {
			t.Fatal(err)
		}
		if _, err := pm.Subscribe(1); err != nil {
			t.Errorf("closed with a user left: %v", err)
		}
		if err := s.release(); err != nil {
			t.Fatal(err)
		}
		if _, err := pm.Subscribe(1); !errors.Is(err, mptcp.ErrClosed) {
			t.Errorf("%v: want it closed with the last user", err)
		}
	}
	if opens != 2 {
		t.Errorf("opened %d times, want 2", opens)
	}
	s.open = func() (mptcp.PathManager, error) { return nil, mptcp.ErrNotPermitted }
	if _, err := s.acquire(); !errors.Is(err, mptcp.ErrNotPermitted) || s.users != 0 {
		t.Errorf("%v, %d users", err, s.users)
	}
}

// TestMarkJoined: what the kernel's own path manager has joined shows in the
// list of subflows only.
func TestMarkJoined(t *testing.T) {
	joins := []Join{
		{Remote: v4a, Verdict: NotTried, Err: mptcp.ErrKernelManaged},
		{Remote: v4b, Verdict: NotTried, Err: mptcp.ErrKernelManaged},
	}
	markJoined(joins, []mptcp.SubflowInfo{
		{Remote: v6a, TCP: mptcp.TCPInfo{State: mptcp.StateEstablished}},
		{Remote: v4a, Local: v6b, TCP: mptcp.TCPInfo{State: mptcp.StateEstablished}},
		{Remote: v4b, TCP: mptcp.TCPInfo{State: mptcp.StateSynSent}},
	})
	if joins[0].Verdict != Joined || joins[0].Local != v6b || joins[0].Err != nil {
		t.Errorf("%+v, want joined", joins[0])
	}
	if joins[1].Verdict != NotTried || joins[1].Err == nil {
		t.Errorf("%+v, want it unchanged", joins[1])
	}
}

func TestPathOf(t *testing.T) {
	for _, tt := range []struct {
		state   uint8
		first   bool
		want    string
		verdict Verdict
	}{
		{mptcp.StateEstablished, true, StateActive, First},
		{mptcp.StateEstablished, false, StateActive, Joined},
		{tcpCloseWait, false, StateActive, Joined},
		{mptcp.StateSynSent, false, StateJoining, NotTried},
		{tcpTimeWait, false, StateClosed, Joined},
		{mptcp.StateClosed, true, StateClosed, First},
	} {
		p := pathOf(mptcp.SubflowInfo{TCP: mptcp.TCPInfo{State: tt.state, RTT: time.Second}}, tt.first)
		if p.State != tt.want || p.Verdict != tt.verdict || p.RTT != time.Second {
			t.Errorf("TCP state %d: %+v, want %q, %q", tt.state, p, tt.want, tt.verdict)
		}
	}
}
