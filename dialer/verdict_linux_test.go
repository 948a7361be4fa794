package dialer

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// TestVerdicts is the verdict table of the kernel's events, row by row: a
// connection to one address of the server, and another address that behaves in
// its own way. The application's socket is unaffected in every row.
func TestVerdicts(t *testing.T) {
	const joinTimeout = 500 * time.Millisecond
	tests := []struct {
		name   string
		target netip.Addr
		setup  func(t *testing.T, w *world)
		probe  bool
		want   Verdict
		err    error // nil: any
		join   bool  // a SYN with MP_JOIN must have been sent
	}{
		{name: "same host", target: server2v6, want: Joined, join: true},
		{
			name: "same host, third ACK stripped", target: server2v6, want: LimitReached, err: errSubflowLimit, join: true,
			setup: behave(server2v6, testlab.StripThirdACK),
		},
		{
			name: "other MPTCP host", target: otherv6, want: Refused, err: syscall.ECONNREFUSED, join: true,
			setup: func(t *testing.T, w *world) { serve(t, w.other, false) },
		},
		{
			name: "other MPTCP host, probed", target: otherv6, want: OtherHost, probe: true, join: true,
			setup: func(t *testing.T, w *world) { serve(t, w.other, false) },
		},
		{name: "closed port", target: otherv4, want: Refused, err: syscall.ECONNREFUSED, join: true},
		{name: "closed port, probed", target: otherv4, want: ClosedPort, probe: true, join: true},
		{
			name: "plain TCP host", target: otherv4, want: NotMPTCP, join: true,
			setup: func(t *testing.T, w *world) { serve(t, w.other, true) },
		},
		{name: "option stripped from the SYN", target: server2v4, want: NotMPTCP, join: true, setup: behave(server2v4, testlab.StripSYN)},
		{name: "option stripped from the answer", target: server2v4, want: NotMPTCP, join: true, setup: behave(server2v4, testlab.StripSYNACK)},
		{name: "blackhole", target: server2v6, want: TimedOut, err: errNoAnswer, join: true, setup: behave(server2v6, testlab.Blackholed)},
		{name: "reset on the way", target: server2v6, want: Refused, join: true, setup: behave(server2v6, testlab.Refused)},
		{name: "host unreachable", target: server2v4, want: Unreachable, err: syscall.EHOSTUNREACH, join: true, setup: behave(server2v4, testlab.Unreachable)},
		{name: "host unreachable, IPv6", target: server2v6, want: Unreachable, err: syscall.EHOSTUNREACH, join: true, setup: behave(server2v6, testlab.Unreachable)},
		{name: "net unreachable", target: server2v4, want: Unreachable, err: syscall.ENETUNREACH, join: true, setup: behave(server2v4, testlab.NetUnreachable)},
		{name: "port unreachable", target: server2v4, want: Refused, err: syscall.ECONNREFUSED, join: true, setup: behave(server2v4, testlab.PortUnreachable)},
		{name: "administratively prohibited", target: server2v4, want: Unreachable, err: syscall.EHOSTUNREACH, join: true, setup: behave(server2v4, testlab.AdminProhibited)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, w *world) {
				serve(t, w.server, false)
				if tt.setup != nil {
					tt.setup(t, w)
				}
				d := Dialer{Probe: tt.probe}
				if tt.want == TimedOut {
					d.JoinTimeout = joinTimeout
				}
				c := connect(t, &d, record(server1v6, tt.target))
				r := joined(t, c)
				until(t, "the verdict", func() bool { r = c.Report(); return verdicts(r)[tt.target] == tt.want })
				j := r.Joins[0]
				if tt.err != nil && !errors.Is(j.Err, tt.err) {
					t.Errorf("error %v, want %v", j.Err, tt.err)
				}
				if got := w.joins(tt.target); got != tt.join {
					t.Errorf("join sent: %v, want %v", got, tt.join)
				}
				echo(t, c)
				for _, s := range w.SYNs() {
					if s.Dst.Port() != labPort {
						t.Errorf("%v: a port other than the connection's", s)
					}
				}
				t.Logf("%s after %v: %v", j.Verdict, j.Elapsed, j.Err)
			})
		})
	}
}

// behave sets how the router treats an address.
func behave(addr netip.Addr, b testlab.Behaviour) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.Behave(addr, b) }
}

// joins reports whether a SYN with MP_JOIN went to addr.
func (w *world) joins(addr netip.Addr) bool {
	for _, s := range w.SYNs() {
		if s.Kind == testlab.Join && s.Dst.Addr() == addr {
			return true
		}
	}
	return false
}

// TestSubflowLimit: a server takes two joins unless told otherwise, and proves
// that it is the same host before it closes the third.
func TestSubflowLimit(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server1v4, server2v6, server2v4))
		count := make(map[Verdict]int)
		joined(t, c)
		until(t, "all verdicts", func() bool {
			clear(count)
			for _, v := range verdicts(c.Report()) {
				count[v]++
			}
			return count[Joined] == 2 && count[LimitReached] == 1
		})
		if n := c.RemoteAddrs().Len(); n != 3 {
			t.Errorf("%d addresses in use, want 3", n)
		}
		echo(t, c)
	})
}

// TestOptionsStrippedLater: a subflow whose options vanish after the handshake
// is given up, and the connection goes on.
func TestOptionsStrippedLater(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6))
		r := joined(t, c)
		if v := verdicts(r)[server2v6]; v != Joined {
			t.Fatalf("%q, want joined", v)
		}
		w.Behave(server2v6, testlab.StripLater)
		w.Behave(server1v6, testlab.Blackholed) // data must try the other
		sum := transfer(t, c, 64<<10)
		until(t, "the subflow's end", func() bool { return c.Report().Joins[0].Err != nil })
		w.Behave(server1v6, testlab.Up)
		if err := <-sum; err != nil {
			t.Fatal(err)
		}
		t.Logf("ended by %v", c.Report().Joins[0].Err)
	})
}
