package dnswire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/miekg/dns"
)

func TestParseQuery(t *testing.T) {
	cookie := dnswire.AppendOption(nil, dnswire.OptionCookie, []byte("12345678"))
	msg := query(t, "www.example.com", dnswire.TypeAAAA, dnswire.QueryOptions{
		RD: true, CD: true, AD: true, DO: true, UDPSize: 1232, Options: cookie,
	})
	copy(msg[dnswire.HeaderLen:], "\x03wWw\x07ExaMple")
	q := parsed(t, msg)
	if q.Question() != ask(t, "www.example.com", dnswire.TypeAAAA) {
		t.Errorf("question %v", q.Question())
	}
	if string(q.Name) != "\x03wWw\x07ExaMple\x03com\x00" || q.QEnd != 33 {
		t.Errorf("name %q, end %d", q.Name, q.QEnd)
	}
	h := q.Header
	if h.ID != 0x1234 || !h.RD() || !h.CD() || !h.AD() || h.QR() || h.AA() || h.TC() || h.RA() || h.RCode() != 0 {
		t.Errorf("header %+v", h)
	}
	e := q.EDNS
	if !e.Present || !e.DO || e.UDPSize != 1232 || e.Version != 0 || !bytes.Equal(e.Options, cookie) {
		t.Errorf("EDNS %+v", e)
	}
	if data, ok := dnswire.FindOption(e.Options, dnswire.OptionCookie); !ok || string(data) != "12345678" {
		t.Errorf("cookie %q", data)
	}
	if _, ok := dnswire.FindOption(e.Options, dnswire.OptionNSID); ok {
		t.Error("found an option that is not there")
	}
}

// edit returns a changed copy of msg.
func edit(msg []byte, f func(b []byte) []byte) []byte { return f(bytes.Clone(msg)) }

// set16 returns an edit that writes v at off.
func set16(off int, v uint16) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.BigEndian.PutUint16(b[off:], v)
		return b
	}
}

// withName makes a query whose question's name is the given octets.
func withName(wire string) []byte {
	msg := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	return append(append(msg, wire...), 0, 1, 0, 1)
}

// withExtras makes a query with the given octets as n additional records.
func withExtras(n byte, extras ...string) []byte {
	msg := withName("\x01a\x00")
	msg[11] = n
	return append(msg, strings.Join(extras, "")...)
}

const (
	bareOPT = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	tsig    = "\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00"
)

// refusals are requests and what ParseQuery says of them.
func refusals(t testing.TB) map[string]struct {
	msg  []byte
	want dnswire.QueryError
} {
	good := query(t, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{RD: true})
	opt := query(t, "a", dnswire.TypeA, dnswire.QueryOptions{UDPSize: 1232})
	many := strings.Repeat("\x00\x0a\x00\x00", dnswire.MaxOptions+1)
	longName := strings.Repeat("\x3f"+label63, 3)
	return map[string]struct {
		msg  []byte
		want dnswire.QueryError
	}{
		"empty":                    {nil, dnswire.QueryTooShort},
		"eleven octets":            {good[:11], dnswire.QueryTooShort},
		"response":                 {edit(good, set16(2, dnswire.FlagQR)), dnswire.QueryIsResponse},
		"response, other opcode":   {edit(good, set16(2, 0xa800)), dnswire.QueryIsResponse},
		"notify":                   {edit(good, set16(2, 4<<11)), dnswire.QueryBadOpcode},
		"update":                   {edit(good, set16(2, 5<<11)), dnswire.QueryBadOpcode},
		"header only":              {good[:12], dnswire.QueryBadQuestion},
		"no question":              {edit(good, set16(4, 0)), dnswire.QueryBadCounts},
		"two questions":            {edit(good, set16(4, 2)), dnswire.QueryBadCounts},
		"65535 questions":          {edit(good, set16(4, 65535)), dnswire.QueryBadCounts},
		"answer":                   {edit(good, set16(6, 1)), dnswire.QueryBadCounts},
		"authority":                {edit(good, set16(8, 1)), dnswire.QueryBadCounts},
		"cut in the name":          {good[:20], dnswire.QueryBadQuestion},
		"cut in the type":          {good[:len(good)-3], dnswire.QueryBadQuestion},
		"cut in the class":         {good[:len(good)-1], dnswire.QueryBadQuestion},
		"pointer to itself":        {withName("\xc0\x0c"), dnswire.QueryBadQuestion},
		"pointer into the header":  {withName("\x01a\xc0\x00"), dnswire.QueryBadQuestion},
		"pointer backwards":        {withName("\x01a\xc0\x0c"), dnswire.QueryBadQuestion},
		"pointer beyond":           {withName("\xff\xff"), dnswire.QueryBadQuestion},
		"label type 01":            {withName("\x41a\x00"), dnswire.QueryBadQuestion},
		"label type 10":            {withName("\x81a\x00"), dnswire.QueryBadQuestion},
		"256 octets":               {withName(longName + "\x3e" + label63[:62] + "\x00"), dnswire.QueryBadQuestion},
		"trailing octet":           {append(bytes.Clone(good), 0), dnswire.QueryTrailing},
		"trailing after OPT":       {append(bytes.Clone(opt), 0), dnswire.QueryTrailing},
		"additional missing":       {edit(good, set16(10, 1)), dnswire.QueryBadRecord},
		"OPT cut":                  {opt[:len(opt)-1], dnswire.QueryBadRecord},
		"OPT longer than it is":    {edit(opt, set16(len(opt)-2, 1)), dnswire.QueryBadRecord},
		"65535 additional":         {edit(opt, set16(10, 65535)), dnswire.QueryBadRecord},
		"five additional":          {withExtras(5, tsig, tsig, tsig, tsig, tsig), dnswire.QueryBadRecord},
		"two OPTs":                 {withExtras(2, bareOPT, bareOPT), dnswire.QueryBadEDNS},
		"OPT not at the root":      {withExtras(1, "\x01a"+bareOPT), dnswire.QueryBadEDNS},
		"OPT at a pointer":         {withExtras(1, "\xc0\x0c"+bareOPT[1:]), dnswire.QueryBadEDNS},
		"option cut":               {withExtras(1, bareOPT[:10]+"\x03\x00\x0a\x00"), dnswire.QueryBadEDNS},
		"option longer than OPT":   {withExtras(1, bareOPT[:10]+"\x04\x00\x0a\x00\x01"), dnswire.QueryBadEDNS},
		"33 options":               {withExtras(1, bareOPT[:10]+string([]byte{byte(len(many))})+many), dnswire.QueryBadEDNS},
		"EDNS version 1":           {edit(opt, set16(len(opt)-6, 1)), dnswire.QueryBadVersion},
		"EDNS version 1, class CH": {edit(edit(opt, set16(len(opt)-6, 1)), set16(17, 3)), dnswire.QueryBadVersion},
		"class CH":                 {edit(good, set16(len(good)-2, 3)), dnswire.QueryBadClass},
		"class ANY":                {edit(good, set16(len(good)-2, 255)), dnswire.QueryBadClass},
	}
}

