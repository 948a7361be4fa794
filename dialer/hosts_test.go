package dialer

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
)

// slowVerdicts keeps what is reported to it, a while later.
type slowVerdicts struct{ kept []netip.Addr }

func (*slowVerdicts) SetTimeout(time.Duration) {}

func (v *slowVerdicts) Report(_ string, addr netip.Addr, _ broker.Outcome) error {
	time.Sleep(200 * time.Millisecond)
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
