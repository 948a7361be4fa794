package resolver

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/upstream"
)

// Bounds and defaults of a look-up.
const (
	// DefaultResolutionDelay is the Resolution Delay of Happy Eyeballs v3.
	DefaultResolutionDelay = 50 * time.Millisecond
	// MaxAliases bounds the aliases (CNAME, HTTPS in AliasMode) followed for one
	// question, within a reply and from reply to reply.
	MaxAliases = 16
	// DefaultCacheOctets bounds the resolver's own cache.
	DefaultCacheOctets = 4 << 20
)

// Resolver looks names up. The zero value uses the system's configuration and
// is ready for use, by several goroutines at once. It must not be copied, and
// its fields not changed, after first use.
type Resolver struct {
	// Servers are the DNS servers to ask, as "ADDR" or "ADDR:PORT", in order.
	// Empty: those of resolv.conf.
	Servers []string
	// Timeout is how long one try waits for a server; 0: resolv.conf's, which
	// is 5 s unless it says otherwise.
	Timeout time.Duration
	// Attempts is how often the list of servers is gone through; 0:
	// resolv.conf's, which is 2 unless it says otherwise.
	Attempts int
	// HTTPS asks for HTTPS records (RFC 9460) too.
	HTTPS bool
	// Reverse makes Lookup ask for the PTR names of two or more addresses too, and
	// whether those names lead back to them: evidence for Answer.Hosts. It costs two more
	// round trips, and 5 s at most. That such a question fails is no error.
	Reverse bool
	// WaitAll makes Lookup wait for every family, however late; without it a
	// family has ResolutionDelay after the first that has addresses.
	WaitAll bool
	// HTTPSDelay is, with WaitAll, how long HTTPS has once both address families
	// have answered; less than 0: no time. 0: as long as it takes.
	HTTPSDelay time.Duration
	// NoHosts leaves the hosts file out.
	NoHosts bool
	// NoSearch leaves the search list out: every name is taken as it is.
	NoSearch bool
	// KeepLocal keeps the loopback and private addresses that would otherwise
	// be dropped, for names that one's own servers are known to point there.
	KeepLocal bool
	// NAT64 are the prefixes of the network's NAT64 (RFC 6052), the first being
	// the one to make addresses with. Empty: where this host has a way to IPv6
	// and none to IPv4 they are asked of the servers (RFC 7050).
	NAT64 []netip.Prefix
	// DiscoverNAT64 asks for the prefixes on networks with IPv4 too.
	DiscoverNAT64 bool
	// CacheOctets bounds the cache's memory; 0: DefaultCacheOctets, less than
	// 0: no cache.
	CacheOctets int64
	// ResolutionDelay is how long Lookup waits for another family once one has
	// addresses; 0: DefaultResolutionDelay.
	ResolutionDelay time.Duration
	// PreferredFamilyCount is how many addresses of the first family come
	// before one of the other; 0: 1.
	PreferredFamilyCount int
	// Dial opens the sockets to servers, network "udp" or "tcp"; nil: the
	// system's own.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	state state
}

// Over returns a resolver that asks x and nothing else: no hosts file, no
// search list, no cache of its own. Its other settings may be changed before
// first use.
func Over(x upstream.Exchanger) *Resolver {
	r := &Resolver{NoHosts: true, NoSearch: true, CacheOctets: -1}
	r.state.over = x
	return r
}

// Close cancels the questions that are still out because their answers came
// too late for a look-up, and waits for them. Look-ups after it fail with
// ErrClosed. A resolver that is not closed leaks nothing: what is out ends with
// its time-out.
func (r *Resolver) Close() error {
	r.state.close()
	return nil
}

func (r *Resolver) resolutionDelay() time.Duration {
	if r.ResolutionDelay > 0 {
		return r.ResolutionDelay
	}
	return DefaultResolutionDelay
}
