package dialer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Addresses of the tests: v6 and v4 are addresses of one name.
var (
	v6a = netip.MustParseAddrPort("[2001:db8::1]:443")
	v6b = netip.MustParseAddrPort("[2001:db8::2]:443")
	v4a = netip.MustParseAddrPort("192.0.2.1:443")
	v4b = netip.MustParseAddrPort("192.0.2.2:443")
)

// script is one event at a time in milliseconds and the actions it must cause.
type script struct {
	at   int
	ev   event
	want string
}

// render writes actions in the words of the tables: times in milliseconds.
func render(start time.Time, actions []action) string {
	var words []string
	for _, a := range actions {
		switch a.kind {
		case startAttempt:
			words = append(words, "start "+a.remote.Addr().String())
		case cancelAttempt:
			words = append(words, "cancel "+a.remote.Addr().String())
		case setTimer:
			words = append(words, fmt.Sprintf("timer %d", a.at.Sub(start).Milliseconds()))
		case finish:
			words = append(words, "finish "+a.remote.Addr().String())
		case giveUp:
			words = append(words, "give up")
		}
	}
	return strings.Join(words, ", ")
}

func TestRaceStep(t *testing.T) {
	all := func(addrs ...netip.AddrPort) answered {
		return answered{candidates: addrs, ready: true, complete: true}
	}
	tests := []struct {
		name   string
		script []script
	}{
		{"preferred family first starts at once", []script{
			{0, answered{candidates: []netip.AddrPort{v6a}, ready: true}, "start 2001:db8::1"},
			{1, answered{candidates: []netip.AddrPort{v6a, v4a}, complete: true}, "timer 250"},
			{250, ticked{}, "start 192.0.2.1"},
			{260, succeeded{v4a}, "cancel 2001:db8::1, finish 192.0.2.1"},
			{270, failed{v6a}, ""},
		}},
		{"the other family waits for the resolution delay", []script{
			{5, answered{candidates: []netip.AddrPort{v4a}}, "timer 55"},
			{55, ticked{}, "start 192.0.2.1"},
			{60, answered{candidates: []netip.AddrPort{v6a, v4a}, ready: true, complete: true}, "timer 305"},
			{70, succeeded{v4a}, "finish 192.0.2.1"},
		}},
		{"a negative answer of the preferred family frees the other", []script{
			{5, answered{candidates: []netip.AddrPort{v4a}}, "timer 55"},
			{9, answered{candidates: []netip.AddrPort{v4a}, ready: true, complete: true}, "start 192.0.2.1"},
		}},
		{"a negative answer alone starts nothing", []script{
			{5, answered{ready: true}, ""},
			{30, answered{candidates: []netip.AddrPort{v4a}, complete: true}, "start 192.0.2.1"},
		}},
		{"an answer in the resolution delay takes its place in the list", []script{
			{5, answered{candidates: []netip.AddrPort{v4a}}, "timer 55"},
			{40, answered{candidates: []netip.AddrPort{v6a, v4a}, ready: true, complete: true}, "start 2001:db8::1, timer 290"},
		}},
		{"a failed newest attempt starts the next at once", []script{
			{0, all(v6a, v4a, v6b), "start 2001:db8::1, timer 250"},
			{10, failed{v6a}, "start 192.0.2.1, timer 260"},
			{20, failed{v4a}, "start 2001:db8::2"},
			{30, failed{v6b}, "give up"},
		}},
		{"a failed older attempt leaves the delay alone", []script{
			{0, all(v6a, v4a, v6b), "start 2001:db8::1, timer 250"},
			{250, ticked{}, "start 192.0.2.1, timer 500"},
			{300, failed{v6a}, "timer 500"},
			{310, failed{v4a}, "start 2001:db8::2"},
		}},
		{"all failed, then a late answer", []script{
			{0, answered{candidates: []netip.AddrPort{v4a}, ready: true}, "start 192.0.2.1"},
			{10, failed{v4a}, ""},
			{90, answered{candidates: []netip.AddrPort{v6a, v4a}, complete: true}, "start 2001:db8::1"},
			{95, failed{v6a}, "give up"},
		}},
		{"an address that went away is not started, its attempt goes on", []script{
			{0, answered{candidates: []netip.AddrPort{v6a, v6b, v4a}, ready: true}, "start 2001:db8::1, timer 250"},
			{50, answered{candidates: []netip.AddrPort{v4a}, complete: true}, "timer 250"},
			{250, ticked{}, "start 192.0.2.1"},
			{260, succeeded{v6a}, "cancel 192.0.2.1, finish 2001:db8::1"},
		}},
		{"a TCP connection extends the timer", []script{
			{0, all(v6a, v4a, v6b), "start 2001:db8::1, timer 250"},
			{240, established{v6a}, "timer 490"},
			{490, ticked{}, "start 192.0.2.1, timer 740"},
			{500, established{v6a}, "timer 740"},
			{510, established{v4a}, "timer 760"},
			{520, failed{v4a}, "start 2001:db8::2"},
			{530, established{v4a}, ""},
			{540, succeeded{v6b}, "cancel 2001:db8::1, finish 2001:db8::2"},
			{550, established{v6a}, ""},
		}},
		{"no address at all", []script{
			{5, answered{}, ""},
			{6, answered{ready: true, complete: true}, "give up"},
			{7, ticked{}, ""},
		}},
		{"an address twice is tried once", []script{
			{0, all(v4a, v4a), "start 192.0.2.1"},
			{1, failed{v4a}, "give up"},
		}},
		{"a failure reported twice counts once", []script{
			{0, all(v4a, v4b), "start 192.0.2.1, timer 250"},
			{1, failed{v4a}, "start 192.0.2.2"},
			{2, failed{v4a}, ""},
			{3, failed{v4b}, "give up"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			r := newRace(0, 0)
			for i, s := range tt.script {
				got := render(start, r.step(start.Add(time.Duration(s.at)*time.Millisecond), s.ev))
				if got != s.want {
					t.Fatalf("event %d (%T at %d ms): got %q, want %q", i, s.ev, s.at, got, s.want)
				}
			}
		})
	}
}

func TestRaceBoundsTheAttemptDelay(t *testing.T) {
	for _, tt := range []struct{ set, want time.Duration }{
		{0, DefaultConnectionAttemptDelay},
		{time.Nanosecond, MinConnectionAttemptDelay},
		{time.Second, time.Second},
		{time.Hour, MaxConnectionAttemptDelay},
	} {
		if got := newRace(0, tt.set).attemptDelay; got != tt.want {
			t.Errorf("attempt delay %v: got %v, want %v", tt.set, got, tt.want)
		}
	}
}

func TestRaceBoundsRunningAttempts(t *testing.T) {
	var many []netip.AddrPort
	for i := range 2 * maxRunningAttempts {
		many = append(many, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 443))
	}
	r, now := newRace(0, 0), time.Unix(1000, 0)
	r.step(now, answered{candidates: many, complete: true})
	for range many {
		now = now.Add(time.Second)
		r.step(now, ticked{})
	}
	if r.running != maxRunningAttempts {
		t.Fatalf("%d attempts run, want %d", r.running, maxRunningAttempts)
	}
	if got := r.step(now, failed{many[0]}); len(got) == 0 || got[0].kind != startAttempt {
		t.Fatalf("a failure at the bound: got %v, want another start", got)
	}
}

