package dnswire_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/miekg/dns"
)

func TestAppendReply(t *testing.T) {
	msg := query(t, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{RD: true, CD: true, AD: true, UDPSize: 1232})
	copy(msg[dnswire.HeaderLen:], "\x03WwW")
	q := parsed(t, msg)
	got := dnswire.AppendReply(nil, &q, dnswire.FlagAA|dnswire.FlagRA|0xf, dnswire.RCodeNameError)
	m := unpack(t, got)
	if m.Id != 0x1234 || !m.Response || !m.Authoritative || !m.RecursionDesired || !m.RecursionAvailable ||
		!m.CheckingDisabled || m.AuthenticatedData || m.Truncated || m.Rcode != dns.RcodeNameError {
		t.Errorf("header %+v", m.MsgHdr)
	}
	if m.Question[0].Name != "WwW.example.com." {
		t.Errorf("case of the question: %s", m.Question[0].Name)
	}
}

func TestAppendReplyToUpdate(t *testing.T) {
	q, err := dnswire.ParseQuery([]byte("\x12\x34\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00"))
	if !errors.Is(err, dnswire.QueryBadOpcode) {
		t.Fatal(err)
	}
	m := unpack(t, dnswire.AppendReply(nil, &q, 0, dnswire.QueryBadOpcode.RCode()))
	if m.Opcode != dns.OpcodeUpdate || m.Rcode != dns.RcodeNotImplemented || len(m.Question) != 0 {
		t.Errorf("reply %v", m)
	}
}

func TestAddRecords(t *testing.T) {
	q := parsed(t, query(t, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{}))
	msg := dnswire.AppendReply(nil, &q, 0, 0)
	msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, dnswire.TypeA, dnswire.ClassINET, 60, []byte{192, 0, 2, 1})
	msg = dnswire.AddRR(msg, dnswire.SectionAuthority, []byte(name(t, "example.com")), dnswire.TypeNS, dnswire.ClassINET, 61, []byte(name(t, "ns.example.com")))
	ede := dnswire.AppendEDE(nil, dnswire.EDEProhibited, "rule 7")
	ede = dnswire.AppendEDE(ede, dnswire.EDEOther, strings.Repeat("x", 300))
	msg = dnswire.AddOPT(msg, dnswire.OPT{RCode: dnswire.RCodeBadCookie, UDPSize: 1400, DO: true, Options: ede})
	m := unpack(t, msg)
	if len(m.Answer) != 1 || m.Answer[0].String() != "www.example.com.\t60\tIN\tA\t192.0.2.1" {
		t.Errorf("answer %v", m.Answer)
	}
	if len(m.Ns) != 1 || m.Ns[0].String() != "example.com.\t61\tIN\tNS\tns.example.com." {
		t.Errorf("authority %v", m.Ns)
	}
	opt := m.IsEdns0()
	if opt.UDPSize() != 1400 || !opt.Do() || len(opt.Option) != 2 || m.Rcode&^0xf != 16 {
		t.Fatalf("OPT %v, rcode %d", opt, m.Rcode)
	}
	if e := opt.Option[0].(*dns.EDNS0_EDE); e.InfoCode != dns.ExtendedErrorCodeProhibited || e.ExtraText != "rule 7" {
		t.Errorf("EDE %v", e)
	}
	if e := opt.Option[1].(*dns.EDNS0_EDE); len(e.ExtraText) != 255 {
		t.Errorf("EDE text of %d octets", len(e.ExtraText))
	}
}

func TestOptionsStopsAtBrokenOne(t *testing.T) {
	raw := dnswire.AppendOption(nil, dnswire.OptionPadding, []byte("xx"))
	raw = append(raw, 0, 10, 0, 9, 1)
	var got []dnswire.Option
	for code := range dnswire.Options(raw) {
		got = append(got, code)
	}
	if !slices.Equal(got, []dnswire.Option{dnswire.OptionPadding}) {
		t.Errorf("options %v", got)
	}
}

func TestPatches(t *testing.T) {
	msg := bigReply(t)
	dnswire.PatchID(msg, 0xbeef)
	dnswire.PatchFlags(msg, dnswire.FlagRA, dnswire.FlagAA|dnswire.FlagAD)
	dnswire.PatchRCode(msg, dnswire.RCodeRefused)
	if !dnswire.PatchQuestion(msg, []byte("\x03wWw\x07eXample\x03com\x00")) {
		t.Error("PatchQuestion refuses another case")
	}
	for _, other := range []string{"\x03wwx\x07example\x03com\x00", "\x03www\x07example\x00", strings.Repeat("x", 600)} {
		if dnswire.PatchQuestion(msg, []byte(other)) {
			t.Errorf("PatchQuestion takes %.30q", other)
		}
	}
	m := unpack(t, msg)
	if m.Id != 0xbeef || m.RecursionAvailable || !m.Authoritative || !m.AuthenticatedData || m.Rcode != dns.RcodeRefused {
		t.Errorf("header %+v", m.MsgHdr)
	}
	if m.Question[0].Name != "wWw.eXample.com." || m.Answer[0].Header().Name != "wWw.eXample.com." {
		t.Errorf("names %v, %v", m.Question[0].Name, m.Answer[0].Header().Name)
	}
	if string(dnswire.ReplyName(msg)) != "\x03wWw\x07eXample\x03com\x00" || dnswire.ReplyName(msg[:14]) != nil {
		t.Errorf("ReplyName %q", dnswire.ReplyName(msg))
	}
}

