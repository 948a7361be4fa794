package dialer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// listenOccupy listens on addresses with package net: "[::]" is the IPv6 wildcard
// alone.
func listenOccupy(t *testing.T, addresses []string) {
	t.Helper()
	for _, a := range addresses {
		network := "tcp4"
		if strings.HasPrefix(a, "[") {
			network = "tcp6"
		}
		ln, err := net.Listen(network, a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
	}
}

// TestListenLoopback is draft section 4.1 on the loopback interface. P stands
// for a free port.
func TestListenLoopback(t *testing.T) {
	const (
		absent = "198.51.100.1"
		inUse  = "not bound: bind: address already in use"
		none   = "not bound: bind: cannot assign requested address"
	)
	for _, test := range []struct {
		name       string
		others     string // what other programs listen on
		set, bound string
		results    string // one a line
		reach      string
		refused    string
		sockets    int
	}{
		{
			name: "several", set: "127.0.0.1:P 127.0.0.2:P [::1]:P", bound: "127.0.0.1:P 127.0.0.2:P [::1]:P", sockets: 3,
			reach: "127.0.0.1:P 127.0.0.2:P [::1]:P", refused: "127.0.0.3:P",
		},
		{
			name: "occupied", others: "127.0.0.1:P", set: "127.0.0.1:P 127.0.0.2:P", bound: "127.0.0.2:P", sockets: 1,
			results: "127.0.0.1:P: " + inUse + "\n127.0.0.2:P: bound", reach: "127.0.0.2:P",
		},
		{
			name: "absent", set: absent + ":P [::1]:P", bound: "[::1]:P", sockets: 1,
			results: absent + ":P: " + none + "\n[::1]:P: bound",
		},
		{
			name: "IPv4-mapped", set: "[::ffff:127.0.0.1]:P 127.0.0.1:P", bound: "[::ffff:127.0.0.1]:P", sockets: 1,
			results: "[::ffff:127.0.0.1]:P: bound", reach: "127.0.0.1:P",
		},
		{
			name: "IPv4 wildcard", set: "0.0.0.0:P", bound: "0.0.0.0:P", sockets: 1, reach: "127.0.0.9:P", refused: "[::1]:P",
		},
		{
			name: "IPv6 wildcard", set: "[::]:P", bound: "[::]:P 0.0.0.0:P", sockets: 1,
			results: "[::]:P: bound", reach: "127.0.0.9:P [::1]:P",
		},
		{
			name: "both wildcards", set: "0.0.0.0:P [::]:P", bound: "0.0.0.0:P [::]:P", sockets: 1,
			results: "0.0.0.0:P: bound, by the socket of [::]:P\n[::]:P: bound", reach: "127.0.0.9:P [::1]:P",
		},
		{
			name: "wildcard and specific", set: "127.0.0.1:P [::1]:P 0.0.0.0:P " + absent + ":P", bound: "127.0.0.1:P [::1]:P 0.0.0.0:P", sockets: 2,
			results: "127.0.0.1:P: bound, by the socket of 0.0.0.0:P\n[::1]:P: bound\n0.0.0.0:P: bound\n" + absent + ":P: " + none,
			reach:   "127.0.0.9:P [::1]:P",
		},
		{
			name: "one family's wildcard occupied", others: "0.0.0.0:P", set: "[::]:P 0.0.0.0:P", bound: "[::]:P", sockets: 1,
			results: "[::]:P: bound\n0.0.0.0:P: " + inUse, reach: "[::1]:P",
		},
		{
			name: "one of a wildcard's addresses occupied", others: "127.0.0.1:P", set: "[::]:P 0.0.0.0:P 127.0.0.1:P 127.0.0.2:P", bound: "[::]:P 127.0.0.2:P", sockets: 2,
			results: "[::]:P: bound\n0.0.0.0:P: " + inUse + "\n127.0.0.1:P: " + inUse + "\n127.0.0.2:P: bound", reach: "[::1]:P 127.0.0.2:P",
		},
		{
			name: "two ports", set: "127.0.0.1:P [::]:0", bound: "127.0.0.1:P [::]:C 0.0.0.0:C", sockets: 2,
			results: "127.0.0.1:P: bound\n[::]:C: bound, port chosen by the system for all", reach: "127.0.0.1:P 127.0.0.1:C [::1]:C", refused: "[::1]:P",
		},
		{
			name: "port 0 with a wildcard", set: "127.0.0.1:0 0.0.0.0:0 [::1]:0", bound: "127.0.0.1:C 0.0.0.0:C [::1]:C", sockets: 2,
			results: "127.0.0.1:C: bound, by the socket of 0.0.0.0:C, port chosen by the system for all\n" +
				"0.0.0.0:C: bound, port chosen by the system for all\n[::1]:C: bound, port chosen by the system for all",
			reach: "127.0.0.9:C [::1]:C",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			chosen := ""
			port := strings.NewReplacer(":P", ":"+freeListenPort(t))
			text := func(s string) string { return strings.ReplaceAll(port.Replace(s), ":C", ":"+chosen) }
			listenOccupy(t, strings.Fields(text(test.others)))
			l := listenOn(t, ListenConfig{}, strings.Join(strings.Fields(text(test.set)), ","))
			for _, r := range l.Results() {
				if r.ChosenPort {
					chosen = fmt.Sprint(r.Bound.Port())
				}
			}
			if got, want := l.Addr().String(), strings.Join(strings.Fields(text(test.bound)), ","); got != want {
				t.Errorf("bound to %s, want %s", got, want)
			}
			var lines []string
			for _, r := range l.Results() {
				lines = append(lines, r.String())
			}
			if got := strings.Join(lines, "\n"); test.results != "" && got != text(test.results) {
				t.Errorf("results:\n%s\nwant:\n%s", got, text(test.results))
			}
			if len(l.sockets) != test.sockets {
				t.Errorf("%d sockets, want %d", len(l.sockets), test.sockets)
			}
			for _, a := range strings.Fields(text(test.reach)) {
				listenReached(t, l, netip.MustParseAddrPort(a))
			}
			for _, a := range strings.Fields(text(test.refused)) {
				listenRefused(t, netip.MustParseAddrPort(a))
			}
		})
	}
}

