package server

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
)

// primed is a server that has www.example A in its cache.
func primed(t testing.TB, o Options) (*Server, *Listener) {
	t.Helper()
	s, l := listen(t, forwarding(t, dnstest.Start(t, dnstest.Zone("www.example. 300 IN A 192.0.2.7"))), o)
	if r := exchange(t, l, "udp", question("www.example", "A")); len(r.Answer) != 1 {
		t.Fatal(r)
	}
	return s, l
}

// connectUDP is a client's socket.
func connectUDP(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestLoopDoesNotAllocate holds the promise of the whole way of a hit, from the socket to the
// socket, with a cookie and with the limit and the prefixes looked at.
func TestLoopDoesNotAllocate(t *testing.T) {
	o := options()
	o.Limit = RateLimit{PerSecond: MaxRate}
	o.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	o.Query = func(Event) {}
	_, l := primed(t, o)
	c := connectUDP(t, l.Addr())
	m := withCookie([]byte("12345678"))
	m.Question[0].Name = "www.example."
	packet, in := pack(t, m), make([]byte, 1500)
	allocs := testing.AllocsPerRun(500, func() {
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(in); err != nil || n < len(packet) {
			t.Fatal(n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a hit", allocs)
	}
}

// TestTCPDoesNotAllocate is the same for a connection.
func TestTCPDoesNotAllocate(t *testing.T) {
	_, l := primed(t, options())
	c := dial(t, l)
	packet, in := frame(pack(t, question("www.example", "A"))), make([]byte, 1500)
	packet = append(packet, packet...)
	allocs := testing.AllocsPerRun(500, func() {
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(packet)+2*16; { // each answer has one record more
			n, err := c.Read(in)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	})
	if allocs >= 1 { // a collection may empty the pool of buffers
		t.Errorf("%v allocations for two hits", allocs)
	}
}

// TestLoops: several loops of one address answer all their clients.
func TestLoops(t *testing.T) {
	const clients = 32
	o := options()
	o.Loops = 3
	s, l := primed(t, o)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if r := exchange(t, l, "udp", question("www.example", "A")); len(r.Answer) != 1 {
				t.Errorf("answer %v", r)
			}
		})
	}
	wg.Wait()
	if runtime.GOOS == "linux" {
		for i := range l.loops {
			if l.loops[i].counts.queries.Load() == 0 {
				t.Errorf("loop %d of %d had no client of %d", i, len(l.loops), clients)
			}
		}
	}
	if n := s.Stats().UDP.Queries; n != clients+1 {
		t.Errorf("%d questions counted, want %d", n, clients+1)
	}
}

// TestAnotherDaemon: an address that another daemon has is an error that says so, though both could
// share it.
func TestAnotherDaemon(t *testing.T) {
	_, l := listen(t, zoneSource(t), options())
	other := start(t, zoneSource(t), options())
	_, err := other.Listen(l.Addr())
	if err == nil || !strings.Contains(err.Error(), "listening on "+l.Addr().String()) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error %v", err)
	}
}

// TestStats counts by transport and outcome, also what a closed listener has done.
func TestStats(t *testing.T) {
	var events []Event
	var mu sync.Mutex
	o := options()
	o.Query = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		e.Name = slices.Clone(e.Name)
		events = append(events, e)
	}
	s, l := primed(t, o)
	exchange(t, l, "udp", question("www.example", "A"))
	exchange(t, l, "udp", question("www.example", "AXFR"))
	exchange(t, l, "tcp", question("www.example", "A"))
	exchange(t, l, "tcp", question("nothing.invalid", "A"))
	c := connectUDP(t, l.Addr())
	for _, packet := range [][]byte{{1, 2, 3}, append([]byte{0, 0, 0x80}, make([]byte, 20)...), pack(t, question("www.example", "A"))} {
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(testTimeout))
	if _, err := c.Read(make([]byte, 1500)); err != nil { // the last was answered, so the others were counted
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		got := s.Stats()
		want := Stats{
			UDP: Counts{Queries: 6, Hits: 2, Misses: 1},
			TCP: Counts{Queries: 2, Hits: 1, Misses: 1},
		}
		want.UDP.Dropped[DropMalformed], want.UDP.Dropped[DropResponse] = 1, 1
		want.UDP.RCodes[dns.RcodeSuccess], want.UDP.RCodes[dns.RcodeRefused] = 3, 1
		want.TCP.RCodes[dns.RcodeSuccess], want.TCP.RCodes[dns.RcodeNameError] = 1, 1
		got.TCPConnections = 0 // the clients' ends are seen some time
		got.Working = 0        // as is a worker's
		if got != want {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
	}
	check()
	l.Close()
	check()
	mu.Lock()
	defer mu.Unlock()
	var told []string
	for _, e := range events {
		from := e.From
		if strings.HasPrefix(from, "127.0.0.1:") {
			from = "server"
		}
		told = append(told, fmt.Sprintf("%v %v %v %s", e.TCP, e.Type, e.RCode, from))
		if e.Duration < 0 || !e.Client.IsValid() || len(e.Name) == 0 {
			t.Errorf("%+v", e)
		}
	}
	want := []string{
		"false A NOERROR server", "false A NOERROR cache", "false AXFR REFUSED ",
		"true A NOERROR cache", "true A NXDOMAIN special", "false A NOERROR cache",
	}
	if !slices.Equal(told, want) {
		t.Errorf("events\n%q, want\n%q", told, want)
	}
}

// TestListenOn serves sockets that another opened, both and one alone.
func TestListenOn(t *testing.T) {
	s := start(t, zoneSource(t), options())
	for _, with := range []string{"udp", "tcp", "udp and tcp"} {
		var udp *net.UDPConn
		var tcp *net.TCPListener
		var err error
		if strings.Contains(with, "udp") {
			if udp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(with, "tcp") {
			if tcp, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
				t.Fatal(err)
			}
		}
		l, err := s.ListenOn(udp, tcp)
		if err != nil {
			t.Fatal(err)
		}
		for proto, local := range map[string]net.Addr{"udp": addrOf(udp), "tcp": addrOf(tcp)} {
			if local == nil {
				continue
			}
			client := dns.Client{Net: proto, Timeout: testTimeout}
			if r, _, err := client.Exchange(question("server.demo.example", "A"), local.String()); err != nil || len(r.Answer) != 2 {
				t.Errorf("%s of %s: %v, %v", proto, with, r, err)
			}
		}
		l.Close()
	}
}

// addrOf is a socket's address; nil for none.
func addrOf(socket any) net.Addr {
	switch c := socket.(type) {
	case *net.UDPConn:
		if c != nil {
			return c.LocalAddr()
		}
	case *net.TCPListener:
		if c != nil {
			return c.Addr()
		}
	}
	return nil
}

// TestListenOnBothFamilies: a socket of [::] that takes IPv4 too, as service managers open it,
// answers both from the address asked, and knows this machine in either form.
func TestListenOnBothFamilies(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs pktinfo, and all of 127.0.0.0/8")
	}
	udp, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.ListenTCP("tcp", nil) // on a port of its own: the same one may be in use
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, zoneSource(t), options())
	ports := map[string]uint16{
		"udp": udp.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		"tcp": tcp.Addr().(*net.TCPAddr).AddrPort().Port(),
	}
	if _, err := s.ListenOn(udp, tcp); err != nil {
		t.Fatal(err)
	}
	for _, asked := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		for proto, port := range ports {
			client := dns.Client{Net: proto, Timeout: testTimeout}
			to := netip.AddrPortFrom(netip.MustParseAddr(asked), port).String()
			for _, qtype := range []string{"A", "ANY"} { // by a worker, by the loop
				if r, _, err := client.Exchange(question("server.demo.example", qtype), to); err != nil || len(r.Answer) == 0 {
					t.Errorf("%s over %s: %v, %v", asked, proto, r, err)
				}
			}
		}
	}
}
