// Package dnscache keeps DNS replies as octets, for the resolver and for the daemon.
//
// The caller asks with a key of [dnswire.AppendKey] and gets the whole message appended to its own
// buffer, its TTLs counted down, its id zero, its question's name in lower case. [Cache.Put] decides
// itself whether and how long a reply may be kept (see there). Time is always an argument; the
// package has no clock and no goroutine. A Cache is safe for concurrent use.
//
// # Memory
//
// Config.MaxOctets bounds all that is taken from the system, but for about a thousandth of
// bookkeeping; it is taken as the cache fills and Stats.Octets says how much it is. An entry costs
// its message without OPT, 16 octets, 2 more for each record, up to 7 to a multiple of 8, and 9 to
// 18 in the table. One with two A or AAAA records and a name of some 20 octets comes to 126 in all,
// by the cache's count (BenchmarkEntryOctets, 2,000,000 entries). The messages lie outside the heap
// where the system allows (arena.go), and the table holds no pointers: the garbage collector reads
// none of it.
//
// # Beyond a hit
//
// [Cache.GetStale] gives what has expired, within a limit (RFC 8767); [Cache.GetCut] answers below a
// name that does not exist (RFC 8020); Info.Refresh says that a popular entry is about to expire.
// [Cache.Lookup], [Cache.FlushName] and [Cache.FlushZone] walk the whole cache, [Cache.SaveFile] and
// [Cache.LoadFile] carry it over a restart.
//
// # Layout
//
// A key's hash picks one of up to 64 shards, each with a lock of its own, held for the time of a
// copy. A hit allocates nothing and takes about 0.1 us for an entry in the processor's cache; one out
// of it waits for memory besides (BenchmarkHit, BenchmarkHitOfMany). A shard lays its entries one after the other
// into segments, and frees segments by S3-FIFO, so that names asked once pass through without
// pushing out those in use (evict.go).
package dnscache
