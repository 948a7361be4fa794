// Package broker lets programs without privilege add paths to their own
// Multipath TCP connections. Adding a subflow takes CAP_NET_ADMIN; a [Server]
// that has it does so for a client that proves its right to the connection, and
// the client, made by [Attach], is an [mptcp.PathManager] of that connection.
//
// # Right
//
// The proof is the connection's file descriptor, passed with SCM_RIGHTS: only
// who holds a socket can pass it. Tokens are no proof, any user can list them.
// The server accepts a descriptor when it is an MPTCP socket (SO_PROTOCOL), is
// connected, is not plain TCP after a fallback (MPTCP_INFO), and lives in the
// server's own network namespace (SO_NETNS_COOKIE); the token is read from it,
// never from a message. Every request carries the descriptor again and is
// judged anew. The server closes each descriptor when the message it came with
// is answered, and keeps none, so that a broker that hangs or is stopped never
// holds a connection open that its program has closed. For the same reason it
// speaks first: a server that does not run is never sent a descriptor.
//
// # Policy
//
// A broker is not a port scanner. The remote port of a subflow is the
// connection's own, or one that the peer announced for that address since the
// connection began. Loopback, link-local, multicast, unspecified, broadcast and
// reserved targets are refused; private ones (RFC 1918, RFC 4193, RFC 6598 and
// the like) too, unless the connection's own peer is on such a network.
// [Config].Allow narrows further. Announced must be an address of this machine,
// by the same rules, at which an MPTCP socket listens on the connection's own
// port (so connections that were accepted can have addresses announced, those
// that were made here mostly not), and no more than [MaxAnnounced] for one
// connection. [Limits] holds the other bounds.
//
// # What happened before
//
// The kernel tells once how a connection began, with the peer's C flag (RFC 8684
// section 3.1), and that is before it can be brought to the broker. So the server
// follows all connections of the network namespace from [NewServer] on, and the
// first events that a client gets are those of its connection's past that still
// hold: Created, unless the connection is older than the server, and an Announced
// for each address that the peer has announced and not withdrawn. An event that
// comes at that moment may be sent twice. All of them are the kernel's, which has
// authenticated an announcement by the connection's keys; a client gets no other
// connection's.
//
// # Verdicts
//
// What became of a name's other addresses can be shared. A client reports it for
// (name, the address of its connection's peer, another address); the peer is read
// from the descriptor. The server tells its [Memory] whether it has seen that on
// the connection itself, a join or an announcement that the kernel has checked:
// such a finding is told to every client that asks. It waits for the kernel's
// event for a tenth of a second, as a client may have it sooner. Anything else, be it true or
// not, is a hint that is told to clients of the same user only. Who asks must
// have a connection to the first address, and learns of the names that it can
// guess that another program had to do with them.
//
// # Refusals
//
// An address that was proven can change hands. Where a client reports that a join was
// refused, and the server has itself seen that, it has its Memory withdraw the proof,
// for everybody. A refusal is no proof of the opposite: the token may be unknown
// there, but as well the port may be closed, or a firewall have sent the reset. So
// what is left is that nothing is known, and the next join decides. It must be of
// use to nobody to have true proofs withdrawn, hence the conditions:
//
//   - The server made the join for this client, at the connection's own port, and
//     the kernel says ECONNREFUSED. A time-out, an end without a reason (a subflow
//     limit, an answer without MPTCP) and a command that failed do not count.
//   - The connection is alive when the report comes, so it was then: neither has the
//     peer closed it nor an error ended it. A program that closes its own connection
//     leaves the peer knowing the token until the peer has closed too.
//   - The proof is of the same pair and name, older than the join's beginning, and
//     made at the same port: at another, the host may listen at one address only. A
//     pair is the refused address and the connection's peer, or an address that was
//     joined to the same connection.
//   - A refusal counts once, and a pair's proof is withdrawn once in ten minutes
//     (hostid.WithdrawPause).
//
// What is left to a program that means harm: a host that aborts a connection in the
// moment of the join, refuses joins under load (SYN cookies) or from one of this
// machine's addresses. It costs the others what it costs them not to have met the
// pair: the address is tried again as an unknown one, and the join that succeeds is
// proof for everybody, which then stands for those ten minutes.
//
// # Protocol, version 2
//
// A unix socket of type SOCK_SEQPACKET: the kernel keeps the borders of the
// messages, so there are no partial ones, and a descriptor belongs to exactly
// one. A message has 1 to [MaxMessage] octets; the first is its kind. Integers
// are big-endian; nothing may follow the last field.
//
//	kind  name      from    fields                                      descriptors
//	1     greeting  server  "mpbroker", version u16                     0
//	2     attach    client  version u16                                 1
//	3     attached  server  token u32                                   0
//	4     request   client  id u32, op u8, fields of op                 1
//	5     reply     server  id u32, code u8, errno u32, text            0
//	6     event     server  type u8, local, remote, local id u8,        0
//	                        remote id u8, bits u8, errno u32,
//	                        reset reason u32, flags u16, interface u32
//	7     end       server  text                                        0
//
//	op  name      fields
//	1   create    local, remote, local id u8, backup u8, interface u32
//	2   destroy   as create
//	3   backup    as create, backup u8 (the new value)
//	4   announce  id u8, local
//	5   remove    id u8
//	6   report    outcome u8, count u8 (1), address, name
//	7   look up   0 u8, count u8 (1 to [MaxLookup]), addresses, name
//
// An address is family u8 (0 for no address, 4, 6) and its 0, 4 or 16 octets;
// local and remote are an address and a port u16. IPv4-mapped addresses are
// written as IPv4. text is the rest of the message, UTF-8, at most [MaxText]
// octets; so is a name, of 1 to [MaxName] octets. A bool is 0 or 1. The bits of an event are, from the lowest: backup,
// errno is valid, reset reason is valid, this end accepted the connection.
// errno and the types of events are the kernel's numbers.
//
// The server greets; the client answers with attach, the server with attached.
// From then on requests are answered in order, each by the reply with its id,
// and the connection's events come, first those of the past. The reply's code is
// 0 for done, 1 for the kernel's refusal (errno, and the extended acknowledgement
// as the text), 2 for the broker's refusal, 3 for a failure of the broker, 4 for
// the answer of a look-up: in place of the text, for each address an [Outcome] u8
// (0: nothing is known), proven bool, and the age in seconds u32. end says
// why the server closes, in place of any message. A message that breaks these
// rules, or has another number of descriptors, is answered with end. A client
// that goes on too fast is read more slowly; one that does not read loses events
// (an event of type 255 stands in the gap), and after [Limits].WriteTimeout its
// place.
//
// The end of a client ends its events. Its subflows stay: they belong to the
// connection.
package broker
