package mpdnsd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
)

// running is a daemon within the test.
type running struct {
	t      *testing.T
	file   string // its configuration
	log    *logBuffer
	addr   string
	client *control.Client
	reload chan os.Signal
}

// startRunning runs a daemon with a configuration, a control socket and what else
// the text says, until the test ends.
func startRunning(t *testing.T, text string) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{t: t, file: filepath.Join(dir, "mpdnsd.toml"), log: newLogBuffer(), reload: make(chan os.Signal)}
	r.client = control.NewClient(filepath.Join(dir, "s"))
	r.configure(text)
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int)
	go func() { code <- run(ctx, process{reload: r.reload}, []string{"--config", r.file}, io.Discard, r.log) }()
	t.Cleanup(func() {
		cancel()
		if c := <-code; c != exitOK {
			log, _ := r.log.get()
			t.Errorf("exit code %d\n%s", c, log)
		}
	})
	r.addr = r.logs(listening)[1]
	r.logs("msg=ready")
	return r
}

// configure writes the configuration.
func (r *running) configure(text string) {
	r.t.Helper()
	text = "listen = [\"127.0.0.1:0\"]\n[control]\nsocket = \"s\"\n" + text
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) logs(pattern string) []string {
	r.t.Helper()
	m, err := r.log.wait(pattern)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// ask asks for A records and compares the answer's data.
func (r *running) ask(name, want string) {
	r.t.Helper()
	got, err := ask("udp", r.addr, name, "A")
	if err != nil || !strings.HasSuffix(got, want) {
		r.t.Errorf("%s: %q, %v; want %s", name, got, err, want)
	}
}

func toml(servers ...*dnstest.Server) string {
	var all []string
	for _, s := range servers {
		all = append(all, fmt.Sprintf("%q", s.AddrPort().String()))
	}
	return "servers = [" + strings.Join(all, ", ") + "]\n"
}

// TestCacheOfARunningDaemon: what was asked is held, shown and forgotten; it
// outlives a reload, and not one that changes who is asked.
func TestCacheOfARunningDaemon(t *testing.T) {
	one := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 192.0.2.1", "a.www.example. 60 IN A 192.0.2.1", "other. 60 IN A 192.0.2.1"))
	two := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 192.0.2.2"))
	off := "[cache]\npair = false\n[upstream]\n"
	r := startRunning(t, off+toml(one))
	ctx := t.Context()
	for _, name := range []string{"www.example", "a.www.example", "other"} {
		r.ask(name, "192.0.2.1")
	}
	held, err := r.client.Lookup(ctx, "WWW.example.")
	if err != nil || len(held.Entries) != 1 {
		t.Fatalf("%+v, %v", held, err)
	}
	e := held.Entries[0]
	if e.Type != "A" || e.Class != "IN" || e.Status != "NOERROR" || e.TTLMS <= 0 || e.TTLMS > 60000 || !slices.Equal(e.Records, []string{"www.example. IN A 192.0.2.1"}) {
		t.Errorf("%+v", e)
	}
	var text bytes.Buffer
	writeHeld(&text, held)
	if !regexp.MustCompile(`^www.example.  1 cached answer\n\n  A      NOERROR  age \S+ +ttl (1m0s|59s|58s)\n         www.example. IN A 192.0.2.1\n$`).MatchString(text.String()) {
		t.Errorf("%q", text.String())
	}
	s, err := r.client.Stats(ctx)
	if err != nil || s.Cache.Entries != 3 || !s.Answered || s.Cache.MaxOctets != 16<<20 || s.Process.Goroutines == 0 {
		t.Errorf("%+v, %v", s, err)
	}

	r.reload <- syscall.SIGHUP
	r.logs("reloaded; the cache is kept")
	if h, err := r.client.Lookup(ctx, "other"); err != nil || len(h.Entries) != 1 {
		t.Errorf("after a reload: %+v, %v", h, err)
	}
	for _, step := range []struct {
		flush func(context.Context, string) (control.Flushed, error)
		name  string
		want  int
	}{
		{r.client.FlushName, "www.example", 1},
		{r.client.FlushName, "www.example", 0},
		{r.client.FlushZone, "example", 1},
		{r.client.FlushZone, ".", 1},
	} {
		if f, err := step.flush(ctx, step.name); err != nil || f.Entries != step.want {
			t.Errorf("flush of %s: %+v, %v; want %d", step.name, f, err, step.want)
		}
	}
	r.ask("www.example", "192.0.2.1")
	if f, err := r.client.FlushAll(ctx); err != nil || f.Entries != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	r.ask("www.example", "192.0.2.1")
	r.configure(off + toml(two))
	if err := r.client.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	r.logs("reloaded; the cache is empty")
	r.ask("www.example", "192.0.2.2")
}

// TestSplitDNS: each name is asked of the servers of its closest zone, and of no
// one else even where these do not answer.
func TestSplitDNS(t *testing.T) {
	general := dnstest.Start(t, dnstest.Zone("www.example. 60 IN A 192.0.2.1", "host.corp.example. 60 IN A 192.0.2.1", "notcorp.example. 60 IN A 192.0.2.1"))
	corp := dnstest.Start(t, dnstest.Zone("corp.example. 60 IN A 192.0.2.2", "host.corp.example. 60 IN A 192.0.2.2", "a.lab.corp.example. 60 IN A 192.0.2.2"))
	lab := dnstest.Start(t, dnstest.Zone("a.lab.corp.example. 60 IN A 192.0.2.3"))
	r := startRunning(t, "[upstream]\n"+toml(general)+"timeout = \"100ms\"\nattempts = 1\n"+
		"[[forward]]\nzone = \"corp.example\"\n"+toml(corp)+"[[forward]]\nzone = \"lab.corp.example\"\n"+toml(lab)+
		"[[forward]]\nzone = \"dead.example\"\nservers = [\"127.0.0.1:9\"]\n")
	r.ask("www.example", "192.0.2.1")
	r.ask("notcorp.example", "192.0.2.1")
	r.ask("corp.example", "192.0.2.2")
	r.ask("host.CORP.example", "192.0.2.2")
	r.ask("a.lab.corp.example", "192.0.2.3")
	r.ask("www.dead.example", "SERVFAIL")
	for _, q := range general.Queries() {
		if strings.Contains(q.Name, "corp.example") && !strings.HasPrefix(q.Name, "notcorp") || strings.Contains(q.Name, "dead") {
			t.Errorf("the general server was asked for %s", q.Name)
		}
	}
}

// TestForwardOfDS: the DS records of a zone are its parent's to give.
func TestForwardOfDS(t *testing.T) {
	c := config.Default()
	c.Forwards = []config.Forward{{Zone: "\x04corp\x07example\x00", Strategy: config.Failover}}
	others := newGroup(nil, c.Upstream, nil)
	f := newForwards(&c, own{}, others, nil, newDaemon(&flags{}, false, io.Discard).log)
	for typ, want := range map[dnswire.Type]bool{dnswire.TypeDS: false, dnswire.TypeA: true} {
		if got := f.find("\x04corp\x07example\x00", typ) != others; got != want {
			t.Errorf("%v of the zone itself asked of its servers: %v", typ, got)
		}
	}
	if f.find("\x01a\x04corp\x07example\x00", dnswire.TypeDS) == others {
		t.Error("DS below the zone is not asked of its servers")
	}
	if f.find(dnswire.Root, dnswire.TypeDS) != others || f.find(dnswire.Root, dnswire.TypeNS) != others {
		t.Error("the root has servers of its own")
	}
}

// TestMetricsOfARunningDaemon: figures and health are there; readiness asks by
// itself whether anybody answers.
func TestMetricsOfARunningDaemon(t *testing.T) {
	for _, tt := range []struct {
		name, upstream string
		ready          int
	}{
		{"answering", "[upstream]\n" + toml(dnstest.Start(t, dnstest.Zone(". 60 IN NS a."))), 200},
		{"silent", "[upstream]\nservers = [\"127.0.0.1:9\"]\ntimeout = \"100ms\"\nattempts = 1\n", 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRunning(t, "[metrics]\nlisten = \"127.0.0.1:0\"\n"+tt.upstream)
			base := "http://" + r.logs(`msg=metrics address=(\S+)`)[1]
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			get := func(path string) (int, string) {
				resp, err := (&http.Client{Transport: transport, Timeout: waitTime}).Get(base + path)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				return resp.StatusCode, string(b)
			}
			if code, text := get("/metrics"); code != 200 || !strings.Contains(text, "\nmpdnsd_cache_max_bytes 1.6777216e+07\n") {
				t.Errorf("/metrics: %d %s", code, text)
			}
			if code, text := get("/healthz"); code != 200 {
				t.Errorf("/healthz: %d %s", code, text)
			}
			if code, text := get("/readyz"); code != tt.ready {
				t.Errorf("/readyz: %d %s", code, text)
			}
		})
	}
}

