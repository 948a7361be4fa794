package server

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// Lengths in octets and times of DNS cookies.
const (
	clientCookieLen = 8  // RFC 7873 section 4
	serverCookieLen = 16 // RFC 9018 section 4
	cookieLen       = clientCookieLen + serverCookieLen
	minCookieLen    = clientCookieLen + 8  // with a server cookie of another's making
	maxCookieLen    = clientCookieLen + 32 // RFC 7873 section 4

	cookieVersion = 1
	cookieLife    = time.Hour        // RFC 9018 section 4.3
	cookieRenewal = 30 * time.Minute // after which a new one is given
	cookieAhead   = 5 * time.Minute  // how far a clock may be ahead
)

// cookie is a client's cookie and the server's behind it.
type cookie [cookieLen]byte

// cookies makes and checks server cookies (RFC 9018): nothing is kept of a client.
type cookies struct{ secret [16]byte }

// newCookies takes a secret, or makes one where there is none.
func newCookies(secret *[16]byte) (c cookies) {
	if secret != nil {
		return cookies{*secret}
	}
	_, _ = rand.Read(c.secret[:]) // never fails
	return c
}

// answer reads the cookie option of a client and returns the one to answer with. proven tells that
// the client had it from here, so that its address is its own. An option of a length that cannot be
// is no cookie: ok is false (RFC 7873 section 5.2.2).
func (c *cookies) answer(data []byte, client netip.Addr, now time.Time) (out cookie, proven, ok bool) {
	if len(data) != clientCookieLen && (len(data) < minCookieLen || len(data) > maxCookieLen) {
		return out, false, false
	}
	copy(out[:], data)
	if len(data) == cookieLen {
		stamp := binary.BigEndian.Uint32(data[clientCookieLen+4:])
		age := time.Duration(int32(uint32(now.Unix())-stamp)) * time.Second // RFC 1982 arithmetic
		proven = age <= cookieLife && age >= -cookieAhead && c.valid(&out, client)
		if proven && age <= cookieRenewal {
			return out, true, true
		}
	}
	server := out[clientCookieLen:]
	clear(server)
	server[0] = cookieVersion
	binary.BigEndian.PutUint32(server[4:], uint32(now.Unix()))
	c.sign(&out, client)
	return out, proven, true
}

// valid checks the hash of a cookie in constant time.
func (c *cookies) valid(k *cookie, client netip.Addr) bool {
	want := *k
	c.sign(&want, client)
	return k[clientCookieLen] == cookieVersion && subtle.ConstantTimeCompare(want[:], k[:]) == 1
}

// sign puts the hash into a cookie whose other fields are set: over client cookie, version,
// reserved, timestamp and client address (RFC 9018 section 4.4).
func (c *cookies) sign(k *cookie, client netip.Addr) {
	var in [16 + 16]byte
	n := copy(in[:], k[:16])
	if client = client.Unmap(); client.Is4() {
		a := client.As4()
		n += copy(in[n:], a[:])
	} else {
		a := client.As16()
		n += copy(in[n:], a[:])
	}
	binary.LittleEndian.PutUint64(k[16:], sipHash(&c.secret, in[:n]))
}

// append appends the cookie as an option.
func (k *cookie) append(dst []byte) []byte {
	return dnswire.AppendOption(dst, dnswire.OptionCookie, k[:])
}

// sipHash is SipHash-2-4 with 64 bits of output (Aumasson and Bernstein, 2012).
func sipHash(key *[16]byte, in []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	h := sip{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	last := uint64(len(in)) << 56
	for ; len(in) >= 8; in = in[8:] {
		h.word(binary.LittleEndian.Uint64(in))
	}
	for i, b := range in {
		last |= uint64(b) << (8 * i)
	}
	h.word(last)
	h.v2 ^= 0xff
	for range 4 {
		h.round()
	}
	return h.v0 ^ h.v1 ^ h.v2 ^ h.v3
}

// sip is the state of a hash.
type sip struct{ v0, v1, v2, v3 uint64 }

func (h *sip) word(m uint64) {
	h.v3 ^= m
	h.round()
	h.round()
	h.v0 ^= m
}

func (h *sip) round() {
	h.v0 += h.v1
	h.v1 = bits.RotateLeft64(h.v1, 13) ^ h.v0
	h.v0 = bits.RotateLeft64(h.v0, 32)
	h.v2 += h.v3
	h.v3 = bits.RotateLeft64(h.v3, 16) ^ h.v2
	h.v0 += h.v3
	h.v3 = bits.RotateLeft64(h.v3, 21) ^ h.v0
	h.v2 += h.v1
	h.v1 = bits.RotateLeft64(h.v1, 17) ^ h.v2
	h.v2 = bits.RotateLeft64(h.v2, 32)
}
