package server

import (
	"net/netip"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// screen reads a request and answers it if it needs no data: nothing to what
// must not be answered, a code to what is wrong, refused or over a limit.
func (s *Server) screen(dst []byte, req *request) (out []byte, done bool) {
	if req.transport == overUDP && noClient(req.client.Port()) {
		req.drop(DropPort)
		return dst, true
	}
	var why dnswire.QueryError
	var err error
	if req.query, err = dnswire.ParseQuery(req.packet); err != nil {
		why = err.(dnswire.QueryError) //nolint:errorlint // ParseQuery promises it, and As would allocate
	}
	switch why {
	case dnswire.QueryTooShort:
		req.drop(DropMalformed)
		return dst, true
	case dnswire.QueryIsResponse:
		req.drop(DropResponse)
		return dst, true
	}
	proven, whole := s.readOptions(req)
	if !proven && req.transport == overUDP {
		if out, done := s.limit(dst, req); done {
			return out, true
		}
	}
	switch {
	case !s.allowed.has(req.client.Addr(), req.asked):
		return s.reject(dst, req, dnswire.RCodeRefused, codeOnly(dnswire.EDEProhibited)), true
	case why == dnswire.QueryBadClass && req.query.Class == dnswire.ClassCHAOS:
		return s.chaos(dst, req), true
	case why == dnswire.QueryBadClass:
		return s.reject(dst, req, dnswire.RCodeRefused, codeOnly(dnswire.EDENotSupported)), true
	case why != 0:
		return s.reject(dst, req, why.RCode(), nil), true
	case !whole:
		return s.reject(dst, req, dnswire.RCodeFormatError, nil), true
	case req.query.Type.IsMeta():
		return s.meta(dst, req), true
	}
	return dst, false
}

// codeOnly is an extended error option without words.
func codeOnly(code dnswire.EDE) []byte { return dnswire.AppendEDE(nil, code, "") }

// noClient reports whether a UDP port is that of a service which answers all
// that it gets, so that an answer could begin a loop: echo, daytime, qotd,
// chargen, time (RFC 862 to 868). Port 0 cannot be answered. A loop with another
// DNS server, port 53, is not possible: responses are dropped, here and there.
func noClient(port uint16) bool {
	switch port {
	case 0, 7, 13, 17, 19, 37:
		return true
	}
	return false
}

// readOptions reads the client's EDNS options that matter. proven tells that a
// cookie shows the client's address to be its own; whole is false for a cookie
// of a length that cannot be.
func (s *Server) readOptions(req *request) (proven, whole bool) {
	whole = true
	for raw := req.query.EDNS.Options; len(raw) > 0; {
		code, data, rest, ok := dnswire.CutOption(raw)
		if !ok {
			break
		}
		raw = rest
		switch {
		case code == dnswire.OptionCookie && !req.hasCookie:
			req.cookie, proven, whole = s.cookies.answer(data, req.client.Addr(), req.begun)
			req.hasCookie = whole
			if !whole {
				return false, false
			}
		case code == dnswire.OptionKeepalive && req.transport == overTCP:
			req.keepalive = true
		}
	}
	return proven, whole
}

// limit answers or drops what is over the client's rate limit; false if it is
// within. The answer says how to come back: with the cookie that it has (RFC
// 7873 section 5.2.3), or over TCP.
func (s *Server) limit(dst []byte, req *request) (out []byte, over bool) {
	switch s.limiter.judge(req.client.Addr(), req.begun) {
	case pass:
		return dst, false
	case drop:
		req.drop(DropLimited)
		return dst, true
	}
	req.counts.slipped.Add(1)
	if req.hasCookie {
		return s.reject(dst, req, dnswire.RCodeBadCookie, nil), true
	}
	out = s.reject(dst, req, dnswire.RCodeSuccess, nil)
	dnswire.PatchFlags(out, 0, dnswire.FlagTC)
	return out, true
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

// chaosTTL is the TTL of answers about this server: none is to be kept.
const chaosTTL = 0

// chaos answers what asks about the server itself (RFC 4892), if it is to.
func (s *Server) chaos(dst []byte, req *request) []byte {
	q := &req.query
	text := s.identity(q.Question().Name.String())
	if q.Type != dnswire.TypeTXT || text == "" {
		return s.reject(dst, req, dnswire.RCodeRefused, codeOnly(dnswire.EDENotSupported))
	}
	text = text[:min(len(text), maxString)]
	msg := dnswire.AppendReply(dst, q, dnswire.FlagRA, dnswire.RCodeSuccess)
	msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, dnswire.TypeTXT, dnswire.ClassCHAOS, chaosTTL, append([]byte{byte(len(text))}, text...))
	return s.seal(msg, req, false, nil)
}

// maxString is the longest character-string, in octets (RFC 1035 section 3.3).
const maxString = 255

// identity is what is told under a name of class CHAOS; "" if nothing.
func (s *Server) identity(name string) string {
	switch name {
	case "version.bind.", "version.server.":
		return s.options.Version
	case "hostname.bind.", "id.server.":
		return s.options.Hostname
	}
	return ""
}

// clientKey is what a client's TCP connections are counted by: its IPv4
// address, or its IPv6 /64, in which it can have any address.
func clientKey(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64) // fails for lengths over 128 only
	return p.Addr()
}
