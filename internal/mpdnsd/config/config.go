// Package config is mpdnsd's configuration file: TOML, and strict. A key that
// is not known, a value of the wrong kind or out of its bounds is an error, and
// all errors are reported together, each with its line and column:
//
//	mpdnsd.toml:14:3: upstream.strategy: unknown value "fastes" (failover, rotate, fastest, parallel)
//
// The package only reads; it opens no socket and no zone file.
package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/control"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/server"
)

// Defaults and bounds.
const (
	// Port is the port of addresses that are given without one (RFC 1035 section 4.2).
	Port = 53

	DefaultTimeout = 2 * time.Second // of one try at one upstream server
	MinTimeout     = 50 * time.Millisecond
	MaxTimeout     = 30 * time.Second

	DefaultAttempts = 2 // rounds through the upstream servers
	MaxAttempts     = 5

	// DefaultUDPSize is the longest answer over UDP, in octets, whatever larger
	// size a client advertises: it crosses any path unfragmented (DNS flag day 2020).
	DefaultUDPSize = 1232
	MaxUDPSize     = 4096

	// DefaultOutstanding bounds the questions that wait for an upstream server.
	DefaultOutstanding = 1024
	MaxOutstanding     = 65536

	DefaultTCPConnections = 512
	MaxTCPConnections     = 65536

	// DefaultTCPIdle is how long a TCP connection without a question stays open
	// (RFC 7766 section 6.2.3: a few seconds).
	DefaultTCPIdle = 10 * time.Second
	MinTCPIdle     = time.Second
	MaxTCPIdle     = 10 * time.Minute

	// MaxFile is the largest configuration file, in octets.
	MaxFile = 1 << 20

	// FirstPrivateType and LastPrivateType are the RR types for private use
	// (RFC 6895 section 3.1), of which MULTIPATH is one.
	FirstPrivateType = 65280
	LastPrivateType  = 65534

	// DefaultSocketMode lets every user bring connections to the path broker:
	// who holds a connection's descriptor has the right to its paths.
	DefaultSocketMode fs.FileMode = 0o666
	// MaxSocketPath is the longest name of a unix socket in octets (unix(7)).
	MaxSocketPath = 107

	// MaxLogQueries is the rarest sample of answers that can be logged.
	MaxLogQueries = 1_000_000
	// MaxChaos is the longest text of an answer of class CHAOS, in octets: that of
	// one character string (RFC 1035 section 3.3).
	MaxChaos = 255
	// cookieOctets is the length of the secret of DNS cookies (RFC 9018 section 4.4).
	cookieOctets = 16

	// DefaultControlMode leaves the control socket to the daemon's user and root.
	DefaultControlMode fs.FileMode = 0o600

	MaxPathClients  = 65536
	MaxPathRequests = 10000 // per second, and at once
	MinPathTimeout  = 100 * time.Millisecond
	MaxPathTimeout  = time.Minute
)

// Strategies of Upstream.Strategy.
const (
	Failover = "failover" // in the order given, the next where one does not answer
	Rotate   = "rotate"   // as failover, but each question begins with another server
	Fastest  = "fastest"  // by smoothed round-trip time, the slower probed now and then
	Parallel = "parallel" // all at once, the first useful answer winning
)

// Path managers of Paths.Manager.
const (
	KernelManager    = "kernel"    // the namespace's setting is left alone
	UserspaceManager = "userspace" // the daemon switches it, serves, and restores it
)

// Config is the daemon's configuration, complete: defaults are filled in.
type Config struct {
	// Listen is where questions are taken, over UDP and TCP alike.
	Listen []netip.AddrPort
	// Allow are the clients that get answers; nil: this machine.
	Allow []netip.Prefix
	// SpecialNames has the names of RFC 6761 answered here instead of forwarded.
	SpecialNames bool
	Upstream     Upstream
	Forwards     []Forward
	Cache        Cache
	Zones        []Zone
	Hosts        Hosts
	Multipath    Multipath
	Server       Server
	Paths        Paths
	Verdicts     Verdicts
	Control      Control
	// Metrics is where Prometheus is answered; the zero value: nowhere.
	Metrics  netip.AddrPort
	LogLevel slog.Level
	// LogQueries has one answer in so many logged; 0: none.
	LogQueries int
}

// Upstream is whom the daemon asks.
type Upstream struct {
	Servers  []netip.AddrPort // empty: those of resolv.conf
	Strategy string           // one of the constants above
	Timeout  time.Duration
	Attempts int
	TCP      bool // ask over TCP only
	// MixedCase asks for names in a random mixed case, one more thing that a forger
	// has to guess.
	MixedCase bool
	// RebindProtection removes addresses of private networks from answers about
	// names that are neither of a Forward nor in PrivateDomains.
	RebindProtection bool
	PrivateDomains   []dnswire.Name
}

// Forward is whom the daemon asks for the names of one zone, instead of Upstream.
type Forward struct {
	Zone     dnswire.Name
	Servers  []netip.AddrPort // at least one
	Strategy string           // Upstream's where it is not given
}

// ForwardZones returns the zones of all Forwards.
func (c *Config) ForwardZones() []dnswire.Name {
	var all []dnswire.Name
	for _, f := range c.Forwards {
		all = append(all, f.Zone)
	}
	return all
}

