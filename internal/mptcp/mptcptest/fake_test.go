package mptcptest_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = 0x1234

var (
	local  = netip.MustParseAddrPort("192.0.2.1:50000")
	first  = netip.MustParseAddrPort("198.51.100.1:443")
	second = netip.MustParseAddrPort("198.51.100.2:443")
	third  = netip.MustParseAddrPort("[2001:db8::3]:443")
)

// open returns a fake with one connection, and its events.
func open(t *testing.T) (*mptcptest.PathManager, *mptcp.Subscription) {
	t.Helper()
	f := mptcptest.New()
	sub, err := f.Subscribe(token)
	if err != nil {
		t.Fatal(err)
	}
	f.Connect(token, local, first)
	expect(t, sub, mptcp.Created)
	return f, sub
}

// expect returns the next event, which must be there and of type want.
func expect(t *testing.T, sub *mptcp.Subscription, want mptcp.EventType) mptcp.Event {
	t.Helper()
	select {
	case e := <-sub.Events():
		if e.Type != want || e.Token != token {
			t.Fatalf("event %+v, want %q", e, want)
		}
		return e
	default:
		t.Fatalf("no event, want %q", want)
		panic("unreachable")
	}
}

func quiet(t *testing.T, sub *mptcp.Subscription) {
	t.Helper()
	select {
	case e := <-sub.Events():
		t.Fatalf("unexpected event %+v", e)
	default:
	}
}

func TestJoinNeedsEstablished(t *testing.T) {
	f, sub := open(t)
	flow := mptcp.Subflow{Remote: second}
	if err := f.CreateSubflow(token, flow); !errors.Is(err, mptcp.ErrNotEstablished) {
		t.Errorf("early: %v", err)
	}
	f.Establish(token)
	expect(t, sub, mptcp.Established)
	if err := f.CreateSubflow(token, flow); err != nil {
		t.Fatal(err)
	}
	e := expect(t, sub, mptcp.SubflowEstablished) // before the command returned
	if e.Remote != second || e.Local.Addr() != local.Addr() || e.RemoteID == 0 {
		t.Errorf("%+v", e)
	}
	info, flows, err := f.FullInfo(token)
	if err != nil || info.Subflows != 1 || len(flows) != 2 || flows[1].TCP.State != mptcp.StateEstablished {
		t.Errorf("%+v, %+v, %v", info, flows, err)
	}
	if calls := f.Calls(); len(calls) != 2 || calls[0].Err == nil || calls[1].Subflow != flow {
		t.Errorf("calls %+v", calls)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, ok := <-sub.Events(); ok {
		t.Error("an event after Close")
	}
	if err := f.CreateSubflow(token, flow); !errors.Is(err, mptcp.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestResults(t *testing.T) {
	for _, test := range []struct {
		name   string
		result mptcptest.Result
		joined bool
		closed bool
		errno  syscall.Errno
	}{
		{"join", mptcptest.Join, true, false, 0},
		{"join, then close", mptcptest.JoinThenClose, true, true, 0},
		{"refuse", mptcptest.Refuse, false, true, syscall.ECONNREFUSED},
		{"not MPTCP", mptcptest.NotMPTCP, false, true, 0},
		{"silent", mptcptest.Silent, false, true, syscall.ETIMEDOUT},
		{"host unreachable", mptcptest.HostUnreachable, false, true, syscall.EHOSTUNREACH},
		{"net unreachable", mptcptest.NetUnreachable, false, true, syscall.ENETUNREACH},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, sub := open(t)
				defer f.Close()
				f.Establish(token)
				expect(t, sub, mptcp.Established)
				f.Script(third.Addr(), mptcptest.Script{Result: test.result, Delay: 30 * time.Millisecond})
				if err := f.CreateSubflow(token, mptcp.Subflow{Remote: third}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(29 * time.Millisecond)
				quiet(t, sub)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if test.joined {
					expect(t, sub, mptcp.SubflowEstablished)
				}
				if test.closed {
					e := expect(t, sub, mptcp.SubflowClosed)
					if e.Errno != test.errno || e.HasError != (test.errno != 0) {
						t.Errorf("%+v", e)
					}
				}
				quiet(t, sub)
			})
		})
	}
}

func TestBreakOffSilentJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, sub := open(t)
		defer f.Close()
		f.Establish(token)
		expect(t, sub, mptcp.Established)
		f.Script(second.Addr(), mptcptest.Script{Result: mptcptest.Silent})
		if err := f.CreateSubflow(token, mptcp.Subflow{Remote: second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		quiet(t, sub)
		_, flows, err := f.FullInfo(token)
		if err != nil || flows[1].TCP.State != mptcp.StateSynSent {
			t.Fatalf("%+v, %v", flows, err)
		}
		join := mptcp.Subflow{Local: flows[1].Local, Remote: flows[1].Remote}
		if err := f.DestroySubflow(token, join); err != nil {
			t.Fatal(err)
		}
		e := expect(t, sub, mptcp.SubflowClosed)
		if e.Errno != syscall.ECONNRESET || e.Local.Port() != join.Local.Port() || e.Remote.Port() != 0 || !e.Local.Addr().IsUnspecified() {
			t.Errorf("%+v", e)
		}
		time.Sleep(mptcptest.KernelTimeout)
		quiet(t, sub)
		if err := f.DestroySubflow(token, join); !errors.Is(err, mptcp.ErrSubflowNotFound) {
			t.Errorf("destroyed twice: %v", err)
		}
	})
}

func TestCloseStopsTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, sub := open(t)
		f.Establish(token)
		expect(t, sub, mptcp.Established)
		f.Script(second.Addr(), mptcptest.Script{Delay: time.Second})
		if err := f.CreateSubflow(token, mptcp.Subflow{Remote: second}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		began := time.Now()
		if _, ok := <-sub.Events(); ok || time.Since(began) != 0 {
			t.Error("a join went on after Close")
		}
	})
}

func TestRefusals(t *testing.T) {
	f, _ := open(t)
	defer f.Close()
	f.Establish(token)
	const kernelManaged = 0x99
	f.ConnectKernelManaged(kernelManaged, local, first)
	own := errors.New("scripted")
	f.Script(netip.MustParseAddr("198.51.100.9"), mptcptest.Script{Err: own})
	from := func(addr string, id uint8, remote netip.AddrPort) mptcp.Subflow {
		return mptcp.Subflow{Local: netip.MustParseAddrPort(addr), LocalID: id, Remote: remote}
	}
	if err := f.CreateSubflow(token, from("192.0.2.7:0", 7, second)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		token uint32
		flow  mptcp.Subflow
		want  error
	}{
		{"unknown token", 1, mptcp.Subflow{Remote: second}, mptcp.ErrUnknownToken},
		{"kernel managed", kernelManaged, mptcp.Subflow{Remote: second}, mptcp.ErrKernelManaged},
		{"families", token, from("192.0.2.7:0", 7, third), mptcp.ErrFamilyMismatch},
		{"another id", token, from("192.0.2.7:0", 8, second), mptcp.ErrLocalID},
		{"id of another", token, from("192.0.2.8:0", 7, second), mptcp.ErrLocalID},
		{"scripted", token, mptcp.Subflow{Remote: netip.MustParseAddrPort("198.51.100.9:443")}, own},
		{"no port", token, mptcp.Subflow{Remote: netip.MustParseAddrPort("198.51.100.9:0")}, syscall.EINVAL},
	} {
		if err := f.CreateSubflow(test.token, test.flow); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	f.Fallback(token)
	if err := f.CreateSubflow(token, mptcp.Subflow{Remote: second}); !errors.Is(err, mptcp.ErrNotEstablished) {
		t.Errorf("after fallback: %v", err)
	}
	if _, _, err := f.FullInfo(token); !errors.Is(err, mptcp.ErrFallback) {
		t.Errorf("FullInfo after fallback: %v", err)
	}
	f.Forbid()
	if err := f.Remove(token, 7); !errors.Is(err, mptcp.ErrNotPermitted) {
		t.Errorf("forbidden: %v", err)
	}
}

func TestOtherCommands(t *testing.T) {
	f, sub := open(t)
	defer f.Close()
	f.Establish(token)
	expect(t, sub, mptcp.Established)
	if err := f.Announce(token, 3, local); err != nil {
		t.Error(err)
	}
	if err := f.Announce(token, 0, local); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("announce id 0: %v", err)
	}
	if err := f.Remove(token, 9); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("remove an unknown id: %v", err)
	}
	for range 2 {
		if err := f.CreateSubflow(token, mptcp.Subflow{Remote: third}); err != nil {
			t.Fatal(err)
		}
	}
	joined := expect(t, sub, mptcp.SubflowEstablished)
	expect(t, sub, mptcp.SubflowEstablished)
	if err := f.SetBackup(token, mptcp.Subflow{Local: joined.Local, Remote: joined.Remote}, true); err != nil {
		t.Error(err)
	}
	if !f.Break(token, third, syscall.ECONNRESET) || f.Break(token, second, 0) {
		t.Error("Break found the wrong subflow")
	}
	if e := expect(t, sub, mptcp.SubflowClosed); !e.Backup || e.Errno != syscall.ECONNRESET {
		t.Errorf("%+v", e)
	}
	if err := f.Remove(token, 0); err != nil {
		t.Error(err)
	}
	if e := expect(t, sub, mptcp.SubflowClosed); e.Remote != first || e.HasError {
		t.Errorf("%+v", e)
	}
	if _, flows, err := f.FullInfo(token); err != nil || flows[0].TCP.State != mptcp.StateClosed {
		t.Errorf("%+v, %v", flows, err)
	}
	f.Emit(mptcp.Event{Type: mptcp.Announced, Token: token, RemoteID: 4})
	expect(t, sub, mptcp.Announced)
	f.Disconnect(token)
	expect(t, sub, mptcp.Closed)
	f.Disconnect(token)
	quiet(t, sub)
}
