package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/server"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/verdicts"
)

// The arrays of tables.
const (
	zoneTable    = "zone"
	forwardTable = "forward"
)

// isArray reports whether a table may be written several times, below [[NAME]].
func isArray(table string) bool { return table == zoneTable || table == forwardTable }

// setter puts a value into the configuration, or fails it.
type setter func(c *Config, v value)

// schema is every key there is.
func schema() map[string]setter {
	keys := upstreamKeys()
	maps.Copy(keys, map[string]setter{
		"listen":        func(c *Config, v value) { c.Listen = v.addresses(ParseListen) },
		"allow":         func(c *Config, v value) { c.Allow = v.prefixes() },
		"special_names": func(c *Config, v value) { c.SpecialNames = v.boolean() },

		"cache.size":             func(c *Config, v value) { c.Cache.MaxOctets = v.octets(dnscache.MinOctets, dnscache.MaxOctets) },
		"cache.min_ttl":          func(c *Config, v value) { c.Cache.MinTTL = v.duration(0, dnscache.LimitMaxTTL) },
		"cache.max_ttl":          func(c *Config, v value) { c.Cache.MaxTTL = v.duration(time.Second, dnscache.LimitMaxTTL) },
		"cache.max_negative_ttl": func(c *Config, v value) { c.Cache.MaxNegativeTTL = v.duration(time.Second, dnscache.LimitMaxTTL) },
		"cache.failure_ttl": func(c *Config, v value) {
			c.Cache.FailureTTL = v.duration(dnscache.MinFailureTTL, dnscache.LimitFailureTTL)
		},
		"cache.max_stale":    func(c *Config, v value) { c.Cache.MaxStale = v.duration(0, dnscache.LimitMaxStale) },
		"cache.nxdomain_cut": func(c *Config, v value) { c.Cache.NoCut = !v.boolean() },
		"cache.prefetch":     func(c *Config, v value) { c.Cache.Prefetch = v.boolean() },
		"cache.file":         func(c *Config, v value) { c.Cache.File, _ = v.text("the name of a file") },
		"cache.pair":         func(c *Config, v value) { c.Cache.Pair = v.boolean() },

		"zone.origin": func(c *Config, v value) { c.Zones[len(c.Zones)-1].Origin = v.name() },
		"zone.file":   func(c *Config, v value) { c.Zones[len(c.Zones)-1].File = v.file() },

		"hosts.enabled": func(c *Config, v value) { c.Hosts.Enabled = v.boolean() },
		"hosts.file":    func(c *Config, v value) { c.Hosts.File = v.file() },

		"multipath.enabled": func(c *Config, v value) { c.Multipath.Enabled = v.boolean() },
		"multipath.type": func(c *Config, v value) {
			c.Multipath.Type = dnswire.Type(v.integer(FirstPrivateType, LastPrivateType))
		},

		"server.udp_size":         func(c *Config, v value) { c.Server.UDPSize = int(v.integer(dnswire.MinUDPSize, MaxUDPSize)) },
		"server.outstanding":      func(c *Config, v value) { c.Server.Outstanding = int(v.integer(1, MaxOutstanding)) },
		"server.tcp_connections":  func(c *Config, v value) { c.Server.TCPConnections = int(v.integer(1, MaxTCPConnections)) },
		"server.tcp_idle_timeout": func(c *Config, v value) { c.Server.TCPIdle = v.duration(MinTCPIdle, MaxTCPIdle) },

		"server.tcp_connections_per_client": func(c *Config, v value) { c.Server.TCPPerClient = int(v.integer(0, MaxTCPConnections)) },
		"server.loops":                      func(c *Config, v value) { c.Server.Loops = int(v.integer(0, server.MaxLoops)) },
		"server.rate_limit":                 func(c *Config, v value) { c.Server.Rate.PerSecond = int(v.integer(0, server.MaxRate)) },
		"server.rate_burst":                 func(c *Config, v value) { c.Server.Rate.Burst = int(v.integer(0, server.MaxRate)) },
		"server.rate_slip":                  func(c *Config, v value) { c.Server.Rate.Slip = int(v.integer(1, server.MaxSlip)) },
		"server.chaos_version":              func(c *Config, v value) { c.Server.Version = v.chaos() },
		"server.chaos_hostname":             func(c *Config, v value) { c.Server.Hostname = v.chaos() },
		"server.cookie_secret":              func(c *Config, v value) { c.Server.CookieSecret = v.secret() },

		"paths.enabled":          func(c *Config, v value) { c.Paths.Enabled = v.boolean() },
		"paths.socket":           func(c *Config, v value) { c.Paths.Socket = v.socket() },
		"paths.mode":             func(c *Config, v value) { c.Paths.Mode = v.mode() },
		"paths.group":            func(c *Config, v value) { c.Paths.Group, _ = v.text("the name of a group") },
		"paths.manager":          func(c *Config, v value) { c.Paths.Manager = v.oneOf(KernelManager, UserspaceManager) },
		"paths.allow":            func(c *Config, v value) { c.Paths.Allow = v.prefixes() },
		"paths.clients":          func(c *Config, v value) { c.Paths.Limits.Clients = int(v.integer(1, MaxPathClients)) },
		"paths.clients_per_user": func(c *Config, v value) { c.Paths.Limits.PerUser = int(v.integer(1, MaxPathClients)) },
		"paths.subflows":         func(c *Config, v value) { c.Paths.Limits.Subflows = int(v.integer(1, broker.MaxSubflows)) },
		"paths.requests":         func(c *Config, v value) { c.Paths.Limits.Requests = float64(v.integer(1, MaxPathRequests)) },
		"paths.burst":            func(c *Config, v value) { c.Paths.Limits.Burst = int(v.integer(1, MaxPathRequests)) },
		"paths.hello_timeout":    func(c *Config, v value) { c.Paths.Limits.HelloTimeout = v.duration(MinPathTimeout, MaxPathTimeout) },
		"paths.write_timeout":    func(c *Config, v value) { c.Paths.Limits.WriteTimeout = v.duration(MinPathTimeout, MaxPathTimeout) },

		"verdicts.file":  func(c *Config, v value) { c.Verdicts.File, _ = v.text("the name of a file") },
		"verdicts.redis": func(c *Config, v value) { c.Verdicts.Redis = v.redis() },

		"control.socket": func(c *Config, v value) { c.Control.Socket = v.socket() },
		"control.mode":   func(c *Config, v value) { c.Control.Mode = v.mode() },
		"control.group":  func(c *Config, v value) { c.Control.Group, _ = v.text("the name of a group") },

		"metrics.listen": func(c *Config, v value) { c.Metrics = v.listen() },

		"log.queries": func(c *Config, v value) { c.LogQueries = int(v.integer(0, MaxLogQueries)) },
		"log.level":   func(c *Config, v value) { c.LogLevel = v.level() },
	})
	return keys
}