func TestParseQueryRefuses(t *testing.T) {
	for what, tt := range refusals(t) {
		q, err := dnswire.ParseQuery(tt.msg)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", what, err, tt.want)
		}
		if (q.QEnd != 0) != (q.Name != nil) {
			t.Errorf("%s: name %q but end %d", what, q.Name, q.QEnd)
		}
		if tt.want > dnswire.QueryBadQuestion && q.QEnd == 0 {
			t.Errorf("%s: the question is not there for the echo", what)
		}
	}
}

func TestQueryErrorOwed(t *testing.T) {
	owed := map[dnswire.QueryError]dnswire.RCode{
		dnswire.QueryBadOpcode: dnswire.RCodeNotImplemented, dnswire.QueryBadVersion: dnswire.RCodeBadVersion,
		dnswire.QueryBadClass: dnswire.RCodeRefused,
	}
	for e := dnswire.QueryTooShort; e <= dnswire.QueryBadClass; e++ {
		want, ok := owed[e]
		if !ok {
			want = dnswire.RCodeFormatError
		}
		if e.RCode() != want || e.Drop() != (e <= dnswire.QueryIsResponse) || strings.Contains(e.Error(), "unknown") {
			t.Errorf("%v: drop %v, %v", e, e.Drop(), e.RCode())
		}
	}
}

