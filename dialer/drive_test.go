package dialer

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errRefused = errors.New("refused")

// fakeHost is how the address of a scripted network behaves.
type fakeHost struct {
	rtt     time.Duration
	refused bool
	dead    bool          // never answers
	mute    bool          // accepts, and never says what counts as success
	greets  time.Duration // after how long it says that
}

// fakeConn counts the connections that are open.
type fakeConn struct {
	remote netip.AddrPort
	open   *atomic.Int32
}

func (c *fakeConn) Close() error { c.open.Add(-1); return nil }

// fakeNet connects to scripted hosts in virtual time.
type fakeNet struct {
	hosts map[netip.AddrPort]fakeHost
	open  atomic.Int32
	tries atomic.Int32
}

func (n *fakeNet) connect(ctx context.Context, remote netip.AddrPort, established func()) (*fakeConn, error) {
	n.tries.Add(1)
	h := n.hosts[remote]
	if h.dead {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(h.rtt):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h.refused {
		return nil, errRefused
	}
	n.open.Add(1)
	c := &fakeConn{remote, &n.open}
	if !h.mute && h.greets == 0 {
		return c, nil
	}
	established()
	greeting := time.After(h.greets)
	if h.mute {
		greeting = nil
	}
	select {
	case <-greeting:
		return c, nil
	case <-ctx.Done():
		_ = c.Close()
		return nil, ctx.Err()
	}
}

// timedAnswer is an answer that arrives after a while.
type timedAnswer struct {
	after time.Duration
	answered
}

func TestDriverRun(t *testing.T) {
	const rtt = 20 * time.Millisecond
	ready := func(after time.Duration, addrs ...netip.AddrPort) timedAnswer {
		return timedAnswer{after, answered{candidates: addrs, ready: true, complete: true}}
	}
	tests := []struct {
		name    string
		hosts   map[netip.AddrPort]fakeHost
		answers []timedAnswer
		timeout time.Duration
		want    netip.AddrPort
		elapsed time.Duration
		tries   int32
		err     error
	}{
		{
			name:    "one address",
			hosts:   map[netip.AddrPort]fakeHost{v4a: {rtt: rtt}},
			answers: []timedAnswer{ready(0, v4a)},
			want:    v4a, elapsed: rtt, tries: 1,
		}, {
			name:    "IPv6 blackholed: IPv4 after one Connection Attempt Delay",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {dead: true}, v4a: {rtt: rtt}},
			answers: []timedAnswer{ready(0, v6a, v4a)},
			want:    v4a, elapsed: DefaultConnectionAttemptDelay + rtt, tries: 2,
		}, {
			name:    "first of four dead",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {dead: true}, v4a: {rtt: rtt}, v6b: {rtt: rtt}, v4b: {rtt: rtt}},
			answers: []timedAnswer{ready(0, v6a, v4a, v6b, v4b)},
			want:    v4a, elapsed: DefaultConnectionAttemptDelay + rtt, tries: 2,
		}, {
			name:    "refused addresses cost a round trip each",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {rtt: rtt, refused: true}, v4a: {rtt: rtt, refused: true}, v6b: {rtt: rtt}},
			answers: []timedAnswer{ready(0, v6a, v4a, v6b)},
			want:    v6b, elapsed: 3 * rtt, tries: 3,
		}, {
			name:    "A late: IPv6 does not wait",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {rtt: rtt}},
			answers: []timedAnswer{{0, answered{candidates: []netip.AddrPort{v6a}, ready: true}}, ready(time.Hour, v6a, v4a)},
			want:    v6a, elapsed: rtt, tries: 1,
		}, {
			name:    "AAAA never answered: IPv4 after the Resolution Delay",
			hosts:   map[netip.AddrPort]fakeHost{v4a: {rtt: rtt}},
			answers: []timedAnswer{{0, answered{candidates: []netip.AddrPort{v4a}}}, ready(time.Hour, v4a)},
			want:    v4a, elapsed: DefaultResolutionDelay + rtt, tries: 1,
		}, {
			name:    "both connect at once: one is closed",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {rtt: 270 * time.Millisecond}, v4a: {rtt: rtt}},
			answers: []timedAnswer{ready(0, v6a, v4a)},
			elapsed: 270 * time.Millisecond, tries: 2,
		}, {
			name:    "the first connects and is mute: the next a Connection Attempt Delay after that",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {rtt: 100 * time.Millisecond, mute: true}, v4a: {rtt: rtt, greets: rtt}},
			answers: []timedAnswer{ready(0, v6a, v4a)},
			want:    v4a, elapsed: 100*time.Millisecond + DefaultConnectionAttemptDelay + 2*rtt, tries: 2,
		}, {
			name:    "the first connects late and has the time it needs",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {rtt: 200 * time.Millisecond, greets: 200 * time.Millisecond}, v4a: {rtt: rtt}},
			answers: []timedAnswer{ready(0, v6a, v4a)},
			want:    v6a, elapsed: 400 * time.Millisecond, tries: 1,
		}, {
			name:    "all mute",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {rtt: rtt, mute: true}, v4a: {rtt: rtt, mute: true}},
			answers: []timedAnswer{ready(0, v6a, v4a)},
			timeout: time.Second, elapsed: time.Second, tries: 2, err: context.DeadlineExceeded,
		}, {
			name:    "all refused",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {rtt: rtt, refused: true}, v4a: {rtt: rtt, refused: true}},
			answers: []timedAnswer{ready(0, v6a, v4a)},
			elapsed: 2 * rtt, tries: 2,
		}, {
			name:    "deadline",
			hosts:   map[netip.AddrPort]fakeHost{v6a: {dead: true}, v4a: {dead: true}},
			answers: []timedAnswer{ready(0, v6a, v4a)},
			timeout: time.Second, elapsed: time.Second, tries: 2, err: context.DeadlineExceeded,
		}, {
			name:    "deadline before any answer",
			answers: []timedAnswer{ready(time.Hour, v6a)},
			timeout: time.Second, elapsed: time.Second, err: context.DeadlineExceeded,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.timeout > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				network := &fakeNet{hosts: tt.hosts}
				begin := time.Now()
				d := newDriver(newRace(0, 0), begin, network.connect)
				conn, won, err := d.run(ctx, playAnswers(ctx, tt.answers))
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if got := time.Since(begin); got != tt.elapsed {
					t.Errorf("took %v, want %v", got, tt.elapsed)
				}
				if tt.want.IsValid() && (!won || conn.remote != tt.want) {
					t.Errorf("connected to %v, want %v", conn, tt.want)
				}
				if got := network.tries.Load(); got != tt.tries || len(d.log) != int(tt.tries) {
					t.Errorf("%d attempts, %d in the log, want %d", got, len(d.log), tt.tries)
				}
				if open := network.open.Load(); won != (open == 1) || open > 1 {
					t.Errorf("%d connections open after the race, won %v", open, won)
				}
				for _, a := range d.log {
					if (a.Err == nil) != (won && a.Remote == conn.remote) {
						t.Errorf("attempt %v has error %v", a.Remote, a.Err)
					}
				}
			})
		})
	}
}

