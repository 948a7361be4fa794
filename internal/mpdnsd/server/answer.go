package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"runtime/debug"
	"time"

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
	asked     netip.Addr // this machine's address that was asked
	transport transport
	counts    *counters

	begun     time.Time
	cookie    cookie // to answer with, if hasCookie
	hasCookie bool
	keepalive bool          // the client asks how long it may idle
	extended  dnswire.RCode // the answer's upper bits of the response code
	busy      bool          // more than pairsBelow questions waited for upstream servers when it came
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

// options appends the EDNS options that every answer to r has.
func (s *Server) replyOptions(dst []byte, r *request) []byte {
	if r.hasCookie {
		dst = r.cookie.append(dst)
	}
	if r.keepalive {
		tenths := min(s.options.TCPIdle/(100*time.Millisecond), math.MaxUint16) // RFC 7828 section 3.1
		dst = dnswire.AppendOption(dst, dnswire.OptionKeepalive, []byte{byte(tenths >> 8), byte(tenths)})
	}
	return dst
}

// answer is the whole way of a packet to its answer, which is appended to dst.
// Nothing is appended where there is to be no answer. It is what every
// transport does, in two steps that need not run on one goroutine.
func (s *Server) answer(ctx context.Context, dst []byte, req *request) []byte {
	out, done := s.begin(dst, req)
	if done {
		return out
	}
	return s.finish(ctx, dst, req)
}

// begin reads a request and answers it if nobody has to be waited for: what is
// malformed or refused, and what is in the cache. It reports whether it is
// done; nothing appended to dst then means no answer. It does not allocate if
// dst has room. dst must be empty. A panic costs this one answer.
func (s *Server) begin(dst []byte, req *request) (out []byte, done bool) {
	defer func() {
		if p := recover(); p != nil {
			out, done = s.panicked(dst, req, p), true
		}
	}()
	req.counts.queries.Add(1)
	req.begun = s.options.Now()
	if out, done = s.screen(dst, req); done {
		s.done(out, req, "")
		return out, true
	}
	return s.fromCache(dst, req)
}

// fromCache answers from the cache; false if it cannot.
func (s *Server) fromCache(dst []byte, req *request) (out []byte, hit bool) {
	var buf [dnswire.MaxKeyLen]byte
	source := s.source.Load()
	msg, info, hit := source.Cache.Get(dst, req.query.AppendKey(buf[:0]), req.begun)
	if !hit {
		req.counts.misses.Add(1)
		return dst, false
	}
	req.counts.hits.Add(1)
	if info.Refresh {
		source.refresh(&req.query)
	}
	var options [maxReplyOptions]byte
	var extra []byte
	if info.Failure {
		extra = dnswire.AppendEDE(options[:0], dnswire.EDECachedError, "")
	}
	msg = s.seal(msg, req, false, extra)
	s.done(msg, req, protoCache)
	return msg, true
}

// maxReplyOptions is room for a cookie, a keep-alive and an extended error
// without text.
const maxReplyOptions = 64

// panicked answers a request that made the code panic, and logs it.
func (s *Server) panicked(dst []byte, req *request, p any) []byte {
	req.counts.panics.Add(1)
	s.options.Log.Error("panic while answering", "panic", p, "client", req.client,
		"packet", hex.EncodeToString(req.packet), "stack", string(debug.Stack()))
	if req.query.Header.QR() || len(req.packet) < dnswire.HeaderLen {
		return dst
	}
	req.counts.rcodes[dnswire.RCodeServerFailure].Add(1) // not by done: what it calls may be what panics
	return s.reject(dst, req, dnswire.RCodeServerFailure, dnswire.AppendEDE(nil, dnswire.EDEOther, "internal error"))
}

// reject makes an answer of a code only, with EDNS options where the client
// speaks EDNS.
func (s *Server) reject(dst []byte, req *request, rcode dnswire.RCode, options []byte) []byte {
	q := &req.query
	req.extended = rcode &^ 0xf
	msg := dnswire.AppendReply(dst, q, dnswire.FlagRA, rcode)
	if q.EDNS.Present || rcode > 0xf {
		msg = dnswire.AddOPT(msg, s.opt(q, rcode, s.replyOptions(options, req)))
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
		var buf [maxReplyOptions]byte
		msg = dnswire.AddOPT(msg, s.opt(q, 0, append(s.replyOptions(buf[:0], req), options...)))
	}
	return dnswire.Truncate(msg, req.limit(s.options.UDPSize))
}

