package mpdnsd

import (
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnstest"
)

// TestQueryLog logs every second answer, with where it came from; and the figures
// count them all.
func TestQueryLog(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 192.0.2.1"))
	r := startRunning(t, "[upstream]\n"+toml(up)+"[log]\nqueries = 2\n[server]\nchaos_version = \"v\"\n")
	r.ask("www.example", "192.0.2.1")
	r.ask("WWW.example", "192.0.2.1")
	r.logs(`msg=query client=127.0.0.1:\d+ over=udp name=www.example. type=A rcode=NOERROR from=cache took=\S+`)
	r.ask("www.example", "192.0.2.1")
	if got, err := ask("tcp", r.addr, "www.example", "A"); err != nil || got != "NOERROR; www.example. 60 IN A 192.0.2.1" {
		t.Errorf("%q, %v", got, err)
	}
	r.logs(`msg=query client=127.0.0.1:\d+ over=tcp`)
	s, err := r.client.Stats(t.Context())
	if err != nil || s.UDP.Queries != 3 || s.UDP.Hits != 2 || s.UDP.Misses != 1 || s.TCP.Queries != 1 || s.UDP.RCodes["NOERROR"] != 3 || len(s.UDP.Dropped) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
