package mpdnsd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

func TestOwn(t *testing.T) {
	ap := netip.MustParseAddrPort
	o := own{
		listen: []netip.AddrPort{ap("127.0.0.1:53"), ap("0.0.0.0:5353"), ap("[::1]:53")},
		local:  []netip.Addr{netip.MustParseAddr("192.0.2.5"), netip.MustParseAddr("2001:db8::5")},
	}
	for a, want := range map[string]bool{
		"127.0.0.1:53":       true,
		"[::1]:53":           true,
		"127.0.0.53:53":      false, // systemd-resolved, beside us
		"127.0.0.53:5353":    true,
		"192.0.2.5:5353":     true,
		"192.0.2.5:53":       false,
		"192.0.2.6:5353":     false,
		"[2001:db8::5]:5353": false, // 0.0.0.0 is IPv4 only
		"127.0.0.1:54":       false,
	} {
		if got := o.is(ap(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

// TestSystemServers follows resolv.conf: its servers without ourselves, and
// other ones after it has changed.
func TestSystemServers(t *testing.T) {
	script := func(text string) *dnstest.Server {
		return dnstest.Start(t, dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN TXT " + text}}))
	}
	one, two := script("one"), script("two")
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(servers ...netip.AddrPort) {
		var text strings.Builder
		for _, s := range servers {
			fmt.Fprintf(&text, "nameserver [%v]:%d\n", s.Addr(), s.Port())
		}
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	now := time.Now()
	self := netip.MustParseAddrPort("127.0.0.1:9")
	c := config.Default().Upstream
	s := &systemServers{
		system: sysconf.NewSystem(file, "", ""), config: c, own: own{listen: []netip.AddrPort{self}},
		log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now },
	}
	ask := func(want string) {
		t.Helper()
		name, _ := dnswire.ParseName("www.example")
		q := upstream.Query{Question: dnswire.Question{Name: name, Type: 16, Class: 1}}
		ctx, cancel := context.WithTimeout(t.Context(), waitTime)
		defer cancel()
		reply, err := s.Exchange(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(reply.Msg); err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.TXT).Txt[0] != want {
			t.Errorf("answer %v, %v; want %s", m.Answer, err, want)
		}
	}
	write(self, one.AddrPort())
	ask("one")
	if text := log.String(); !strings.Contains(text, "server=127.0.0.1:9") || !strings.Contains(text, "level=WARN") {
		t.Errorf("no warning about ourselves: %s", text)
	}
	write(two.AddrPort(), one.AddrPort(), self)
	now = now.Add(2 * sysconf.CheckInterval)
	ask("two")
	write(self)
	now = now.Add(2 * sysconf.CheckInterval)
	if _, err := s.Exchange(t.Context(), upstream.Query{}); err == nil {
		t.Error("the daemon asked itself")
	}
	if !strings.Contains(log.String(), "only local names") {
		t.Errorf("no word of having no server: %s", log.String())
	}
}

// TestExitCodes tells wrong usage and configuration from other failures.
func TestExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(bad, []byte("x = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want int
	}{
		{[]string{"--version"}, exitOK},
		{[]string{"--check"}, exitOK},
		{[]string{"--config", bad, "--check"}, exitUsage},
		{[]string{"--config", bad}, exitUsage},
		{[]string{"--zone", bad + ".zone"}, exitUsage},
		{[]string{"--listen", "53"}, exitUsage},
		{[]string{"--nothing"}, exitUsage},
		{[]string{"--listen", "192.0.2.1:0", "--upstream", "127.0.0.1:9"}, exitError},
	}
	for _, tt := range tests {
		var stderr bytes.Buffer
		if got := run(t.Context(), process{}, tt.args, io.Discard, &stderr); got != tt.want {
			t.Errorf("%v: exit code %d, want %d: %s", tt.args, got, tt.want, stderr.String())
		}
	}
}
