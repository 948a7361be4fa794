package server

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/mpdnsd/zone"
)

const (
	// hostsTTL is the TTL, in seconds, of what the hosts file says: short, for
	// the file may change at any time.
	hostsTTL = 10
	// specialTTL is the TTL, in seconds, of answers for special names, which
	// never change.
	specialTTL = 86400
	// specialNegativeTTL is that of their negative answers (RFC 6303 section 3).
	specialNegativeTTL = 10800
)

// local answers from the hosts file and the special names.
func (s *Source) local(q dnswire.Question) (r zone.Reply, proto string, ok bool) {
	name := q.Name.String()
	if s.Special && within(name, "localhost.") {
		return localhost(name, q.Type), protoSpecial, true
	}
	if r, ok := s.fromHosts(name, q.Type); ok {
		return r, protoHosts, true
	}
	if s.Special {
		if r, ok := s.special(q, name); ok {
			return r, protoSpecial, true
		}
	}
	return zone.Reply{}, "", false
}

// within reports whether name is top or below it, both with trailing dots and
// in lower case.
func within(name, top string) bool {
	at := len(name) - len(top)
	return at >= 0 && name[at:] == top && (at == 0 || name[at-1] == '.')
}

// topOf is the last label of a name, with the trailing dot.
func topOf(name string) string {
	return name[1+strings.LastIndexByte(strings.TrimSuffix(name, "."), '.'):]
}

// header is a record's head.
func header(name string, t dnswire.Type, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: uint16(t), Class: dns.ClassINET, Ttl: ttl}
}

// address is an A or AAAA record; nil if a is not of that family.
func address(name string, t dnswire.Type, ttl uint32, a netip.Addr) dns.RR {
	a = a.Unmap()
	switch {
	case t == dnswire.TypeA && a.Is4():
		return &dns.A{Hdr: header(name, t, ttl), A: a.AsSlice()}
	case t == dnswire.TypeAAAA && a.Is6() && a.Zone() == "": // a zone has no place in the DNS
		return &dns.AAAA{Hdr: header(name, t, ttl), AAAA: a.AsSlice()}
	}
	return nil
}

// fromHosts answers with the hosts file's addresses and, for PTR, names. A
// name that the file has is answered for both address families, with no data
// where it has only the other; further types of it are not the file's business.
func (s *Source) fromHosts(name string, t dnswire.Type) (r zone.Reply, ok bool) {
	if s.Hosts == nil {
		return r, false
	}
	switch t {
	case dnswire.TypeA, dnswire.TypeAAAA:
		all := s.Hosts(s.Now()).Lookup(name)
		for _, a := range all {
			if rr := address(name, t, hostsTTL, a); rr != nil {
				r.Answer = append(r.Answer, rr)
			}
		}
		return r, len(all) > 0
	case dnswire.TypePTR:
		a, ok := reverse(name)
		if !ok {
			return r, false
		}
		names := s.Hosts(s.Now()).LookupAddr(a)
		for _, n := range names {
			if _, err := dnswire.ParseName(n); err == nil {
				r.Answer = append(r.Answer, &dns.PTR{Hdr: header(name, t, hostsTTL), Ptr: dns.Fqdn(n)})
			}
		}
		return r, len(r.Answer) > 0
	}
	return r, false
}

// reverse is the address that a name below in-addr.arpa (RFC 1035 section 3.5)
// or ip6.arpa (RFC 3596 section 2.5) stands for.
func reverse(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		return reverse4(strings.Split(digits, "."))
	}
	if digits, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		return reverse6(strings.Split(digits, "."))
	}
	return netip.Addr{}, false
}

