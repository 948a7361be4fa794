package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

const token = 0x1001

// TestCommands: what the client asks for is what the path manager is told.
func TestCommands(t *testing.T) {
	flow := mptcp.Subflow{Local: netip.AddrPortFrom(own, 40001), Remote: other}
	made := mptcp.Subflow{Local: netip.AddrPortFrom(own, 0), Remote: other, LocalID: 3, Backup: true, IfIndex: 2}
	tests := []struct {
		name string
		call func(pm mptcp.PathManager, token uint32) error
		want mptcptest.Call
	}{
		{
			"create", func(pm mptcp.PathManager, token uint32) error { return pm.CreateSubflow(token, made) },
			mptcptest.Call{Op: "create", Token: token, Subflow: made},
		},
		{
			"destroy", func(pm mptcp.PathManager, token uint32) error { return pm.DestroySubflow(token, flow) },
			mptcptest.Call{Op: "destroy", Token: token, Subflow: flow},
		},
		{
			"backup", func(pm mptcp.PathManager, token uint32) error { return pm.SetBackup(token, flow, true) },
			mptcptest.Call{Op: "backup", Token: token, Subflow: flow, Backup: true},
		},
		{
			"announce", func(pm mptcp.PathManager, token uint32) error {
				return pm.Announce(token, 7, netip.AddrPortFrom(own, 40000))
			},
			mptcptest.Call{Op: "announce", Token: token, ID: 7, Addr: netip.AddrPortFrom(own, 40000)},
		},
		{
			"remove", func(pm mptcp.PathManager, token uint32) error { return pm.Remove(token, 9) },
			mptcptest.Call{Op: "remove", Token: token, ID: 9},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, b := serveFakes(t, Config{})
			c := b.attach(f.connect(t, token))
			if err := test.call(c, token+1); !errors.Is(err, mptcp.ErrUnknownToken) {
				t.Errorf("another token: %v", err)
			}
			err := test.call(c, token)
			calls := f.Calls()
			if len(calls) != 1 {
				t.Fatalf("calls %+v", calls)
			}
			want := calls[0].Err
			calls[0].Err = nil
			if diff := cmp.Diff(test.want, calls[0], equateAddrs); diff != "" {
				t.Error(diff)
			}
			var there, here *mptcp.OpError
			if errors.As(want, &there) != errors.As(err, &here) || there != nil && (here.Errno != there.Errno || here.Msg != there.Msg) {
				t.Errorf("the path manager says %v, the client %v", want, err)
			}
		})
	}
}

// TestEvents: events arrive as they were, in order, and only the connection's.
func TestEvents(t *testing.T) {
	f, b := serveFakes(t, Config{})
	c := b.attach(f.connect(t, token))
	sub := subscribe(t, c, token)
	if _, err := c.Subscribe(0); !errors.Is(err, mptcp.ErrUnknownToken) {
		t.Errorf("subscribe to all: %v", err)
	}
	want := []mptcp.Event{
		{Type: mptcp.SubflowEstablished, Token: token, Local: here, Remote: other, LocalID: 1, RemoteID: 2, Backup: true, IfIndex: 3},
		{
			Type: mptcp.SubflowClosed, Token: token, Local: here, Remote: peer, Errno: syscall.ECONNREFUSED, HasError: true,
			ResetReason: 6, HasReset: true,
		},
		{Type: mptcp.Created, Token: token, Flags: mptcp.FlagDenyJoinInitial, ServerSide: true},
		{Type: mptcp.EventsLost},
	}
	for _, e := range want {
		f.Emit(mptcp.Event{Type: mptcp.Created, Token: token + 1})
		f.Emit(e)
	}
	for _, w := range want {
		if got := next(t, sub, w.Type); got != w {
			t.Errorf("event %+v, want %+v", got, w)
		}
	}
	f.Disconnect(token)
	next(t, sub, mptcp.Closed)
	ended(t, sub)
	if err := c.Err(); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), errConnection.Error()) {
		t.Errorf("after the connection: %v", err)
	}
}

// TestBrokerEnds: whatever way the broker ends, its clients learn it, and why.
func TestBrokerEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(f *fakes, b *broker)
		want error
	}{
		{"stopped", func(_ *fakes, b *broker) { b.stop() }, errStopping},
		{"path manager closed", func(f *fakes, _ *broker) { f.Close() }, errManager},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, b := serveFakes(t, Config{})
			c := b.attach(f.connect(t, token))
			sub := subscribe(t, c, token)
			test.end(f, b)
			ended(t, sub)
			<-c.done
			if err := c.Err(); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), test.want.Error()) {
				t.Errorf("the client ended with %v", err)
			}
			if err := c.Remove(token, 1); !errors.Is(err, ErrGone) {
				t.Errorf("command: %v", err)
			}
			if _, err := c.Subscribe(token); !errors.Is(err, ErrGone) {
				t.Errorf("subscribe: %v", err)
			}
		})
	}
}

