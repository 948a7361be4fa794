// Package dialer connects to names and to AF_MULTIPATH records
// (draft-sarolahti-mptcp-af-multipath-01) over every path there is.
//
// A [Dialer] resolves a name to all of its addresses, races them by Happy
// Eyeballs version 3, and offers the addresses that lost the race to the same
// Multipath TCP connection as further subflows. [Dialer.DialContext] has the
// signature that http.Transport and most other libraries take:
//
//	var d dialer.Dialer
//	client := &http.Client{Transport: &http.Transport{DialContext: d.DialContext}}
//
// What it returns is a [*Conn], a *net.TCPConn with more to tell: [Conn.Paths],
// [Conn.Report], [Conn.ID].
//
// Networks:
//
//   - "tcp" follows [Dialer.Multipath]: Multipath TCP where the system has it,
//     plain TCP otherwise, and [Report].Fallback says why.
//   - "multipath" asks for Multipath TCP: [ErrMultipathUnsupported] where the
//     system has none, and LocalAddr and RemoteAddr are sets ([mpaddr.Addr]).
//   - "tcp4" and "tcp6" are single-family and single-path: plain TCP.
//
// MPRESOLVE_MPTCP=0 in the environment switches Multipath TCP off for every
// dial of a program; see [MultipathEnv].
//
// No privilege is needed to connect. Further subflows need the userspace path
// manager (net.mptcp.path_manager=userspace), and CAP_NET_ADMIN or the broker of
// mpdnsd ([Dialer].Broker); without them the kernel's own path manager does what
// it can, and the report says so.
//
// With several uplinks, paths spread over them ([PathPolicy], [PathUse]). While
// a connection lasts, its paths follow this machine's network and what the peer
// announces; what ends is tried again after a pause. [Conn.Reconnect] and
// [Conn.Rebind] replace the sets of addresses, [Conn.Events] tells of changes.
//
// A Dialer remembers how connection attempts went on each network that this
// machine was attached to, and begins the next dial with what is known to answer
// there. An address without an answer goes last for a while, then has its turn
// again.
//
// An address becomes a subflow only when the peer's kernel proves by MP_JOIN
// that it belongs to this very connection (RFC 8684 section 3.2). The stream's
// data never goes to another host, whatever the name says.
package dialer