// playAnswers sends answers at their times and closes the channel.
func playAnswers(ctx context.Context, list []timedAnswer) <-chan answered {
	out := make(chan answered, len(list))
	go func() {
		defer close(out)
		for _, a := range list {
			select {
			case <-time.After(a.after):
				out <- a.answered
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func TestErrorTimeout(t *testing.T) {
	refused := Attempt{Remote: v4a, Err: errRefused}
	late := Attempt{Remote: v6a, Err: timeoutError{}}
	for _, tt := range []struct {
		name string
		err  Error
		want bool
	}{
		{"the dial's", Error{Attempts: []Attempt{refused}, Cause: timeoutError{}}, true},
		{"cancelled", Error{Attempts: []Attempt{late}, Cause: canceledError{}}, false},
		{"every address's", Error{Attempts: []Attempt{late, late}}, true},
		{"one address's", Error{Attempts: []Attempt{late, refused}}, false},
		{"nothing tried", Error{}, false},
	} {
		if tt.err.Timeout() != tt.want || tt.err.Temporary() != tt.want {
			t.Errorf("%s: %v is a timeout: %v, want %v", tt.name, &tt.err, tt.err.Timeout(), tt.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	refused := Attempt{Remote: v4a, Err: errRefused}
	late := Attempt{Remote: v6a, Err: timeoutError{}}
	for _, tt := range []struct {
		err  Error
		want string
	}{
		{Error{Attempts: []Attempt{refused, late}}, "192.0.2.1:443: refused; [2001:db8::1]:443: i/o timeout"},
		{
			Error{Attempts: []Attempt{refused, late}, Cause: timeoutError{}},
			"i/o timeout, no answer from [2001:db8::1]:443; 192.0.2.1:443: refused",
		},
		{Error{Cause: canceledError{}}, "operation was canceled"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
}