// TestListenTakeOver: sockets that are in each other's way take over from each
// other, and what fails leaves everything as it was.
func TestListenTakeOver(t *testing.T) {
	for _, test := range []struct {
		name, from, others, to string
		bound                  string // "" where it fails
		kept                   int    // sockets that stay
	}{
		{"specific to wildcard", "127.0.0.1:P [::1]:P", "", "0.0.0.0:P [::1]:P", "0.0.0.0:P [::1]:P", 1},
		{"specific to dual-stack", "127.0.0.1:P [::1]:P", "", "[::]:P", "[::]:P 0.0.0.0:P", 0},
		{"dual-stack to IPv4", "[::]:P", "", "0.0.0.0:P", "0.0.0.0:P", 0},
		{"wildcard to specific", "[::]:P", "", "127.0.0.1:P 127.0.0.2:P", "127.0.0.1:P 127.0.0.2:P", 0},
		{"the set it has", "[::]:P", "", "0.0.0.0:P 127.0.0.1:P [::]:P", "0.0.0.0:P 127.0.0.1:P [::]:P", 1},
		{"wildcard occupied", "127.0.0.1:P", "127.0.0.2:P", "0.0.0.0:P", "", 0},
		{"wildcard occupied, specific free", "127.0.0.1:P", "127.0.0.2:P", "0.0.0.0:P 127.0.0.1:P", "127.0.0.1:P", 0},
		{"absent", "0.0.0.0:P", "", "198.51.100.1:P", "", 1},
		{"occupied", "[::1]:P", "127.0.0.2:P", "127.0.0.2:P", "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := strings.NewReplacer(":P", ":"+freeListenPort(t))
			set := func(s string) string { return strings.Join(strings.Fields(port.Replace(s)), ",") }
			l := listenOn(t, ListenConfig{}, set(test.from))
			listenOccupy(t, strings.Fields(port.Replace(test.others)))
			before, sockets := l.Addr(), slices.Clone(l.sockets)
			_, err := l.Rebind(t.Context(), mpaddr.MustParse(set(test.to)))
			want := set(test.bound)
			if (err == nil) != (want != "") {
				t.Errorf("error %v", err)
			}
			if want == "" {
				want = before.String()
			}
			if got := l.Addr().String(); got != want {
				t.Errorf("bound to %s, want %s", got, want)
			}
			kept := 0
			for _, s := range l.sockets {
				for _, old := range sockets {
					if s == old {
						kept++
					}
				}
			}
			if kept != test.kept {
				t.Errorf("%d sockets kept, want %d", kept, test.kept)
			}
			for _, e := range listenBound(l).All() {
				if !e.Addr().IsUnspecified() {
					listenReached(t, l, e.Target())
				} else if e.Addr().Is4() {
					listenReached(t, l, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), e.Port()))
				}
			}
		})
	}
}

