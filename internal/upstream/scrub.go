package upstream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// maxAliases bounds the CNAME records from the name asked to the answer. Real
// chains have fewer than ten; other resolvers stop between 8 and 17.
const maxAliases = 16

// scrub returns msg, a reply to q that dnswire.Validate has passed, less what was
// not asked: the answer section is the chain of aliases from the name asked, in
// order, and the records at its end; the authority section says something of
// these names' zones; of the additional section there is only the OPT record
// (RFC 2181 section 5.4.1, RFC 5452 section 6). So a server cannot plant records
// of other names, and who reads the answer from front to back understands it.
// A chain without an end is an error. msg itself is not changed; when it is as
// it should be, it is what is returned, without an allocation but for aliases.
func scrub(q dnswire.Question, msg []byte) ([]byte, error) {
	s := scrubber{q: q, msg: msg}
	end, clean := s.survey()
	if clean {
		return s.cut(end), nil
	}
	return s.rebuild()
}

type scrubber struct {
	q     dnswire.Question
	msg   []byte
	chain [maxAliases + 1]dnswire.Name // the name asked and its aliases
	n     int                          // names in chain
}

// survey reports whether answer and authority section are as they should be,
// and where they end.
func (s *scrubber) survey() (end int, clean bool) {
	s.chain[0], s.n = s.q.Name, 1
	found := false // a record that is no alias was there: the chain has ended
	p := dnswire.NewParser(s.msg)
	end = p.QuestionEnd()
	for rr, ok := p.Next(); ok && rr.Section != dnswire.SectionAdditional; rr, ok = p.Next() {
		end = p.Offset()
		switch {
		case rr.Section == dnswire.SectionAuthority:
			if !s.belongs(rr) {
				return 0, false
			}
		case rr.Class != s.q.Class || !s.isAt(rr, s.chain[s.n-1]):
			return 0, false
		case s.isAlias(rr):
			if found || !s.follow(rr) {
				return 0, false
			}
		case !s.wanted(rr):
			return 0, false
		default:
			found = true
		}
	}
	return end, true
}

// isAlias reports whether rr is a CNAME that is not itself what was asked for.
func (s *scrubber) isAlias(rr dnswire.RR) bool {
	return rr.Type == dnswire.TypeCNAME && !s.wanted(rr)
}

// wanted reports whether rr is of the type asked for.
func (s *scrubber) wanted(rr dnswire.RR) bool {
	return rr.Type == s.q.Type || s.q.Type == dnswire.TypeANY
}

// follow adds the target of an alias to the chain; false if it is there already
// or the chain is too long.
func (s *scrubber) follow(rr dnswire.RR) bool {
	target, _, err := dnswire.ExpandName(s.msg, rr.DataOff)
	if err != nil || s.n == len(s.chain) || slices.Contains(s.chain[:s.n], target) {
		return false
	}
	s.chain[s.n] = target
	s.n++
	return true
}

// isAt reports whether name is the owner of rr.
func (s *scrubber) isAt(rr dnswire.RR, name dnswire.Name) bool {
	var room [dnswire.MaxNameLen]byte
	owner, ok := s.owner(room[:0], rr)
	return ok && string(owner) == string(name)
}

// owner appends the owner of rr, in lower case.
func (s *scrubber) owner(dst []byte, rr dnswire.RR) ([]byte, bool) {
	owner, _, err := dnswire.AppendName(dst, s.msg, rr.NameOff)
	for i, c := range owner {
		if 'A' <= c && c <= 'Z' { // a length octet is never a letter: it is less than 64
			owner[i] = c + 'a' - 'A'
		}
	}
	return owner, err == nil
}

// belongs reports whether rr, of the authority section, may stand there: SOA and
// NS of a zone that holds a name of the chain, and the proofs of DNSSEC, which
// nobody believes without their signatures.
func (s *scrubber) belongs(rr dnswire.RR) bool {
	if rr.Class != s.q.Class {
		return false
	}
	switch rr.Type {
	case dnswire.TypeNSEC, typeNSEC3, dnswire.TypeRRSIG, dnswire.TypeDS:
		return true
	case dnswire.TypeSOA, dnswire.TypeNS:
		var room [dnswire.MaxNameLen]byte
		zone, ok := s.owner(room[:0], rr)
		return ok && slices.ContainsFunc(s.chain[:s.n], func(n dnswire.Name) bool { return isBelow(n, zone) })
	}
	return false
}

// typeNSEC3 is the type NSEC3 (RFC 5155 section 3).
const typeNSEC3 dnswire.Type = 50

// isBelow reports whether n is zone or below it.
func isBelow(n dnswire.Name, zone []byte) bool {
	for ; len(n) > len(zone); n = n.Parent() {
	}
	return string(n) == string(zone)
}