// TestRaceProperties drives races with random answers, failures and times, and
// checks what must hold for all of them.
func TestRaceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newRandomRace(t)
		for range 60 {
			w.stepOnce(t)
			if w.race.over {
				break
			}
		}
		w.checkEnd(t)
	})
}

// randomRace is a race and what was seen of it from outside.
type randomRace struct {
	race      *race
	now       time.Time
	timer     time.Time
	pool      []netip.AddrPort
	known     []netip.AddrPort
	complete  bool
	running   map[netip.AddrPort]bool
	started   map[netip.AddrPort]bool
	lastStart time.Time
	newest    netip.AddrPort
	ended     actionKind
}

func newRandomRace(t *rapid.T) *randomRace {
	n := rapid.IntRange(0, 6).Draw(t, "addresses")
	w := &randomRace{
		race: newRace(0, 0), now: time.Unix(1000, 0), ended: startAttempt,
		running: map[netip.AddrPort]bool{}, started: map[netip.AddrPort]bool{},
	}
	for i := range n {
		w.pool = append(w.pool, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1))
	}
	return w
}

// stepOnce lets some time pass and one thing happen.
func (w *randomRace) stepOnce(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
	if !w.timer.IsZero() && !w.now.Before(w.timer) {
		w.now = w.timer
		w.apply(t, ticked{})
		return
	}
	switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
	case what < 4 && !w.complete:
		k := rapid.IntRange(len(w.known), len(w.pool)).Draw(t, "known")
		w.known = rapid.Permutation(w.pool[:k]).Draw(t, "order")
		w.complete = rapid.Bool().Draw(t, "complete")
		w.apply(t, answered{candidates: w.known, ready: rapid.Bool().Draw(t, "ready"), complete: w.complete})
	case what < 9 && len(w.running) > 0:
		if what < 6 {
			w.apply(t, established{w.oneRunning(t)})
			return
		}
		w.apply(t, failed{w.oneRunning(t)})
	case len(w.running) > 0:
		w.apply(t, succeeded{w.oneRunning(t)})
	}
}

