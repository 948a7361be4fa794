// Package netmon tells which addresses of this machine a subflow could come
// from, and says at once when that changes.
//
// A [Monitor] follows the links, addresses and default routes of one network
// namespace: the one of the thread that calls [Open]. Each change makes a new
// [State], a plain value; a [Subscription] delivers the newest one. What to do
// about a change is for the reader to say, with [State.Diff] for paths to give
// up and [State.Sources] for paths to add.
//
// On Linux the kernel tells of changes by route netlink, and a new State is
// there some milliseconds after the change. Notifications are applied to tables
// by a pure function. Some changes the kernel makes without a word: it flushes
// the IPv4 routes of a link that goes down, for one. After a message that can
// come with such a change, the routes are read anew; after lost messages
// (ENOBUFS), everything is. No privilege is needed.
//
// On other systems the interfaces are read every [PollInterval].
//
// # Which addresses count
//
// An address is in the State when a packet could leave with it: its link is up
// and has a carrier, and the address itself is past duplicate address detection
// (RFC 4862 section 5.4: neither tentative, optimistic ones included, nor
// failed). Never in it are loopback interfaces and the addresses that no host
// beyond the link could answer: loopback, link-local (169.254.0.0/16,
// fe80::/10), multicast and unspecified ones.
//
// Routes of every table count, as hosts with several uplinks have a table for
// each. Two kinds of default route are not recognised: those written as two
// halves (0.0.0.0/1 and 128.0.0.0/1), and those through nexthop objects where
// net.ipv4.nexthop_compat_mode is 0, which is not the default.
package netmon
