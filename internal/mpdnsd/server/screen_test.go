package server

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnscache"
	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// TestMalformed is what no DNS library sends, the same over UDP and TCP: each gets a code or
// silence, and the server goes on.
func TestMalformed(t *testing.T) {
	header := func(qd, an, ns, ar uint16) []byte {
		b := []byte{0x12, 0x34, 1, 0}
		for _, n := range []uint16{qd, an, ns, ar} {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		return b
	}
	with := func(head []byte, parts ...string) []byte { return append(head, strings.Join(parts, "")...) }
	label := func(n int) string { return string(rune(n)) + strings.Repeat("a", n) }
	const in, opt = "\x00\x01\x00\x01", "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	q := "\x01a\x00" + in
	tests := []struct {
		name   string
		packet []byte
		want   int // -1: no answer
	}{
		{"pointer to itself", with(header(1, 0, 0, 0), "\xc0\x0c", in), dns.RcodeFormatError},
		{"two pointers in a ring", with(header(1, 0, 0, 0), "\xc0\x0e\xc0\x0c", in), dns.RcodeFormatError},
		{"pointer into the header", with(header(1, 0, 0, 0), "\xc0\x00", in), dns.RcodeFormatError},
		{"pointer beyond the packet", with(header(1, 0, 0, 0), "\xff\xff", in), dns.RcodeFormatError},
		{"pointer cut off", with(header(1, 0, 0, 0), "\xc0"), dns.RcodeFormatError},
		{"label of 64", with(header(1, 0, 0, 0), "\x40", strings.Repeat("a", 64), "\x00", in), dns.RcodeFormatError},
		{"label type 0x80", with(header(1, 0, 0, 0), "\x80a\x00", in), dns.RcodeFormatError},
		{"label beyond the packet", with(header(1, 0, 0, 0), "\x3fabc"), dns.RcodeFormatError},
		{"name of 255", with(header(1, 0, 0, 0), label(63), label(63), label(63), label(61), "\x00", in), dns.RcodeServerFailure}, // fits: nobody to ask
		{"name of 256", with(header(1, 0, 0, 0), label(63), label(63), label(63), label(62), "\x00", in), dns.RcodeFormatError},
		{"name of 256 in small labels", with(header(1, 0, 0, 0), strings.Repeat("\x01a", 128), "\x00", in), dns.RcodeFormatError},
		{"name without end", with(header(1, 0, 0, 0), "\x01a"), dns.RcodeFormatError},
		{"no type", with(header(1, 0, 0, 0), "\x01a\x00"), dns.RcodeFormatError},
		{"half a class", with(header(1, 0, 0, 0), "\x01a\x00\x00\x01\x00"), dns.RcodeFormatError},
		{"65535 questions", with(header(65535, 0, 0, 0), q), dns.RcodeFormatError},
		{"a question that is not there", header(1, 0, 0, 0), dns.RcodeFormatError},
		{"65535 answers that are not there", with(header(1, 65535, 0, 0), q), dns.RcodeFormatError},
		{"65535 authority records", with(header(1, 0, 65535, 0), q), dns.RcodeFormatError},
		{"65535 additional records", with(header(1, 0, 0, 65535), q, opt), dns.RcodeFormatError},
		{"OPT that is not there", with(header(1, 0, 0, 1), q), dns.RcodeFormatError},
		{"two OPT", with(header(1, 0, 0, 2), q, opt, opt), dns.RcodeFormatError},
		{"OPT with a pointer as its name", with(header(1, 0, 0, 1), q, "\xc0\x0c", opt[1:]), dns.RcodeFormatError},
		{"OPT of 65535 octets", with(header(1, 0, 0, 1), q, opt[:9], "\xff\xff"), dns.RcodeFormatError},
		{"option longer than its OPT", with(header(1, 0, 0, 1), q, opt[:9], "\x00\x04", "\x00\x0a\xff\xff"), dns.RcodeFormatError},
		{"half an option", with(header(1, 0, 0, 1), q, opt[:9], "\x00\x02", "\x00\x0a"), dns.RcodeFormatError},
		{"EDNS version 255", with(header(1, 0, 0, 1), q, "\x00\x00\x29\x04\xd0\x00\xff\x00\x00\x00\x00"), dns.RcodeBadVers},
		{"octets behind", with(header(1, 0, 0, 0), q, "x"), dns.RcodeFormatError},
		{"a header of ones", bytes.Repeat([]byte{0xff}, 12), -1},
		{"a header of zeroes", make([]byte, 12), dns.RcodeFormatError},
	}
	s := start(t, &Source{Cache: dnscache.New(dnscache.Config{})}, options())
	for _, tt := range tests {
		for tr, proto := range map[transport]string{overUDP: "udp", overTCP: "tcp"} {
			t.Run(tt.name+" over "+proto, func(t *testing.T) {
				if got := rcodeOf(askRaw(t, s, tt.packet, tr)); got != tt.want {
					t.Errorf("response code %d, want %d", got, tt.want)
				}
			})
		}
	}
}

// TestSourcePorts: services that answer all that they get are not answered, so no loop begins.
func TestSourcePorts(t *testing.T) {
	s := start(t, zoneSource(t), options())
	packet := pack(t, question("server.demo.example", "A"))
	for port, want := range map[uint16]bool{0: false, 7: false, 13: false, 17: false, 19: false, 37: false, 53: true, 1024: true} {
		req := newRequest(packet, overUDP)
		req.client = netip.AddrPortFrom(client.Addr(), port)
		if answered := len(s.answer(t.Context(), nil, req)) > 0; answered != want {
			t.Errorf("port %d: answered %v", port, answered)
		}
		if drops := req.counts.dropped[DropPort].Load(); (drops == 0) != want {
			t.Errorf("port %d: %d drops counted", port, drops)
		}
	}
	// Two servers that answer each other: what this one sends, it drops.
	answer := answerTo(s, nil, packet, overUDP)
	if again := answerTo(s, nil, answer, overUDP); len(again) > 0 {
		t.Errorf("answer %x to its own answer", again)
	}
}

// TestAllow: who may not ask gets REFUSED and the reason (RFC 8914), over each transport.
func TestAllow(t *testing.T) {
	prefixes := func(all ...string) (out []netip.Prefix) {
		out = []netip.Prefix{}
		for _, p := range all {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	tests := []struct {
		name          string
		allow         []netip.Prefix
		client, asked string
		want          bool
	}{
		{"default: loopback", nil, "127.0.0.1", "127.0.0.1", true},
		{"default: all of 127/8", nil, "127.9.9.9", "127.0.0.1", true},
		{"default: ::1", nil, "::1", "::1", true},
		{"default: own address", nil, "192.0.2.1", "192.0.2.1", true},
		{"default: own link-local address", nil, "fe80::1", "fe80::1%eth0", true},
		{"default: another host", nil, "192.0.2.2", "192.0.2.1", false},
		{"default: mapped loopback", nil, "::ffff:127.0.0.1", "::1", true},
		{"nobody else", prefixes(), "127.0.0.1", "127.0.0.1", true},
		{"a prefix", prefixes("192.0.2.0/24"), "192.0.2.200", "192.0.2.1", true},
		{"a prefix with host bits", prefixes("192.0.2.7/24"), "192.0.2.200", "192.0.2.1", true},
		{"beside the prefix", prefixes("192.0.2.0/24"), "192.0.3.1", "192.0.2.1", false},
		{"the machine too", prefixes("192.0.2.0/24"), "127.0.0.1", "127.0.0.1", true},
		{"mapped", prefixes("192.0.2.0/24"), "::ffff:192.0.2.9", "::1", true},
		{"one of several", prefixes("192.0.2.0/24", "2001:db8::/32"), "2001:db8:1::1", "2001:db8::1", true},
		{"everybody", prefixes("0.0.0.0/0", "::/0"), "203.0.113.1", "192.0.2.1", true},
	}
	for _, tt := range tests {
		o := options()
		o.Allow = tt.allow
		s := start(t, zoneSource(t), o)
		for _, tr := range []transport{overUDP, overTCP} {
			req := newRequest(pack(t, question("server.demo.example", "A")), tr)
			req.client, req.asked = netip.AddrPortFrom(netip.MustParseAddr(tt.client), 4000), netip.MustParseAddr(tt.asked)
			var r dns.Msg
			if err := r.Unpack(s.answer(t.Context(), nil, req)); err != nil {
				t.Fatal(err)
			}
			if got := r.Rcode == dns.RcodeSuccess; got != tt.want || !got && (r.Rcode != dns.RcodeRefused || ede(&r) != "Prohibited:") {
				t.Errorf("%s: %s, %q", tt.name, dns.RcodeToString[r.Rcode], ede(&r))
			}
		}
	}
}

// TestChaos: the server tells about itself what it is set to tell, else nothing.
func TestChaos(t *testing.T) {
	for _, told := range []bool{false, true} {
		o := options()
		if told {
			o.Version, o.Hostname = "a version", strings.Repeat("h", 300)
		}
		s := start(t, zoneSource(t), o)
		for name, want := range map[string]string{
			"version.bind": `"a version"`, "VERSION.server": `"a version"`,
			"hostname.bind": `"` + strings.Repeat("h", 255) + `"`, "id.server": `"` + strings.Repeat("h", 255) + `"`,
			"authors.bind": "",
		} {
			for _, qtype := range []string{"TXT", "A"} {
				m := question(name, qtype)
				m.Question[0].Qclass = dns.ClassCHAOS
				r := ask(t, s, m, overUDP)
				if told && want != "" && qtype == "TXT" {
					if len(r.Answer) != 1 || !strings.HasSuffix(r.Answer[0].String(), want) || r.Answer[0].Header().Class != dns.ClassCHAOS {
						t.Errorf("%s: %v", name, r)
					}
				} else if r.Rcode != dns.RcodeRefused || ede(r) != "Not Supported:" {
					t.Errorf("%s %s: %v", name, qtype, r)
				}
			}
		}
	}
}

// TestPanicInBegin: a panic of the first step costs one answer, is counted, and is logged with the
// packet; so is one of the hook that is told of answers.
func TestPanicInBegin(t *testing.T) {
	for name, alter := range map[string]func(*Options, *Source){
		"code": func(_ *Options, source *Source) { source.Cache = nil },
		"hook": func(o *Options, _ *Source) { o.Query = func(Event) { panic("as a test") } },
	} {
		for _, tr := range []transport{overUDP, overTCP} {
			var log bytes.Buffer
			o, source := options(), zoneSource(t)
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			alter(&o, source)
			s := start(t, source, o)
			packet := pack(t, question("server.demo.example", "A"))
			req := newRequest(packet, tr)
			out := s.answer(t.Context(), nil, req)
			var r dns.Msg
			if err := r.Unpack(out); err != nil || r.Rcode != dns.RcodeServerFailure || ede(&r) != "Other: internal error" {
				t.Errorf("%s: %v, %v", name, r, err)
			}
			if n := req.counts.panics.Load(); n != 1 {
				t.Errorf("%s: %d panics counted", name, n)
			}
			if want := "packet=" + hex.EncodeToString(packet); !strings.Contains(log.String(), want) {
				t.Errorf("%s: log %s lacks %s", name, log.String(), want)
			}
		}
	}
}

// TestRandomPackets: octets at random, and good packets with some octets changed, leave memory and
// goroutines as they were.
func TestRandomPackets(t *testing.T) {
	const packets = 300_000 // some two seconds
	s := start(t, zoneSource(t), options())
	random := rand.New(rand.NewPCG(1, 2))
	good := pack(t, withCookie([]byte("12345678")))
	buf, out := make([]byte, 0, 600), make([]byte, 0, dnswire.MaxMessageLen)
	req, counts := new(request), new(counters)
	round := func(n int) {
		for i := range n {
			if buf = append(buf[:0], good...); i%2 == 0 {
				buf = buf[:random.IntN(cap(buf))]
				for j := range buf {
					buf[j] = byte(random.Uint32())
				}
			}
			for range random.IntN(4) {
				if len(buf) > 0 {
					buf[random.IntN(len(buf))] = byte(random.Uint32())
				}
			}
			*req = request{packet: buf, client: client, transport: transport(i / 2 % 2), counts: counts}
			s.answer(t.Context(), out, req)
		}
	}
	round(packets / 10) // what is made once
	before, goroutines := heap(), runtime.NumGoroutine()
	round(packets)
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("the heap has grown by %d octets", grown)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, before %d", n, goroutines)
	}
	if n := counts.panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

// heap is what is in use after a collection, in octets.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
