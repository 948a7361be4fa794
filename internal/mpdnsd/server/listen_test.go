package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// zoneSource answers from the shared zones, and MULTIPATH.
func zoneSource(t testing.TB) *Source {
	return &Source{Zones: allZones(t), Special: true, Multipath: dnswire.TypeMultipath, Cache: dnscache.New(dnscache.Config{})}
}

// TestEveryRecord asks the running server for every name and type of every
// zone file, over UDP and TCP, and compares with the zone. Over UDP what is too
// large is truncated, as the whole answer's size says.
func TestEveryRecord(t *testing.T) {
	source := zoneSource(t)
	_, l := listen(t, source, options())
	for _, z := range source.Zones.All() {
		for name, types := range z.RRsets() {
			for typ, want := range types {
				for _, proto := range []string{"udp", "tcp"} {
					r := exchange(t, l, proto, question(name.String(), typ.String()))
					checkRecords(t, z.Answer(name, typ).Authoritative, proto, r, want)
				}
			}
		}
	}
}

func checkRecords(t *testing.T, authoritative bool, proto string, r *dns.Msg, want []dns.RR) {
	t.Helper()
	whole := r.Copy()
	whole.Answer, whole.Compress = want, true
	if proto == "udp" && whole.Len() > 1232 {
		if !r.Truncated || len(r.Answer) > 0 {
			t.Errorf("%v: not truncated, %d octets", r.Question, whole.Len())
		}
		return
	}
	got := r.Answer
	if !authoritative { // a delegation's records are in a referral
		got = append(slices.Clone(r.Ns), r.Extra...)
		if len(r.Answer) > 0 || r.Authoritative {
			t.Errorf("%v: no referral", r.Question)
		}
		for _, rr := range want {
			if !slices.ContainsFunc(got, func(g dns.RR) bool { return dns.IsDuplicate(g, rr) }) {
				t.Errorf("%v: %v is not in the referral", r.Question, rr)
			}
		}
		return
	}
	if len(got) != len(want) || r.Rcode != 0 || !r.Authoritative || r.Truncated {
		t.Errorf("%v: %d records, want %d: %v", r.Question, len(got), len(want), r.MsgHdr)
		return
	}
	for i, rr := range want {
		if got[i].String() != rr.String() {
			t.Errorf("%v:\n got %v\nwant %v", r.Question, got[i], rr)
		}
	}
}

// exchange asks over a socket.
func exchange(t testing.TB, l *Listener, proto string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: proto, Timeout: testTimeout, UDPSize: dns.MaxMsgSize}
	r, _, err := c.Exchange(m, l.Addr().String())
	if err != nil {
		t.Fatalf("%v over %s: %v", m.Question, proto, err)
	}
	return r
}

// TestNetResolver has Go's own stub resolver look up what it can.
func TestNetResolver(t *testing.T) {
	_, l := listen(t, zoneSource(t), options())
	for _, network := range []string{"udp", "tcp"} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, asked, _ string) (net.Conn, error) {
			if network == "tcp" {
				asked = network
			}
			var d net.Dialer
			return d.DialContext(ctx, asked, l.Addr().String())
		}}
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		addrs, err := r.LookupNetIP(ctx, "ip", "www.demo.example.")
		slices.SortFunc(addrs, netip.Addr.Compare)
		for i := range addrs {
			addrs[i] = addrs[i].Unmap()
		}
		want := []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:1::10"), netip.MustParseAddr("2001:db8:2::10")}
		slices.SortFunc(addrs, netip.Addr.Compare)
		if err != nil || !slices.Equal(addrs, want) {
			t.Errorf("%s: addresses %v, %v", network, addrs, err)
		}
		if all, err := r.LookupNetIP(ctx, "ip4", "big.test.example."); err != nil || len(all) != 100 {
			t.Errorf("%s: %d addresses of a truncated answer, %v", network, len(all), err)
		}
		if cname, err := r.LookupCNAME(ctx, "c3.test.example."); err != nil || cname != "host.test.example." {
			t.Errorf("%s: CNAME %q, %v", network, cname, err)
		}
		if mx, err := r.LookupMX(ctx, "test.example."); err != nil || len(mx) != 2 || mx[0].Host != "mail.test.example." {
			t.Errorf("%s: MX %v, %v", network, mx, err)
		}
		if _, srv, err := r.LookupSRV(ctx, "sip", "tcp", "test.example."); err != nil || len(srv) != 3 {
			t.Errorf("%s: SRV %v, %v", network, srv, err)
		}
		if txt, err := r.LookupTXT(ctx, "long.test.example."); err != nil || len(txt) != 1 || len(txt[0]) != 300 {
			t.Errorf("%s: TXT %v, %v", network, txt, err)
		}
		if ns, err := r.LookupNS(ctx, "test.example."); err != nil || len(ns) != 2 {
			t.Errorf("%s: NS %v, %v", network, ns, err)
		}
		if names, err := r.LookupAddr(ctx, "192.0.2.10"); err != nil || len(names) != 1 || names[0] != "server.demo.example." {
			t.Errorf("%s: PTR %v, %v", network, names, err)
		}
		if names, err := r.LookupAddr(ctx, "2001:db8:1::10"); err != nil || len(names) != 1 || names[0] != "server.demo.example." {
			t.Errorf("%s: PTR %v, %v", network, names, err)
		}
		for _, name := range []string{"nothing.demo.example.", "nodata.demo.example."} {
			var de *net.DNSError
			if _, err := r.LookupNetIP(ctx, "ip", name); !errors.As(err, &de) || !de.IsNotFound {
				t.Errorf("%s: %s: %v", network, name, err)
			}
		}
	}
}

