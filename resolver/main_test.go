package resolver_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Where servers in memory are.
const (
	serverAddr = "192.0.2.53:53"
	otherAddr  = "192.0.2.54:53"
)

// rtt is how long servers in memory take.
const rtt = 20 * time.Millisecond

// dual is a name with both families, and one with each.
func dual() dnstest.Script {
	return dnstest.Zone(
		"www.example. 300 IN A 192.0.2.1",
		"www.example. 300 IN A 192.0.2.2",
		"www.example. 100 IN AAAA 2001:db8::1",
		"four.example. 60 IN A 192.0.2.4",
		"six.example. 60 IN AAAA 2001:db8::6",
		"empty.example. 60 IN TXT nothing",
		"alias.example. 30 IN CNAME www.example.",
	)
}

// late lets script answer after one round trip.
func late(script dnstest.Script) dnstest.Script {
	return func(q dnstest.Query) dnstest.Action {
		a := script(q)
		a.Delay += rtt
		return a
	}
}

// config is a resolver that reads files of the test's own.
func config(t testing.TB, resolvConf, hosts string) *resolver.Resolver {
	t.Helper()
	r := new(resolver.Resolver)
	dir := t.TempDir()
	resolver.UseFiles(r, file(t, dir, "resolv.conf", resolvConf), file(t, dir, "hosts", hosts), "")
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func file(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// over is a resolver whose only server runs script on loopback.
func over(t testing.TB, script dnstest.Script) (*resolver.Resolver, *dnstest.Server) {
	t.Helper()
	s := dnstest.Start(t, script)
	r := config(t, "", "")
	r.Servers = []string{s.Addr()}
	return r, s
}

// virtual is a resolver on a network in memory, for tests in virtual time.
func virtual(t *testing.T, resolvConf string, scripts map[string]dnstest.Script) (*resolver.Resolver, *dnstest.Net) {
	t.Helper()
	n := dnstest.NewNet(scripts)
	t.Cleanup(n.Close)
	r := config(t, resolvConf, "")
	r.Dial = n.Dial
	resolver.UseSources(r, bothWays)
	return r, n
}

// bothWays and sixWays are this host's source addresses with both families, and
// with IPv6 only.
func bothWays(dest netip.Addr) netip.Addr {
	if dest.Is4() {
		return netip.MustParseAddr("203.0.113.2")
	}
	return netip.MustParseAddr("2001:db8:ff::2")
}

func sixWays(dest netip.Addr) netip.Addr {
	if dest.Is4() {
		return netip.Addr{}
	}
	return bothWays(dest)
}

// one is the configuration with one server, and with two.
const (
	one = "nameserver 192.0.2.53\n"
	two = "nameserver 192.0.2.53\nnameserver 192.0.2.54\n"
)

// onServer is the network with one server.
func onServer(script dnstest.Script) map[string]dnstest.Script {
	return map[string]dnstest.Script{serverAddr: script}
}

// typed asks script for one type and base for the others.
func typed(typ string, script, base dnstest.Script) dnstest.Script {
	return dnstest.Overlay(base, func(q dnstest.Query) bool { return q.Type == typ }, script)
}

// set are the addresses of an answer, as text, in order of the record.
func set(a *resolver.Answer) []string {
	var out []string
	if a == nil {
		return nil
	}
	for _, e := range a.Record.All() {
		out = append(out, e.Addr().String())
	}
	return out
}

// same reports whether two lists have the same elements.
func same(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