// oneRunning draws a running attempt, in a stable order.
func (w *randomRace) oneRunning(t *rapid.T) netip.AddrPort {
	var list []netip.AddrPort
	for _, a := range w.pool {
		if w.running[a] {
			list = append(list, a)
		}
	}
	return rapid.SampledFrom(list).Draw(t, "which")
}

// apply steps the race and checks every action against the rules.
func (w *randomRace) apply(t *rapid.T, ev event) {
	newestFailed := false
	if f, ok := ev.(failed); ok {
		delete(w.running, f.remote)
		newestFailed = f.remote == w.newest || len(w.running) == 0
	}
	if newestFailed {
		w.lastStart = time.Time{}
	}
	if e, ok := ev.(established); ok && e.remote == w.newest {
		w.lastStart = w.now
	}
	w.timer = time.Time{}
	for _, a := range w.race.step(w.now, ev) {
		switch a.kind {
		case startAttempt:
			w.checkStart(t, a.remote)
		case cancelAttempt:
			if !w.running[a.remote] {
				t.Fatalf("cancelled %v, which is not running", a.remote)
			}
			delete(w.running, a.remote)
		case setTimer:
			if !a.at.After(w.now) {
				t.Fatalf("timer in the past")
			}
			w.timer = a.at
		case finish, giveUp:
			w.ended = a.kind
			delete(w.running, a.remote)
		}
	}
}

func (w *randomRace) checkStart(t *rapid.T, remote netip.AddrPort) {
	if w.started[remote] {
		t.Fatalf("%v started twice", remote)
	}
	if !w.lastStart.IsZero() && w.now.Sub(w.lastStart) < DefaultConnectionAttemptDelay {
		t.Fatalf("%v started %v after the one before", remote, w.now.Sub(w.lastStart))
	}
	w.started[remote], w.running[remote] = true, true
	w.lastStart, w.newest = w.now, remote
}

// checkEnd: nothing is left running after the end, the race gives up only when
// everything was tried, and it never sleeps with something left to do.
func (w *randomRace) checkEnd(t *rapid.T) {
	switch {
	case w.race.over && len(w.running) > 0:
		t.Fatalf("over with %d attempts running", len(w.running))
	case w.ended == giveUp && len(w.started) < len(w.known):
		t.Fatalf("gave up after %d of %d addresses", len(w.started), len(w.known))
	case !w.race.over && w.complete && len(w.running) == 0 && w.timer.IsZero():
		t.Fatalf("stuck: nothing runs, no timer, no answer to come")
	}
}
