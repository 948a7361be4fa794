// Package dnswire reads, checks, builds and patches DNS messages as octets (RFC 1035, RFC 6891),
// without unpacking them into objects.
//
// It has two readers. [ParseQuery] reads a request and is strict: its [QueryError] says what a
// server owes the client, an RCODE or silence. [Parser] walks the records of a response. Neither
// allocates, neither trusts a length or a count, and both follow compression pointers strictly
// backwards only, so that the work is bounded by the length of the message.
//
// Everything that builds appends to a slice of the caller and allocates only to make it grow.
// Functions named Append start a message or a part at the end of dst; functions named Add and Patch
// take a whole message that begins at its first octet, and keep the counts of its header right.
//
// The package knows no sockets, clocks or caches.
package dnswire

// Limits of the wire format.
const (
	// HeaderLen is the length of the fixed header in octets (RFC 1035 section 4.1.1).
	HeaderLen = 12
	// MaxMessageLen is the longest message, in octets: what TCP's length prefix can say.
	MaxMessageLen = 65535
	// MaxNameLen is the longest name in wire form, in octets, its final zero included
	// (RFC 1035 section 2.3.4).
	MaxNameLen = 255
	// MaxLabelLen is the longest label, in octets (RFC 1035 section 2.3.4).
	MaxLabelLen = 63
	// MinUDPSize is the message size that every UDP client takes, in octets (RFC 1035 section
	// 4.2.1); a smaller EDNS size means this one (RFC 6891 section 6.2.3).
	MinUDPSize = 512
	// MaxKeyLen is the greatest length, in octets, of what AppendKey appends: name, type, class
	// and flags.
	MaxKeyLen = MaxNameLen + 5
	// MaxQueryExtras bounds the additional records of a request. Besides OPT only TSIG and SIG(0)
	// have a meaning there.
	MaxQueryExtras = 4
	// MaxOptions bounds the EDNS options of a request. Real clients send fewer than six.
	MaxOptions = 32

	maxPointers = MaxNameLen / 2 // a name has no more labels, and each pointer should follow one
	questionLen = 4              // octets of type and class after the question's name
	recordLen   = 10             // octets of type, class, TTL and rdata length
	optLen      = 1 + recordLen  // an OPT record without options
)
