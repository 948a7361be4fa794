package resolver

import (
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// Answer is what is known of a name. It and its parts have a JSON form.
type Answer struct {
	Name      string `json:"name"`      // as asked
	Canonical string `json:"canonical"` // the end of the alias chain, with the trailing dot; for a literal or the hosts file the name itself
	// Record holds the addresses in the order to dial them, with port 0 unless
	// the merge was given one.
	Record mpaddr.Addr `json:"record"`
	// Families is what was asked and came back, in the order asked; a family
	// that had not answered when Lookup returned has an error that says so.
	Families []FamilyResult `json:"families"`
	Dropped  []Dropped      `json:"dropped,omitempty"`
	// Expires is when the first of the merged records does; the zero time for
	// what does not expire (literals, hosts file).
	Expires time.Time `json:"expires,omitzero"`

	judging *judging // nil in an answer that was not made by Merge
}

// TTL is how long the answer is still good: 0 once it has expired. What does
// not expire has [Forever].
func (a *Answer) TTL(now time.Time) time.Duration {
	if a.Expires.IsZero() {
		return Forever
	}
	return max(0, a.Expires.Sub(now))
}

// Forever is the TTL of what does not expire.
const Forever = time.Duration(1<<63 - 1)

// Dropped is an address that came in an answer and was left out.
type Dropped struct {
	Addr netip.Addr `json:"address"`
	Why  string     `json:"why"`
}

// FamilyResult is the outcome of one question: one family's addresses, or the
// HTTPS or SRV records.
type FamilyResult struct {
	Type     string // "A", "AAAA", "HTTPS" or "SRV"
	Name     string // the name asked for, search domain and trailing dot included
	Addrs    []netip.Addr
	Services []Service // of HTTPS or SRV
	// Chain is the aliases followed, in order: each name that a CNAME led to, or
	// an HTTPS record in AliasMode, with the trailing dot. Its last is the canonical name.
	Chain []string
	// TTL is the smallest of the records used; of a negative answer, how long
	// it may be kept (RFC 2308).
	TTL     time.Duration
	Server  string // "192.0.2.53:53"; empty if none was asked
	Proto   string // "udp", "tcp", "cache", "hosts", "zone", "special" (localhost), "literal"
	Elapsed time.Duration
	Tries   int
	Cached  bool
	Age     time.Duration // in the cache
	// Authenticated: the server says that it validated the answer, and
	// resolv.conf says to believe it (trust-ad).
	Authenticated bool
	Err           error // an *Error, or nil
}

// Canonical is the name whose records these are: the end of the alias chain.
func (f FamilyResult) Canonical() string {
	if n := len(f.Chain); n > 0 {
		return f.Chain[n-1]
	}
	return f.Name
}

// found reports whether there is anything in it.
func (f FamilyResult) found() bool { return len(f.Addrs)+len(f.Services) > 0 }

// isOwn reports whether the addresses are this machine's own configuration, and
// so not to be filtered.
func (f FamilyResult) isOwn() bool {
	switch f.Proto {
	case protoHosts, protoLiteral, protoSpecial, protoZone:
		return true
	}
	return false
}

// Where answers come from that no server was asked for.
const (
	protoHosts   = "hosts"
	protoLiteral = "literal"
	protoSpecial = "special"
	protoZone    = "zone"
	protoCache   = "cache"
)

// Service is one HTTPS record (RFC 9460) or SRV record (RFC 2782), which has
// priority, weight, target and port. HTTPS records in AliasMode are followed and not
// shown.
type Service struct {
	Priority uint16       `json:"priority"`         // the lowest is the best; of HTTPS SvcPriority, 1 or more
	Weight   uint16       `json:"weight,omitempty"` // of SRV, among those of one priority
	Target   string       `json:"target"`           // TargetName with the trailing dot; the owner's name where the record has "."
	ALPN     []string     `json:"alpn,omitempty"`   // application protocols, "http/1.1" added unless the record excludes it
	Port     uint16       `json:"port,omitempty"`   // 0: the service's default
	Hints    []netip.Addr `json:"hints,omitempty"`
	ECH      []byte       `json:"ech,omitempty"` // encrypted ClientHello configuration
	// OneHost: the operator says that all addresses of Target are one host
	// (private-use SvcParamKey 65400, see docs/same-host.md).
	OneHost bool `json:"one_host,omitempty"`
}

// Record is one resource record in presentation form.
type Record struct {
	Name string `json:"name"`
	Type string `json:"type"`
	TTL  uint32 `json:"ttl"` // seconds
	Data string `json:"data"`
}

// Records is the answer to LookupRecords.
type Records struct {
	Name    string // as asked
	Type    string
	RRs     []Record // the answer section: aliases first, as the server gave them
	TTL     time.Duration
	Server  string
	Proto   string
	Elapsed time.Duration
	Tries   int
	Cached  bool
	// Authenticated is as in FamilyResult.
	Authenticated bool
}
