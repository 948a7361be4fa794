package dialer

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/hostid"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// TestJoinerProperties drives joiners with random candidates, answers of the
// kernel, events and times, and checks what must hold for all of them.
func TestJoinerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newRandomJoiner(t)
		for range 80 {
			w.stepOnce(t)
		}
		w.settle(t)
	})
}

// randomJoiner is a joiner and what was seen of it from outside.
type randomJoiner struct {
	joiner
	now     time.Time
	pool    []netip.AddrPort
	syn     map[netip.AddrPort]bool // subflows whose SYN is out
	up      map[netip.AddrPort]bool // subflows that are established
	created map[netip.AddrPort]bool // subflows that were made
	probing map[netip.AddrPort]bool
	told    map[netip.AddrPort]int // outcomes
	queue   []joinEvent
}

func newRandomJoiner(t *rapid.T) *randomJoiner {
	w := &randomJoiner{
		joiner: joiner{
			port: 443, max: rapid.IntRange(1, 4).Draw(t, "max"), timeout: time.Second,
			ipv4Only: rapid.Bool().Draw(t, "ipv4 only"), probe: rapid.Bool().Draw(t, "probe"),
		},
		now: time.Unix(1000, 0),
		syn: map[netip.AddrPort]bool{}, up: map[netip.AddrPort]bool{}, created: map[netip.AddrPort]bool{},
		probing: map[netip.AddrPort]bool{}, told: map[netip.AddrPort]int{},
	}
	for i := range rapid.IntRange(1, 7).Draw(t, "addresses") {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		if i%3 == 2 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)})
		}
		port := uint16(443)
		if i%5 == 4 {
			port = 80
		}
		w.pool = append(w.pool, netip.AddrPortFrom(addr, port))
	}
	return w
}

// stepOnce lets some time pass and one thing happen.
func (w *randomJoiner) stepOnce(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "ms")) * time.Millisecond)
	remote := rapid.SampledFrom(w.pool).Draw(t, "remote")
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0:
		w.apply(t, offered{[]choice{{remote: remote}}})
	case 1:
		w.apply(t, ticked{})
	case 2:
		w.apply(t, pathEvent{mptcp.Event{Type: mptcp.Established}})
	case 3:
		if w.syn[remote] {
			delete(w.syn, remote)
			w.up[remote] = true
			w.apply(t, pathEvent{mptcp.Event{Type: mptcp.SubflowEstablished, Remote: remote}})
		}
	case 4, 5:
		if w.syn[remote] || w.up[remote] {
			delete(w.syn, remote)
			delete(w.up, remote)
			errno := rapid.SampledFrom([]syscall.Errno{0, syscall.ECONNREFUSED, syscall.ETIMEDOUT}).Draw(t, "errno")
			w.apply(t, pathEvent{mptcp.Event{Type: mptcp.SubflowClosed, Remote: remote, Errno: errno, HasError: errno != 0}})
		}
	case 6:
		if w.probing[remote] {
			delete(w.probing, remote)
			w.apply(t, probed{remote: remote, outcome: hostid.OtherHost})
		}
	case 7:
		if rapid.IntRange(0, 20).Draw(t, "abandon") == 0 {
			w.apply(t, abandoned{errFellBack})
		}
	}
}

// apply steps the joiner and does what it asks for, as the driver does.
func (w *randomJoiner) apply(t *rapid.T, ev joinEvent) {
	for w.queue = append(w.queue, ev); len(w.queue) > 0; w.queue = w.queue[1:] {
		for _, a := range w.step(w.now, w.queue[0]) {
			w.do(t, a)
		}
	}
}

func (w *randomJoiner) do(t *rapid.T, a joinAction) {
	switch a.kind {
	case createSubflow:
		w.create(t, a.remote)
	case destroySubflow:
		if !w.syn[a.remote] {
			t.Fatalf("destroyed %v, whose SYN is not out", a.remote)
		}
		delete(w.syn, a.remote)
	case probeAddress:
		w.probing[a.remote] = true
	case noteOutcome:
		if w.told[a.remote]++; !w.created[a.remote] && w.told[a.remote] > 1 {
			t.Fatalf("%v has a second outcome without a subflow", a.remote)
		}
	}
}

// create answers as the kernel does, and checks the rules of creating.
func (w *randomJoiner) create(t *rapid.T, remote netip.AddrPort) {
	switch {
	case remote.Port() != w.port:
		t.Fatalf("%v: another port than the connection's", remote)
	case w.ipv4Only && remote.Addr().Is6():
		t.Fatalf("%v on an IPv4 socket", remote)
	case w.syn[remote] || w.up[remote]:
		t.Fatalf("%v joined twice", remote)
	case w.over != nil:
		t.Fatalf("%v after the end", remote)
	case len(w.syn)+len(w.up) >= w.max:
		t.Fatalf("%v: %d subflows are there already", remote, w.max)
	}
	err := rapid.SampledFrom([]error{nil, nil, nil, mptcp.ErrNotEstablished, syscall.EINVAL}).Draw(t, "create")
	if w.established && errors.Is(err, mptcp.ErrNotEstablished) {
		err = nil
	}
	if err == nil {
		w.created[remote], w.syn[remote] = true, true
	}
	w.queue = append(w.queue, created{remote, origin{}, err})
}

// settle lets the timer run and the probes end: then every address has its
// verdict, or no room.
func (w *randomJoiner) settle(t *rapid.T) {
	for range 200 {
		for remote := range w.probing {
			delete(w.probing, remote)
			w.apply(t, probed{remote: remote, outcome: hostid.NotTried})
		}
		at := w.deadline()
		if at.IsZero() {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.apply(t, ticked{})
	}
	if !w.settled() {
		t.Fatalf("never settled: %+v", w.joins)
	}
}
