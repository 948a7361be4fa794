package dnstest

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Query is one question as the server saw it.
type Query struct {
	ID      uint16         // the header's id
	Name    string         // as in the packet, with the trailing dot
	Type    string         // "A", "AAAA", "TYPE65400"
	Proto   string         // "udp" or "tcp"
	From    netip.AddrPort // the client's address; the zero value in memory
	At      time.Time      // when it was read
	EDNS    bool           // it had an OPT record
	UDPSize uint16         // the OPT record's size, 0 without one
	DO      bool           // DNSSEC OK
	CD      bool           // checking disabled
	AD      bool           // authentic data wanted
	Nth     int            // how many queries for this name and type came before
}

// Is reports whether q asks for this name and type; letter case and the
// trailing dot do not matter.
func (q Query) Is(name, typ string) bool {
	return q.Type == typ && strings.EqualFold(q.Name, dns.Fqdn(name))
}

// Action is what the server does with one query. The zero value answers
// NOERROR with no records.
type Action struct {
	Drop  bool            // no reply at all
	Delay time.Duration   // wait before the reply
	Hold  <-chan struct{} // wait until it is closed before the reply

	RCode     int      // dns.RcodeNameError and so on; above 15 an OPT record carries the rest
	Answer    []string // records in presentation form; "@" as owner is the name asked
	Authority []string
	Extra     []string
	AA, AD    bool
	NoRA      bool // recursion available is set unless this is
	NoOPT     bool // leave the OPT record out although the query had one

	Truncate    bool // TC and no records, over UDP only
	TruncateAll bool // TC over TCP too

	WrongID       bool   // the id is another
	WrongQuestion bool   // the question's name is another
	NoQuestion    bool   // no question section
	NotResponse   bool   // the QR bit is clear
	WrongOpcode   bool   // the opcode is NOTIFY's
	WrongSource   bool   // sent from another socket, UDP only
	Raw           []byte // these octets instead of a message; with PatchID the id is written over the first two
	PatchID       bool
	Hangup        bool // TCP: close the connection instead of answering

	Before []Action // replies sent first, each as scripted: forgeries
}

// Script decides what happens to a query. It is called by several goroutines
// at once.
type Script func(Query) Action

// Zone is the simplest script: records by name, in presentation form. A name
// without records does not exist; a type without records is NODATA. Negative
// answers carry an SOA with a TTL and a minimum of 60 s. CNAMEs are followed
// as a recursive server does. It panics on a record that does not parse.
func Zone(records ...string) Script {
	z := zone{}
	for _, text := range records {
		rr := mustRR(text)
		name := strings.ToLower(rr.Header().Name)
		z[name] = append(z[name], rr)
	}
	return z.answer
}

// Overlay asks script for the queries that match picks, and base for others.
func Overlay(base Script, match func(Query) bool, script Script) Script {
	return func(q Query) Action {
		if match(q) {
			return script(q)
		}
		return base(q)
	}
}

// Always is a script that does the same to every query.
func Always(a Action) Script {
	return func(Query) Action { return a }
}

// SOA is the record that makes a negative answer cacheable: TTL and minimum
// are seconds.
const SOA = "example. 60 IN SOA ns.example. hostmaster.example. 1 7200 900 86400 60"

// NXDomain is the action for a name that does not exist.
func NXDomain() Action {
	return Action{RCode: dns.RcodeNameError, Authority: []string{SOA}}
}

// NoData is the action for a name without records of the type asked.
func NoData() Action {
	return Action{Authority: []string{SOA}}
}

// zone holds records by lower-case owner name.
type zone map[string][]dns.RR

// maxAliases bounds how many CNAMEs a Zone follows: its loops end there.
const maxAliases = 8

func (z zone) answer(q Query) Action {
	var a Action
	name := strings.ToLower(q.Name)
	for range maxAliases {
		rrs, ok := z[name]
		if !ok {
			a.RCode, a.Authority = dns.RcodeNameError, []string{SOA}
			return a
		}
		alias := ""
		for _, rr := range rrs {
			c, isAlias := rr.(*dns.CNAME)
			if dns.Type(rr.Header().Rrtype).String() == q.Type || isAlias {
				a.Answer = append(a.Answer, rr.String())
			}
			if isAlias {
				alias = strings.ToLower(c.Target)
			}
		}
		if alias == "" || q.Type == "CNAME" {
			break
		}
		name = alias
	}
	if len(a.Answer) == 0 {
		a.Authority = []string{SOA}
	}
	return a
}

func mustRR(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil || rr == nil {
		panic("dnstest: record " + text + ": not in presentation form")
	}
	return rr
}
