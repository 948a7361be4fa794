package server

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func cookiesOf(t testing.TB, secret string) cookies {
	return newCookies((*[16]byte)(unhex(t, secret)))
}

// TestSipHash is the vector of the paper's appendix A.
func TestSipHash(t *testing.T) {
	var key [16]byte
	in := make([]byte, 15)
	for i := range key {
		key[i] = byte(i)
	}
	copy(in, key[:])
	if got := sipHash(&key, in); got != 0xa129ca6149be45e5 {
		t.Errorf("%x", got)
	}
}

// TestCookieVectors are those of RFC 9018 appendix A.
func TestCookieVectors(t *testing.T) {
	const secret = "e5e973e5a6b2a43f48e7dc849e37bfcf"
	tests := []struct {
		name, secret, client, sent, want string
		now                              int64
		proven                           bool
	}{
		{
			"A.1 a new client", secret, "198.51.100.100",
			"2464c4abcf10c957", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559731985, false,
		},
		{
			"A.2 a renewed cookie", secret, "198.51.100.100",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77", 1559734385, true,
		},
		{
			"A.2 half an hour is not over", secret, "198.51.100.100",
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559731985 + 1800, true,
		},
		{
			"A.3 reserved octets are hashed", secret, "203.0.113.203",
			"fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e", 1559734700, false, // older than the hour: see below
		},
		{
			"A.3 within its hour", secret, "203.0.113.203",
			"fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 0x5cf78f71 + 60, true,
		},
		{
			"A.4 IPv6 with a new secret", "445536bcd2513298075a5d379663c962", "2001:db8:220:1:59de:d0f4:8769:82b8",
			"22681ab97d52c298010000005cf7c57926556bd0934c72f8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a", 1559741961, false,
		},
		{
			"A.4 IPv6 with the old secret", "dd3bdf9344b678b185a6f5cb60fca715", "2001:db8:220:1:59de:d0f4:8769:82b8",
			"22681ab97d52c298010000005cf7c57926556bd0934c72f8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8", 1559741961, true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := cookiesOf(t, tt.secret)
			got, proven, ok := c.answer(unhex(t, tt.sent), netip.MustParseAddr(tt.client), time.Unix(tt.now, 0))
			if hex.EncodeToString(got[:]) != tt.want || proven != tt.proven || !ok {
				t.Errorf("%x, proven %v, %v; want %s, %v", got, proven, ok, tt.want, tt.proven)
			}
		})
	}
}

// TestCookieIsNoProof: another client's, an altered, an old or a future one.
func TestCookieIsNoProof(t *testing.T) {
	c := newCookies(nil)
	now, me := time.Unix(1_800_000_000, 0), netip.MustParseAddr("192.0.2.1")
	good, _, _ := c.answer(make([]byte, clientCookieLen), me, now)
	if _, proven, _ := c.answer(good[:], me, now); !proven {
		t.Fatal("the server's own cookie is no proof")
	}
	for name, data := range map[string]struct {
		client netip.Addr
		now    time.Time
	}{
		"another client": {netip.MustParseAddr("192.0.2.2"), now},
		"too old":        {me, now.Add(cookieLife + time.Second)},
		"of the future":  {me, now.Add(-cookieAhead - time.Second)},
	} {
		if _, proven, ok := c.answer(good[:], data.client, data.now); proven || !ok {
			t.Errorf("%s: proven %v, %v", name, proven, ok)
		}
	}
	for i := range good {
		bad := good
		bad[i] ^= 1
		if _, proven, _ := c.answer(bad[:], me, now); proven {
			t.Errorf("octet %d altered: proven", i)
		}
	}
	for n := range 50 {
		_, proven, ok := c.answer(make([]byte, n), me, now)
		if want := n == 8 || n >= 16 && n <= 40; ok != want || proven {
			t.Errorf("%d octets: ok %v, want %v", n, ok, want)
		}
	}
}

// withCookie is a question with a cookie option.
func withCookie(octets []byte) *dns.Msg {
	m := question("server.demo.example", "A")
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(octets)})
	return m
}

// cookieIn is the cookie of an answer; nil if there is none.
func cookieIn(t testing.TB, r *dns.Msg) []byte {
	if o := r.IsEdns0(); o != nil {
		for _, opt := range o.Option {
			if c, ok := opt.(*dns.EDNS0_COOKIE); ok {
				return unhex(t, c.Cookie)
			}
		}
	}
	return nil
}

// TestCookieInAnswers: who sends a cookie gets one, over each transport and with every kind of
// answer; of a wrong length it is FORMERR; who sends none gets none.
func TestCookieInAnswers(t *testing.T) {
	s := start(t, zoneSource(t), options())
	for _, tr := range []transport{overUDP, overTCP} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeANY, dns.TypeAXFR} {
			m := withCookie([]byte("12345678"))
			m.Question[0].Qtype = qtype
			if c := cookieIn(t, ask(t, s, m, tr)); len(c) != cookieLen || string(c[:8]) != "12345678" {
				t.Errorf("cookie %x", c)
			}
		}
		if r := ask(t, s, withCookie([]byte("123")), tr); r.Rcode != dns.RcodeFormatError {
			t.Errorf("a cookie of three octets: %v", r)
		}
		if c := cookieIn(t, ask(t, s, question("server.demo.example", "A"), tr)); c != nil {
			t.Errorf("cookie %x for who sent none", c)
		}
	}
}
