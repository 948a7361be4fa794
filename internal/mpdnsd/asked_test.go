package mpdnsd

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/sysconf"
)

// askEDNS asks for A records with EDNS, and returns the answer with its extended
// errors' codes.
func askEDNS(t *testing.T, addr, name string) (*dns.Msg, []uint16) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA).SetEdns0(1232, false)
	c := dns.Client{Timeout: waitTime}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatal(err)
	}
	var codes []uint16
	if opt := r.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				codes = append(codes, e.InfoCode)
			}
		}
	}
	return r, codes
}

// TestRebindProtection: a public name gets no client to an address of a private
// network, from the server or from the cache; the domains that may have them do,
// and so do those that are forwarded.
func TestRebindProtection(t *testing.T) {
	s := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 10.0.0.1", "www.home.example. 60 IN A 10.0.0.2",
		"www.corp.example. 60 IN A 10.0.0.3", "both.example. 60 IN A 10.0.0.4", "both.example. 60 IN A 192.0.2.4"))
	upstream := "[upstream]\nprivate_domains = [\"home.example\"]\n" + toml(s)
	r := startRunning(t, upstream+"[[forward]]\nzone = \"corp.example\"\n"+toml(s))
	for _, from := range []string{"server", "cache"} {
		m, codes := askEDNS(t, r.addr, "www.example")
		if len(m.Answer) != 0 || m.Rcode != dns.RcodeSuccess || !slices.Contains(codes, dns.ExtendedErrorCodeFiltered) {
			t.Errorf("from the %s: %v, extended errors %v", from, m, codes)
		}
	}
	r.ask("www.home.example", "10.0.0.2")
	r.ask("www.corp.example", "10.0.0.3")
	if m, _ := askEDNS(t, r.addr, "both.example"); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "192.0.2.4" {
		t.Errorf("%v", m)
	}
	r.configure(strings.Replace(upstream, "[upstream]", "[upstream]\nrebind_protection = false", 1))
	r.reload <- syscall.SIGHUP
	r.logs("reloaded; the cache is empty")
	r.ask("www.example", "10.0.0.1")
}

// TestForwardOfASpecialName: the names of a [[forward]] are asked of its
// servers, though the daemon answers such names itself; a reload does away
// with it.
func TestForwardOfASpecialName(t *testing.T) {
	general := dnstest.Start(t, dnstest.Zone("host.corp.test. 60 IN A 192.0.2.1"))
	corp := dnstest.Start(t, dnstest.Zone("host.corp.test. 60 IN A 10.0.0.1"))
	everybody := "[upstream]\n" + toml(general)
	r := startRunning(t, everybody+"[[forward]]\nzone = \"corp.test\"\n"+toml(corp))
	r.ask("host.corp.test", "10.0.0.1")
	r.ask("host.test", "NXDOMAIN")
	r.configure(everybody)
	r.reload <- syscall.SIGHUP
	r.logs("reloaded; the cache is empty")
	r.ask("host.corp.test", "NXDOMAIN")
	if q := general.Queries(); len(q) != 0 {
		t.Errorf("the general server was asked %+v", q)
	}
}

// TestHomeIsTheNetworks: home.arpa is asked of the servers of resolv.conf and of
// those of a [[forward]], not of others.
func TestHomeIsTheNetworks(t *testing.T) {
	home, err := dnswire.ParseName("home.arpa")
	if err != nil {
		t.Fatal(err)
	}
	var c config.Config
	if !slices.Contains(elsewhere(&c), home) {
		t.Error("not asked of the network's servers")
	}
	c.Upstream.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}
	if slices.Contains(elsewhere(&c), home) {
		t.Error("asked of servers elsewhere")
	}
	c.Forwards = []config.Forward{{Zone: home}}
	if !slices.Contains(elsewhere(&c), home) {
		t.Error("not asked of the [[forward]]")
	}
}

// TestCacheStatsOfARunningDaemon: each question is one hit or one miss, by the
// cache's count as by that of the transports, whatever is looked up for its answer.
func TestCacheStatsOfARunningDaemon(t *testing.T) {
	s := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 192.0.2.1"))
	r := startRunning(t, "[upstream]\n"+toml(s))
	r.ask("www.example", "192.0.2.1")
	r.ask("www.example", "192.0.2.1")
	r.ask("no.example", "NXDOMAIN")
	r.ask("a.no.example", "NXDOMAIN") // by RFC 8020
	r.ask("localhost", "127.0.0.1")
	if _, err := ask("udp", r.addr, "www.example", "TYPE65400"); err != nil {
		t.Fatal(err)
	}
	got, err := r.client.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Cache; c.Hits != 1 || c.Misses != 5 || c.Hits != got.UDP.Hits || c.Misses != got.UDP.Misses {
		t.Errorf("%d hits and %d misses of the cache, %d and %d of UDP", c.Hits, c.Misses, got.UDP.Hits, got.UDP.Misses)
	}
}