func TestPatchTTLs(t *testing.T) {
	msg := bigReply(t)
	want := unpack(t, msg)
	if ttl, ok := dnswire.MinTTL(msg); ttl != 45 || !ok {
		t.Errorf("MinTTL %d, %v", ttl, ok)
	}
	if err := dnswire.PatchTTLs(msg, 77); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, msg)
	for i, rr := range got.Answer {
		if old := want.Answer[i].Header().Ttl; rr.Header().Ttl != old-min(old, 77) {
			t.Errorf("%v from %d", rr, old)
		}
	}
	if got.IsEdns0().Hdr.Ttl != want.IsEdns0().Hdr.Ttl {
		t.Error("the OPT record was aged")
	}
	if ttl, ok := dnswire.MinTTL(pack(t, dns.RcodeSuccess)); ok {
		t.Errorf("MinTTL of no record: %d", ttl)
	}
	if err := dnswire.PatchTTLs(msg[:len(msg)-1], 1); !errors.Is(err, dnswire.ErrRecord) {
		t.Errorf("cut message: %v", err)
	}
}

func TestFullRCode(t *testing.T) {
	msg := pack(t, dns.RcodeSuccess)
	msg = dnswire.AddOPT(msg, dnswire.OPT{RCode: dnswire.RCodeBadVersion, UDPSize: 512})
	if got := dnswire.FullRCode(msg); got != dnswire.RCodeBadVersion {
		t.Errorf("rcode %v", got)
	}
	if got := dnswire.FullRCode(pack(t, dns.RcodeNameError)); got != dnswire.RCodeNameError {
		t.Errorf("rcode %v", got)
	}
	if got := dnswire.FullRCode(msg[:4]); got != dnswire.RCodeFormatError {
		t.Errorf("rcode of a cut header %v", got)
	}
}

func TestTruncate(t *testing.T) {
	long := pack(t, dns.RcodeSuccess, slices.Repeat([]string{"www.Example.com. 60 IN A 192.0.2.1"}, 1)...)
	for range 100 {
		long = dnswire.AddRR(long, dnswire.SectionAnswer, nil, dnswire.TypeA, dnswire.ClassINET, 60, []byte{192, 0, 2, 2})
	}
	withOPT := func(options []byte) []byte {
		return dnswire.AddOPT(bytes.Clone(long), dnswire.OPT{UDPSize: 1232, Options: options})
	}
	huge := dnswire.AppendOption(nil, dnswire.OptionPadding, make([]byte, 600))
	ede := dnswire.AppendEDE(nil, dnswire.EDEOther, "x")
	for what, tt := range map[string]struct {
		msg     []byte
		opt     bool
		options int
	}{
		"no OPT":        {bytes.Clone(long), false, 0},
		"OPT":           {withOPT(nil), true, 0},
		"OPT with EDE":  {withOPT(ede), true, len(ede)},
		"too much OPT":  {withOPT(huge), true, 0},
		"after the OPT": {dnswire.AddRR(withOPT(ede), dnswire.SectionAdditional, nil, dnswire.TypeA, dnswire.ClassINET, 1, make([]byte, 4)), true, len(ede)},
	} {
		got := dnswire.Truncate(tt.msg, 512)
		m := unpack(t, got)
		if len(got) > 512 || !m.Truncated || len(m.Answer) != 0 || m.Question[0].Name != "www.Example.com." {
			t.Errorf("%s: %v", what, m)
		}
		_, e, ok := dnswire.FindOPT(got)
		if ok != tt.opt || len(e.Options) != tt.options || dnswire.Validate(got) != nil {
			t.Errorf("%s: OPT %v, %+v", what, ok, e)
		}
	}
	if got := dnswire.Truncate(long, len(long)); len(got) != len(long) || unpack(t, got).Truncated {
		t.Error("a message that fits was changed")
	}
	if got := dnswire.Truncate(raw(1, 0, "\xff\xff"), 12); dnswire.Validate(got) != nil || len(got) != 12 {
		t.Errorf("malformed message: %x", got)
	}
}

func TestBuildingAllocatesNothing(t *testing.T) {
	q := parsed(t, query(t, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{UDPSize: 512}))
	buf := make([]byte, 0, 512)
	options := make([]byte, 0, 64)
	rdata := []byte{192, 0, 2, 1}
	wantNoAllocs(t, "reply", func() {
		msg := dnswire.AppendReply(buf, &q, dnswire.FlagRA, 0)
		msg = dnswire.AddRR(msg, dnswire.SectionAnswer, nil, dnswire.TypeA, dnswire.ClassINET, 60, rdata)
		msg = dnswire.AddOPT(msg, dnswire.OPT{UDPSize: 1232, Options: dnswire.AppendEDE(options, dnswire.EDEOther, "why")})
		msg = dnswire.Truncate(msg, 60)
		dnswire.PatchQuestion(msg, q.Name)
	})
}
