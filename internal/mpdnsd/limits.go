package mpdnsd

import (
	"os"
	"runtime/debug"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// What the daemon's memory limit is made of, besides the cache. The limit is
// soft: near it the garbage collector works more; it never makes an answer fail.
const (
	memoryBase       = 64 << 20 // the program, its tables, and answers that clients have not read
	memoryPerTCP     = 32 << 10 // of a connection: two goroutines and their buffers
	memoryPerWaiting = 32 << 10 // of a question that waits: a goroutine, its sockets, the reply
	memoryPerPath    = 32 << 10 // of a client of the path broker
	// memorySlack is the share of the cache that its owner cannot account for:
	// 1 in so many octets.
	memorySlack = 4
)

// What the daemon's file descriptors are made of.
const (
	filesBase        = 64 // streams, the poller, netlink, control socket, metrics, what files are read
	filesPerListener = 2  // UDP and TCP, for each loop
	filesPerWaiting  = 2  // a socket to an upstream server, and one to the next where it is silent
	filesPerPath     = 2  // a client of the path broker, and its connection
	// filesPerServer is what is kept open to an upstream server. A connection to
	// it that takes no more questions is one of filesPerWaiting.
	filesPerServer = upstream.MaxPorts + upstream.MaxTCPConns
	// resolvServers is how many servers resolv.conf(5) has, at most, that others
	// read too (MAXNS).
	resolvServers = 3
)

// cacheOctets is the size of the setup's cache.
func (s *setup) cacheOctets() int64 { return cacheOctets(&s.config) }

func cacheOctets(c *config.Config) int64 {
	if c.Cache.MaxOctets == 0 {
		return dnscache.DefaultMaxOctets
	}
	return c.Cache.MaxOctets
}

// memoryLimit is what a daemon with this configuration can need, in octets.
func memoryLimit(c *config.Config) int64 {
	cache := cacheOctets(c)
	limit := memoryBase + cache + cache/memorySlack +
		int64(c.Server.TCPConnections)*memoryPerTCP + int64(c.Server.Outstanding)*memoryPerWaiting
	if c.Paths.Enabled {
		limit += int64(c.Paths.Limits.Clients) * memoryPerPath
	}
	return limit
}

// limitMemory sets the Go runtime's soft limit, unless the environment does.
func (d *daemon) limitMemory(c *config.Config) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := memoryLimit(c)
	old := debug.SetMemoryLimit(limit)
	if d.memoryBefore == 0 {
		d.memoryBefore = old
	}
	d.log.Debug("memory limit", "octets", limit)
}

// unlimitMemory puts back what was before: the process may outlive the daemon.
func (d *daemon) unlimitMemory() {
	if d.memoryBefore != 0 {
		debug.SetMemoryLimit(d.memoryBefore)
	}
}

// fileNeed is how many descriptors a daemon with this configuration can need.
func fileNeed(c *config.Config, loops int) uint64 {
	need := filesBase + len(c.Listen)*filesPerListener*loops + c.Server.TCPConnections +
		c.Server.Outstanding*filesPerWaiting + upstreamServers(c)*filesPerServer
	if c.Paths.Enabled {
		need += c.Paths.Limits.Clients * filesPerPath
	}
	return uint64(need)
}

// upstreamServers counts those that are asked.
func upstreamServers(c *config.Config) int {
	n := len(c.Upstream.Servers)
	if n == 0 {
		n = resolvServers
	}
	for _, f := range c.Forwards {
		n += len(f.Servers)
	}
	return n
}