// TestSearchDomainsMayBePrivate: those of resolv.conf are the network's own.
func TestSearchDomainsMayBePrivate(t *testing.T) {
	got := searched(&sysconf.ResolvConf{Search: []string{"corp.example", "com", ".", "a..b"}})
	if want := []dnswire.Name{"\x04corp\x07example\x00"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestUpstreamsOfARunningDaemon: what each strategy asks is seen in what the
// daemon says of its servers.
func TestUpstreamsOfARunningDaemon(t *testing.T) {
	for _, tt := range []struct {
		strategy string
		first    bool // only the first of two is asked
	}{{config.Failover, true}, {config.Rotate, false}, {config.Fastest, false}, {config.Parallel, false}} {
		t.Run(tt.strategy, func(t *testing.T) {
			// Slow enough that a hedge or a second server is begun before the first answers.
			slow := func(dnstest.Query) dnstest.Action {
				return dnstest.Action{Delay: 20 * time.Millisecond, Answer: []string{"@ 60 IN A 192.0.2.1"}}
			}
			one, two := dnstest.Start(t, slow), dnstest.Start(t, slow)
			r := startRunning(t, "[cache]\npair = false\n[upstream]\nstrategy = \""+tt.strategy+"\"\n"+toml(one, two))
			for i := range 4 {
				r.ask(fmt.Sprintf("n%d.example", i), "192.0.2.1")
			}
			u, err := r.client.Upstreams(t.Context())
			if err != nil || len(u.Routes) != 1 || u.Routes[0].Strategy != tt.strategy || len(u.Routes[0].Servers) != 2 {
				t.Fatalf("%+v, %v", u, err)
			}
			first, second := u.Routes[0].Servers[0], u.Routes[0].Servers[1]
			if first.Queries == 0 || (second.Queries == 0) != tt.first || first.State != "good" || first.RTTUS < 20000 || first.Errors+first.Timeouts != 0 {
				t.Errorf("%+v", u)
			}
			var text bytes.Buffer
			writeUpstreams(&text, u)
			if line := fmt.Sprintf(`(?m)^\.     %-8s  udp    good +\d+\.\d ms +%d +0 +0  %s$`, tt.strategy, first.Queries, one.AddrPort()); !regexp.MustCompile(line).MatchString(text.String()) {
				t.Errorf("no line %s:\n%s", line, text.String())
			}
		})
	}
}

// TestMixedCaseOfARunningDaemon: the server sees it, and the client its own.
func TestMixedCaseOfARunningDaemon(t *testing.T) {
	const name = "www.a-name-of-many-letters.example"
	s := dnstest.Start(t, dnstest.Zone(name+". 60 IN A 192.0.2.1"))
	r := startRunning(t, "[cache]\npair = false\n[upstream]\nmixed_case = true\n"+toml(s))
	for range 2 { // from the server and from the cache
		if m, _ := askEDNS(t, r.addr, name); m.Question[0].Name != name+"." || len(m.Answer) != 1 || m.Answer[0].Header().Name != name+"." {
			t.Errorf("%v", m)
		}
	}
	if q := s.Queries(); len(q) != 1 || q[0].Name == name+"." || !strings.EqualFold(q[0].Name, name+".") {
		t.Errorf("the server was asked %+v", q)
	}
}

// TestPenaltyIsShown: a server that does not answer is named.
func TestPenaltyIsShown(t *testing.T) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // it is silent, and nothing listens over TCP
	r := startRunning(t, fmt.Sprintf("[upstream]\nattempts = 1\ntimeout = \"100ms\"\nservers = [\"%v\"]\n", c.LocalAddr()))
	if m, _ := askEDNS(t, r.addr, "www.example"); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", m)
	}
	s, err := r.client.Stats(t.Context())
	if err != nil || s.Routes[0].Servers[0].State != "penalised" || s.Routes[0].Servers[0].Timeouts == 0 {
		t.Errorf("%+v, %v", s.Routes, err)
	}
}

// TestAllServersDead: the client is told within its patience, which is 5 s in
// glibc and most others (resolv.conf(5)).
func TestAllServersDead(t *testing.T) {
	silent := dnstest.Always(dnstest.Action{Drop: true})
	r := startRunning(t, "[upstream]\n"+toml(dnstest.Start(t, silent), dnstest.Start(t, silent), dnstest.Start(t, silent)))
	start := time.Now()
	m, codes := askEDNS(t, r.addr, "www.example")
	if took := time.Since(start); m.Rcode != dns.RcodeServerFailure || took > 8*time.Second || len(codes) == 0 {
		t.Errorf("%v, extended errors %v after %v", m, codes, took)
	}
}
