package dnscache

import (
	"encoding/binary"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// plan says whether, how long and as what a message is kept.
type plan struct {
	kind    byte   // the state of the entry: stateNegative and the like
	life    uint32 // seconds
	minTTL  uint32 // bounds, in seconds, for the TTLs inside
	maxTTL  uint32
	length  int // octets kept: up to the first meta record of the additional section
	records int
	ttls    [MaxRecords]uint16 // their TTLs' offsets
}

// make decides about msg under key; false: not kept.
func (p *plan) make(c *Config, key, msg []byte) bool {
	if len(msg) > MaxMessageLen+maxOPTLen || dnswire.Validate(msg) != nil {
		return false
	}
	f, ok := p.survey(msg)
	if !ok || p.length > MaxMessageLen || !dnswire.MatchKey(key, msg) {
		return false
	}
	return p.judge(c, &f)
}

// maxOPTLen is how much longer than MaxMessageLen a message may be before its OPT is cut off.
const maxOPTLen = 4 << 10

// facts are what judge needs to know of a message.
type facts struct {
	header   dnswire.Header
	answered bool   // the answer section holds a record of the type asked for
	stale    bool   // an extended error says that the server gave it as stale
	ttl      uint32 // the least of answer and authority section, in seconds
	hasTTL   bool
	soaTTL   uint32 // how long the first SOA record of the authority section lets absence be kept
	hasSOA   bool
}

// survey walks msg, notes where its TTLs are and where it is to be cut; false: not kept.
func (p *plan) survey(msg []byte) (f facts, ok bool) {
	parser := dnswire.NewParser(msg)
	f.header = parser.Header()
	h := f.header
	if h.QD != 1 || !h.QR() || h.TC() || h.Opcode() != dnswire.OpcodeQuery {
		return f, false
	}
	qtype := dnswire.Type(binary.BigEndian.Uint16(msg[parser.QuestionEnd()-4:]))
	p.length = len(msg)
	for rr, more := parser.Next(); more; rr, more = parser.Next() {
		switch {
		case rr.Type == dnswire.TypeOPT && rr.TTL>>24 != 0:
			return f, false // an extended response code
		case rr.Type.IsMeta() && rr.Section != dnswire.SectionAdditional:
			return f, false
		case rr.Type.IsMeta():
			p.length = min(p.length, rr.NameOff)
			f.stale = f.stale || rr.Type == dnswire.TypeOPT && isStale(rr.Data(msg))
		case rr.NameOff < p.length:
			if p.records == MaxRecords {
				return f, false
			}
			p.ttls[p.records] = uint16(rr.TTLOff)
			p.records++
			f.note(msg, rr, qtype)
		}
	}
	return f, true
}

// isStale reports whether EDNS options say that an answer is stale (RFC 8914 sections 4.4 and 4.20).
func isStale(options []byte) bool {
	for code, data := range dnswire.Options(options) {
		if code != dnswire.OptionEDE || len(data) < 2 {
			continue
		}
		switch dnswire.EDE(binary.BigEndian.Uint16(data)) {
		case dnswire.EDEStaleAnswer, dnswire.EDEStaleNXDomain:
			return true
		}
	}
	return false
}

// note takes one record into account.
func (f *facts) note(msg []byte, rr dnswire.RR, qtype dnswire.Type) {
	if rr.Section == dnswire.SectionAdditional {
		return
	}
	if !f.hasTTL || rr.TTL < f.ttl {
		f.ttl, f.hasTTL = rr.TTL, true
	}
	if rr.Section == dnswire.SectionAnswer {
		f.answered = f.answered || rr.Type == qtype || qtype == dnswire.TypeANY
		return
	}
	if rr.Type == dnswire.TypeSOA && !f.hasSOA {
		f.soaTTL, f.hasSOA = dnswire.NegativeTTL(msg, rr)
	}
}

// judge sets kind, life and bounds from the facts; false: not kept.
func (p *plan) judge(c *Config, f *facts) bool {
	rcode := f.header.RCode()
	switch {
	case rcode == dnswire.RCodeSuccess && f.answered:
		p.minTTL, p.maxTTL = seconds(c.MinTTL), seconds(c.MaxTTL)
		p.life = max(p.minTTL, min(f.ttl, p.maxTTL))
	case rcode == dnswire.RCodeSuccess || rcode == dnswire.RCodeNameError:
		if !f.hasSOA {
			return false
		}
		p.kind = stateNegative
		p.minTTL = seconds(min(c.MinTTL, c.MaxNegativeTTL))
		p.maxTTL = max(p.minTTL, min(f.soaTTL, f.ttl, seconds(c.MaxNegativeTTL)))
		p.life = p.maxTTL
		if rcode == dnswire.RCodeNameError && f.header.AN == 0 && !c.NoCut {
			p.kind |= stateCut
		}
	default:
		p.kind = stateFailure
		p.life = seconds(c.FailureTTL)
		p.maxTTL = p.life
	}
	if f.stale {
		p.kind |= stateNoStale
	}
	return p.life > 0
}

// bound returns the TTL, in seconds, to keep for one that was received.
func (p *plan) bound(ttl uint32) uint32 {
	if ttl > 1<<31-1 {
		ttl = 0 // RFC 2181 section 8
	}
	return max(p.minTTL, min(ttl, p.maxTTL))
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }
