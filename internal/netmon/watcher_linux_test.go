package netmon

import (
	"errors"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"
)

func TestSettling(t *testing.T) {
	begin := time.Unix(1, 0)
	for name, test := range map[string]struct {
		notes []time.Duration // since the beginning
		retry bool            // at the beginning
		want  time.Duration
	}{
		"one":               {[]time.Duration{0}, false, settleQuiet},
		"two":               {[]time.Duration{0, settleQuiet / 2}, false, settleQuiet * 3 / 2},
		"at the latest":     {[]time.Duration{0, settleMax - 1}, false, settleMax},
		"after that":        {[]time.Duration{0, 2 * settleMax}, false, settleMax},
		"retry":             {nil, true, settleRetry},
		"retry with a note": {[]time.Duration{0}, true, settleQuiet},
	} {
		t.Run(name, func(t *testing.T) {
			var s settling
			if test.retry {
				s.retry(begin)
			}
			for _, at := range test.notes {
				s.note(begin.Add(at))
			}
			if got := s.due().Sub(begin); got != test.want {
				t.Errorf("due after %v, want %v", got, test.want)
			}
		})
	}
	if due := (&settling{}).due(); !due.IsZero() {
		t.Errorf("without notifications due at %v", due)
	}
}

// answers is a connection to a kernel that has one link and one route, and
// interrupts or refuses the first dumps of either.
func answers(t *testing.T, interrupt int, refuse error) *netlink.Conn {
	t.Helper()
	left := map[netlink.HeaderType]int{unix.RTM_GETLINK: interrupt, unix.RTM_GETROUTE: interrupt}
	var reply []netlink.Message
	c := nltest.Dial(func(reqs []netlink.Message) ([]netlink.Message, error) {
		if len(reqs) == 0 {
			return reply, nil
		}
		if refuse != nil {
			return nil, refuse
		}
		request := reqs[0].Header
		m := eth(2, "eth0")
		if request.Type == unix.RTM_GETROUTE {
			m = defaultVia(unix.AF_INET, 0, 2).message(unix.RTM_NEWROUTE)
		}
		m.Header.Flags = netlink.Multi
		if left[request.Type] > 0 {
			left[request.Type]--
			m.Header.Flags |= netlink.DumpInterrupted
			m.Data[4]++ // one that is not there at the next attempt
		}
		done := netlink.Message{Header: netlink.Header{Type: netlink.Done, Flags: netlink.Multi}}
		reply = []netlink.Message{m, done}
		for i := range reply {
			reply[i].Header.Sequence, reply[i].Header.PID = request.Sequence, request.PID
		}
		return reply, nil
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestDumpInterrupted(t *testing.T) {
	for name, test := range map[string]struct {
		interrupt int
		want      error
	}{
		"never":         {0, nil},
		"once":          {1, nil},
		"nearly always": {dumpAttempts - 1, nil},
		"always":        {dumpAttempts, errInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			tb, err := dump(answers(t, test.interrupt, nil), unix.RTM_GETLINK, unix.RTM_GETROUTE)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil && (len(tb.links) != 1 || len(tb.routes) != 1 || !tb.state().DefaultIPv4) {
				t.Errorf("tables %+v", tb)
			}
		})
	}
}

// TestAskAgain: what could not be read is read later, and what is known
// meanwhile stays.
func TestAskAgain(t *testing.T) {
	for name, e := range map[string]effect{"routes": askRoutes, "everything": askAll} {
		t.Run(name, func(t *testing.T) {
			k := &kernel{tables: newTables(), requests: answers(t, 0, unix.ENOMEM)}
			applyAll(t, k.tables, eth(2, "eth0"), defaultVia(unix.AF_INET6, 0, 2).message(unix.RTM_NEWROUTE))
			var published []State
			publish := func(s State) { published = append(published, s) }
			k.note(e)
			k.settle(publish)
			if len(published) != 0 || k.pending != e || k.timing.due().IsZero() || !k.tables.state().DefaultIPv6 {
				t.Fatalf("refused: published %v, pending %b, tables %+v", published, k.pending, k.tables)
			}
			k.requests = answers(t, 0, nil)
			k.settle(publish)
			if want := (State{DefaultIPv4: true}); len(published) != 1 || !published[0].Equal(want) {
				t.Errorf("published %v, want %v", published, want)
			}
			if k.pending != 0 || !k.timing.due().IsZero() {
				t.Errorf("pending %b", k.pending)
			}
		})
	}
}

// TestApplyUnreadable: a notification that cannot be decoded counts as lost.
func TestApplyUnreadable(t *testing.T) {
	k := &kernel{tables: newTables()}
	k.apply([]netlink.Message{{Header: netlink.Header{Type: unix.RTM_NEWLINK}}})
	if k.pending != askAll || k.timing.due().IsZero() {
		t.Errorf("pending %b", k.pending)
	}
}