// hooks is an owner that records how connections are handed over.
type hooks struct {
	calls chan string
}

func (h hooks) config() Config { return Config{Owner: h} }

func (h hooks) Claim(token uint32)   { h.calls <- fmt.Sprintf("attach %x", token) }
func (h hooks) Release(token uint32) { h.calls <- fmt.Sprintf("detach %x", token) }

func (h hooks) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-h.calls:
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	case <-time.After(eventTimeout):
		t.Fatalf("no %s", want)
	}
}

// TestClientLeaves: subflows stay, the connection is told to have left when its
// last client has.
func TestClientLeaves(t *testing.T) {
	h := hooks{make(chan string, 8)}
	f, b := serveFakes(t, h.config())
	raw := f.connect(t, token)
	first := b.attach(raw)
	h.expect(t, "attach 1001")
	second := b.attach(raw)
	sub := subscribe(t, first, token)
	if err := first.CreateSubflow(token, mptcp.Subflow{Remote: other}); err != nil {
		t.Fatal(err)
	}
	next(t, sub, mptcp.SubflowEstablished)
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	ended(t, sub)
	for _, err := range []error{first.Err(), first.Remove(token, 1)} {
		if !errors.Is(err, mptcp.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
	if err := second.SetBackup(token, mptcp.Subflow{Local: here, Remote: peer}, true); err != nil {
		t.Errorf("the second client: %v", err)
	}
	second.Close()
	h.expect(t, "detach 1001")
	if info, _, err := f.FullInfo(token); err != nil || info.Subflows != 1 {
		t.Errorf("%d subflows left, %v", info.Subflows, err)
	}
	if len(h.calls) != 0 {
		t.Errorf("more: %s", <-h.calls)
	}
}

// TestAnnouncedPort: a port that the peer announced for an address may be used
// for it, until it is withdrawn.
func TestAnnouncedPort(t *testing.T) {
	f, b := serveFakes(t, Config{})
	c := b.attach(f.connect(t, token))
	sub := subscribe(t, c, token)
	target := netip.AddrPortFrom(other.Addr(), 8443)
	create := func() error { return c.CreateSubflow(token, mptcp.Subflow{Remote: target}) }
	if err := create(); !errors.Is(err, ErrRefused) {
		t.Errorf("before: %v", err)
	}
	f.Emit(mptcp.Event{Type: mptcp.Announced, Token: token, Remote: target, RemoteID: 5})
	next(t, sub, mptcp.Announced)
	if err := create(); err != nil {
		t.Errorf("announced: %v", err)
	}
	f.Emit(mptcp.Event{Type: mptcp.Removed, Token: token, RemoteID: 5})
	next(t, sub, mptcp.Removed)
	if err := create(); !errors.Is(err, ErrRefused) {
		t.Errorf("withdrawn: %v", err)
	}
}

// TestRefusedAnnounce: the policy stands before the path manager.
func TestRefusedAnnounce(t *testing.T) {
	f, b := serveFakes(t, Config{})
	c := b.attach(f.connect(t, token))
	if err := c.Announce(token, 1, netip.AddrPortFrom(other.Addr(), 0)); !errors.Is(err, ErrRefused) {
		t.Errorf("another host's address: %v", err)
	}
	if len(f.Calls()) != 0 {
		t.Errorf("calls %+v", f.Calls())
	}
}

// TestOtherDescriptor: the descriptor of a request must be the connection's.
func TestOtherDescriptor(t *testing.T) {
	f, b := serveFakes(t, Config{})
	first, second := f.connect(t, token), f.connect(t, token+1)
	c := b.attach(first)
	c.proof = second
	if err := c.Remove(token, 1); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), errOther.Error()) {
		t.Errorf("another connection: %v", err)
	}
	c.proof = first
	f.Fallback(token)
	if err := c.Remove(token, 1); !errors.Is(err, mptcp.ErrNotEstablished) {
		t.Errorf("fallen back: %v", err)
	}
	if len(f.Calls()) != 0 {
		t.Errorf("calls %+v", f.Calls())
	}
}