// TestListenRestoreFails: where the old socket cannot be had again either, the
// listener says so, and can be bound again.
func TestListenRestoreFails(t *testing.T) {
	port := freeListenPort(t)
	calls := 0
	lc := ListenConfig{Control: func(_, _ string, _ syscall.RawConn) error {
		if calls++; calls == 4 { // the first bind, two of the new set, the restoring
			return unix.EPERM
		}
		return nil
	}}
	l := listenOn(t, lc, "127.0.0.1:"+port)
	listenOccupy(t, []string{"127.0.0.2:" + port})
	_, err := l.Rebind(t.Context(), mpaddr.MustParse("0.0.0.0:"+port+",127.0.0.2:"+port))
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("error %v", err)
	}
	if r := l.Results(); !errors.Is(r[0].Err, unix.EPERM) || !listenBound(l).IsEmpty() {
		t.Errorf("%v, bound to %v", r, l.Addr())
	}
	if _, err := l.Rebind(t.Context(), mpaddr.MustParse("127.0.0.1:"+port)); err != nil {
		t.Error(err)
	}
	listenReached(t, l, listenBound(l).At(0).Target())
}

// TestListenIPv6Only: a Control function that makes [::] a socket of IPv6 alone
// is seen, and IPv4 gets a socket of its own where it was asked for.
func TestListenIPv6Only(t *testing.T) {
	lc := ListenConfig{Control: func(_, address string, c syscall.RawConn) (err error) {
		if strings.HasPrefix(address, "[::]") {
			_ = c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
			})
		}
		return err
	}}
	for set, want := range map[string]string{
		"[::]:P":                       "[::]:P",
		"0.0.0.0:P,[::]:P":             "0.0.0.0:P,[::]:P",
		"127.0.0.1:P,[::1]:P,[::]:P":   "127.0.0.1:P,[::1]:P,[::]:P",
		"127.0.0.1:P,[::]:P,0.0.0.0:P": "127.0.0.1:P,[::]:P,0.0.0.0:P",
	} {
		port := strings.NewReplacer(":P", ":"+freeListenPort(t))
		l := listenOn(t, lc, port.Replace(set))
		if got := l.Addr().String(); got != port.Replace(want) {
			t.Errorf("%s: bound to %s", set, got)
		}
		if l.sockets[0].dual {
			t.Errorf("%s: a dual-stack socket", set)
		}
		again, err := l.Rebind(t.Context(), listenBound(l))
		if err != nil || l.Addr().String() != port.Replace(want) {
			t.Errorf("%s: bound again to %v: %v, %v", set, l.Addr(), again, err)
		}
	}
}

// TestListenKeepAlive: the accepted connections have the configured interval.
func TestListenKeepAlive(t *testing.T) {
	for _, test := range []struct {
		lc   ListenConfig
		want int // seconds
	}{
		{ListenConfig{}, 15},
		{ListenConfig{KeepAlive: 60e9}, 60},
		{ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 90e9}}, 90},
	} {
		l := listenOn(t, test.lc, "127.0.0.1:0")
		_, c := listenReached(t, l, listenBound(l).At(0).Target())
		if got := listenIdle(t, c); got != test.want {
			t.Errorf("%+v: idle time %d s, want %d", test.lc, got, test.want)
		}
	}
}

// listenIdle returns the seconds of silence before a connection's first probe.
func listenIdle(t *testing.T, c *Conn) (seconds int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) {
		seconds, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return seconds
}
