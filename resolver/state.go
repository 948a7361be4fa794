package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/addrsel"
	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/sysconf"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// dnsPort is where DNS servers listen unless said otherwise.
const dnsPort = 53

// state is what a resolver has gathered; it is made at the first look-up.
type state struct {
	over upstream.Exchanger // asked instead of any server; set before first use

	mu     sync.Mutex // guards what is below
	closed bool
	base   context.Context // parent of all questions; ends with Close
	stop   context.CancelFunc
	system *sysconf.System
	cache  *dnscache.Cache
	engine *engine
	policy addrsel.Policy
	gai    []byte // what policy was made of

	bursts map[*upstream.Burst]struct{} // in flight

	sources sourceMemory
	running sync.WaitGroup // the goroutines of questions, and bursts; added to under mu
}

// engine is a configuration and the way to ask that was built for it.
type engine struct {
	from *sysconf.ResolvConf // as the system gave it
	conf *sysconf.ResolvConf // with the resolver's own settings
	ask  upstream.Exchanger
	// recall answers from the cache alone, with upstream.ErrNotCached what that
	// lacks; nil without a cache.
	recall upstream.Exchanger
	nat64  nat64Memory // forgotten with the servers: another network has another
}

// prepare brings the configuration up to date and returns the engine for it.
func (r *Resolver) prepare(now time.Time) (*engine, error) {
	s := &r.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.base == nil {
		if err := r.checkPrefixes(); err != nil {
			return nil, err
		}
		s.base, s.stop = context.WithCancel(context.Background()) //nolint:gosec // Close calls it
	}
	if s.over != nil {
		if s.engine == nil {
			s.engine = &engine{conf: &sysconf.ResolvConf{Ndots: 1}, ask: s.over}
		}
		return s.engine, nil
	}
	if s.system == nil {
		s.system = sysconf.Default()
	}
	from := s.system.Resolv(now)
	if s.engine == nil || s.engine.from != from {
		e, err := r.build(from)
		if err != nil {
			return nil, err
		}
		s.engine = e
	}
	return s.engine, nil
}

func (r *Resolver) checkPrefixes() error {
	for _, p := range r.NAT64 {
		if err := checkNAT64(p); err != nil {
			return fmt.Errorf("%w: %w", ErrBadPrefix, err)
		}
	}
	return nil
}

// build makes the engine for a configuration. The lock is held.
func (r *Resolver) build(from *sysconf.ResolvConf) (*engine, error) {
	conf := *from
	if len(r.Servers) > 0 {
		conf.Servers = nil
	}
	for _, text := range r.Servers {
		addr, err := parseServer(text)
		if err != nil {
			return nil, fmt.Errorf("%w %q: %w", ErrBadServer, text, err)
		}
		conf.Servers = append(conf.Servers, addr)
	}
	if r.Timeout > 0 {
		conf.Timeout = r.Timeout
	}
	if r.Attempts > 0 {
		conf.Attempts = r.Attempts
	}
	var servers []upstream.Exchanger
	for _, addr := range conf.Servers {
		servers = append(servers, upstream.NewServer(addr, upstream.Options{
			Dial: r.Dial, Timeout: conf.Timeout, Attempts: 1, UseTCP: conf.UseTCP, AD: conf.TrustAD,
		}))
	}
	strategy := upstream.InOrder
	if conf.Rotate {
		strategy = upstream.Rotated
	}
	x := upstream.Failover(servers, upstream.FailoverOptions{Strategy: strategy, Rounds: conf.Attempts})
	e := &engine{from: from, conf: &conf, ask: upstream.Coalesce(x)}
	if r.CacheOctets >= 0 {
		c := r.cached(e.ask)
		e.ask, e.recall = c, upstream.ExchangerFunc(c.Recall)
	}
	return e, nil
}

// cached puts the resolver's cache before x. The lock is held.
func (r *Resolver) cached(x upstream.Exchanger) *upstream.Cache {
	if r.state.cache == nil {
		octets := r.CacheOctets
		if octets == 0 {
			octets = DefaultCacheOctets
		}
		// Without the cut: an answer says for each family what its server said.
		r.state.cache = dnscache.New(dnscache.Config{MaxOctets: octets, NoCut: true})
	}
	return upstream.Cached(r.state.cache, time.Now, x)
}

// parseServer reads "ADDR", "ADDR:PORT" or "[ADDR]:PORT".
func parseServer(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(addr, dnsPort), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, errors.New("want an IP address, with or without a port")
	}
	return ap, nil
}

// hosts is the hosts file, nil where it is not to be used.
func (r *Resolver) hosts(now time.Time) *sysconf.Hosts {
	s := &r.state
	s.mu.Lock()
	system := s.system
	s.mu.Unlock()
	if r.NoHosts || system == nil {
		return nil
	}
	return system.Hosts(now)
}

// addressPolicy is the policy table of gai.conf.
func (r *Resolver) addressPolicy(now time.Time) addrsel.Policy {
	s := &r.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.system == nil {
		return addrsel.Policy{}
	}
	if gai := s.system.GaiConf(now); !bytes.Equal(gai, s.gai) {
		s.gai = gai
		s.policy, _ = addrsel.ParseGaiConf(bytes.NewReader(gai)) // what is readable of it counts
	}
	return s.policy
}

// ask runs f in a goroutine that Close waits for. After Close it runs f here:
// the context of every question has ended then, so it is soon over.
func (s *state) ask(f func()) {
	if !s.begin() {
		f()
		return
	}
	go func() {
		defer s.running.Done()
		f()
	}()
}

// begin counts a goroutine in, which has to say running.Done; false after Close.
func (s *state) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// enter counts a burst in, which Close interrupts and waits for; false after Close.
func (s *state) enter(b *upstream.Burst) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.bursts == nil {
		s.bursts = map[*upstream.Burst]struct{}{}
	}
	s.bursts[b] = struct{}{}
	s.running.Add(1)
	return true
}

// leave ends what enter began.
func (s *state) leave(b *upstream.Burst) {
	s.mu.Lock()
	delete(s.bursts, b)
	s.mu.Unlock()
	b.Close()
	s.running.Done()
}

func (s *state) close() {
	s.mu.Lock()
	s.closed = true
	if s.stop != nil {
		s.stop()
	}
	for b := range s.bursts {
		b.Interrupt()
	}
	s.mu.Unlock()
	s.running.Wait()
}
