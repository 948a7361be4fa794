package dnscache

import (
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// maxCutNames bounds the names that GetCut looks at: the key's own and those above it.
const maxCutNames = 8

// GetCut answers for a key that Get does not have from an unexpired NXDOMAIN of the same name
// (RFC 2308 section 5) or of one above it (RFC 8020 section 2), asked with the same flags for the same
// type, A or AAAA. A denial that came through an alias is about another name and does not count. The
// answer has the SOA record of the denial and nothing else, so there is none for keys with DO, whose
// clients want the proof. Of the names above, the nearest maxCutNames are looked at.
func (c *Cache) GetCut(dst, key []byte, now time.Time) (msg []byte, info Info, ok bool) {
	if c.config.NoCut || len(key) < minKeyLen || keyWantsProof(key) {
		return dst, Info{}, false
	}
	var room [512]byte
	for off, names := 0, 0; key[off] != 0 && names < maxCutNames; names++ {
		if denial, info, ok := c.denial(room[:0], key[off:], now); ok {
			if msg, ok := appendDenial(dst, key, denial); ok {
				return msg, info, true
			}
		}
		off += 1 + int(key[off])
	}
	return dst, Info{}, false
}

// keyWantsProof reports whether the key is of a question with DO.
func keyWantsProof(key []byte) bool {
	root := dnswire.Question{Name: dnswire.Root}
	var room [minKeyLen]byte
	do := root.AppendKey(room[:0], true, false)
	return key[len(key)-1]&do[minKeyLen-1] != 0
}

// denial finds an NXDOMAIN for the name of key, whatever type was asked for.
func (c *Cache) denial(dst, key []byte, now time.Time) (msg []byte, info Info, ok bool) {
	var room [dnswire.MaxKeyLen]byte
	k := append(room[:0], key...)
	typ := k[len(k)-5 : len(k)-3]
	asked := dnswire.Type(uint16(typ[0])<<8 | uint16(typ[1]))
	for i, t := range [...]dnswire.Type{asked, dnswire.TypeA, dnswire.TypeAAAA} {
		if i > 0 && t == asked {
			continue
		}
		typ[0], typ[1] = byte(t>>8), byte(t)
		h := c.hash(k)
		if msg, info, ok = c.shard(h).denial(dst, k, uint32(h), millis(now)); ok {
			return msg, info, true
		}
	}
	return dst, Info{}, false
}

// denial gives an unexpired entry that denies its name. It counts neither hit nor miss.
func (s *shard) denial(dst, key []byte, tag uint32, now int64) ([]byte, Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, _ := s.find(key, tag)
	if e == nil || e.state()&stateCut == 0 {
		return dst, Info{}, false
	}
	age := e.age(now)
	if !e.fresh(age) {
		return dst, Info{}, false
	}
	e.touch()
	return e.appendTo(dst, uint32(age/1000)), e.info(age), true
}

// appendDenial appends an NXDOMAIN for key with the SOA record of another, whose zone must hold the
// name.
func appendDenial(dst, key, denial []byte) ([]byte, bool) {
	p := dnswire.NewParser(denial)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.Section != dnswire.SectionAuthority || rr.Type != dnswire.TypeSOA {
			continue
		}
		return appendSOADenial(dst, key, denial, rr)
	}
	return dst, false
}

func appendSOADenial(dst, key, denial []byte, rr dnswire.RR) ([]byte, bool) {
	var ownerRoom [dnswire.MaxNameLen]byte
	var zoneRoom [dnswire.MaxKeyLen]byte
	owner, _, err := dnswire.AppendName(ownerRoom[:0], denial, rr.NameOff)
	if err != nil || !within(key[:len(key)-5], dnswire.AppendKey(zoneRoom[:0], owner, 0, 0, false, false)) {
		return dst, false
	}
	var room [2*dnswire.MaxNameLen + soaNumbers]byte
	rdata, off, err := dnswire.AppendName(room[:0], denial, rr.DataOff)
	if err != nil {
		return dst, false
	}
	if rdata, off, err = dnswire.AppendName(rdata, denial, off); err != nil || off+soaNumbers > len(denial) {
		return dst, false
	}
	rdata = append(rdata, denial[off:off+soaNumbers]...)
	at := len(dst)
	dst = append(dst, 0, 0, denial[2], denial[3], 0, 1, 0, 0, 0, 0, 0, 0)
	dst = append(dst, key[:len(key)-1]...)
	msg := dnswire.AddRR(dst[at:], dnswire.SectionAuthority, owner, rr.Type, rr.Class, rr.TTL, rdata)
	return append(dst[:at], msg...), true
}

// soaNumbers is the octets of a SOA record behind its names (RFC 1035 section 3.3.13).
const soaNumbers = 20

// within reports whether a name is that of a key or below it.
func within(name, key []byte) bool {
	zone := key[:len(key)-5]
	for len(name) > len(zone) {
		name = name[1+int(name[0]):]
	}
	return string(name) == string(zone)
}
