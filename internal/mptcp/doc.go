// Package mptcp is the kernel's side of Multipath TCP (RFC 8684) on Linux: what
// a socket says of its subflows, what the machine is set to, and the userspace
// path manager, through which a privileged process adds and removes subflows
// over generic netlink.
//
// Four groups of names:
//
//   - [GetInfo] and [FullInfo] read an own socket and need no privilege.
//   - [OpenPathManager] needs CAP_NET_ADMIN over the network namespace. Its
//     commands take the connection's token ([Info].Token); their results arrive
//     as an [Event] on a [Subscription], so subscribe before creating.
//   - [Connections], [Subflows] and [Endpoints] list what the whole machine has,
//     without privilege.
//   - [ReadSystem], [ReadMIB] and their setters are for reporting and for set-up.
//
// What to know before using the path manager:
//
//   - A socket belongs to the path manager that was selected when it was made,
//     an accepted one to the path manager selected when its connection arrived.
//   - A subflow can be created only when the connection is fully established,
//     that is after the first DATA_ACK: until then the error is
//     [ErrNotEstablished], even after connect has returned.
//   - Creating a subflow returns when the SYN is out. [SubflowEstablished] proves
//     that the remote address is the same host (its HMAC was checked), even
//     when [SubflowClosed] follows at once because of a limit of the peer.
//   - A path that silently fails makes no event; only [SubflowInfo] shows it.
//
// Addresses given out by this package are never IPv4-mapped IPv6 addresses.
// Elsewhere than on Linux everything fails with [ErrUnsupported].
package mptcp
