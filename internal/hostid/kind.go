package hostid

import (
	"fmt"
	"time"
)

// Kind is what a piece of evidence is: its direction, its strength and for how
// long it counts at most follow from it.
type Kind uint8

// The kinds: what look-ups see, then what operators and keys say, then what the
// transport shows.
const (
	SameTarget Kind = iota
	OtherTarget
	HintsTogether
	ForeignCanonical
	Rotates
	SeenApart
	SeenTogether
	OneOfEach
	Several
	Many
	OneFamily
	ShortTTL
	LongTTL
	UnequalTTL
	ManyNames
	EmbeddedOctets
	EmbeddedDecimal
	EqualEnd
	PairedSequence
	OutOfSequence
	Neighbours
	SameReverseConfirmed
	SameReverse
	OtherReverse
	Siblings
	AnycastPrefix
	CDNPrefix
	Synthesised
	Published // the operator says so: a service record with OneHostKey
	OtherCanonical
	SameHostKey
	OtherHostKey
	SameCertificate
	OtherCertificate
	DeniedInitial
	Join
	Announcement
	OtherPeer

	kinds // how many there are
)

// derivedKinds is how many kinds have a strength that is derived from data.
const derivedKinds = Synthesised

// Prior is the log-odds that two addresses of one name are one host before there
// is evidence, from the same derivation as the strengths.
const Prior Strength = 71

// kindFacts is one row of the table of strengths.
type kindFacts struct {
	name     string
	sign     Strength // 1: for, -1: against, 0: neither
	strength Strength
	lifetime time.Duration
	says     string // what it says, as a clause about addresses
	from     string // where the strength comes from
}

// Where strengths come from.
const (
	fromData = "logistic regression on the training part of testdata/hosts (go run ./bench/hostid)"
	aDay     = 24 * time.Hour
)

// facts returns the row of k. The derived strengths are those that bench/hostid
// finds; a test there holds them against it.
func (k Kind) facts() kindFacts {
	if k < kinds {
		return table[k]
	}
	return kindFacts{name: fmt.Sprintf("kind-%d", uint8(k))}
}

