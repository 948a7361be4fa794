package broker

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// TestRefusals: a refusal is told once, of a join that was made here, as of when the
// earliest of those under way began, and not where an end of another kind came later.
func TestRefusals(t *testing.T) {
	to, beside := netip.MustParseAddrPort("203.0.113.2:443"), netip.MustParseAddrPort("203.0.113.2:80")
	event := func(kind mptcp.EventType, at netip.AddrPort, errno syscall.Errno) func(refusals, time.Time) {
		return func(r refusals, _ time.Time) {
			r.note(mptcp.Event{Type: kind, Remote: at, Errno: errno, HasError: errno != 0})
		}
	}
	join := func(r refusals, now time.Time) { r.begin(to, now) }
	refused := event(mptcp.SubflowClosed, to, syscall.ECONNREFUSED)
	begin := time.Unix(1000, 0)
	for name, test := range map[string]struct {
		steps []func(refusals, time.Time)
		begun int // the step of the join that was refused; negative: none
	}{
		"refused":                {[]func(refusals, time.Time){join, refused}, 0},
		"under way":              {[]func(refusals, time.Time){join}, -1},
		"made by another":        {[]func(refusals, time.Time){refused}, -1},
		"made later":             {[]func(refusals, time.Time){refused, join}, -1},
		"at another port":        {[]func(refusals, time.Time){join, event(mptcp.SubflowClosed, beside, syscall.ECONNREFUSED)}, -1},
		"reset later":            {[]func(refusals, time.Time){join, event(mptcp.SubflowClosed, to, syscall.ECONNRESET)}, -1},
		"no answer":              {[]func(refusals, time.Time){join, event(mptcp.SubflowClosed, to, syscall.ETIMEDOUT)}, -1},
		"no MPTCP":               {[]func(refusals, time.Time){join, event(mptcp.SubflowClosed, to, 0)}, -1},
		"joined":                 {[]func(refusals, time.Time){join, event(mptcp.SubflowEstablished, to, 0)}, -1},
		"joined after all":       {[]func(refusals, time.Time){join, refused, event(mptcp.SubflowEstablished, to, 0)}, -1},
		"several":                {[]func(refusals, time.Time){join, join, refused}, 0},
		"refused again":          {[]func(refusals, time.Time){join, refused, join, refused}, 2},
		"begun again":            {[]func(refusals, time.Time){join, refused, join}, -1},
		"something is not known": {[]func(refusals, time.Time){join, refused, event(mptcp.EventsLost, netip.AddrPort{}, 0)}, -1},
	} {
		r := make(refusals)
		for i, step := range test.steps {
			step(r, begin.Add(time.Duration(i)*time.Second))
		}
		begun, ok := r.take(to)
		if ok != (test.begun >= 0) || ok && begun != begin.Add(time.Duration(test.begun)*time.Second) {
			t.Errorf("%s: %v, %v", name, begun, ok)
		}
		if _, ok := r.take(to); ok {
			t.Errorf("%s: told twice", name)
		}
	}
	full := make(refusals)
	for i := range 2 * maxJoinedAddrs {
		full.begin(netip.AddrPortFrom(to.Addr(), uint16(i+1)), begin)
	}
	if len(full) != maxJoinedAddrs {
		t.Errorf("%d joins are kept", len(full))
	}
}
