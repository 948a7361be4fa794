// Package verdicts keeps what the daemon knows of which addresses are one host: in a
// memory for all programs of the machine ([hostid.Memory]), in a file from one run to
// the next, and, where there is a Redis or Valkey server, with other machines.
//
// # Names
//
// A verdict is about two addresses under a name. [Name] is the one spelling of it:
// the broker's clients say "WWW.example:443", the MULTIPATH answer "www.example.".
// The port is left out: a host is the same at all of its ports. It is kept beside a
// proof, which a refused join at another port does not touch ([Store.Withdraw]).
//
// # The file
//
// It is a snapshot of the memory, and of what each user's programs say, with a checksum, replaced as a whole every few
// minutes and at the end: a crash loses what is younger than [SaveInterval]. A file
// that cannot be read is set aside, and the memory begins empty.
//
// # Between machines
//
// What was proven to this machine's broker, and says that addresses are one host, is
// published with the rest of its life as its expiry:
//
//	key    mpdnsd:1:NAME ADDRESS ADDRESS   the lesser address first
//	value  OUTCOME SECONDS                 joined, limit-reached or announced; when, since 1970
//
// A value that is read is another machine's claim. It is believed as if the join had
// been this machine's, from then until its own expiry, which is never later than
// that of a join made now. So whoever may write to the database may have addresses
// taken for one host. That costs a join that is refused and a MULTIPATH record that
// has two hosts in one, and never a connection's data: a host that does not know the
// connection's key cannot take part in it (RFC 8684 section 3.2). "Another host" is
// neither published nor believed, for it would take paths away. Nor are withdrawals:
// each machine finds out by a join of its own, at whatever port, and does not believe
// an older claim then, until it starts anew.
//
// The server may be away: then nothing waits for it, it is tried again with growing
// pauses, and what is to be published waits, up to a bound.
package verdicts

import (
	"net"
	"strings"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Name is the name under which verdicts are kept: in lower case, with its trailing
// dot, without a port. What is no domain name is left as it is, but for its case.
func Name(dialled string) string {
	name := dialled
	if host, _, err := net.SplitHostPort(dialled); err == nil {
		name = host
	}
	if wire, err := dnswire.ParseName(name); err == nil {
		return wire.String()
	}
	return strings.ToLower(name)
}
