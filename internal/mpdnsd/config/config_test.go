package config

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/server"
)

// TestSample holds the file that documents the keys to the code: all keys are
// there, and their values are the defaults.
func TestSample(t *testing.T) {
	text, err := os.ReadFile("../../../cmd/mpdnsd/mpdnsd.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("mpdnsd.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Cache.Config = dnscache.Config{
		MaxOctets: dnscache.DefaultMaxOctets, MaxTTL: dnscache.DefaultMaxTTL,
		MaxNegativeTTL: dnscache.DefaultMaxNegativeTTL, FailureTTL: dnscache.DefaultFailureTTL,
		MaxStale: dnscache.DefaultMaxStale,
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
	uncommented := strings.ReplaceAll(string(text), "\n# ", "\n")
	for key := range schema() {
		if last := key[strings.LastIndexByte(key, '.')+1:]; !strings.Contains(uncommented, "\n"+last+" = ") {
			t.Errorf("%s is not in the sample", key)
		}
	}
}

const full = `
listen = ["127.0.0.1:5353", "[::1]:5353"]
special_names = false
allow = ["198.51.100.0/24"]
[upstream]
servers = ["192.0.2.53", "[2001:db8::53]:5353", "2001:db8::54"]
strategy = "rotate"
timeout = "1500ms"
attempts = 3
tcp = true
mixed_case = true
rebind_protection = false
private_domains = ["Corp.example"]
[cache]
size = "64MiB"
min_ttl = "5s"
max_ttl = "12h"
max_negative_ttl = "1h"
failure_ttl = "10s"
max_stale = "1h"
nxdomain_cut = false
prefetch = false
file = "cache"
pair = false
[hosts]
enabled = false
file = "hosts"
[multipath]
enabled = true
type = 65_401
[server]
udp_size = 1400
outstanding = 100
tcp_connections = 20
tcp_idle_timeout = "30s"
tcp_connections_per_client = 3
loops = 2
rate_limit = 100
rate_burst = 200
rate_slip = 3
chaos_version = "v"
chaos_hostname = "h"
cookie_secret = "000102030405060708090a0b0c0d0e0f"
[paths]
enabled = true
socket = "run/paths.sock"
mode = "0660"
group = "net"
manager = "userspace"
allow = ["192.0.2.0/24", "2001:db8::/32"]
clients = 10
clients_per_user = 5
subflows = 4
requests = 20
burst = 30
hello_timeout = "1s"
write_timeout = "3s"
[verdicts]
file = "verdicts"
redis = "rediss://u:p@redis.example/2"
[control]
socket = "run/control.sock"
mode = "0660"
group = "adm"
[metrics]
listen = "127.0.0.1:9353"
[log]
level = "debug"
queries = 1000
[[forward]]
zone = "Corp.Example"
servers = ["192.0.2.1", "192.0.2.2:5353"]
[[forward]]
zone = "2.0.192.in-addr.arpa."
servers = ["192.0.2.1"]
strategy = "failover"
[[zone]]
file = "demo.example.zone"
[[zone]]
origin = "example.org"
file = "/abs/org"
`

func TestParse(t *testing.T) {
	got, err := Parse("mpdnsd.toml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5353"), netip.MustParseAddrPort("[::1]:5353")}
	want.SpecialNames = false
	want.Allow = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	want.Upstream = Upstream{
		Servers: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.53:53"),
			netip.MustParseAddrPort("[2001:db8::53]:5353"), netip.MustParseAddrPort("[2001:db8::54]:53"),
		},
		Strategy: Rotate, Timeout: 1500 * time.Millisecond, Attempts: 3, TCP: true,
		MixedCase:      true,
		PrivateDomains: []dnswire.Name{"\x04corp\x07example\x00"},
	}
	want.Verdicts = Verdicts{File: "verdicts", Redis: "rediss://u:p@redis.example/2"}
	want.Cache.Pair, want.Cache.Prefetch, want.Cache.File = false, false, "cache"
	want.Cache.MaxStale, want.Cache.NoCut = time.Hour, true
	want.Cache.MaxOctets = 64 << 20
	want.Cache.MinTTL, want.Cache.MaxTTL = 5*time.Second, 12*time.Hour
	want.Cache.MaxNegativeTTL, want.Cache.FailureTTL = time.Hour, 10*time.Second
	want.Hosts = Hosts{File: "hosts"}
	want.Multipath.Type = 65401
	want.Server = Server{
		UDPSize: 1400, Outstanding: 100, TCPConnections: 20, TCPIdle: 30 * time.Second, TCPPerClient: 3, Loops: 2,
		Rate:    server.RateLimit{PerSecond: 100, Burst: 200, Slip: 3},
		Version: "v", Hostname: "h", CookieSecret: "000102030405060708090a0b0c0d0e0f",
	}
	if c := want.Server.Cookie(); c == nil || c[15] != 0x0f {
		t.Errorf("cookie secret %v", c)
	}
	want.LogQueries = 1000
	want.Paths = Paths{
		Enabled: true, Socket: "run/paths.sock", Mode: 0o660, Group: "net", Manager: UserspaceManager,
		Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Limits: broker.Limits{
			Clients: 10, PerUser: 5, Subflows: 4, Requests: 20, Burst: 30,
			HelloTimeout: time.Second, WriteTimeout: 3 * time.Second,
		},
	}
	want.Control = Control{Socket: "run/control.sock", Mode: 0o660, Group: "adm"}
	want.Metrics = netip.MustParseAddrPort("127.0.0.1:9353")
	want.LogLevel = slog.LevelDebug
	want.Forwards = []Forward{
		{Zone: "\x04corp\x07example\x00", Strategy: Rotate, Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:5353")}},
		{Zone: "\x012\x010\x03192\x07in-addr\x04arpa\x00", Strategy: Failover, Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}},
	}
	want.Zones = []Zone{{File: "demo.example.zone"}, {Origin: "example.org", File: "/abs/org"}}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
}