// finish answers what begin left, waiting for others where it has to. A panic
// of the code below it costs this one answer.
func (s *Server) finish(ctx context.Context, dst []byte, req *request) (out []byte) {
	defer func() {
		if p := recover(); p != nil {
			out = s.panicked(dst, req, p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, upstream.AnswerTimeout)
	defer cancel()
	source := s.source.Load()
	reply, err := source.answer(ctx, req.question(), req.query.Header.RD())
	return s.complete(dst, req, source, reply, err)
}

// ask begins what finish does, where nobody has to wait: done is called when the
// reply is there. False: it is left to finish.
func (s *Server) ask(req *request, done func(msg []byte)) bool {
	source := s.source.Load()
	s.asked.Add(1)
	req.busy = s.waiting() > pairsBelow
	begun := source.begin(s.ctx, req.question(), req.query.Header.RD(), func(reply upstream.Reply, err error) {
		s.asked.Add(-1)
		buf := s.buffers.Get().(*[]byte)
		*buf = s.contained((*buf)[:0], req, source, reply, err)
		done(*buf)
		s.keep(buf)
	})
	if !begun {
		s.asked.Add(-1)
	}
	return begun
}

// contained is complete, a panic of which costs this one answer.
func (s *Server) contained(dst []byte, req *request, source *Source, reply upstream.Reply, err error) (out []byte) {
	defer func() {
		if p := recover(); p != nil {
			out = s.panicked(dst, req, p)
		}
	}()
	return s.complete(dst, req, source, reply, err)
}

// question is what upstream servers are asked.
func (r *request) question() upstream.Query {
	return upstream.Query{Question: r.query.Question(), DO: r.query.EDNS.DO, CD: r.query.Header.CD()}
}

// complete makes the answer of what came back from source.
func (s *Server) complete(dst []byte, req *request, source *Source, reply upstream.Reply, err error) []byte {
	if p := (*upstream.PanicError)(nil); errors.As(err, &p) {
		return s.panicked(dst, req, p)
	}
	if err != nil {
		return s.failed(dst, req, err)
	}
	if reply.RCode() > 0xf {
		return s.failed(dst, req, fmt.Errorf("%s: %v", reply.Server, reply.RCode()))
	}
	if reply.Proto == protoStale {
		req.counts.stale.Add(1)
	}
	if reply.Server != "" {
		s.beginPair(source, req)
	}
	msg := withoutOPT(append(dst, reply.Msg...))
	out := s.seal(msg, req, reply.Proto == protoZone, extendedError(&reply))
	s.done(out, req, from(&reply))
	return out
}

// from names who gave a reply.
func from(r *upstream.Reply) string {
	if r.Server != "" {
		return r.Server
	}
	return r.Proto
}

// failed answers a question that has no reply, and says why (RFC 8914).
func (s *Server) failed(dst []byte, req *request, err error) []byte {
	rcode, code, text := explain(err)
	if s.options.Log.Enabled(context.Background(), slog.LevelDebug) {
		s.options.Log.Debug("no answer", "question", req.query.Question(), "client", req.client, "error", err)
	}
	out := s.reject(dst, req, rcode, dnswire.AppendEDE(nil, code, text))
	s.done(out, req, "")
	return out
}

// extendedError is the extended error option of a reply (RFC 8914), which is
// passed on: it says what happened, wherever it did. A failure without one gets
// the name of who gave it. Nil if there is none.
func extendedError(r *upstream.Reply) []byte {
	if _, edns, ok := dnswire.FindOPT(r.Msg); ok {
		if data, ok := dnswire.FindOption(edns.Options, dnswire.OptionEDE); ok {
			return dnswire.AppendOption(nil, dnswire.OptionEDE, data[:min(len(data), maxEDE)])
		}
	}
	switch rcode := r.RCode(); rcode {
	case dnswire.RCodeSuccess, dnswire.RCodeNameError:
		return nil
	default:
		return dnswire.AppendEDE(nil, dnswire.EDEOther, from(r)+" answered "+rcode.String())
	}
}

// maxEDE bounds an extended error that is passed on: code and text, in octets.
const maxEDE = 2 + 255

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

// pairsBelow is how many questions may wait for upstream servers while the other
// halves of others are fetched besides: what clients ask goes before what they
// may ask.
const pairsBelow = 16

// beginPair has AAAA fetched where A was asked for, and the reverse, so that both
// are in the cache and of one age when the merged record is asked for. It comes
// after the client's own answer, and where the servers are or were busy or too
// many are in flight it is left.
func (s *Server) beginPair(source *Source, req *request) {
	q := req.question()
	switch q.Type {
	case dnswire.TypeA:
		q.Type = dnswire.TypeAAAA
	case dnswire.TypeAAAA:
		q.Type = dnswire.TypeA
	default:
		return
	}
	if !source.Pair || req.busy || s.waiting() > pairsBelow {
		return
	}
	if s.pairing.Add(1) > maxPairs || !upstream.Begin(s.ctx, source.Upstream, q, func(upstream.Reply, error) { s.pairing.Add(-1) }) {
		s.pairing.Add(-1)
		s.pairs.try(pair{source, q})
	}
}

// fetchPair puts the other half into the cache, unless it is there.
func (s *Server) fetchPair(p pair) {
	ctx, cancel := context.WithTimeout(s.ctx, upstream.AnswerTimeout)
	defer cancel()
	_, _ = p.source.Upstream.Exchange(ctx, p.query) // the cache keeps it, or nobody misses it
}
