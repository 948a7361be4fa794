package mpdnsd

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnstest"
)

// TestCacheFile: what one run was asked the next one knows, but for the names that
// have become local; a damaged file is set aside and said.
func TestCacheFile(t *testing.T) {
	up := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 192.0.2.1", "www.other. 60 IN A 192.0.2.1"))
	dir := t.TempDir()
	zone := filepath.Join(dir, "other.zone")
	for file, text := range map[string]string{
		filepath.Join(dir, "c.toml"): "listen = [\"127.0.0.1:0\"]\n[cache]\nfile = \"cache\"\npair = false\n[control]\nsocket = \"\"\n",
		zone:                         "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nwww 60 A 192.0.2.2\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// once runs a daemon, asks it, and returns its log.
	once := func(ask func(r *running), more ...string) string {
		t.Helper()
		r := &running{t: t, log: newLogBuffer()}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		code := make(chan int)
		args := append([]string{"--config", filepath.Join(dir, "c.toml"), "--upstream", up.Addr()}, more...)
		go func() { code <- run(ctx, process{}, args, io.Discard, r.log) }()
		r.addr = r.logs(listening)[1]
		ask(r)
		cancel()
		if c := <-code; c != exitOK {
			t.Errorf("exit code %d", c)
		}
		log, _ := r.log.get()
		return log
	}
	both := func(r *running) {
		r.ask("www.example", "192.0.2.1")
		r.ask("www.other", "192.0.2.1")
	}
	if log := once(both); !strings.Contains(log, "cache file: none yet") || !strings.Contains(log, `msg="cache file: written"`) {
		t.Error(log)
	}
	asked := len(up.Queries())
	if log := once(both); !strings.Contains(log, `msg="cache file: read"`) || !strings.Contains(log, "answers=2") {
		t.Error(log)
	}
	if n := len(up.Queries()); n != asked {
		t.Errorf("the second run asked %d questions of its server", n-asked)
	}
	once(func(r *running) {
		r.ask("www.example", "192.0.2.1")
		r.ask("www.other", "192.0.2.2")
	}, "--zone", "other="+zone)
	file := filepath.Join(dir, "cache")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text[:len(text)/2], 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	if log := once(both); !strings.Contains(log, "level=WARN msg=\"cache file: set aside") {
		t.Error(log)
	}
}