// cut returns the message up to end, the end of its authority section, with its
// OPT record and nothing else behind.
func (s *scrubber) cut(end int) []byte {
	opt, _, ok := dnswire.FindOPT(s.msg)
	switch {
	case !ok && end == len(s.msg), ok && opt.NameOff == end && opt.DataOff+opt.DataLen == len(s.msg):
		return s.msg
	}
	out := bytes.Clone(s.msg[:end])
	binary.BigEndian.PutUint16(out[10:], 0)
	return s.withOPT(out)
}

// withOPT appends the message's OPT record to out.
func (s *scrubber) withOPT(out []byte) []byte {
	opt, _, ok := dnswire.FindOPT(s.msg)
	if !ok {
		return out
	}
	return dnswire.AddRR(out, dnswire.SectionAdditional, []byte(dnswire.Root), opt.Type, opt.Class, opt.TTL, opt.Data(s.msg))
}

// rebuild makes the message anew from what belongs into it.
func (s *scrubber) rebuild() ([]byte, error) {
	p := dnswire.NewParser(s.msg)
	out := bytes.Clone(s.msg[:p.QuestionEnd()])
	clear(out[6:dnswire.HeaderLen]) // the counts of the other sections
	var answer, authority []dnswire.RR
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		switch {
		case rr.Section == dnswire.SectionAnswer && rr.Class == s.q.Class:
			answer = append(answer, rr)
		case rr.Section == dnswire.SectionAuthority:
			authority = append(authority, rr)
		}
	}
	out, err := s.answers(out, answer)
	if err != nil {
		return nil, err
	}
	for _, rr := range authority {
		if s.belongs(rr) {
			out = s.add(out, rr)
		}
	}
	if out = s.withOPT(out); len(out) > dnswire.MaxMessageLen {
		return nil, fmt.Errorf("%w: too long without what does not belong there", ErrMalformed)
	}
	return out, nil
}

// answers appends the chain of aliases and what stands at its end.
func (s *scrubber) answers(out []byte, all []dnswire.RR) ([]byte, error) {
	owners := make([]dnswire.Name, len(all))
	for i, rr := range all {
		owners[i], _, _ = dnswire.ExpandName(s.msg, rr.NameOff)
	}
	s.chain[0], s.n = s.q.Name, 1
	for {
		name := s.chain[s.n-1]
		alias := -1
		found := false
		for i, rr := range all {
			switch {
			case rr.Type == dnswire.TypeDNAME && name != owners[i] && name.IsSubdomainOf(owners[i]):
				out = s.add(out, rr) // the reason of the alias at name (RFC 6672 section 3.1)
			case owners[i] != name:
			case s.isAlias(rr):
				alias = i
			case s.wanted(rr), rr.Type == dnswire.TypeRRSIG:
				out = s.add(out, rr)
				found = found || s.wanted(rr)
			}
			if len(out) > dnswire.MaxMessageLen {
				return nil, fmt.Errorf("%w: too long without compression", ErrMalformed)
			}
		}
		if alias < 0 || found {
			return out, nil
		}
		out = s.add(out, all[alias])
		if !s.follow(all[alias]) {
			return nil, fmt.Errorf("%w: %w: that of %v", ErrMalformed, ErrAliasLoop, s.q.Name)
		}
	}
}

// add appends rr without compression.
func (s *scrubber) add(out []byte, rr dnswire.RR) []byte { return s.addAs(out, rr, s.data(rr)) }

// addAs appends rr with other rdata, which has no compressed names.
func (s *scrubber) addAs(out []byte, rr dnswire.RR, data []byte) []byte {
	var room [dnswire.MaxNameLen]byte
	owner, _ := s.owner(room[:0], rr)
	if string(owner) == string(s.q.Name) {
		owner = nil
	}
	return dnswire.AddRR(out, rr.Section, owner, rr.Type, rr.Class, rr.TTL, data)
}

// data is the rdata of rr with the names in it written out. Only the types of
// RFC 1035, and SRV and DNAME of careless servers, have compressed ones (RFC 3597
// section 4).
func (s *scrubber) data(rr dnswire.RR) []byte {
	before, names := 0, 1
	switch rr.Type {
	case dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypePTR, dnswire.TypeDNAME, 3, 4, 7, 8, 9: // MD, MF, MB, MG, MR
	case dnswire.TypeSOA, 14: // MINFO
		names = 2
	case dnswire.TypeMX:
		before = 2
	case dnswire.TypeSRV:
		before = 6
	default:
		return rr.Data(s.msg)
	}
	raw := rr.Data(s.msg)
	if len(raw) < before {
		return raw
	}
	out := bytes.Clone(raw[:before])
	at := rr.DataOff + before
	for range names {
		var next int
		var err error
		if out, next, err = dnswire.AppendName(out, s.msg, at); err != nil {
			return raw
		}
		at = next
	}
	return append(out, s.msg[min(at, rr.DataOff+rr.DataLen):rr.DataOff+rr.DataLen]...)
}
