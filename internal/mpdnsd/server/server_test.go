package server

import (
	"context"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
	"github.com/af-multipath/mpresolve/testdata/zones"
)

// testTimeout bounds what a test waits for.
const testTimeout = 10 * time.Second

// client is where questions come from that no socket carried.
var client = netip.MustParseAddrPort("127.0.0.1:4000") // constant in all but name

// options are small limits.
func options() Options {
	return Options{
		UDPSize: 1232, Outstanding: 64, TCPConnections: 8, TCPPerClient: 8, TCPIdle: 5 * time.Second,
		Log: slog.New(slog.DiscardHandler),
	}
}

// allZones is every zone file of testdata.
func allZones(t testing.TB) zone.Set {
	t.Helper()
	files, err := fs.Glob(zones.FS, "*.zone")
	if err != nil {
		t.Fatal(err)
	}
	var all []*zone.Zone
	for _, file := range files {
		z, err := zone.LoadFS(zones.FS, file, "")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, z)
	}
	set, err := zone.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// forwarding is a source that asks scripted servers, one after another.
func forwarding(t testing.TB, servers ...*dnstest.Server) *Source {
	var all []upstream.Exchanger
	for _, s := range servers {
		all = append(all, upstream.NewServer(s.AddrPort(), upstream.Options{Timeout: testTimeout / 2, Attempts: 1}))
	}
	cache := dnscache.New(dnscache.Config{MaxOctets: dnscache.MinOctets})
	s := &Source{Special: true, Cache: cache, Multipath: dnswire.TypeMultipath}
	if len(all) > 0 {
		s.Upstream = upstream.Coalesce(upstream.Cached(cache, time.Now, upstream.Failover(all, upstream.FailoverOptions{})))
	}
	return s
}

// start makes a server that answers from source, until the test's end.
func start(t testing.TB, source *Source, o Options) *Server {
	t.Helper()
	s := New(source, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// listen starts a server on a free port of 127.0.0.1.
func listen(t testing.TB, source *Source, o Options) (*Server, *Listener) {
	t.Helper()
	s := start(t, source, o)
	l, err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// question is a request with EDNS.
func question(name, qtype string) *dns.Msg {
	m := new(dns.Msg)
	t, ok := dns.StringToType[qtype]
	if !ok {
		p, _ := dnswire.ParseType(qtype)
		t = uint16(p)
	}
	m.SetQuestion(dns.Fqdn(name), t)
	m.SetEdns0(1232, false)
	return m
}

// pack is m's octets.
func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	octets, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

// ask has the server answer m without a socket; nil is no answer.
func ask(t testing.TB, s *Server, m *dns.Msg, tr transport) *dns.Msg {
	t.Helper()
	return askRaw(t, s, pack(t, m), tr)
}

func askRaw(t testing.TB, s *Server, packet []byte, tr transport) *dns.Msg {
	t.Helper()
	out := answerTo(s, nil, packet, tr)
	if len(out) == 0 {
		return nil
	}
	r := new(dns.Msg)
	if err := r.Unpack(out); err != nil {
		t.Fatalf("answer %x: %v", out, err)
	}
	return r
}

// newRequest is a packet of client's.
func newRequest(packet []byte, tr transport) *request {
	return &request{packet: packet, client: client, transport: tr, counts: new(counters)}
}

// answerTo is the whole way of a packet.
func answerTo(s *Server, dst, packet []byte, tr transport) []byte {
	return s.answer(context.Background(), dst, newRequest(packet, tr))
}

// answers writes the answer section, one record after another.
func answers(r *dns.Msg) string {
	var out []string
	for _, rr := range r.Answer {
		f := strings.SplitN(rr.String(), "\t", 5)
		out = append(out, f[0]+" "+f[3]+" "+f[4])
	}
	return strings.Join(out, "; ")
}

// ede is the extended error of r, as "CODE TEXT".
func ede(r *dns.Msg) string {
	if o := r.IsEdns0(); o != nil {
		for _, opt := range o.Option {
			if e, ok := opt.(*dns.EDNS0_EDE); ok {
				return strings.TrimSpace(dns.ExtendedErrorCodeToString[e.InfoCode] + ": " + e.ExtraText)
			}
		}
	}
	return ""
}

// await receives from ch, or ends the test.
func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(testTimeout):
		t.Fatal("waited in vain")
		panic("not reached")
	}
}

// hosts is a hosts file.
func hosts(text string) func(time.Time) *sysconf.Hosts {
	h := sysconf.ParseHosts(strings.NewReader(text))
	return func(time.Time) *sysconf.Hosts { return h }
}
