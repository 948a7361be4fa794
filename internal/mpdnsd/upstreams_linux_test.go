package mpdnsd

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// TestSystemServersClosed: none of the servers that resolv.conf has after Close
// has a connection kept that nobody would close.
func TestSystemServersClosed(t *testing.T) {
	mux, err := upstream.NewMux(1)
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	d := dnstest.Start(t, dnstest.Always(dnstest.Action{}))
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := fmt.Sprintf("nameserver [%v]:%d\noptions use-vc\n", d.AddrPort().Addr(), d.AddrPort().Port())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &systemServers{
		system: sysconf.NewSystem(file, "", ""), config: config.Default().Upstream,
		mux: mux, log: slog.New(slog.DiscardHandler), now: time.Now,
	}
	s.Close()
	from := map[netip.AddrPort]bool{}
	for range 2 {
		if _, err := s.Exchange(t.Context(), upstream.Query{Question: dnswire.Question{Name: dnswire.Root, Type: dnswire.TypeA, Class: dnswire.ClassINET}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range d.Queries() {
		from[q.From] = true
	}
	if len(from) != 2 {
		t.Errorf("%d connections for two questions", len(from))
	}
}
