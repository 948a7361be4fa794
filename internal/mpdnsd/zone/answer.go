package zone

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// maxChain is how many aliases one answer follows: more than any sane zone
// has, and few enough that a loop costs nothing. The chain so far is the
// answer, as RFC 1034 section 3.6.2 leaves it.
const maxChain = 16

// Reply is what a zone says to a question.
type Reply struct {
	RCode         dnswire.RCode
	Authoritative bool // false for a referral
	Answer        []dns.RR
	Authority     []dns.RR
	Additional    []dns.RR
	// Target is where a chain of aliases leaves the zone: the rest of the
	// answer is to be found elsewhere. Empty otherwise.
	Target dnswire.Name
}

// Answer answers a question for a name at or below the zone's origin. The
// records are the zone's own: the caller must not change them.
func (z *Zone) Answer(name dnswire.Name, t dnswire.Type) Reply {
	r := Reply{Authoritative: true}
	for range maxChain {
		next := z.step(&r, name, t)
		if next == "" {
			return r
		}
		if !next.IsSubdomainOf(z.origin) {
			r.Target = next
			return r
		}
		name = next
	}
	return r
}

// step adds what stands at one name to r. If that is an alias, it returns the
// name to go on with.
func (z *Zone) step(r *Reply, name dnswire.Name, t dnswire.Type) (next dnswire.Name) {
	encloser, cut := z.descend(name, t)
	at := z.nodes[encloser]
	switch {
	case cut:
		z.refer(r, encloser)
	case encloser == name:
		return z.data(r, at, name, t)
	case at[dnswire.TypeDNAME] != nil:
		return rename(r, at[dnswire.TypeDNAME][0], name, encloser)
	default:
		if wild, ok := z.nodes[wildcard(encloser)]; ok {
			return z.data(r, wild, name, t)
		}
		r.RCode = dnswire.RCodeNameError
		r.Authority = z.negative
	}
	return ""
}

// descend walks from the origin towards name. It stops at a delegation, with
// cut set, and at a DNAME; else it returns name, or the closest encloser
// (RFC 4592 section 3.3.1) if name does not exist.
func (z *Zone) descend(name dnswire.Name, t dnswire.Type) (encloser dnswire.Name, cut bool) {
	var path []dnswire.Name // from name up to below the origin
	for n := range ancestors(name) {
		if n == z.origin {
			break
		}
		path = append(path, n)
	}
	encloser = z.origin
	for i := len(path) - 1; i >= 0; i-- {
		if z.nodes[encloser][dnswire.TypeDNAME] != nil {
			return encloser, false
		}
		n, ok := z.nodes[path[i]]
		if !ok {
			return encloser, false
		}
		encloser = path[i]
		if n[dnswire.TypeNS] != nil && (i > 0 || t != dnswire.TypeDS) {
			return encloser, true
		}
	}
	return encloser, false
}

// data answers from the RRsets of a node that exists: the type asked for, an
// alias, or none such (NODATA).
func (z *Zone) data(r *Reply, n node, name dnswire.Name, t dnswire.Type) (next dnswire.Name) {
	if set := n[t]; set != nil {
		r.Answer = append(r.Answer, owned(set, name)...)
		return ""
	}
	if alias := n[dnswire.TypeCNAME]; alias != nil {
		r.Answer = append(r.Answer, owned(alias, name)...)
		target, err := dnswire.ParseName(alias[0].(*dns.CNAME).Target)
		if err != nil { // checked when the zone was loaded
			return ""
		}
		return target
	}
	r.Authority = z.negative
	return ""
}

// refer answers with the delegation at cut, the addresses of its servers that
// the zone knows, and the DS RRset where there is one (RFC 4035 section 3.1.4).
func (z *Zone) refer(r *Reply, cut dnswire.Name) {
	r.Authoritative = len(r.Answer) > 0 // of the first name of a chain (RFC 1034 section 6.2.7)
	at := z.nodes[cut]
	r.Authority = append(r.Authority[:0:0], at[dnswire.TypeNS]...)
	r.Authority = append(r.Authority, at[dnswire.TypeDS]...)
	for _, ns := range at[dnswire.TypeNS] {
		host, err := dnswire.ParseName(ns.(*dns.NS).Ns)
		if err != nil {
			continue
		}
		r.Additional = append(r.Additional, z.nodes[host][dnswire.TypeA]...)
		r.Additional = append(r.Additional, z.nodes[host][dnswire.TypeAAAA]...)
	}
}

// rename follows a DNAME: the record itself and the CNAME made from it
// (RFC 6672 section 3.1). A name that becomes too long is YXDOMAIN.
func rename(r *Reply, rr dns.RR, name, owner dnswire.Name) (next dnswire.Name) {
	dname := rr.(*dns.DNAME)
	r.Answer = append(r.Answer, dname)
	target, err := dnswire.ParseName(dname.Target)
	if err != nil {
		return ""
	}
	next = name[:len(name)-len(owner)] + target
	if len(next) > dnswire.MaxNameLen {
		r.RCode = dnswire.RCodeYXDomain
		return ""
	}
	r.Answer = append(r.Answer, &dns.CNAME{
		Hdr:    dns.RR_Header{Name: name.String(), Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: dname.Hdr.Ttl},
		Target: next.String(),
	})
	return next
}

// owned returns the RRset with name as its owner: itself, or copies if it came
// from a wildcard.
func owned(set []dns.RR, name dnswire.Name) []dns.RR {
	owner := name.String()
	if set[0].Header().Name == owner {
		return set
	}
	out := make([]dns.RR, len(set))
	for i, rr := range set {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = owner
	}
	return out
}

// ErrTooLarge is the error of Pack for a reply that no DNS message can hold.
var ErrTooLarge = errors.New("the answer is larger than a DNS message")

// Pack returns the reply to q as a whole message with id 0 and without OPT.
func (r Reply) Pack(q dnswire.Question) ([]byte, error) {
	m := dns.Msg{
		MsgHdr: dns.MsgHdr{
			Response:      true,
			Authoritative: r.Authoritative,
			Rcode:         int(r.RCode),
		},
		Compress: true,
		Question: []dns.Question{{Name: q.Name.String(), Qtype: uint16(q.Type), Qclass: uint16(q.Class)}},
		Answer:   r.Answer,
		Ns:       r.Authority,
		Extra:    r.Additional,
	}
	octets, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("answering %v %v: %w", q.Name, q.Type, err)
	}
	if len(octets) > dns.MaxMsgSize {
		return nil, fmt.Errorf("answering %v %v: %d octets: %w", q.Name, q.Type, len(octets), ErrTooLarge)
	}
	return octets, nil
}
