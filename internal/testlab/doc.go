// Package testlab builds real hosts in network namespaces, joined by a router
// written in Go, for tests and for the demo of mpresolve.
//
// A lab lives in a process of its own: [Reexec] starts a command in new user,
// mount and network namespaces, so that no privilege is needed and the
// machine's own network is out of reach. That process is the client host.
// Inside it, [New] makes a router and [Lab.AddHost] makes hosts, each with its
// own kernel network stack:
//
//	client ──veth── router ──veth── server
//	       ──veth──        ──veth── other
//
// Every link is a veth pair. One end belongs to a host and has its addresses;
// the other is in the router's namespace without any address, where an
// AF_PACKET socket reads and writes its frames. The router forwards by exact
// destination address, adds the delay, loss and rate of both links, and treats
// the packets to an address as its [Behaviour] says: answer with a reset,
// swallow them, strip MPTCP options, and so on. Every SYN is recorded.
//
// A host with several links routes by source address, as a multihomed host is
// set up in the field: what is sent from an address of the second link leaves
// by the second link, and unbound sockets use the first.
//
// Package labtest runs tests in a lab.
package testlab
