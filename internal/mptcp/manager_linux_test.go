package mptcp

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// received is one step of a scripted connection of events.
type received struct {
	messages []genetlink.Message
	err      error
}

func message(e EventType, attrs []byte) genetlink.Message {
	return genetlink.Message{Header: genetlink.Header{Command: uint8(e)}, Data: attrs}
}

// TestReader: what can go wrong with reading events is told as lost events,
// and ends the subscriptions when nothing more can come.
func TestReader(t *testing.T) {
	broken := errors.New("broken")
	script := []received{
		{messages: []genetlink.Message{message(Created, token1)}},
		{err: os.NewSyscallError("recvmsg", unix.ENOBUFS)},
		{err: os.NewSyscallError("recvmsg", unix.EINTR)},
		{messages: []genetlink.Message{message(Established, attr(eventToken, 1))}},
		{messages: []genetlink.Message{message(Closed, token1)}},
		{err: broken},
	}
	m := new(manager)
	m.events = genltest.Dial(func(genetlink.Message, netlink.Message) ([]genetlink.Message, error) {
		if len(script) == 0 {
			return nil, io.EOF
		}
		step := script[0]
		script = script[1:]
		return step.messages, step.err
	})
	sub := subscribe(t, &m.hub, 0)
	m.reader.Go(m.run)
	m.reader.Wait()
	var got []EventType
	for e := range sub.Events() {
		got = append(got, e.Type)
	}
	want := []EventType{Created, EventsLost, EventsLost, Closed}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("events %v, want %v", got, want)
	}
	if sub.Dropped() != 2 {
		t.Errorf("%d dropped", sub.Dropped())
	}
	if _, err := m.Subscribe(0); !errors.Is(err, broken) {
		t.Errorf("subscribe after the end: %v", err)
	}
}

func TestWrapExecute(t *testing.T) {
	var refused *OpError
	err := wrapExecute(opCreate, &netlink.OpError{Op: "receive", Err: unix.EINVAL, Message: "invalid token"})
	if !errors.As(err, &refused) || *refused != (OpError{opCreate, unix.EINVAL, "invalid token"}) {
		t.Errorf("%v", err)
	}
	if got, want := err.Error(), "mptcp: create subflow: invalid argument (invalid token)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	closed := wrapExecute(opCreate, &netlink.OpError{Op: "send", Err: os.ErrClosed})
	if !errors.Is(closed, ErrClosed) {
		t.Errorf("closed: %v", closed)
	}
	if other := wrapExecute(opCreate, io.ErrUnexpectedEOF); !errors.Is(other, io.ErrUnexpectedEOF) || errors.As(other, &refused) {
		t.Errorf("other: %v", other)
	}
}

// TestJoinEvents has the families that older kernels offer.
func TestJoinEvents(t *testing.T) {
	if err := new(manager).joinEvents(nil); !errors.Is(err, ErrUnsupported) {
		t.Errorf("no group: %v", err)
	}
}