// table is constant: nothing writes to it.
var table = [kinds]kindFacts{
	SameTarget:           {"same-target", 1, 779, aDay, "addresses of one target of several", fromData},
	OtherTarget:          {"other-target", -1, -546, aDay, "addresses of different targets", fromData},
	HintsTogether:        {"hints-together", 1, 0, aDay, "hints of one service record", fromData},
	ForeignCanonical:     {"foreign-canonical", -1, -246, aDay, "the name is an alias into another domain", fromData},
	Rotates:              {"rotates", -1, -174, aDay, "the set of answers changes and comes back", fromData},
	SeenApart:            {"seen-apart", -1, -133, aDay, "each has been answered without the other", fromData},
	SeenTogether:         {"seen-together", 1, 283, aDay, "they come and go together in a set that rotates", fromData},
	OneOfEach:            {"one-of-each", 1, 70, aDay, "the name has one address of each family", fromData},
	Several:              {"several", -1, 0, aDay, "the name has two or three addresses of a family", fromData},
	Many:                 {"many", -1, -271, aDay, "the name has four or more addresses of a family", fromData},
	OneFamily:            {"one-family", -1, -92, aDay, "two addresses of one family", fromData},
	ShortTTL:             {"short-ttl", -1, -10, time.Hour, "TTLs of a minute or less, as load balancers use", fromData},
	LongTTL:              {"long-ttl", 1, 14, aDay, "TTLs over an hour", fromData},
	UnequalTTL:           {"unequal-ttl", -1, -5, time.Hour, "TTLs differ", fromData},
	ManyNames:            {"many-names", -1, -144, aDay, "an address of several unrelated names", fromData},
	EmbeddedOctets:       {"embedded-octets", 1, 244, aDay, "the IPv6 address ends in the octets of the IPv4 address", fromData},
	EmbeddedDecimal:      {"embedded-decimal", 1, 333, aDay, "the IPv6 address spells the IPv4 address in decimal", fromData},
	EqualEnd:             {"equal-end", 1, 280, aDay, "the last octet and the last group are the same number", fromData},
	PairedSequence:       {"paired-sequence", 1, 796, aDay, "at the same place of two sequences that run alike", fromData},
	OutOfSequence:        {"out-of-sequence", -1, -61, aDay, "at different places of two sequences that run alike", fromData},
	Neighbours:           {"neighbours", -1, -48, aDay, "two addresses in one /24 or /64", fromData},
	SameReverseConfirmed: {"same-reverse-confirmed", 1, 177, aDay, "share a reverse name that leads back to both", fromData},
	SameReverse:          {"same-reverse", 1, 152, aDay, "share a reverse name", fromData},
	OtherReverse:         {"other-reverse", -1, -97, aDay, "have different reverse names", fromData},
	Siblings:             {"siblings", -1, -289, aDay, "have reverse names that differ in a number only", fromData},
	AnycastPrefix:        {"anycast-prefix", -1, -309, aDay, "in a prefix listed as anycast", fromData},
	CDNPrefix:            {"cdn-prefix", -1, -244, aDay, "in a prefix listed as of a content network", fromData},

	Synthesised: {"synthesised", 0, 0, aDay, "one is a translation of the other: the same path, which is no evidence", "RFC 6052, RFC 3056, RFC 4380: says nothing of hosts"},

	Published: {"published", 1, 900, aDay, "published as one host", "set: the operator's own statement; a wrong one is corrected by the first join"},

	OtherCanonical: {"other-canonical", -1, -1200, aDay, "reached through different canonical names", "set: records at two names are the work of two hands"},

	SameHostKey:      {"same-host-key", 1, 300, aDay, "have the same SSH host key", "set: not decisive alone, as images are cloned and pools share keys on purpose"},
	OtherHostKey:     {"other-host-key", -1, -600, aDay, "have different SSH host keys of one type", "set: a server has one key of a type; forwarded ports are the exception"},
	SameCertificate:  {"same-certificate", 1, 50, aDay, "have the same TLS certificate", "set: pools and content networks share certificates"},
	OtherCertificate: {"other-certificate", -1, -150, aDay, "have different TLS certificates for one name", "set: two terminators, or a renewal under way"},
	DeniedInitial:    {"denied-initial", -1, -150, time.Hour, "the peer asks not to be joined at its first address, as load balancers do", "set: RFC 8684 section 3.1 names load balancers as the reason for the C flag"},

	Join:         {"joined", 1, 2000, JoinedLifetime, "joined: the peer knew the key of the connection", "set: a guess of the 64-bit HMAC of RFC 8684 section 3.2 succeeds once in 2^64"},
	Announcement: {"announced", 1, 1500, AnnouncedLifetime, "announced by the peer over an established connection", "set: authentic by the HMAC of RFC 8684 section 3.4.1, but the peer's word only"},
	OtherPeer:    {"other-peer", -1, -800, OtherHostLifetime, "refused the join, and a fresh connection spoke Multipath TCP", "set: strong, not proof; limits and front ends refuse too"},
}

// String returns the kind's name: "same-target".
func (k Kind) String() string { return k.facts().name }

// Strength returns the log-odds that evidence of the kind adds.
func (k Kind) Strength() Strength { return k.facts().strength }

// Sign returns 1 for a kind that speaks for one host, -1 for one that speaks
// against, 0 for one that says nothing.
func (k Kind) Sign() int { return int(k.facts().sign) }

// Lifetime returns for how long evidence of the kind counts at most.
func (k Kind) Lifetime() time.Duration { return k.facts().lifetime }

// From says where the strength comes from.
func (k Kind) From() string { return k.facts().from }

// Derived tells whether the strength is derived from data by bench/hostid.
func (k Kind) Derived() bool { return k < derivedKinds }

// shown tells whether the transport has shown it: such evidence goes before all
// other, and later overrules earlier.
func (k Kind) shown() bool { return k >= Join && k < kinds }

// Kinds returns all kinds.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}