// TestFlood: however many clients come at once, no more than may are served,
// and the others are told why.
func TestFlood(t *testing.T) {
	tests := []struct {
		name   string
		limits Limits
		want   error
	}{
		{"of clients", Limits{Clients: 20}, errClients},
		{"of one user", Limits{PerUser: 20}, errPerUser},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, b := serveFakes(t, Config{Limits: test.limits})
			raw := f.connect(t, token)
			const flood = 200
			clients := make(chan mptcp.PathManager, flood)
			failures := make(chan error, flood)
			var group sync.WaitGroup
			for range flood {
				group.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
					defer cancel()
					if pm, err := Attach(ctx, b.path, raw); err == nil {
						clients <- pm
					} else {
						failures <- err
					}
				})
			}
			group.Wait()
			if len(clients) != 20 {
				t.Errorf("%d clients were served", len(clients))
			}
			close(failures)
			for err := range failures {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want.Error()) {
					t.Errorf("%v, want %v", err, test.want)
				}
			}
			for range len(clients) {
				(<-clients).Close()
			}
			// There is room again, as soon as the broker has seen them go.
			for deadline := time.Now().Add(eventTimeout); ; {
				pm, err := Attach(context.Background(), b.path, raw)
				if err == nil {
					pm.Close()
					break
				}
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestSubflowLimitOfManyClients: the limit is the connection's, however many
// clients it has.
func TestSubflowLimitOfManyClients(t *testing.T) {
	f, b := serveFakes(t, Config{Limits: Limits{Subflows: 5}})
	raw := f.connect(t, token)
	var group sync.WaitGroup
	for range 8 {
		c := b.attach(raw)
		group.Go(func() {
			for range 4 {
				if err := c.CreateSubflow(token, mptcp.Subflow{Remote: other}); err != nil && !errors.Is(err, ErrRefused) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if info, _, _ := f.FullInfo(token); info.Subflows != 5 {
		t.Errorf("%d subflows", info.Subflows)
	}
}

// TestRate: requests beyond the burst are slowed down, and none is lost.
func TestRate(t *testing.T) {
	f, b := serveFakes(t, Config{Limits: Limits{Requests: 50, Burst: 2}})
	c := b.attach(f.connect(t, token))
	begin := time.Now()
	for range 12 {
		if err := c.Remove(token, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Fatal(err)
		}
	}
	// Two at once, ten at 50 a second, of which the last may be read ahead.
	if elapsed := time.Since(begin); elapsed < 9*20*time.Millisecond {
		t.Errorf("12 requests in %v", elapsed)
	}
	if n := len(f.Calls()); n != 12 {
		t.Errorf("%d calls", n)
	}
}

// TestSlowReader: a client that does not read loses events, is told so, and
// keeps nobody waiting.
func TestSlowReader(t *testing.T) {
	f, b := serveFakes(t, Config{})
	slow := dialRaw(t, b)
	slow.hello(f.connect(t, token))
	c := b.attach(f.connect(t, token+1))
	sub := subscribe(t, c, token+1)
	const flood = 20000
	for range flood {
		f.Emit(mptcp.Event{Type: mptcp.SubflowPriority, Token: token})
	}
	f.Emit(mptcp.Event{Type: mptcp.SubflowPriority, Token: token + 1})
	next(t, sub, mptcp.SubflowPriority)
	if err := c.SetBackup(token+1, mptcp.Subflow{Local: here, Remote: peer}, true); err != nil {
		t.Error(err)
	}
	for n := 0; n < flood; n++ {
		if e := expect[event](slow); e.Type == mptcp.EventsLost {
			t.Logf("a gap after %d events", n)
			return
		}
	}
	t.Error("no gap was told of")
}

// TestServeStream: a stream socket does not keep the borders of messages.
func TestServeStream(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := NewServer(Config{Manager: mptcptest.New()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(context.Background(), l); err == nil {
		t.Error("served")
	}
}

// TestListenerFails: a listener that breaks ends Serve with its error.
func TestListenerFails(t *testing.T) {
	s, err := NewServer(Config{Manager: mptcptest.New()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(filepath.Join(t.TempDir(), "s"), 0o600, -1)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Serve(context.Background(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestNewServerRefuses(t *testing.T) {
	for _, c := range []Config{
		{},
		{Manager: mptcptest.New(), Allow: make([]netip.Prefix, 1)},
		{Manager: mptcptest.New(), Limits: Limits{Clients: -1}},
	} {
		if _, err := NewServer(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