// upstreamKeys are those about whom to ask.
func upstreamKeys() map[string]setter {
	return map[string]setter{
		"upstream.servers":           func(c *Config, v value) { c.Upstream.Servers = v.addresses(ParseUpstream) },
		"upstream.strategy":          func(c *Config, v value) { c.Upstream.Strategy = v.strategy() },
		"upstream.timeout":           func(c *Config, v value) { c.Upstream.Timeout = v.duration(MinTimeout, MaxTimeout) },
		"upstream.attempts":          func(c *Config, v value) { c.Upstream.Attempts = int(v.integer(1, MaxAttempts)) },
		"upstream.tcp":               func(c *Config, v value) { c.Upstream.TCP = v.boolean() },
		"upstream.mixed_case":        func(c *Config, v value) { c.Upstream.MixedCase = v.boolean() },
		"upstream.rebind_protection": func(c *Config, v value) { c.Upstream.RebindProtection = v.boolean() },
		"upstream.private_domains":   func(c *Config, v value) { c.Upstream.PrivateDomains = v.names() },
		"forward.zone":               func(c *Config, v value) { c.lastForward().Zone = v.wireName() },
		"forward.servers":            func(c *Config, v value) { c.lastForward().Servers = v.addresses(ParseUpstream) },
		"forward.strategy":           func(c *Config, v value) { c.lastForward().Strategy = v.strategy() },
	}
}

// lastForward is the [[forward]] that keys are read for.
func (c *Config) lastForward() *Forward { return &c.Forwards[len(c.Forwards)-1] }