// Cache bounds the answers kept.
type Cache struct {
	dnscache.Config
	// Pair has AAAA fetched whenever A is, and the reverse, so that both are in
	// the cache and of one age.
	Pair bool
	// Prefetch has answers in use fetched anew shortly before they expire.
	Prefetch bool
	// File keeps the cache from one run to the next; empty: none.
	File string
}

// Zone is one local zone.
type Zone struct {
	Origin string // empty: as the file's SOA says
	File   string // absolute, or relative to the working directory
}

// Hosts is the hosts file.
type Hosts struct {
	Enabled bool
	File    string // empty: the system's
}

// Multipath is the MULTIPATH record.
type Multipath struct {
	Enabled bool
	Type    dnswire.Type
}

// Server bounds what clients can occupy.
type Server struct {
	UDPSize        int // octets
	Outstanding    int
	TCPConnections int
	TCPIdle        time.Duration
	TCPPerClient   int // connections of one IPv4 address or IPv6 /64; 0: half of TCPConnections
	Loops          int // UDP sockets and loops of each address; 0: one for each core
	Rate           server.RateLimit
	// Version and Hostname answer questions of class CHAOS; empty: refused.
	Version, Hostname string
	CookieSecret      string // 32 hexadecimal digits; empty: a random one
}

// Cookie is CookieSecret as the server takes it.
func (s Server) Cookie() *[16]byte {
	b, err := hex.DecodeString(s.CookieSecret)
	if err != nil || len(b) != cookieOctets {
		return nil
	}
	return (*[cookieOctets]byte)(b)
}

// Paths is the path broker.
type Paths struct {
	Enabled bool
	Socket  string      // absolute, or relative to the working directory; empty: none
	Mode    fs.FileMode // of Socket
	Group   string      // of Socket, by name or number; empty: the process's
	Manager string      // KernelManager or UserspaceManager
	Allow   []netip.Prefix
	Limits  broker.Limits
}

// Verdicts is where it is kept which addresses are one host.
type Verdicts struct {
	File  string // empty: one in the service manager's state directory, if that is set
	Redis string // the URL of a server shared with other machines; empty: none
}

// Control is the socket of `mpdnsd ctl`.
type Control struct {
	Socket string      // absolute, or relative to the working directory; empty: none
	Mode   fs.FileMode // of Socket
	Group  string      // of Socket, by name or number; empty: the process's
}

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		Listen: []netip.AddrPort{
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), Port),
			netip.AddrPortFrom(netip.IPv6Loopback(), Port),
		},
		SpecialNames: true,
		Upstream: Upstream{
			Strategy: Failover, Timeout: DefaultTimeout, Attempts: DefaultAttempts,
			RebindProtection: true, PrivateDomains: defaultPrivateDomains(),
		},
		Cache:     Cache{Config: dnscache.Config{MaxStale: dnscache.DefaultMaxStale}, Pair: true, Prefetch: true},
		Hosts:     Hosts{Enabled: true},
		Multipath: Multipath{Enabled: true, Type: dnswire.TypeMultipath},
		Server: Server{
			UDPSize:        DefaultUDPSize,
			Outstanding:    DefaultOutstanding,
			TCPConnections: DefaultTCPConnections,
			TCPIdle:        DefaultTCPIdle,
			Rate:           server.RateLimit{Slip: server.DefaultSlip},
		},
		Paths:   defaultPaths(),
		Control: Control{Socket: control.DefaultPath, Mode: DefaultControlMode},
	}
}

// defaultPrivateDomains are those set aside for networks' own names: RFC 8375,
// and ICANN's resolution 2024.07.29.06.
func defaultPrivateDomains() []dnswire.Name {
	home, _ := dnswire.ParseName("home.arpa")
	internal, _ := dnswire.ParseName("internal")
	return []dnswire.Name{home, internal}
}

// check finds settings that give nothing to do.
func (p Paths) check() error {
	if p.Enabled && p.Socket == "" && p.Manager == KernelManager {
		return errors.New("neither a socket nor the userspace manager: there is nothing to do")
	}
	return nil
}

func defaultPaths() Paths {
	return Paths{
		Socket:  broker.DefaultPath,
		Mode:    DefaultSocketMode,
		Manager: KernelManager,
		Limits: broker.Limits{
			Clients:      broker.DefaultClients,
			PerUser:      broker.DefaultPerUser,
			Subflows:     broker.DefaultSubflows,
			Requests:     broker.DefaultRequests,
			Burst:        broker.DefaultBurst,
			HelloTimeout: broker.DefaultHelloTimeout,
			WriteTimeout: broker.DefaultWriteTimeout,
		},
	}
}

// Load reads a configuration file. Relative names of files in it are taken
// from the file's own folder. The error is Errors where the file could be read.
func Load(file string) (Config, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFile {
		return Config{}, fmt.Errorf("reading the configuration: %s: not a file of at most %d octets", file, MaxFile)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	c, err := Parse(file, text)
	if err != nil {
		return Config{}, err
	}
	dir := filepath.Dir(file)
	for i := range c.Zones {
		c.Zones[i].File = within(dir, c.Zones[i].File)
	}
	for _, file := range []*string{&c.Hosts.File, &c.Cache.File, &c.Verdicts.File, &c.Paths.Socket, &c.Control.Socket} {
		if *file != "" {
			*file = within(dir, *file)
		}
	}
	return c, nil
}

// within is file as seen from dir.
func within(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}
