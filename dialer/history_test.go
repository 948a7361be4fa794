package dialer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/netmon"
)

// TestHistory: what is known of an endpoint as time goes by.
func TestHistory(t *testing.T) {
	const home, away = attachment("home"), attachment("away")
	other := netip.AddrPortFrom(v6a.Addr(), v6a.Port()+1)
	type seen struct {
		after time.Duration // since the one before
		o     attemptOutcome
		rtt   time.Duration
	}
	silence := func(after time.Duration) seen { return seen{after, attemptSilent, 0} }
	for _, tt := range []struct {
		name   string
		at     attachment
		seen   []seen
		ask    netip.AddrPort
		in     attachment
		after  time.Duration
		expect known
	}{
		{"nothing", home, nil, v6a, home, 0, known{}},
		{"connected", home, []seen{{0, attemptConnected, time.Second}}, v6a, home, time.Minute, known{used: true, rtt: time.Second}},
		{"another service of it", home, []seen{{0, attemptConnected, time.Second}}, other, home, 0, known{used: true, rtt: time.Second}},
		{"elsewhere", home, []seen{{0, attemptConnected, time.Second}}, v6a, away, 0, known{}},
		{"connected long ago", home, []seen{{0, attemptConnected, time.Second}}, v6a, home, goodLifetime, known{}},
		{"seen again and again", home, []seen{{0, attemptConnected, 1}, {goodLifetime - 1, attemptConnected, 2}}, v6a, home, 1, known{}},
		{"faster the second time", home, []seen{{0, attemptConnected, 2}, {1, attemptConnected, 1}}, v6a, home, 0, known{used: true, rtt: 1}},
		{"silent", home, []seen{silence(0)}, v6a, home, minSilentPause - 1, known{last: true}},
		{"silent for every service", home, []seen{silence(0)}, other, home, 0, known{last: true}},
		{"silent here, not there", home, []seen{silence(0)}, v6a, away, 0, known{}},
		{"silent a while ago", home, []seen{silence(0)}, v6a, home, minSilentPause, known{}},
		{"silent at the same time", home, []seen{silence(0), silence(0), silence(0)}, v6a, home, minSilentPause, known{}},
		{"silent again", home, []seen{silence(0), silence(minSilentPause)}, v6a, home, 2*minSilentPause - 1, known{last: true}},
		{"silent again, a while ago", home, []seen{silence(0), silence(minSilentPause)}, v6a, home, 2 * minSilentPause, known{}},
		{"silent again after a success", home, []seen{silence(0), {1, attemptConnected, 1}, silence(1)}, v6a, home, minSilentPause, known{}},
		{"silent after a success", home, []seen{{0, attemptConnected, 1}, silence(1)}, v6a, home, 0, known{last: true}},
		{"answers again", home, []seen{silence(0), {1, attemptConnected, 1}}, v6a, home, 0, known{used: true, rtt: 1}},
		{"refused", home, []seen{{0, attemptRefused, 0}}, v6a, home, 0, known{last: true}},
		{"refused, another service", home, []seen{{0, attemptRefused, 0}}, other, home, 0, known{}},
		{"refused a while ago", home, []seen{{0, attemptRefused, 0}, {refusedPause, attemptRefused, 0}}, v6a, home, refusedPause, known{}},
		{"unreachable", home, []seen{{0, attemptUnreachable, 0}}, other, home, unreachablePause - 1, known{last: true}},
		{"nothing said", home, []seen{{0, attemptUndecided, 0}}, v6a, home, 0, known{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h history
			now := time.Unix(1e9, 0)
			for _, s := range tt.seen {
				now = now.Add(s.after)
				h.record(tt.at, v6a, s.o, s.rtt, now)
			}
			if got := h.tell(tt.in, tt.ask, now.Add(tt.after)); got != tt.expect {
				t.Errorf("got %+v, want %+v", got, tt.expect)
			}
		})
	}
}

// TestHistoryProperties: whatever happens, the last word on an endpoint counts,
// nothing is said of other attachments, no pause is without an end, and the
// memory is bounded.
func TestHistoryProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h history
		now := time.Unix(1e9, 0)
		place := rapid.SampledFrom([]attachment{"", "a", "b", "c"})
		host := rapid.SampledFrom([]netip.AddrPort{v6a, v4a, v6b, v4b})
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "time")))
			at, remote := place.Draw(t, "place"), host.Draw(t, "host")
			elsewhere := place.Filter(func(p attachment) bool { return p != at }).Draw(t, "elsewhere")
			before := h.tell(elsewhere, remote, now)
			o := attemptOutcome(rapid.IntRange(1, int(attemptRefused)).Draw(t, "outcome"))
			h.record(at, remote, o, time.Millisecond, now)
			k := h.tell(at, remote, now)
			switch {
			case k.last == (o == attemptConnected), o == attemptConnected && (!k.used || k.rtt == 0):
				t.Fatalf("%+v after %d", k, o)
			case h.tell(elsewhere, remote, now) != before:
				t.Fatal("another attachment's history changed")
			case h.tell(at, remote, now.Add(maxSilentPause)).last:
				t.Fatal("a pause without an end")
			}
		}
	})
}

