// Package sysconf reads what this machine's administrator has said about names:
// resolv.conf(5), hosts(5) and the octets of gai.conf(5), and notices when the
// files change.
//
// [ParseResolvConf] and [ParseHosts] are pure and never fail: what makes no
// sense is left out and told in Warnings, by line number, because a resolver
// that refuses to work over a typing error helps nobody. [System] is the edge
// that reads the files. It has no goroutine and no clock: its callers pass the
// time, and it looks at the files at most once in [CheckInterval].
//
// On darwin and freebsd the files are those of Linux; on darwin resolv.conf holds
// the main resolver only, not those that scutil --dns shows for single domains.
// Windows has no resolv.conf: the servers are those of the network adapters.
package sysconf
