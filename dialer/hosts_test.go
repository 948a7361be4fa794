package dialer

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/mptcp/mptcptest"
)

// slowVerdicts keeps what is reported to it, a while later.
type slowVerdicts struct{ kept []netip.Addr }

func (*slowVerdicts) SetTimeout(time.Duration) {}

func (v *slowVerdicts) Report(_ string, addr netip.Addr, _ broker.Outcome) error {
	time.Sleep(200 * time.Millisecond) // virtual time
	v.kept = append(v.kept, addr)
	return nil
}

func (*slowVerdicts) LookUp(string, []netip.Addr) ([]broker.Finding, error) { return nil, nil }

// TestWaitRemembers: who has waited for the verdicts finds them kept, so that a
// program that ends then has told the machine's others.
func TestWaitRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, kept := newBench(), new(slowVerdicts)
		b.pm.Establish(testToken)
		b.shared = kept
		b.start([]netip.AddrPort{v6a, v6b}, false)
		defer b.stop()
		if err := b.wait(t.Context()); err != nil || len(kept.kept) != 1 {
			t.Errorf("%v, kept when the wait ended: %v", err, kept.kept)
		}
	})
}

// stuckVerdicts is a broker that takes a connection on and then answers nothing
// more.
type stuckVerdicts struct {
	*mptcptest.PathManager
	timeout time.Duration
}

func (v *stuckVerdicts) SetTimeout(d time.Duration) { v.timeout = d }

func (v *stuckVerdicts) Report(string, netip.Addr, broker.Outcome) error { return broker.ErrGone }

func (v *stuckVerdicts) LookUp(string, []netip.Addr) ([]broker.Finding, error) {
	time.Sleep(v.timeout) // virtual time
	return nil, broker.ErrGone
}

// TestStuckBrokerDelaysOnce: beside a path manager of this process's own, a broker
// that gets stuck delays the joins by brokerTimeout, not by what its commands may
// take where all hangs on it.
func TestStuckBrokerDelaysOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.pm.Establish(testToken)
		b.attach = func(context.Context) (mptcp.PathManager, error) {
			return &stuckVerdicts{mptcptest.New(), 10 * brokerTimeout}, nil
		}
		r, took := b.settle(t, v6a, v6b, v4a)
		defer b.stop()
		for _, j := range r.Joins {
			if j.Verdict != Joined {
				t.Errorf("%+v", j)
			}
		}
		if len(r.Joins) != 2 || took < brokerTimeout || took >= 2*brokerTimeout {
			t.Errorf("%d joins took %v, want 2 in little more than %v", len(r.Joins), took, brokerTimeout)
		}
	})
}
