package addrsel

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

func TestSourcesLoopback(t *testing.T) {
	dests := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:127.0.0.1"), {}}
	if l, err := net.ListenPacket("udp6", "[::1]:0"); err == nil {
		dests = append(dests, netip.IPv6Loopback())
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	got := Sources(t.Context(), dests)
	if len(got) != len(dests) {
		t.Fatalf("%d sources for %d destinations", len(got), len(dests))
	}
	for i, want := range []Source{
		{Addr: netip.MustParseAddr("127.0.0.1"), Prefix: 8},
		{Addr: netip.MustParseAddr("127.0.0.1"), Prefix: 8},
		{},
		{Addr: netip.IPv6Loopback(), Prefix: 128},
	}[:len(dests)] {
		got[i].Interface = 0
		if got[i] != want {
			t.Errorf("source for %v is %+v, want %+v", dests[i], got[i], want)
		}
	}
}

func TestSourcesCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Sources(ctx, []netip.Addr{netip.MustParseAddr("127.0.0.1")}); got[0] != (Source{}) {
		t.Errorf("source %+v after the context ended", got[0])
	}
}

// Both ways of finding a source agree.
func TestDialSource(t *testing.T) {
	for _, dest := range []string{"127.0.0.1:9", "[::1]:9", "192.0.2.1:9", "[2001:db8::1]:9"} {
		d := netip.MustParseAddrPort(dest)
		if a, b := new(Finder).sourceOf(d), dialSource(d); a != b {
			t.Errorf("%s: %v and %v", dest, a, b)
		}
	}
}

// No packet arrives where a source was looked for.
func TestSourceOfSendsNothing(t *testing.T) {
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a := new(Finder).sourceOf(l.LocalAddr().(*net.UDPAddr).AddrPort()); !a.IsLoopback() {
		t.Errorf("source %v", a)
	}

	// What was sent before is received before.
	c, err := net.DialUDP("udp4", nil, l.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("mark")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	if n, _, err := l.ReadFromUDP(b); err != nil || string(b[:n]) != "mark" {
		t.Errorf("first packet is %q, %v", b[:n], err)
	}
}

func BenchmarkSources(b *testing.B) {
	dests := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}
	var f Finder
	b.ReportAllocs()
	for b.Loop() {
		f.Sources(b.Context(), dests)
	}
}
