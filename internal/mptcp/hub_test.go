package mptcp

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func subscribe(t *testing.T, h *Hub, token uint32) *Subscription {
	t.Helper()
	s, err := h.Subscribe(token)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain returns what is in the channel, and whether it is closed.
func drain(s *Subscription) (events []Event, closed bool) {
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				return events, true
			}
			events = append(events, e)
		default:
			return events, false
		}
	}
}

func TestHubFiltersByToken(t *testing.T) {
	var h Hub
	one, two, all := subscribe(t, &h, 1), subscribe(t, &h, 2), subscribe(t, &h, 0)
	h.Publish(Event{Type: Created, Token: 1})
	h.Publish(Event{Type: Created, Token: 2})
	h.Publish(Event{Type: EventsLost})
	for _, test := range []struct {
		sub  *Subscription
		want []uint32
	}{{one, []uint32{1, 0}}, {two, []uint32{2, 0}}, {all, []uint32{1, 2, 0}}} {
		events, _ := drain(test.sub)
		var got []uint32
		for _, e := range events {
			got = append(got, e.Token)
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) || test.sub.Dropped() != 1 {
			t.Errorf("tokens %v, want %v; %d dropped", got, test.want, test.sub.Dropped())
		}
	}
}

// TestHubDropRule: the events before a gap are complete, EventsLost stands at
// the gap, and delivery goes on once there is room.
func TestHubDropRule(t *testing.T) {
	var h Hub
	slow, other := subscribe(t, &h, 1), subscribe(t, &h, 2)
	const sent = SubscriptionBuffer + 10
	for i := range sent {
		h.Publish(Event{Type: Announced, Token: 1, IfIndex: i})
	}
	events, _ := drain(slow)
	if len(events) != SubscriptionBuffer {
		t.Fatalf("%d events", len(events))
	}
	for i, e := range events[:SubscriptionBuffer-1] {
		if e.IfIndex != i || e.Type != Announced {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	if last := events[SubscriptionBuffer-1]; last.Type != EventsLost {
		t.Errorf("at the gap: %+v", last)
	}
	if want := uint64(sent - (SubscriptionBuffer - 1)); slow.Dropped() != want {
		t.Errorf("%d dropped, want %d", slow.Dropped(), want)
	}
	h.Publish(Event{Type: Closed, Token: 1})
	if events, _ := drain(slow); len(events) != 1 || events[0].Type != Closed {
		t.Errorf("after the gap: %+v", events)
	}
	if events, _ := drain(other); len(events) != 0 || other.Dropped() != 0 {
		t.Errorf("the other got %v", events)
	}
}

func TestSubscriptionClose(t *testing.T) {
	var h Hub
	s := subscribe(t, &h, 0)
	h.Publish(Event{Type: Created})
	s.Close()
	s.Close()
	h.Publish(Event{Type: Closed})
	if events, closed := drain(s); len(events) != 1 || !closed {
		t.Errorf("%v, closed %v", events, closed)
	}
}

func TestHubShutdown(t *testing.T) {
	var h Hub
	s := subscribe(t, &h, 0)
	h.Shutdown(ErrClosed)
	h.Shutdown(errors.New("again"))
	h.Publish(Event{Type: Created})
	s.Close()
	if _, closed := drain(s); !closed {
		t.Error("the channel is open")
	}
	if _, err := h.Subscribe(0); !errors.Is(err, ErrClosed) {
		t.Errorf("subscribe: %v", err)
	}
}

// TestHubConcurrently is for the race detector.
func TestHubConcurrently(t *testing.T) {
	var h Hub
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 200 {
				h.Publish(Event{Type: Created, Token: uint32(i)})
			}
		})
		all.Go(func() {
			for range 50 {
				s, err := h.Subscribe(uint32(i))
				if err != nil {
					return
				}
				drain(s)
				s.Close()
			}
		})
	}
	all.Go(func() { h.Shutdown(ErrClosed) })
	all.Wait()
}

func TestPublishDoesNotAllocate(t *testing.T) {
	var h Hub
	s := subscribe(t, &h, 1)
	allocs := testing.AllocsPerRun(100, func() {
		h.Publish(Event{Type: Created, Token: 1})
		<-s.Events()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestOpErrorIs(t *testing.T) {
	all := []error{
		ErrNotEstablished, ErrNotPermitted, ErrKernelManaged, ErrUnknownToken,
		ErrSubflowNotFound, ErrFamilyMismatch, ErrLocalID,
	}
	for _, test := range []struct {
		errno syscall.Errno
		msg   string
		want  error
	}{
		{syscall.ENOTCONN, "connect error: -107", ErrNotEstablished},
		{syscall.EPERM, "", ErrNotPermitted},
		{syscall.ESRCH, "subflow not found", ErrSubflowNotFound},
		{syscall.EINVAL, "userspace PM not selected", ErrKernelManaged},
		{syscall.EINVAL, "invalid request; userspace PM not selected", ErrKernelManaged},
		{syscall.EINVAL, "invalid token", ErrUnknownToken},
		{syscall.EINVAL, "families mismatch", ErrFamilyMismatch},
		{syscall.EINVAL, "did not match address and id", ErrLocalID},
		{syscall.EINVAL, "", nil},
		{syscall.EADDRNOTAVAIL, "invalid token", nil},
	} {
		err := fmt.Errorf("wrapped: %w", &OpError{Op: "create subflow", Errno: test.errno, Msg: test.msg})
		for _, target := range all {
			if got := errors.Is(err, target); got != errors.Is(target, test.want) {
				t.Errorf("%v is %v: %v", err, target, got)
			}
		}
		if !errors.Is(err, test.errno) {
			t.Errorf("%v is not %v", err, test.errno)
		}
	}
}
