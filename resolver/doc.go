// Package resolver turns a name into one AF_MULTIPATH record that holds all
// addresses of its host, IPv4 and IPv6 mixed, in the order in which to dial
// them (draft-sarolahti-mptcp-af-multipath-01 section 4.3).
//
// The zero [Resolver] uses the system's configuration:
//
//	var r resolver.Resolver
//	answer, err := r.Lookup(ctx, "www.example.net")
//	if errors.Is(err, resolver.ErrNotFound) { … }
//	for _, endpoint := range answer.Record.WithPort(443).All() { … }
//
// A and AAAA are asked at the same time, from one socket, so a look-up takes one
// round trip, and a family that is slow or fails does not hold back the other.
// [Resolver.Stream] gives each family as it comes, for
// those who begin to connect before all is known.
//
// [Answer] can explain itself: who was asked, how long it took, why an address
// is where it is, and which were left out.
//
// # Configuration
//
// resolv.conf, the hosts file and gai.conf are read again when they change. Of
// resolv.conf's options, ndots, timeout, attempts, rotate, single-request,
// single-request-reopen, use-vc, trust-ad and no-aaaa are followed. EDNS (edns0) is
// always used. Servers are asked in their order; one that is silent for half a second has the next
// asked beside it, and is asked last for a while. Happy Eyeballs v3 would begin
// with those reached over IPv6; here the order given stands, since the first is
// often the one that knows a site's own names.
//
// # Names
//
// What a look-up does with a name, in this order:
//
//   - an IP address, with or without a zone, is its own answer;
//   - a name with other than ASCII letters is turned into its ASCII form (IDNA
//     2008, the look-up profile of x/net/idna); one that is malformed or too
//     long is [ErrBadName] before anything is sent;
//   - localhost and names below it are the loopback addresses, and names below
//     invalid and onion do not exist (RFC 6761, RFC 7686): no server is asked;
//   - names below test and home.arpa are asked of the configured servers like
//     any other (RFC 6761, RFC 8375), and so are names below local: multicast
//     DNS (RFC 6762) is not spoken here, but sites with such a zone exist;
//   - the hosts file;
//   - the name as it is and with the domains of the search list, in the order
//     that resolv.conf's ndots gives; one with a trailing dot only as it is.
//
// # Addresses left out
//
// Addresses that have no place in a DNS answer are dropped before the merge,
// and [Answer.Dropped] says which and why: unspecified, loopback, multicast,
// broadcast, and link-local without a zone; private ones (RFC 1918, RFC 4193,
// RFC 6598) where the name has public ones of the same family, or where it has
// public ones of the other and this host would not send from a private address
// itself. Addresses of the hosts file and literals are never dropped. So a
// forged AAAA beside a good A does not draw a connection into the local network
// (section 6 of the draft).
package resolver