// TestBusy: where all workers wait for a dead upstream server, further
// datagrams are dropped, what is in the cache or local is still answered, and
// nothing grows.
func TestBusy(t *testing.T) {
	release := make(chan struct{})
	o := options()
	o.Outstanding = 4
	entered := make(chan struct{}, o.Outstanding)
	source := forwarding(t)
	source.Zones = allZones(t)
	good := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 192.0.2.1"))
	cached := upstream.Cached(source.Cache, time.Now, upstream.NewServer(good.AddrPort(), upstream.Options{}))
	source.Upstream = upstream.ExchangerFunc(func(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
		if q.Type == dnswire.TypeA {
			return cached.Exchange(ctx, q)
		}
		entered <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return upstream.Reply{}, upstream.ErrNoServers
	})
	s, l := listen(t, source, o)
	exchange(t, l, "udp", question("www.example", "A"))
	c, err := net.Dial("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for busy := 0; busy < o.Outstanding; { // what finds no worker is dropped, so ask until all are busy
		_, _ = c.Write(pack(t, question("dead.example", "TXT")))
		select {
		case <-entered:
			busy++
		case <-time.After(10 * time.Millisecond):
		}
	}
	if r := exchange(t, l, "udp", question("www.example", "A")); len(r.Answer) != 1 {
		t.Errorf("cached answer: %v", r)
	}
	for _, typ := range []string{"A", "TYPE65400"} {
		for _, proto := range []string{"udp", "tcp"} {
			if r := exchange(t, l, proto, question("server.demo.example", typ)); len(r.Answer) == 0 {
				t.Errorf("local answer: %v", r)
			}
		}
	}
	if n := len(s.misses.room); n != o.Outstanding {
		t.Errorf("%d workers, want %d", n, o.Outstanding)
	}
	close(release)
}

// TestShutdownAnswers: what was asked is answered before the sockets close.
func TestShutdownAnswers(t *testing.T) {
	for _, proto := range []string{"udp", "tcp"} {
		t.Run(proto, func(t *testing.T) {
			release, entered := make(chan struct{}), make(chan struct{}, 1)
			source := forwarding(t)
			good := dnstest.Start(t, dnstest.Zone("www.example. 60 IN TXT x"))
			source.Upstream = upstream.ExchangerFunc(func(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
				entered <- struct{}{}
				select {
				case <-release:
				case <-ctx.Done():
				}
				return upstream.NewServer(good.AddrPort(), upstream.Options{}).Exchange(ctx, q)
			})
			s := New(source, options())
			l, err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial(proto, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			dc := &dns.Conn{Conn: c}
			if err := dc.WriteMsg(question("www.example", "TXT")); err != nil {
				t.Fatal(err)
			}
			await(t, entered)
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
				defer cancel()
				done <- s.Shutdown(ctx)
			}()
			for !l.stopping.Load() {
				runtime.Gosched() // until Shutdown has begun
			}
			close(release)
			_ = c.SetReadDeadline(time.Now().Add(testTimeout))
			r, err := dc.ReadMsg()
			if err != nil || len(r.Answer) != 1 {
				t.Errorf("answer %v, %v", r, err)
			}
			if err := await(t, done); err != nil {
				t.Error(err)
			}
			if _, err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0")); err == nil {
				t.Error("listening after Shutdown")
			}
		})
	}
}

