// Package hostid judges which addresses of a name are one host, and remembers.
//
// Several addresses of one name need not be one host (RFC 6897 section 6.4). The
// model has three parts:
//
//   - [Evidence]: one reason to believe that addresses are, or are not, one
//     host. Its [Kind] gives its direction and strength, from one table. What a
//     look-up saw becomes evidence by [Observation.Evidence]; what joins showed,
//     by [Memory.Evidence]; what a caller knows of keys, by [Memory.Meet]; the
//     peer's C flag, by [Denied].
//   - [Judge]: evidence in, a [Judgement] out: for each pair the [Verdict] and
//     its log-odds, and a partition of the set into hosts.
//   - [Memory]: what became of joins, and what past answers held. It is a source
//     of evidence and can be written to octets and read back.
//
// # The model
//
// Each pair of addresses has log-odds of being one host: a prior plus the
// strength of each kind of evidence that there is about the pair, each kind
// counted once, because two pieces of one kind are not independent. At
// [Decisive] the pair is [Same], at its negative [Different], between them
// [Unknown]. Where the evidence for and the evidence against would each decide
// alone, the pair is Unknown whatever the sum is. What the transport showed (a
// join proves sameness: the peer knew the key of the connection, RFC 8684
// section 3.2) goes before all that DNS says, and later overrules earlier. That a
// join failed proves nothing: a limit, a firewall or a middlebox does the same.
//
// What a pair's own evidence does not decide follows from others: a chain of
// same pairs makes its ends the same, as sure as its weakest link; an address is
// different from those which are the same as one that it is different from. If
// both follow, the pair is Unknown. More evidence for a pair never lowers its
// log-odds or its verdict.
//
// # For its users
//
// The resolver makes an Observation of what it saw, with [Memory.Sightings] and
// [Memory.Names] of earlier look-ups, calls Judge with that evidence and the
// memory's, and divides its record by [Judgement.Hosts]; it notes the sighting
// ([Memory.Note]). The dialer calls [Memory.Order] with the DNS evidence, and
// [Memory.Record] for each outcome. The daemon keeps [Memory.Snapshot] in a
// file and gives it to [Memory.Restore]; a damaged one is [ErrDamaged].
// [Judgement.Pair] and [Judgement.Reasons] explain.
//
// The package is pure: no clock, no I/O, no goroutine. All that it takes from
// the network is bounded: [MaxAddrs], [MaxEvidence], and the memory's bounds.
package hostid

import "fmt"

// Verdict says whether two addresses are one host.
type Verdict uint8

// The verdicts.
const (
	Unknown   Verdict = iota // nothing conclusive is known, or what is known conflicts
	Same                     // one host
	Different                // two hosts
)

// String returns the verdict in a word: "same".
func (v Verdict) String() string {
	switch v {
	case Unknown:
		return "unknown"
	case Same:
		return "same"
	case Different:
		return "different"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}