// TestHistoryBounds: beyond the bounds the oldest is forgotten.
func TestHistoryBounds(t *testing.T) {
	var h history
	now := time.Unix(1e9, 0)
	for i := range historyAttachments + 1 {
		for n := range historyEntries + 1 {
			remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 443)
			now = now.Add(time.Millisecond)
			h.record(attachment(fmt.Sprint(i)), remote, attemptConnected, 1, now)
			if n == historyEntries {
				if !h.tell(attachment(fmt.Sprint(i)), remote, now).used {
					t.Error("the newest is forgotten")
				}
			}
		}
	}
	if len(h.attachments) != historyAttachments || h.attachments["0"] != nil {
		t.Errorf("%d attachments, the oldest %v", len(h.attachments), h.attachments["0"] != nil)
	}
	for at, a := range h.attachments {
		_, oldest := a.entries[netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 0, 0}), 0)]
		if len(a.entries) != historyEntries || oldest {
			t.Errorf("%s: %d entries, the oldest %v", at, len(a.entries), oldest)
		}
	}
}

// TestDialOrder: addresses that failed lately go to the end, for a while.
func TestDialOrder(t *testing.T) {
	var d Dialer
	past := d.recall()
	t.Cleanup(past.leave)
	all := []netip.AddrPort{v6a, v4a, v6b, v4b}
	past.record([]Attempt{
		{Remote: v6a, Err: errLost},
		{Remote: v4a, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		{Remote: v4b},
		{Remote: v6b, Err: errLost},
	}, nil)
	check := func(what string, candidates []netip.AddrPort, hopeful bool, want ...netip.AddrPort) {
		t.Helper()
		if got, ok := past.order(candidates); !slices.Equal(got, want) || ok != hopeful {
			t.Errorf("%s: got %v, %v; want %v, %v", what, got, ok, want, hopeful)
		}
	}
	check("failures last", all, true, v6b, v4b, v6a, v4a)
	check("only failures", []netip.AddrPort{v6a, v4a}, false, v6a, v4a)
	if _, used := past.way(v4b.Addr()); !used {
		t.Error("the one that connected does not count as used")
	}
	past.record([]Attempt{{Remote: v6a}}, nil)
	check("after a success", all, true, v6a, v6b, v4b, v4a)
}

// TestAttachmentOf: what changes the attachment, and what does not.
func TestAttachmentOf(t *testing.T) {
	addr := func(s string, index int, routed bool) netmon.Address {
		p := netip.MustParsePrefix(s)
		return netmon.Address{Addr: p.Addr(), Prefix: p.Bits(), Index: index, DefaultRoute: routed}
	}
	base := []netmon.Address{addr("192.0.2.7/24", 2, true), addr("2001:db8:1::7/64", 2, true)}
	with := func(more ...netmon.Address) []netmon.Address { return append(slices.Clone(base), more...) }
	for _, tt := range []struct {
		name         string
		addrs        []netmon.Address
		same4, same6 bool
	}{
		{"nothing changes", base, true, true},
		{"a temporary address more", with(addr("2001:db8:1::abcd/64", 2, true)), true, true},
		{"a bridge without a way out", with(addr("172.17.0.1/16", 5, false)), true, true},
		{"another address of the prefix", []netmon.Address{addr("192.0.2.99/24", 2, true), base[1]}, true, true},
		{"another IPv4 network", []netmon.Address{addr("198.51.100.7/24", 2, true), base[1]}, false, true},
		{"the same on another interface", []netmon.Address{addr("192.0.2.7/24", 3, true), base[1]}, false, true},
		{"a second way out", with(addr("2001:db8:2::7/64", 3, true)), true, false},
		{"IPv6 is gone", base[:1], true, false},
	} {
		was, is := netmon.State{Addresses: base}, netmon.State{Addresses: tt.addrs}
		if got := attachmentOf(was, true) == attachmentOf(is, true); got != tt.same4 {
			t.Errorf("%s: IPv4 the same: %v", tt.name, got)
		}
		if got := attachmentOf(was, false) == attachmentOf(is, false); got != tt.same6 {
			t.Errorf("%s: IPv6 the same: %v", tt.name, got)
		}
	}
	if attachmentOf(netmon.State{Addresses: base}, true) == attachmentOf(netmon.State{}, true) {
		t.Error("no network is like one")
	}
}

// TestPlaceMoved: what was seen while the network changed counts nowhere.
func TestPlaceMoved(t *testing.T) {
	now := attachmentsOf(netmon.State{
		Addresses: []netmon.Address{{Addr: netip.MustParseAddr("192.0.2.7"), Prefix: 24, Index: 2, DefaultRoute: true}},
	})
	p := place{looked: true, now: now}
	if _, moved := p.attachment(v4a.Addr()); !moved {
		t.Error("IPv4 has not moved")
	}
	if _, moved := p.attachment(v6a.Addr()); moved {
		t.Error("IPv6 has moved")
	}
	var h history
	r := recall{history: &h, place: place{looked: true, now: now}}
	r.record([]Attempt{{Remote: v4a, Err: errors.Join(errLost)}, {Remote: v4b}}, nil)
	if len(h.attachments) != 0 {
		t.Errorf("%d attachments remembered", len(h.attachments))
	}
}
