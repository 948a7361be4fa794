package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/upstream"
)

// transport is how a question came, which decides how long its answer may be.
type transport uint8

const (
	overUDP transport = iota
	overTCP
)

// request is a packet and what was read from it.
type request struct {
	packet    []byte
	query     dnswire.Query // its slices point into packet
	client    netip.AddrPort
	transport transport
}

// move makes packet, a copy of the request's, the one that query points into.
func (r *request) move(packet []byte) {
	r.packet = packet
	if name := r.query.Name; name != nil {
		r.query.Name = packet[dnswire.HeaderLen : dnswire.HeaderLen+len(name)]
	}
	r.query.EDNS.Options = nil // read by no one after begin
}

// limit is the longest answer, in octets.
func (r *request) limit(udpSize int) int {
	if r.transport == overTCP {
		return dnswire.MaxMessageLen
	}
	return r.query.UDPLimit(udpSize)
}

// answer is the whole way of a packet to its answer, which is appended to dst.
// Nothing is appended where there is to be no answer. It is what every
// transport does, in two steps that need not run on one goroutine.
func (s *Server) answer(ctx context.Context, dst, packet []byte, client netip.AddrPort, t transport) []byte {
	req := request{packet: packet, client: client, transport: t}
	out, done := s.begin(dst, &req)
	if done {
		return out
	}
	return s.finish(ctx, dst, &req)
}

// begin reads a request and answers it if nobody has to be waited for: what is
// malformed or refused, and what is in the cache. It reports whether it is
// done; nothing appended to dst then means no answer. It does not allocate if
// dst has room. dst must be empty.
func (s *Server) begin(dst []byte, req *request) (out []byte, done bool) {
	var err error
	if req.query, err = dnswire.ParseQuery(req.packet); err != nil {
		return s.refuse(dst, req, err), true
	}
	q := &req.query
	if q.Type.IsMeta() {
		return s.meta(dst, req), true
	}
	source := s.source.Load()
	var buf [dnswire.MaxKeyLen]byte
	msg, _, hit := source.Cache.Get(dst, q.AppendKey(buf[:0]), s.options.Now())
	if !hit {
		return dst, false
	}
	return s.seal(msg, req, false, nil), true
}

// refuse answers a request that ParseQuery refuses, with nothing where RFC
// 1035 and good sense say so: to too little, and to responses.
func (s *Server) refuse(dst []byte, req *request, err error) []byte {
	why, ok := err.(dnswire.QueryError) //nolint:errorlint // ParseQuery promises it, and As would allocate
	if !ok || why.Drop() {
		return dst
	}
	return s.reject(dst, req, why.RCode(), nil)
}

// reject makes an answer of a code only, with EDNS options where the client
// speaks EDNS.
func (s *Server) reject(dst []byte, req *request, rcode dnswire.RCode, options []byte) []byte {
	q := &req.query
	msg := dnswire.AppendReply(dst, q, dnswire.FlagRA, rcode)
	if q.EDNS.Present || rcode > 0xf {
		msg = dnswire.AddOPT(msg, s.opt(q, rcode, options))
	}
	return dnswire.Truncate(msg, req.limit(s.options.UDPSize))
}

// opt is the OPT record of an answer to q.
func (s *Server) opt(q *dnswire.Query, rcode dnswire.RCode, options []byte) dnswire.OPT {
	return dnswire.OPT{
		RCode:   rcode,
		UDPSize: uint16(s.options.UDPSize),
		DO:      q.EDNS.DO,
		Options: options,
	}
}

// rfc8482 is the rdata of the HINFO record that stands for "ANY is not
// answered in full" (RFC 8482 section 4.2), and its TTL in seconds.
const (
	rfc8482    = "\x07RFC8482\x00"
	rfc8482TTL = 3600
)

// meta answers questions for types that are no data: ANY with the record that
// RFC 8482 has for it; zone transfers and all else are refused.
func (s *Server) meta(dst []byte, req *request) []byte {
	q := &req.query
	if q.Type != dnswire.TypeANY {
		return s.reject(dst, req, dnswire.RCodeRefused, dnswire.AppendEDE(nil, dnswire.EDENotSupported, ""))
	}
	msg := dnswire.AppendReply(dst, q, dnswire.FlagRA, dnswire.RCodeSuccess)
	msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, dnswire.TypeHINFO, dnswire.ClassINET, rfc8482TTL, []byte(rfc8482))
	return s.seal(msg, req, false, nil)
}