// TestFillsAlike is which changes empty the cache.
func TestFillsAlike(t *testing.T) {
	base := func() *setup {
		set, err := (&flags{listen: []string{"127.0.0.1:0"}, upstreams: []string{"192.0.2.53"}}).load()
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	zone := filepath.Join(t.TempDir(), "example.zone")
	if err := os.WriteFile(zone, []byte("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	zones, err := loadZones([]config.Zone{{File: zone}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*setup)
		want   bool
	}{
		"nothing":       {func(*setup) {}, true},
		"listeners":     {func(s *setup) { s.config.Listen = nil }, true},
		"strategy":      {func(s *setup) { s.config.Upstream.Strategy = config.Rotate }, true},
		"timeout":       {func(s *setup) { s.config.Upstream.Timeout = time.Second }, true},
		"servers":       {func(s *setup) { s.config.Upstream.Servers = nil }, false},
		"rebinding":     {func(s *setup) { s.config.Upstream.RebindProtection = false }, false},
		"private":       {func(s *setup) { s.config.Upstream.PrivateDomains = nil }, false},
		"tcp":           {func(s *setup) { s.config.Upstream.TCP = true }, false},
		"cache":         {func(s *setup) { s.config.Cache.MaxOctets = 1 << 20 }, false},
		"special names": {func(s *setup) { s.config.SpecialNames = false }, false},
		"hosts":         {func(s *setup) { s.config.Hosts.Enabled = false }, false},
		"forward":       {func(s *setup) { s.config.Forwards = []config.Forward{{Zone: "\x01a\x00"}} }, false},
		"a zone":        {func(s *setup) { s.zones = zones }, false},
	} {
		next := base()
		tt.change(next)
		if got := base().fillsAlike(next); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	with := base()
	with.zones = zones
	if !with.fillsAlike(base()) {
		t.Error("a zone less empties the cache")
	}
}

func TestWatchdogTime(t *testing.T) {
	for _, tt := range []struct {
		pid, usec string
		want      time.Duration
	}{
		{"", "", 0},
		{"", "30000000", 30 * time.Second},
		{"77", "30000000", 30 * time.Second},
		{"78", "30000000", 0},
		{"77", "x", 0},
		{"77", "-5", 0},
		{"77", "0", 0},
		{"77", "99999999999999", 0},
	} {
		env := map[string]string{"WATCHDOG_PID": tt.pid, "WATCHDOG_USEC": tt.usec}
		if got := watchdogTime(func(key string) string { return env[key] }, 77); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// TestLimits: the figures grow with the settings that they are made of.
func TestLimits(t *testing.T) {
	c := config.Default()
	if got := memoryLimit(&c); got != 64<<20+16<<20+4<<20+512*(32<<10)+1024*(32<<10) {
		t.Errorf("default memory limit %d", got)
	}
	c.Cache.MaxOctets, c.Paths.Enabled = 1<<30, true
	if got := memoryLimit(&c); got != 64<<20+5<<28+512*(32<<10)+1024*(32<<10)+4096*(32<<10) {
		t.Errorf("memory limit %d", got)
	}
	if got := fileNeed(&c, 2); got != 64+2*2*2+512+2*1024+3*(512+4)+2*4096 {
		t.Errorf("%d files", got)
	}
	c.Upstream.Servers = make([]netip.AddrPort, 1)
	c.Forwards = []config.Forward{{Servers: make([]netip.AddrPort, 2)}, {Servers: make([]netip.AddrPort, 4)}}
	if got := fileNeed(&c, 2); got != 64+2*2*2+512+2*1024+(1+2+4)*(512+4)+2*4096 {
		t.Errorf("%d files with servers named", got)
	}
}