// value is a key's value as it stands in the document. Its methods read it as
// one kind; where it is another, or out of bounds, they note an error and
// return the zero value.
type value struct {
	p    *parser
	node *unstable.Node
	key  string
	at   place
}

// fail notes an error about v.
func (v value) fail(format string, args ...any) { v.p.fail(v.at, v.key, format, args...) }

// is checks the kind of v.
func (v value) is(kind unstable.Kind, what string) bool {
	if v.node.Kind == kind {
		return true
	}
	v.fail("want %s", what)
	return false
}

func (v value) boolean() bool {
	return v.is(unstable.Bool, "true or false") && string(v.node.Data) == "true"
}

func (v value) text(what string) (string, bool) {
	return string(v.node.Data), v.is(unstable.String, what)
}

func (v value) integer(least, most int64) int64 {
	if !v.is(unstable.Integer, fmt.Sprintf("a number from %d to %d", least, most)) {
		return 0
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(string(v.node.Data), "_", ""), 0, 64)
	if err != nil || n < least || n > most {
		v.fail("%s is not from %d to %d", v.node.Data, least, most)
		return 0
	}
	return n
}

func (v value) duration(least, most time.Duration) time.Duration {
	s, ok := v.text(`a time such as "1500ms", "10s" or "1h"`)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		v.fail(`%q is no time such as "1500ms", "10s" or "1h"`, s)
	case d < least || d > most:
		v.fail("%s is not from %v to %v", s, least, most)
	default:
		return d
	}
	return 0
}

// octets reads a number of octets, or text such as "32MiB".
func (v value) octets(least, most int64) int64 {
	if v.node.Kind == unstable.Integer {
		return v.integer(least, most)
	}
	s, ok := v.text(`a number of octets, or text such as "32MiB"`)
	if !ok {
		return 0
	}
	digits, unit := s, int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB"} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = d, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	switch {
	case err != nil:
		v.fail(`%q is no size such as "512KiB", "32MiB" or "1GiB"`, s)
	case n < 0 || n > most/unit || n*unit < least:
		v.fail("%s is not from %d to %d octets", s, least, most)
	default:
		return n * unit
	}
	return 0
}

func (v value) oneOf(known ...string) string {
	list := strings.Join(known, ", ")
	s, ok := v.text("one of " + list)
	if ok && !slices.Contains(known, s) {
		v.fail("unknown value %q (%s)", s, list)
	}
	return s
}

func (v value) strategy() string { return v.oneOf(Failover, Rotate, Fastest, Parallel) }

func (v value) level() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(v.oneOf("debug", "info", "warn", "error"))) // oneOf notes others
	return level
}

func (v value) name() string {
	v.wireName() // notes what is wrong with it
	return string(v.node.Data)
}

func (v value) wireName() dnswire.Name {
	s, ok := v.text("a domain name")
	if !ok {
		return ""
	}
	name, err := dnswire.ParseName(s)
	if err != nil {
		v.fail("%v", err)
	}
	return name
}

// names reads a list of domain names, which may be empty.
func (v value) names() []dnswire.Name {
	all := []dnswire.Name{}
	v.texts("a list of domain names", "a domain name in quotes", func(at value, s string) {
		name, err := dnswire.ParseName(s)
		if err != nil {
			at.fail("%q: %v", s, err)
			return
		}
		all = append(all, name)
	})
	return all
}

func (v value) file() string {
	s, ok := v.text("the name of a file")
	if ok && s == "" {
		v.fail("no file named")
	}
	return s
}

func (v value) socket() string {
	s, ok := v.text("the name of a socket")
	if !ok || s == "" {
		return ""
	}
	if err := CheckSocket(s); err != nil {
		v.fail("%v", err)
	}
	return s
}

// chaos reads the text of an answer of class CHAOS.
func (v value) chaos() string {
	s, ok := v.text("a text")
	if ok && len(s) > MaxChaos {
		v.fail("the text has %d octets, at most %d are possible", len(s), MaxChaos)
	}
	return s
}

