package upstream

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// queryRoom holds most queries without growing: header, name, question, OPT.
const queryRoom = 128

// message is a query ready to be sent.
type message struct {
	query  Query
	id     uint16
	octets []byte
	edns   bool
	cookie *cookieCheck // nil without EDNS
	// guesses is how many replies may be discarded over UDP.
	guesses int
	mixed   bool // the name is in mixed case
}

// message builds the query with a fresh id.
func (s *Server) message(q Query, edns bool) message {
	return s.messageIn(make([]byte, 0, queryRoom), new(cookieCheck), q, edns)
}

// messageIn is message with room for what it needs.
func (s *Server) messageIn(room []byte, cookie *cookieCheck, q Query, edns bool) message {
	m := message{query: q, id: randomID(), edns: edns, guesses: maxWrongReplies}
	if edns {
		*cookie = cookieCheck{jar: &s.cookies, sent: s.cookies.get()}
		m.cookie = cookie
	}
	m.octets = s.appendQuery(room, m)
	if s.opts.MixCase && !remembered(&s.breaksCase) {
		m.mixCase()
	}
	return m
}

// plain is the same query, id and all, without an OPT record.
func (s *Server) plain(m message) []byte {
	m.tolerate()
	m.cookie = nil
	octets := s.appendQuery(nil, m)
	copy(octets[dnswire.HeaderLen:], m.name())
	return octets
}

// tolerate lets replies pass that have no cookie.
func (m message) tolerate() {
	if m.cookie != nil {
		m.cookie.lax = true
	}
}

func (s *Server) appendQuery(dst []byte, m message) []byte {
	var room [4 + maxCookieLen]byte
	o := dnswire.QueryOptions{RD: true, CD: m.query.CD, AD: s.opts.AD}
	if m.cookie != nil {
		o.UDPSize, o.DO, o.Options = s.opts.EDNSSize, m.query.DO, m.cookie.sent.append(room[:0])
	}
	return dnswire.AppendQuery(dst, m.id, m.query.Question, o)
}

// randomID is an id that cannot be guessed (RFC 5452 section 9.2).
func randomID() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return binary.BigEndian.Uint16(b[:])
}

// isReply reports whether b answers m: same id, a response, the same question.
// A server that could not even read the query may leave the question out, but
// only to say so.
func (m message) isReply(b []byte) bool {
	err := dnswire.CheckReply(m.query.Question, m.id, b)
	if errors.Is(err, dnswire.ReplyNoQuestion) {
		return chokesOnEDNS(dnswire.FullRCode(b))
	}
	return err == nil && (m.cookie == nil || m.cookie.passes(b))
}

// isAboutEDNS reports whether a reply's code is about the OPT record of the query.
func (m message) isAboutEDNS(c dnswire.RCode) bool {
	return m.edns && (c == dnswire.RCodeBadCookie || chokesOnEDNS(c))
}

// accept copies a reply out of the read buffer, as inspect returns it.
func (m message) accept(b []byte) ([]byte, error) {
	reply, err := m.inspect(b)
	return bytes.Clone(reply), err
}

// inspect returns a reply less what was not asked, in place of what it was. One
// that does not parse is an error; one without a question gets the query's.
func (m message) inspect(b []byte) ([]byte, error) {
	if err := dnswire.Validate(b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if h, _ := dnswire.ParseHeader(b); h.QD == 0 {
		return failure(m.query, h.RCode()), nil
	}
	if m.mixed {
		if err := m.unmix(b); err != nil {
			return nil, err
		}
	}
	return scrub(m.query.Question, b)
}

// failure is a reply of our own making: the question and a response code.
func failure(q Query, c dnswire.RCode) []byte {
	b := dnswire.AppendQuery(nil, 0, q.Question, dnswire.QueryOptions{RD: true, CD: q.CD})
	dnswire.PatchFlags(b, 0, dnswire.FlagQR|dnswire.FlagRA)
	dnswire.PatchRCode(b, c)
	return b
}

func isTruncated(reply []byte) bool {
	h, err := dnswire.ParseHeader(reply)
	return err == nil && h.TC()
}

func hasOPT(reply []byte) bool {
	_, _, ok := dnswire.FindOPT(reply)
	return ok
}