func reverse4(labels []string) (netip.Addr, bool) {
	var b [4]byte
	if len(labels) != len(b) {
		return netip.Addr{}, false
	}
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[len(b)-1-i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

func reverse6(labels []string) (netip.Addr, bool) {
	var b [16]byte
	if len(labels) != 2*len(b) {
		return netip.Addr{}, false
	}
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 16, 4)
		if err != nil || len(l) != 1 {
			return netip.Addr{}, false
		}
		b[len(b)-1-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}

// localhost answers for localhost and every name below it: the loopback
// addresses and nothing else (RFC 6761 section 6.3).
func localhost(name string, t dnswire.Type) zone.Reply {
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if rr := address(name, t, specialTTL, a); rr != nil {
			return zone.Reply{Answer: []dns.RR{rr}}
		}
	}
	return zone.Reply{Authority: negative("localhost.")}
}

// special answers for the other names that are not the global DNS's: invalid
// and test (RFC 6761 sections 6.2, 6.4), onion (RFC 7686), alt (RFC 9476),
// home.arpa (RFC 8375 section 4), and the reverse names of loopback, private and
// documentation addresses (RFC 6761 section 6.1, RFC 6303, RFC 7793).
// The names exist as far as they are the ends themselves or have a zone with
// servers of its own below them; what is in such a zone is for these servers.
// name is q's in presentation form.
func (s *Source) special(q dnswire.Question, name string) (r zone.Reply, ok bool) {
	switch topOf(name) {
	case "invalid.", "test.", "onion.", "alt.", "arpa.":
	default: // nearly all names
		return r, false
	}
	top := specialTop(name)
	if top != "" && s.isForwarded(q, top) {
		return r, false
	}
	if a, ok := reverse(name); ok && a.IsLoopback() && q.Type == dnswire.TypePTR {
		return zone.Reply{Answer: []dns.RR{&dns.PTR{Hdr: header(name, q.Type, specialTTL), Ptr: "localhost."}}}, true
	}
	if top == "" {
		return r, false
	}
	r.Authority = negative(top)
	if name != top && !slices.ContainsFunc(s.Forwards, func(f dnswire.Name) bool { return f.IsSubdomainOf(q.Name) }) {
		r.RCode = dnswire.RCodeNameError
	}
	return r, true
}

// isForwarded reports whether a question is for the servers of a zone at or below
// top. A zone above it is not meant: who has arpa forwarded has not said a word of
// private addresses. The DS records of a zone are its parent's (RFC 4035 section
// 3.1.4.1).
func (s *Source) isForwarded(q dnswire.Question, top string) bool {
	name := q.Name
	if q.Type == dnswire.TypeDS {
		name = name.Parent()
	}
	return slices.ContainsFunc(s.Forwards, func(f dnswire.Name) bool { return name.IsSubdomainOf(f) && within(f.String(), top) })
}

// specialTop is the top that a name is at or below; "" if there is none.
func specialTop(name string) string {
	for _, top := range [...]string{
		"invalid.", "test.", "onion.", "alt.", "home.arpa.",
		"10.in-addr.arpa.", "168.192.in-addr.arpa.", "127.in-addr.arpa.", "254.169.in-addr.arpa.", "0.in-addr.arpa.",
		"2.0.192.in-addr.arpa.", "100.51.198.in-addr.arpa.", "113.0.203.in-addr.arpa.", "255.255.255.255.in-addr.arpa.",
		"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa.",
		"d.f.ip6.arpa.", "8.e.f.ip6.arpa.", "9.e.f.ip6.arpa.", "a.e.f.ip6.arpa.", "b.e.f.ip6.arpa.",
	} {
		if within(name, top) {
			return top
		}
	}
	if top := amongReverse(name, ".172.in-addr.arpa.", 16, 31); top != "" { // 172.16.0.0/12
		return top
	}
	return amongReverse(name, ".100.in-addr.arpa.", 64, 127) // 100.64.0.0/10
}

// amongReverse is the zone of a number from low to high before the end, that a name
// is at or below; "" if there is none.
func amongReverse(name, end string, low, high int) string {
	labels, ok := strings.CutSuffix(name, end)
	if !ok {
		return ""
	}
	label := labels[1+strings.LastIndexByte(labels, '.'):]
	if n, err := strconv.Atoi(label); err != nil || n < low || n > high || strconv.Itoa(n) != label {
		return ""
	}
	return name[len(labels)-len(label):]
}

// negative is the SOA record of a negative answer for a name below top, that
// of RFC 6303 section 3's empty zones.
func negative(top string) []dns.RR {
	return []dns.RR{&dns.SOA{
		Hdr: header(top, dnswire.TypeSOA, specialNegativeTTL),
		Ns:  top, Mbox: "nobody.invalid.",
		Serial: 1, Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: specialNegativeTTL,
	}}
}