// TestShutdownInTime: an upstream server that never answers does not keep the
// daemon from ending, and the client gets SERVFAIL.
func TestShutdownInTime(t *testing.T) {
	entered := make(chan struct{}, 1)
	source := forwarding(t)
	source.Upstream = upstream.ExchangerFunc(func(ctx context.Context, _ upstream.Query) (upstream.Reply, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return upstream.Reply{}, ctx.Err()
	})
	s := New(source, options())
	l, err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := dns.Dial("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.WriteMsg(question("www.example", "TXT")); err != nil {
		t.Fatal(err)
	}
	await(t, entered)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("Shutdown says that all was answered")
	}
	_ = c.SetReadDeadline(time.Now().Add(testTimeout))
	if r, err := c.ReadMsg(); err != nil || r.Rcode != dns.RcodeServerFailure || !strings.Contains(ede(r), "shutting down") {
		t.Errorf("answer %v, %v", r, err)
	}
}

// TestListenerClose ends one address; the others go on.
func TestListenerClose(t *testing.T) {
	s, one := listen(t, zoneSource(t), options())
	two, err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	idle := dial(t, one)
	one.Close()
	if _, err := idle.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("an idle connection stays: %v", err)
	}
	if r := exchange(t, two, "tcp", question("server.demo.example", "A")); len(r.Answer) != 2 {
		t.Errorf("answer %v", r)
	}
	if _, err := s.Listen(two.Addr()); err == nil {
		t.Error("one address twice")
	}
	again, err := s.Listen(one.Addr())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestLoop: two daemons that forward to each other end in SERVFAIL after a
// bounded number of questions, not in a storm.
func TestLoop(t *testing.T) {
	var asked atomic.Int64
	sourceOf := func(to netip.AddrPort) *Source {
		source := forwarding(t)
		server := upstream.NewServer(to, upstream.Options{Timeout: 300 * time.Millisecond, Attempts: 2})
		source.Upstream = upstream.Coalesce(upstream.Cached(source.Cache, time.Now, upstream.ExchangerFunc(
			func(ctx context.Context, q upstream.Query) (upstream.Reply, error) {
				asked.Add(1)
				return server.Exchange(ctx, q)
			})))
		return source
	}
	a, la := listen(t, forwarding(t), options())
	_, lb := listen(t, sourceOf(la.Addr()), options())
	a.SetSource(sourceOf(lb.Addr()))
	for range 3 { // the second and third time, the failure is remembered
		if r := exchange(t, la, "udp", question("www.example", "TXT")); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("answer %v", r)
		}
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("%d exchanges for one question, want one in each daemon", n)
	}
}

// TestWildcard: a listener on all addresses answers from the one asked; the
// client's socket is connected, and takes nothing from another.
func TestWildcard(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs IP_PKTINFO, and all of 127.0.0.0/8")
	}
	s := start(t, zoneSource(t), options())
	for _, addr := range []string{"0.0.0.0:0", "[::]:0"} {
		l, err := s.Listen(netip.MustParseAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		asked := netip.MustParseAddr("127.0.0.2")
		if l.Addr().Addr().Is6() {
			asked = netip.IPv6Loopback()
		}
		c := dns.Client{Timeout: testTimeout}
		for _, typ := range []string{"A", "TYPE65400", "ANY"} { // by a worker, by a worker, by the loop
			r, _, err := c.Exchange(question("server.demo.example", typ), netip.AddrPortFrom(asked, l.Addr().Port()).String())
			if err != nil || len(r.Answer) == 0 {
				t.Errorf("%s asked at %v: %v, %v", addr, asked, r, err)
			}
		}
	}
}

// BenchmarkUDPHit is a cached answer over a socket, one question at a time:
// mostly what the kernel costs. The allocations are those of both sides.
func BenchmarkUDPHit(b *testing.B) {
	_, l := listen(b, forwarding(b, dnstest.Start(b, dnstest.Zone("www.example. 300 IN A 192.0.2.7"))), options())
	c, err := net.Dial("udp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	packet, in := pack(b, question("www.example", "A")), make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(packet); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(in); err != nil {
			b.Fatal(err)
		}
	}
}