func TestParseQueryAccepts(t *testing.T) {
	longName := strings.Repeat("\x3f"+label63, 3) + "\x3d" + label63[:61] + "\x00"
	for what, msg := range map[string][]byte{
		"255 octets":          withName(longName),
		"root":                withName("\x00"),
		"any octet in labels": withName("\x03\x00\xff.\x00"),
		"TSIG after OPT":      withExtras(2, bareOPT, tsig),
		"TSIG before OPT":     withExtras(2, tsig, bareOPT),
	} {
		if q, err := dnswire.ParseQuery(msg); err != nil || q.QEnd == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestUDPLimit(t *testing.T) {
	for _, tt := range []struct {
		size uint16
		want int
	}{{0, 512}, {1, 512}, {512, 512}, {1000, 1000}, {1232, 1232}, {4096, 1232}, {65535, 1232}} {
		q := dnswire.Query{EDNS: dnswire.EDNS{Present: true, UDPSize: tt.size}}
		if got := q.UDPLimit(1232); got != tt.want {
			t.Errorf("size %d: %d; want %d", tt.size, got, tt.want)
		}
	}
	if got := new(dnswire.Query).UDPLimit(1232); got != 512 {
		t.Errorf("without EDNS: %d", got)
	}
}

func TestKeys(t *testing.T) {
	q := ask(t, "www.example.com", dnswire.TypeHTTPS)
	want := "\x03www\x07example\x03com\x00\x00\x41\x00\x01"
	if got := q.AppendKey([]byte("x"), false, false); string(got) != "x"+want+"\x00" {
		t.Errorf("key %q", got)
	}
	seen := map[string]bool{}
	for _, do := range []bool{false, true} {
		for _, cd := range []bool{false, true} {
			key := string(dnswire.AppendKey(nil, []byte("\x03wWW\x07Example\x03com\x00"), q.Type, q.Class, do, cd))
			if key != string(q.AppendKey(nil, do, cd)) || !strings.HasPrefix(key, want) {
				t.Errorf("key %q", key)
			}
			seen[key] = true
		}
	}
	for key := range seen {
		if !dnswire.MatchKey([]byte(key), query(t, "wWw.example.com", dnswire.TypeHTTPS, dnswire.QueryOptions{})) ||
			dnswire.MatchKey([]byte(key), query(t, "wwx.example.com", dnswire.TypeHTTPS, dnswire.QueryOptions{})) ||
			dnswire.MatchKey([]byte(key), query(t, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{})) ||
			dnswire.MatchKey([]byte(key), nil) {
			t.Errorf("MatchKey of %q", key)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d keys of four", len(seen))
	}
	msg := query(t, "www.example.com", dnswire.TypeHTTPS, dnswire.QueryOptions{CD: true, DO: true, UDPSize: 512})
	p := parsed(t, msg)
	if string(p.AppendKey(nil)) != want+"\x03" {
		t.Errorf("key of the query %q", p.AppendKey(nil))
	}
}

func TestParseQueryAllocatesNothing(t *testing.T) {
	msg := query(t, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{
		RD: true, UDPSize: 1232, Options: dnswire.AppendOption(nil, dnswire.OptionCookie, make([]byte, 8)),
	})
	key := make([]byte, 0, dnswire.MaxKeyLen)
	wantNoAllocs(t, "ParseQuery and AppendKey", func() {
		q, err := dnswire.ParseQuery(msg)
		if err != nil {
			t.Fatal(err)
		}
		q.AppendKey(key)
		dnswire.FindOption(q.EDNS.Options, dnswire.OptionCookie)
	})
	for what, tt := range refusals(t) {
		wantNoAllocs(t, what, func() { _, _ = dnswire.ParseQuery(tt.msg) })
	}
	buf := make([]byte, 0, 512)
	q := ask(t, "www.example.com", dnswire.TypeA)
	wantNoAllocs(t, "AppendQuery", func() {
		dnswire.AppendQuery(buf, 1, q, dnswire.QueryOptions{RD: true, UDPSize: 1232})
		q.AppendKey(buf, true, true)
	})
}

// FuzzParseQuery checks that a refusal is typed, that what is accepted the reference implementation
// reads alike, and that the start of a reply to either is well formed and echoes it.
func FuzzParseQuery(f *testing.F) {
	for _, tt := range refusals(f) {
		f.Add(tt.msg)
	}
	f.Add(query(f, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{RD: true, DO: true, UDPSize: 1232}))
	f.Add(withExtras(2, bareOPT, tsig))
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, err := dnswire.ParseQuery(msg)
		var code dnswire.RCode
		if err != nil {
			var e dnswire.QueryError
			if !errors.As(err, &e) {
				t.Fatalf("untyped error %v", err)
			}
			if e.Drop() {
				return
			}
			code = e.RCode()
		}
		reply := dnswire.AddOPT(dnswire.AppendReply(nil, &q, 0, code), dnswire.OPT{RCode: code, UDPSize: 1232})
		if dnswire.Validate(reply) != nil || dnswire.FullRCode(reply) != code {
			t.Fatalf("reply %x", reply)
		}
		m := unpack(t, reply)
		if m.Id != q.Header.ID || len(m.Question) > 1 || (q.QEnd != 0) != (len(m.Question) == 1) {
			t.Fatalf("reply %v", m)
		}
		if err == nil {
			compareQuery(t, msg, &q)
		}
	})
}

// compareQuery checks q against what the reference implementation reads in msg.
func compareQuery(t *testing.T, msg []byte, q *dnswire.Query) {
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		return // it knows more about the rdata of TSIG, SIG and single options
	}
	want := m.Question[0]
	if name(t, want.Name) != q.Question().Name || want.Qtype != uint16(q.Type) || want.Qclass != uint16(q.Class) {
		t.Fatalf("question %v; want %v", q.Question(), want)
	}
	opt := m.IsEdns0()
	if (opt != nil) != q.EDNS.Present {
		t.Fatalf("EDNS %+v; want %v", q.EDNS, opt)
	}
	if opt != nil && (opt.UDPSize() != q.EDNS.UDPSize || opt.Do() != q.EDNS.DO || opt.Version() != q.EDNS.Version) {
		t.Fatalf("EDNS %+v; want %v", q.EDNS, opt)
	}
	if m.RecursionDesired != q.Header.RD() || m.CheckingDisabled != q.Header.CD() || m.AuthenticatedData != q.Header.AD() {
		t.Fatalf("header %+v; want %+v", q.Header, m.MsgHdr)
	}
}
