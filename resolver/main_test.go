package resolver_test

import (
	"os"
	"path/filepath"
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
