package main

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// authority answers for the zone where no authoritative server is installed.
type authority struct {
	apex, hostmaster dnswire.Name
	wild             dnswire.Name // above the wildcard's names
}

func newAuthority() authority {
	return authority{mustName(zoneName), mustName("hostmaster." + zoneName), mustName(strings.TrimPrefix(wildSuffix, "."))}
}

// answer appends the answer to a request to dst; nothing to one that is broken.
func (a authority) answer(dst, packet []byte) []byte {
	q, err := dnswire.ParseQuery(packet)
	if err != nil {
		return nil
	}
	name := q.Question().Name
	if name.IsSubdomainOf(a.wild) && name != a.wild {
		return a.addressed(dnswire.AppendReply(dst, &q, dnswire.FlagAA, dnswire.RCodeSuccess), nil, q.Type, wildAddresses())
	}
	i, ok := a.host(name)
	switch {
	case !ok || kindOf(i) == absent:
		return a.negative(dnswire.AppendReply(dst, &q, dnswire.FlagAA, dnswire.RCodeNameError))
	case kindOf(i) == alias:
		msg := dnswire.AppendReply(dst, &q, dnswire.FlagAA, dnswire.RCodeSuccess)
		target := mustName(nameOf(targetOf(i)))
		msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, dnswire.TypeCNAME, dnswire.ClassINET, zoneTTL, []byte(target))
		return a.addressed(msg, []byte(target), q.Type, []netip.Addr{addressOf(targetOf(i))})
	}
	return a.addressed(dnswire.AppendReply(dst, &q, dnswire.FlagAA, dnswire.RCodeSuccess), nil, q.Type, []netip.Addr{addressOf(i)})
}

// addressed adds the addresses of a type, or says that there are none.
func (a authority) addressed(msg, owner []byte, t dnswire.Type, list []netip.Addr) []byte {
	found := false
	for _, addr := range list {
		if typeOf(addr) == t {
			msg = dnswire.AddRR(msg, dnswire.SectionAnswer, owner, t, dnswire.ClassINET, zoneTTL, addr.AsSlice())
			found = true
		}
	}
	if !found {
		return a.negative(msg)
	}
	return msg
}

// negative adds the SOA record (RFC 2308 section 3).
func (a authority) negative(msg []byte) []byte {
	rdata := append([]byte(a.apex), a.hostmaster...)
	for _, n := range []uint32{1, 3600, 600, 864000, zoneTTL} {
		rdata = binary.BigEndian.AppendUint32(rdata, n)
	}
	return dnswire.AddRR(msg, dnswire.SectionAuthority, []byte(a.apex), dnswire.TypeSOA, dnswire.ClassINET, zoneTTL, rdata)
}

// host returns the number of one of the zone's names.
func (a authority) host(name dnswire.Name) (int, bool) {
	if name.Parent() != a.apex {
		return 0, false
	}
	digits, ok := strings.CutPrefix(string(name[1:1+name[0]]), "host-")
	i, err := strconv.Atoi(digits)
	return i, ok && err == nil && i >= 0 && i < manyNames
}
