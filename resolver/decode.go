package resolver

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// findings is what a reply says about one name and type.
type findings struct {
	addrs    []netip.Addr
	services []Service
	aliases  []dnswire.Name // followed, in order
	ttl      uint32         // smallest of the records used
	negative uint32         // how long absence may be kept
	absent   bool           // an SOA record vouches for the absence
	rdata    error          // a record of the right name and type that makes no sense
}

// noTTL is the TTL before any record has been used.
const noTTL = ^uint32(0)

// canonical is the name at the end of the aliases.
func (f *findings) canonical(name dnswire.Name) dnswire.Name {
	if n := len(f.aliases); n > 0 {
		return f.aliases[n-1]
	}
	return name
}

// ttlDuration is the TTL of what was found, or of its absence.
func (f *findings) ttlDuration(found bool) time.Duration {
	switch {
	case found && f.ttl != noTTL:
		return time.Duration(f.ttl) * time.Second
	case !found && f.absent:
		return time.Duration(min(f.ttl, f.negative)) * time.Second
	}
	return 0
}

// read finds the records of name and typ in a reply, following at most limit
// aliases (RFC 1034 section 3.6.2; of HTTPS also those of AliasMode, RFC 9460
// section 2.4.2). Records of other names are not looked at. room is an empty slice
// for the addresses, or nil.
func read(msg []byte, name dnswire.Name, typ dnswire.Type, limit int, room []netip.Addr) (findings, error) {
	f := findings{ttl: noTTL, addrs: room}
	cur := name
	for {
		alias, err := f.scan(msg, cur, typ)
		if err != nil {
			return f, err
		}
		if target, ok := f.aliasMode(); ok {
			alias = target
		}
		if alias == "" || len(f.addrs)+len(f.services) > 0 {
			return f, f.rdata
		}
		if len(f.aliases) >= limit || alias == name || f.has(alias) {
			return f, fmt.Errorf("%w: %s leads to %s", ErrAliasLoop, cur, alias)
		}
		f.aliases = append(f.aliases, alias)
		cur = alias
	}
}

// aliasMode takes the services out if one of them is in AliasMode, which is then
// the only one that counts (RFC 9460 section 2.4.1), and returns where it leads:
// nowhere if its target is the root, which says that there is no such service
// (section 2.5.1).
func (f *findings) aliasMode() (target dnswire.Name, ok bool) {
	for _, s := range f.services {
		if s.Priority > 0 {
			continue
		}
		f.services = nil
		if target, err := dnswire.ParseName(s.Target); err == nil && target != dnswire.Root {
			return target, true
		}
		return "", true
	}
	return "", false
}

func (f *findings) has(alias dnswire.Name) bool {
	for _, a := range f.aliases {
		if a == alias {
			return true
		}
	}
	return false
}

// scan goes through the reply once for the records of one owner, and returns
// the alias that it has.
func (f *findings) scan(msg []byte, owner dnswire.Name, typ dnswire.Type) (dnswire.Name, error) {
	var alias dnswire.Name
	p := dnswire.NewParser(msg)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		switch {
		case rr.Class != dnswire.ClassINET:
		case rr.Section == dnswire.SectionAuthority && rr.Type == dnswire.TypeSOA:
			f.negative, f.absent = dnswire.NegativeTTL(msg, rr)
		case rr.Section != dnswire.SectionAnswer || (rr.Type != typ && rr.Type != dnswire.TypeCNAME):
		case !sameName(msg, rr.NameOff, owner):
		case rr.Type == typ:
			f.take(msg, rr, owner)
		case alias == "":
			var err error
			if alias, _, err = dnswire.ExpandName(msg, rr.DataOff); err != nil {
				return "", fmt.Errorf("alias of %s: %w", owner, err)
			}
			f.ttl = min(f.ttl, rr.TTL)
		}
	}
	return alias, p.Err()
}

// take reads one record of the type asked for.
func (f *findings) take(msg []byte, rr dnswire.RR, owner dnswire.Name) {
	data := rr.Data(msg)
	switch rr.Type {
	case dnswire.TypeA, dnswire.TypeAAAA:
		addr, ok := netip.AddrFromSlice(data)
		if !ok || addr.Is4() != (rr.Type == dnswire.TypeA) {
			f.rdata = fmt.Errorf("%s record with %d octets", typeName(rr.Type), len(data))
			return
		}
		f.addrs = append(f.addrs, addr)
	case dnswire.TypeHTTPS:
		s, err := parseService(msg, rr, owner)
		if err != nil {
			f.rdata = err
			return
		}
		f.services = append(f.services, s)
	}
	f.ttl = min(f.ttl, rr.TTL)
}

// sameName compares the name at off with n, letters in whatever case.
func sameName(msg []byte, off int, n dnswire.Name) bool {
	var room [dnswire.MaxNameLen]byte
	wire, _, err := dnswire.AppendName(room[:0], msg, off)
	if err != nil || len(wire) != len(n) {
		return false
	}
	for i, c := range wire {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != n[i] {
			return false
		}
	}
	return true
}

// typeName is Type.String without its table, for the types every look-up has.
func typeName(t dnswire.Type) string {
	switch t {
	case dnswire.TypeA:
		return "A"
	case dnswire.TypeAAAA:
		return "AAAA"
	case dnswire.TypeHTTPS:
		return "HTTPS"
	}
	return t.String()
}
