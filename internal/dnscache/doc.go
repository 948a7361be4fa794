// Package dnscache keeps DNS replies as octets, for the resolver and for the daemon.
//
// The caller asks with a key of [dnswire.AppendKey] and gets the whole message appended to its own
// buffer, its TTLs counted down, its id zero, its question's name in lower case. [Cache.Put] decides
// itself whether and how long a reply may be kept (see there). Time is always an argument; the
// package has no clock and no goroutine. A Cache is safe for concurrent use.
package dnscache
