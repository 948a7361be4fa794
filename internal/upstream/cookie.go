package upstream

import (
	"bytes"
	"crypto/rand"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

const (
	// clientCookieLen is the length of a client cookie, in octets (RFC 7873 section 4.1).
	clientCookieLen = 8
	// minCookieLen and maxCookieLen bound a client's and a server's cookie together,
	// in octets (RFC 7873 section 4.2).
	minCookieLen, maxCookieLen = clientCookieLen + 8, clientCookieLen + 32
	// cookieAge is how long one client cookie is in use, so that the server cannot
	// tell for long who comes back from another address (RFC 7873 section 8.1).
	cookieAge = time.Hour
)

// cookies are the DNS cookies that a server and we have for each other (RFC
// 7873). It does not change once made.
type cookies struct {
	client [clientCookieLen]byte
	server []byte // as the server gave it; nil: none so far
	born   time.Time
}

// cookieJar holds the cookies for one server. The client cookie is random and of
// this server alone (RFC 9018 section 3).
type cookieJar struct{ now atomic.Pointer[cookies] }

// get returns the cookies to send. They are never nil.
func (j *cookieJar) get() *cookies {
	c := j.now.Load()
	if c != nil && time.Since(c.born) < cookieAge {
		return c
	}
	fresh := &cookies{born: time.Now()}
	_, _ = rand.Read(fresh.client[:]) // never fails: it ends the program instead
	if j.now.CompareAndSwap(c, fresh) {
		return fresh
	}
	return j.now.Load()
}

// learn takes the server's cookie that came as the answer to sent.
func (j *cookieJar) learn(sent *cookies, server []byte) {
	c := j.now.Load()
	if c == nil || c.client != sent.client || bytes.Equal(c.server, server) {
		return
	}
	j.now.CompareAndSwap(c, &cookies{client: c.client, server: bytes.Clone(server), born: c.born})
}

// forget drops the server's cookie: the server has lost its own, or does cookies
// no more.
func (j *cookieJar) forget() {
	if c := j.now.Load(); c != nil && c.server != nil {
		j.now.CompareAndSwap(c, &cookies{client: c.client, born: c.born})
	}
}

// append appends the option.
func (c *cookies) append(dst []byte) []byte {
	var room [maxCookieLen]byte
	return dnswire.AppendOption(dst, dnswire.OptionCookie, append(append(room[:0], c.client[:]...), c.server...))
}

// cookieCheck is what one question in flight expects of its reply.
type cookieCheck struct {
	jar  *cookieJar
	sent *cookies
	// lax lets a reply pass that has no cookie although the server is known to do
	// cookies: over TCP, or once the query was sent without EDNS.
	lax bool
}

// passes reports whether b, a reply by its id and question, is the server's by
// its cookie too. One with another client cookie than ours is a forgery, and so
// is one with none from a server that does cookies (RFC 7873 section 5.3).
func (k *cookieCheck) passes(b []byte) bool {
	_, edns, _ := dnswire.FindOPT(b)
	data, ok := dnswire.FindOption(edns.Options, dnswire.OptionCookie)
	if !ok {
		return k.lax || k.sent.server == nil
	}
	if len(data) > maxCookieLen || !bytes.HasPrefix(data, k.sent.client[:]) {
		return false
	}
	if len(data) < minCookieLen {
		return true // servers are known that send all options back as they came; a forger does not know ours
	}
	k.jar.learn(k.sent, data[clientCookieLen:])
	return true
}