func TestParseNothing(t *testing.T) {
	got, err := Parse("mpdnsd.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), got, cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
}

// TestEveryKeyIsTried keeps the document above complete as keys are added.
func TestEveryKeyIsTried(t *testing.T) {
	for key := range schema() {
		if last := key[strings.LastIndexByte(key, '.')+1:]; !strings.Contains(full, "\n"+last+" = ") {
			t.Errorf("%s is not in the full example", key)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"value", "[upstream]\n  strategy = \"fastes\"\n", []string{
			`f.toml:2:3: upstream.strategy: unknown value "fastes" (failover, rotate, fastest, parallel)`,
		}},
		{"all at once", "lisen = []\n[cache]\nsize = \"1KiB\"\nmin_ttl = 5\n[upstream]\ntimeout = \"1d\"\nattempts = 9\nservers = [\"192.0.2.53\", \"a\", 5]\n[extra]\nx = 1\n[multipath]\ntype = 1\n", []string{
			`f.toml:1:1: lisen: unknown key (allow, listen, special_names)`,
			`f.toml:3:1: cache.size: 1KiB is not from 524288 to 1099511627776 octets`,
			`f.toml:4:1: cache.min_ttl: want a time such as "1500ms", "10s" or "1h"`,
			`f.toml:6:1: upstream.timeout: "1d" is no time such as "1500ms", "10s" or "1h"`,
			`f.toml:7:1: upstream.attempts: 9 is not from 1 to 5`,
			`f.toml:8:26: upstream.servers: "a" is no ADDRESS[:PORT] of a server, such as 192.0.2.53 or [2001:db8::53]:5353`,
			`f.toml:8:31: upstream.servers: want an address in quotes`,
			`f.toml:9:2: extra: unknown table ([forward], [zone], cache, control, hosts, log, metrics, multipath, paths, server, upstream, verdicts)`,
			`f.toml:12:1: multipath.type: 1 is not from 65280 to 65534`,
		}},
		{"zone", "[[zone]]\norigin = \"a..b\"\n[[zone]]\n[zone.x]\n", []string{
			`f.toml:2:1: zone.origin: name "a..b": label 2: empty label`,
			`f.toml:4:2: zone.x: unknown table ([forward], [zone], cache, control, hosts, log, metrics, multipath, paths, server, upstream, verdicts)`,
		}},
		{"forward", "[[forward]]\nzone = \"a..b\"\nservers = []\nstrategy = \"fast\"\n[forward.x]\n", []string{
			`f.toml:2:1: forward.zone: name "a..b": label 2: empty label`,
			`f.toml:3:1: forward.servers: no address given`,
			`f.toml:4:1: forward.strategy: unknown value "fast" (failover, rotate, fastest, parallel)`,
			`f.toml:5:2: forward.x: unknown table`,
		}},
		{"forwards as a whole", "[[forward]]\n[[forward]]\nzone = \".\"\nservers = [\"192.0.2.1\"]\n[[forward]]\nzone = \"a\"\nservers = [\"192.0.2.1\"]\n[[forward]]\nzone = \"A.\"\nservers = [\"192.0.2.1\"]\n", []string{
			`f.toml:1:3: forward: has no zone`,
			`f.toml:1:3: forward: has no servers`,
			`f.toml:2:3: forward: the root's servers are those of [upstream]`,
			`f.toml:8:3: forward: a second one for a.`,
		}},
		{"forward by a dotted key", "forward.zone = \"x\"\n", []string{`f.toml:1:1: forward.zone: a forward is written below [[forward]]`}},
		{"server", "[server]\nloops = 257\nrate_limit = -1\nrate_slip = 0\ncookie_secret = \"00\"\nchaos_version = 5\n[log]\nqueries = 1_000_001\n", []string{
			`f.toml:2:1: server.loops: 257 is not from 0 to 256`,
			`f.toml:3:1: server.rate_limit: -1 is not from 0 to 1000000`,
			`f.toml:4:1: server.rate_slip: 0 is not from 1 to 10`,
			`f.toml:5:1: server.cookie_secret: want 32 hexadecimal digits`,
			`f.toml:6:1: server.chaos_version: want a text`,
			`f.toml:8:1: log.queries: 1_000_001 is not from 0 to 1000000`,
		}},
		{"zone without file", "[[zone]]\norigin = \"a.b\"\n", []string{`f.toml:1:3: zone: has no file`}},
		{"zone as one table", "[zone]\nfile = \"x\"\n", []string{`f.toml:1:2: zone: unknown table`}},
		{"zone by a dotted key", "zone.file = \"x\"\n", []string{`f.toml:1:1: zone.file: a zone is written below [[zone]]`}},
		{"zone as a value", "zone = [{file = \"x\"}]\n", []string{`f.toml:1:1: zone: unknown key`}},
		{"inline", "cache = { size = true, sice = 1 }\n", []string{
			`f.toml:1:11: cache.size: want a number of octets, or text such as "32MiB"`,
			`f.toml:1:24: cache.sice: unknown key (failure_ttl, file, max_negative_ttl, max_stale, max_ttl, min_ttl, nxdomain_cut, pair, prefetch, size)`,
		}},
		{"dotted", "upstream.tcp = 1\n", []string{`f.toml:1:1: upstream.tcp: want true or false`}},
		{"a table as a value", "upstream = 1\n", []string{`f.toml:1:1: upstream: unknown key (allow, listen, special_names)`}},
		{"no address", "listen = []\n", []string{`f.toml:1:1: listen: no address given`}},
		{"twice the same", "listen = [\"127.0.0.1:53\", \"127.0.0.1:53\"]\n", []string{`f.toml:1:27: listen: 127.0.0.1:53 is given twice`}},
		{"no port", "listen = [\"127.0.0.1\"]\n", []string{`f.toml:1:11: listen: "127.0.0.1" is no ADDRESS:PORT`}},
		{"limits", "[cache]\nmax_ttl = \"1m\"\nmin_ttl = \"2m\"\n", []string{`f.toml:3:1: cache.min_ttl: 2m0s is more than max_ttl, 1m0s`}},
		{"control and metrics", "[control]\nsocket = \"@c\"\nmode = \"01777\"\n[metrics]\nlisten = \"127.0.0.1\"\n", []string{
			`f.toml:2:1: control.socket: "@c" is no name of a file`,
			`f.toml:3:1: control.mode: "01777" is no permissions such as "0660"`,
			`f.toml:5:1: metrics.listen: "127.0.0.1" is no ADDRESS:PORT`,
		}},
		{"paths", "[paths]\nenabled = 1\nsocket = \"@paths\"\nmode = \"0888\"\ngroup = 5\nmanager = \"user\"\nallow = [\"192.0.2.1/24\", \"x\", 7, \"::/0\", \"::/0\"]\n", []string{
			`f.toml:2:1: paths.enabled: want true or false`,
			`f.toml:3:1: paths.socket: "@paths" is no name of a file`,
			`f.toml:4:1: paths.mode: "0888" is no permissions such as "0660"`,
			`f.toml:5:1: paths.group: want the name of a group`,
			`f.toml:6:1: paths.manager: unknown value "user" (kernel, userspace)`,
			`f.toml:7:10: paths.allow: 192.0.2.1/24 has bits beyond its length; is 192.0.2.0/24 meant?`,
			`f.toml:7:26: paths.allow: "x" is no prefix such as 192.0.2.0/24 or 2001:db8::/32`,
			`f.toml:7:31: paths.allow: want a prefix in quotes`,
			`f.toml:7:42: paths.allow: ::/0 is given twice`,
		}},
		{"paths' limits", "[paths]\nclients = 0\nclients_per_user = 65537\nsubflows = 65\nrequests = 0\nburst = 10001\nhello_timeout = \"99ms\"\nwrite_timeout = \"61s\"\nmode = 600\n", []string{
			`f.toml:2:1: paths.clients: 0 is not from 1 to 65536`,
			`f.toml:3:1: paths.clients_per_user: 65537 is not from 1 to 65536`,
			`f.toml:4:1: paths.subflows: 65 is not from 1 to 64`,
			`f.toml:5:1: paths.requests: 0 is not from 1 to 10000`,
			`f.toml:6:1: paths.burst: 10001 is not from 1 to 10000`,
			`f.toml:7:1: paths.hello_timeout: 99ms is not from 100ms to 1m0s`,
			`f.toml:8:1: paths.write_timeout: 61s is not from 100ms to 1m0s`,
			`f.toml:9:1: paths.mode: want permissions such as "0660"`,
		}},
		{"paths without work", "[paths]\nsocket = \"\"\nenabled = true\n", []string{
			`f.toml:3:1: paths.enabled: neither a socket nor the userspace manager: there is nothing to do`,
		}},
		{"long socket", "[paths]\nsocket = \"/" + strings.Repeat("x", MaxSocketPath) + "\"\n", []string{
			`f.toml:2:1: paths.socket: the name has 108 octets, at most 107 are possible`,
		}},
		{"syntax", "listen = [\n[cache\n", []string{`f.toml:`}},
		{"syntax and more", "x = 1\n= 2\n", []string{`f.toml:1:1: x: unknown key`, `f.toml:2:1: `}},
		{"defined twice", "special_names = true\nspecial_names = false\n", []string{`f.toml:2:1: `}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.toml", []byte(tt.text))
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("%d errors, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("got  %s\nwant %s", lines[i], want)
				}
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mpdnsd.toml")
	if err := os.WriteFile(file, []byte(full), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "demo.example.zone"); c.Zones[0].File != want {
		t.Errorf("zone file %s, want %s", c.Zones[0].File, want)
	}
	if want := filepath.Join(dir, "hosts"); c.Hosts.File != want {
		t.Errorf("hosts file %s, want %s", c.Hosts.File, want)
	}
	if want := filepath.Join(dir, "run", "paths.sock"); c.Paths.Socket != want {
		t.Errorf("socket %s, want %s", c.Paths.Socket, want)
	}
	for _, bad := range []string{dir, filepath.Join(dir, "nothing")} {
		if _, err := Load(bad); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestParseUpstream(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":                "192.0.2.1:53",
		"192.0.2.1:5353":           "192.0.2.1:5353",
		"2001:db8::1":              "[2001:db8::1]:53",
		"[2001:db8::1]":            "[2001:db8::1]:53",
		"[fe80::1%eth0]:53":        "[fe80::1%eth0]:53",
		"[::ffff:192.0.2.1]:53":    "192.0.2.1:53",
		"192.0.2.1:0":              "",
		"0.0.0.0":                  "",
		"dns.example":              "",
		"":                         "",
		"192.0.2.1:99999":          "",
		"https://dns.example/path": "",
	} {
		got, err := ParseUpstream(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q: %v, want an error", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %s", in, got, err, want)
		}
	}
}

// FuzzParse: any text gives a configuration or errors with places in it.
func FuzzParse(f *testing.F) {
	if _, err := Parse("f", []byte(full)); err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add("cache = { size = true, x = [1, {a=2}] }\n[[zone]]\nfile=\"\\u00e9\"")
	f.Add("a.b.\"c d\" = 1979-05-27T07:32:00Z\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Parse("f", []byte(text))
		if err == nil {
			return
		}
		errs, ok := err.(Errors) //nolint:errorlint // Parse promises this type
		if !ok || len(errs) == 0 {
			t.Fatalf("%T", err)
		}
		for _, e := range errs {
			if e.Line < 1 || e.Column < 1 || e.Line > strings.Count(text, "\n")+1 {
				t.Errorf("place %d:%d of %q", e.Line, e.Column, text)
			}
		}
	})
}
