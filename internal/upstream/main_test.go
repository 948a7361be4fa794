package upstream_test

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serverAddr is where servers in memory are.
const (
	serverAddr = "192.0.2.53:53"
	otherAddr  = "192.0.2.54:53"
	thirdAddr  = "192.0.2.55:53"
)

func question(t testing.TB, name string, typ dnswire.Type) upstream.Query {
	t.Helper()
	n, err := dnswire.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return upstream.Query{Question: dnswire.Question{Name: n, Type: typ, Class: dnswire.ClassINET}}
}

// oneA answers every query with one address.
func oneA() dnstest.Action { return dnstest.Action{Answer: []string{"@ 60 IN A 192.0.2.1"}} }

func inMemory(t testing.TB, scripts map[string]dnstest.Script) *dnstest.Net {
	t.Helper()
	n := dnstest.NewNet(scripts)
	t.Cleanup(n.Close)
	return n
}

func newServer(addr string, o upstream.Options) *upstream.Server {
	return upstream.NewServer(netip.MustParseAddrPort(addr), o)
}

// answers counts the records of the answer section.
func answers(t testing.TB, r upstream.Reply) int {
	t.Helper()
	h, err := dnswire.ParseHeader(r.Msg)
	if err != nil {
		t.Fatalf("reply: %v", err)
	}
	return int(h.AN)
}

const second = time.Second