// seal makes a reply without OPT the answer to req: its id, its spelling of
// the name, its flags, its EDNS, its size. AD is not passed on, for nothing
// was validated here (RFC 6840 section 5.8).
func (s *Server) seal(msg []byte, req *request, authoritative bool, options []byte) []byte {
	q := &req.query
	dnswire.PatchID(msg, q.Header.ID)
	dnswire.PatchQuestion(msg, q.Name)
	off := dnswire.FlagTC | dnswire.FlagAD | dnswire.FlagRD | dnswire.FlagCD
	if !authoritative {
		off |= dnswire.FlagAA
	}
	dnswire.PatchFlags(msg, off, dnswire.FlagQR|dnswire.FlagRA|q.Header.Flags&(dnswire.FlagRD|dnswire.FlagCD))
	if q.EDNS.Present {
		msg = dnswire.AddOPT(msg, s.opt(q, 0, options))
	}
	return dnswire.Truncate(msg, req.limit(s.options.UDPSize))
}

// finish answers what begin left, waiting for others where it has to. A panic
// of the code below it costs this one answer.
func (s *Server) finish(ctx context.Context, dst []byte, req *request) (out []byte) {
	defer func() {
		if p := recover(); p != nil {
			s.options.Log.Error("panic while answering", "panic", p, "packet", hex.EncodeToString(req.packet))
			out = s.reject(dst, req, dnswire.RCodeServerFailure, nil)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	source := s.source.Load()
	q := upstream.Query{Question: req.query.Question(), DO: req.query.EDNS.DO, CD: req.query.Header.CD()}
	s.beginPair(source, q)
	reply, err := source.answer(ctx, q, req.query.Header.RD())
	if err != nil {
		return s.failed(dst, req, err)
	}
	if reply.RCode() > 0xf {
		return s.failed(dst, req, fmt.Errorf("%s: %v", reply.Server, reply.RCode()))
	}
	msg := withoutOPT(append(dst, reply.Msg...))
	return s.seal(msg, req, reply.Proto == protoZone, extendedError(reply.Msg))
}

// failed answers a question that has no reply, and says why (RFC 8914).
func (s *Server) failed(dst []byte, req *request, err error) []byte {
	rcode, code, text := explain(err)
	if s.options.Log.Enabled(context.Background(), slog.LevelDebug) {
		s.options.Log.Debug("no answer", "question", req.query.Question(), "client", req.client, "error", err)
	}
	return s.reject(dst, req, rcode, dnswire.AppendEDE(nil, code, text))
}

// extendedError is the extended error option of a reply (RFC 8914), which is
// passed on: it says what happened, wherever it did. Nil if there is none.
func extendedError(msg []byte) []byte {
	if _, edns, ok := dnswire.FindOPT(msg); ok {
		if data, ok := dnswire.FindOption(edns.Options, dnswire.OptionEDE); ok {
			return dnswire.AppendOption(nil, dnswire.OptionEDE, data)
		}
	}
	return nil
}

// withoutOPT cuts off a reply's OPT record, which speaks of one hop only, and
// what follows it, as the cache does. msg was checked by who received it.
func withoutOPT(msg []byte) []byte {
	p := dnswire.NewParser(msg)
	additional := uint16(0)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if rr.Section != dnswire.SectionAdditional {
			continue
		}
		if rr.Type == dnswire.TypeOPT {
			binary.BigEndian.PutUint16(msg[10:], additional)
			return msg[:rr.NameOff]
		}
		additional++
	}
	return msg
}

// pair is the other half of a question for addresses.
type pair struct {
	source *Source
	query  upstream.Query
}

// beginPair has AAAA fetched where A is asked for, and the reverse, so that
// both are in the cache and of one age when the merged record is asked for.
// The client does not wait for it, and where too many are in flight it is left.
func (s *Server) beginPair(source *Source, q upstream.Query) {
	switch q.Type {
	case dnswire.TypeA:
		q.Type = dnswire.TypeAAAA
	case dnswire.TypeAAAA:
		q.Type = dnswire.TypeA
	default:
		return
	}
	if source.Pair && source.Upstream != nil && !source.isLocal(q.Question) {
		s.pairs.try(pair{source, q})
	}
}

// fetchPair puts the other half into the cache, unless it is there.
func (s *Server) fetchPair(p pair) {
	ctx, cancel := context.WithTimeout(s.ctx, answerTimeout)
	defer cancel()
	_, _ = p.source.Upstream.Exchange(ctx, p.query) // the cache keeps it, or nobody misses it
}
