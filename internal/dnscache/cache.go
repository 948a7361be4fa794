package dnscache

import (
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Defaults and bounds of Config.
const (
	// DefaultMaxOctets is enough for some 100,000 answers of two records.
	DefaultMaxOctets = 16 << 20
	// MinOctets is the least size; a smaller MaxOctets means this one.
	MinOctets = 512 << 10
	// MaxOctets is the greatest size: what the locations of all shards can address.
	MaxOctets = maxShards * (1 << 34)

	// DefaultMaxTTL bounds how long an answer is kept (RFC 8767 section 4 asks for days, not weeks).
	DefaultMaxTTL = 24 * time.Hour
	// LimitMaxTTL is the greatest MaxTTL: the seven days of RFC 8767 section 4.
	LimitMaxTTL = 7 * 24 * time.Hour
	// DefaultMaxNegativeTTL bounds how long absence is kept: one to three hours work well (RFC 2308
	// section 5).
	DefaultMaxNegativeTTL = 3 * time.Hour
	// DefaultFailureTTL is how long a failure is kept (RFC 9520 section 3.2 recommends to start at
	// 5 seconds).
	DefaultFailureTTL = 5 * time.Second
	// MinFailureTTL and LimitFailureTTL bound FailureTTL (RFC 9520 section 3.2).
	MinFailureTTL   = time.Second
	LimitFailureTTL = 5 * time.Minute
	// DefaultMaxStale is how long beyond its expiry an answer may be given where the daemon serves
	// stale: one to three days (RFC 8767 section 5).
	DefaultMaxStale = 24 * time.Hour
	// LimitMaxStale is the greatest MaxStale: the seven days of RFC 8767 section 4.
	LimitMaxStale = 7 * 24 * time.Hour

	// MaxMessageLen is the longest message that is kept, in octets. Longer ones are rare, and one
	// name should not push out hundreds.
	MaxMessageLen = 16 << 10
	// MaxRecords is the greatest number of records of a message that is kept.
	MaxRecords = 512

	maxShards      = 64
	minShardOctets = 1 << 20
)

// Config sizes a Cache. The zero value means the defaults; values out of bounds mean the nearest
// bound.
type Config struct {
	MaxOctets      int64         // all memory that the cache holds, tables included
	MinTTL         time.Duration // floor for the TTLs of answers and absence; 0: none
	MaxTTL         time.Duration // ceiling for the TTLs of answers
	MaxNegativeTTL time.Duration // ceiling for NXDOMAIN and NODATA
	FailureTTL     time.Duration // how long SERVFAIL and other failures are kept
	MaxStale       time.Duration // how long GetStale gives what has expired; 0: it does not
	NoCut          bool          // GetCut finds nothing: for servers that deny names with others below
}

// complete returns c with its defaults filled in and its bounds kept.
func (c Config) complete() Config {
	c.MaxOctets = max(MinOctets, min(orDefault(c.MaxOctets, DefaultMaxOctets), MaxOctets))
	c.MaxTTL = max(time.Second, min(orDefault(c.MaxTTL, DefaultMaxTTL), LimitMaxTTL))
	c.MaxNegativeTTL = max(time.Second, min(orDefault(c.MaxNegativeTTL, DefaultMaxNegativeTTL), c.MaxTTL))
	c.MinTTL = max(0, min(c.MinTTL, c.MaxTTL))
	c.MaxStale = max(0, min(c.MaxStale, LimitMaxStale))
	c.FailureTTL = max(MinFailureTTL, min(orDefault(c.FailureTTL, DefaultFailureTTL), LimitFailureTTL))
	return c
}

func orDefault[T int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Info says what is known of a cached message.
type Info struct {
	Stored   time.Time // when Put kept it, to the millisecond
	Expires  time.Time
	Age      time.Duration // since Stored; this many whole seconds are off the TTLs
	RCode    dnswire.RCode
	Negative bool // NXDOMAIN or NODATA
	Failure  bool // SERVFAIL and the like, kept by RFC 9520
	Stale    bool // it has expired; its records have StaleTTL (RFC 8767)
	// Refresh says that the entry is in use and in the last tenth of its life, so that it is time to
	// fetch it anew. One hit in the life of an entry says so.
	Refresh bool
	Hits    uint8 // since it was stored, at most 255
}

// Stats is what a cache holds and has done since it was made. Every Get is a hit or a miss;
// GetStale and GetCut, which look for something else after a miss, are neither, whatever they find.
type Stats struct {
	Entries   int
	Octets    int64 // memory held: segments and tables, used or not
	Hits      uint64
	Misses    uint64
	Evictions uint64 // unexpired entries given up for room
}

// Cache is a bounded store of DNS replies.
type Cache struct {
	config Config
	seed   maphash.Seed
	shift  uint // a hash shifted right by it is the number of its shard
	shards []shard
}

// New makes an empty cache. Memory is taken as it fills.
func New(config Config) *Cache {
	c := &Cache{config: config.complete(), seed: maphash.MakeSeed()}
	n := uint64(max(1, min(c.config.MaxOctets/minShardOctets, maxShards)))
	logShards := bits.Len64(n) - 1
	c.shift = uint(64 - logShards)
	c.shards = make([]shard, 1<<logShards)
	for i := range c.shards {
		c.shards[i].init(c.seed, c.config.MaxOctets>>logShards, c.config.MaxStale.Milliseconds())
	}
	return c
}

// Get looks key up. On a hit it appends the message to dst, its id zero and its TTLs less by the
// whole seconds of its age. The flags are the server's that gave the reply: the caller sets those of
// its own client. It allocates nothing if dst has room for the message.
func (c *Cache) Get(dst, key []byte, now time.Time) (msg []byte, info Info, ok bool) {
	if len(key) < minKeyLen {
		return dst, Info{}, false
	}
	h := c.hash(key)
	return c.shard(h).get(dst, key, uint32(h), millis(now), false)
}

// GetStale is Get that also gives what has expired, but not by MaxStale, with Info.Stale and with
// StaleTTL in every record (RFC 8767 section 4). Giving it does not make it last longer. Failures,
// and what its server gave as stale already, are not given after their expiry.
func (c *Cache) GetStale(dst, key []byte, now time.Time) (msg []byte, info Info, ok bool) {
	if len(key) < minKeyLen {
		return dst, Info{}, false
	}
	h := c.hash(key)
	return c.shard(h).get(dst, key, uint32(h), millis(now), true)
}

// Put keeps msg under key and reports whether it did. It keeps
//   - answers, for the least TTL of their answer and authority sections, within MinTTL and MaxTTL;
//   - NXDOMAIN and NODATA, for the lesser of TTL and minimum of the SOA record in the authority
//     section, at most MaxNegativeTTL; without that record they are not kept (RFC 2308 section 5);
//   - other response codes, for FailureTTL (RFC 9520); they never push out an answer that is
//     unexpired or that GetStale gives.
//
// It does not keep what has TTL 0 (a TTL with the top bit set counts as 0), is truncated, is
// malformed, has an extended response code, exceeds MaxMessageLen or MaxRecords, or does not have
// exactly the question that key was made of. That a reply is genuine is the caller's to check.
// The OPT record, which speaks of one hop only, is cut off with all that follows it.
//
// msg is copied.
func (c *Cache) Put(key, msg []byte, now time.Time) bool {
	var p plan
	if !p.make(&c.config, key, msg) {
		return false
	}
	h := c.hash(key)
	return c.shard(h).put(&p, key, msg, uint32(h), millis(now))
}

// Delete forgets key and reports whether it was there.
func (c *Cache) Delete(key []byte) bool {
	if len(key) < minKeyLen {
		return false
	}
	h := c.hash(key)
	return c.shard(h).delete(key, uint32(h))
}

// Flush forgets everything and gives the memory back. The counts of Stats go on.
func (c *Cache) Flush() {
	for i := range c.shards {
		c.shards[i].flush()
	}
}

// Stats sums up all shards, each at its own moment.
func (c *Cache) Stats() Stats {
	var sum Stats
	for i := range c.shards {
		c.shards[i].addStats(&sum)
	}
	return sum
}

// minKeyLen is the length of the root's key.
const minKeyLen = 1 + 5

// flagsFactor spreads the flags of a key over all bits of its hash.
const flagsFactor = 0x9e3779b97f4a7c15

// hash hashes a key. Its flags, which stand apart in an entry, are mixed in afterwards.
func (c *Cache) hash(key []byte) uint64 { return hashKey(c.seed, key[:len(key)-1], key[len(key)-1]) }

func hashKey(seed maphash.Seed, question []byte, flags byte) uint64 {
	return maphash.Bytes(seed, question) ^ uint64(flags)*flagsFactor
}

func (c *Cache) shard(h uint64) *shard { return &c.shards[h>>c.shift] }

// millis is the cache's time: milliseconds of Unix time, never negative.
func millis(t time.Time) int64 { return max(0, t.UnixMilli()) }