// secret reads the secret of DNS cookies. It is not repeated in an error.
func (v value) secret() string {
	s, ok := v.text("32 hexadecimal digits in quotes")
	if ok && s != "" && (Server{CookieSecret: s}).Cookie() == nil {
		v.fail("want 32 hexadecimal digits, such as openssl rand -hex 16 gives")
	}
	return s
}

// redis reads the URL of a server. It is not repeated in an error.
func (v value) redis() string {
	s, ok := v.text("the URL of a server")
	if !ok || s == "" {
		return ""
	}
	if err := verdicts.CheckURL(s); err != nil {
		v.fail("%v", err)
	}
	return s
}

// mode reads permissions as chmod(1) takes them.
func (v value) mode() fs.FileMode {
	s, ok := v.text(`permissions such as "0660"`)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > uint64(fs.ModePerm) {
		v.fail(`%q is no permissions such as "0660"`, s)
		return 0
	}
	return fs.FileMode(n)
}

// texts calls f with each text of a list and where it stands.
func (v value) texts(list, one string, f func(at value, s string)) {
	if !v.is(unstable.Array, list) {
		return
	}
	for in := v.node.Children(); in.Next(); {
		item := value{v.p, in.Node(), v.key, v.at}
		if in.Node().Raw.Length > 0 {
			item.at = v.p.place(in.Node())
		}
		if s, ok := item.text(one); ok {
			f(item, s)
		}
	}
}

// addresses reads a list of at least one address.
func (v value) addresses(parse func(string) (netip.AddrPort, error)) []netip.AddrPort {
	var all []netip.AddrPort
	v.texts("a list of addresses", "an address in quotes", func(at value, s string) {
		a, err := parse(s)
		switch {
		case err != nil:
			at.fail("%v", err)
		case slices.Contains(all, a) && a.Port() != 0:
			at.fail("%v is given twice", a)
		default:
			all = append(all, a)
		}
	})
	if v.node.Kind == unstable.Array && v.node.Child() == nil {
		v.fail("no address given")
	}
	return all
}

// listen reads one address to listen on; "" is none.
func (v value) listen() netip.AddrPort {
	s, ok := v.text("an ADDRESS:PORT in quotes")
	if !ok || s == "" {
		return netip.AddrPort{}
	}
	a, err := ParseListen(s)
	if err != nil {
		v.fail("%v", err)
	}
	return a
}

// prefixes reads a list of prefixes, which may be empty.
func (v value) prefixes() []netip.Prefix {
	var all []netip.Prefix
	v.texts("a list of prefixes", "a prefix in quotes", func(at value, s string) {
		p, err := ParsePrefix(s)
		switch {
		case err != nil:
			at.fail("%v", err)
		case slices.Contains(all, p):
			at.fail("%v is given twice", p)
		default:
			all = append(all, p)
		}
	})
	return all
}

// ParsePrefix reads ADDRESS/LENGTH with no bit set beyond the length.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return p, fmt.Errorf("%q is no prefix such as 192.0.2.0/24 or 2001:db8::/32", s)
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits beyond its length; is %v meant?", s, p.Masked())
	}
	return p, nil
}

// CheckSocket tells whether s can name a unix socket in the file system.
func CheckSocket(s string) error {
	switch {
	case s == "":
		return errors.New("no socket named")
	case len(s) > MaxSocketPath:
		return fmt.Errorf("the name has %d octets, at most %d are possible", len(s), MaxSocketPath)
	case strings.HasPrefix(s, "@") || strings.Contains(s, "\x00"):
		return fmt.Errorf("%q is no name of a file", s)
	}
	return nil
}

// ParseListen reads an address to listen on: ADDRESS:PORT, IPv6 in brackets.
// Port 0 is any free port.
func ParseListen(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return ap, fmt.Errorf("%q is no ADDRESS:PORT such as 127.0.0.1:53 or [::1]:53", s)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// ParseUpstream reads a server's address: ADDRESS or ADDRESS:PORT, the port
// being 53 where there is none.
func ParseUpstream(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		var a netip.Addr
		a, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
		ap = netip.AddrPortFrom(a, Port)
	}
	if err != nil || ap.Port() == 0 || ap.Addr().IsUnspecified() {
		return ap, fmt.Errorf("%q is no ADDRESS[:PORT] of a server, such as 192.0.2.53 or [2001:db8::53]:5353", s)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}
