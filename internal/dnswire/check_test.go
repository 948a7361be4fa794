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

func TestCheckReply(t *testing.T) {
	good := bigReply(t)
	q := ask(t, "www.example.com", dnswire.TypeA)
	failed := pack(t, dns.RcodeFormatError)[:dnswire.HeaderLen]
	binary.BigEndian.PutUint16(failed[4:], 0)
	typeOff := dnswire.HeaderLen + len(q.Name)
	for what, tt := range map[string]struct {
		msg  []byte
		want error
	}{
		"good, in another case":    {good, nil},
		"empty":                    {nil, dnswire.ReplyTooShort},
		"cut header":               {good[:11], dnswire.ReplyTooShort},
		"query":                    {query(t, "www.example.com", dnswire.TypeA, dnswire.QueryOptions{}), dnswire.ReplyNotResponse},
		"wrong id":                 {edit(good, set16(0, 0x1235)), dnswire.ReplyWrongID},
		"wrong opcode":             {edit(good, set16(2, 0xa180)), dnswire.ReplyWrongOpcode},
		"two questions":            {edit(good, set16(4, 2)), dnswire.ReplyBadCounts},
		"no question, failure":     {failed, dnswire.ReplyNoQuestion},
		"no question, success":     {edit(failed, set16(2, 0x8180)), dnswire.ReplyWrongQuestion},
		"no question, but answers": {edit(failed, set16(6, 1)), dnswire.ReplyWrongQuestion},
		"question cut":             {good[:typeOff+3], dnswire.ReplyWrongQuestion},
		"other type":               {edit(good, set16(typeOff, 28)), dnswire.ReplyWrongQuestion},
		"other class":              {edit(good, set16(typeOff+2, 3)), dnswire.ReplyWrongQuestion},
		"other name":               {edit(good, func(b []byte) []byte { b[13] = 'x'; return b }), dnswire.ReplyWrongQuestion},
		"other labels":             {edit(good, func(b []byte) []byte { b[12], b[16] = 2, 8; return b }), dnswire.ReplyWrongQuestion},
	} {
		if err := dnswire.CheckReply(q, 0x1234, tt.msg); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", what, err, tt.want)
		}
	}
	for e := dnswire.ReplyTooShort; e <= dnswire.ReplyWrongQuestion; e++ {
		if strings.Contains(e.Error(), "unknown") {
			t.Errorf("error %d has no text", e)
		}
	}
	wantNoAllocs(t, "CheckReply", func() {
		_ = dnswire.CheckReply(q, 0x1234, good)
		_ = dnswire.CheckReply(q, 0x1235, good)
	})
}

// record is a message of one record of the given type and rdata; a pointer \xc0\x0c in it is to "a.".
func record(typ dnswire.Type, rdata string) []byte {
	return dnswire.AddRR(raw(1, 0, aQuestion), dnswire.SectionAnswer, nil, typ, dnswire.ClassINET, 60, []byte(rdata))
}

func TestValidateRData(t *testing.T) {
	soaTail := strings.Repeat("\x00\x00\x00\x01", 5)
	for what, tt := range map[string]struct {
		msg  []byte
		want error
	}{
		"A":                      {record(dnswire.TypeA, "1234"), nil},
		"A of 3":                 {record(dnswire.TypeA, "123"), dnswire.ErrRData},
		"A of none":              {record(dnswire.TypeA, ""), dnswire.ErrRData},
		"AAAA of 4":              {record(dnswire.TypeAAAA, "1234"), dnswire.ErrRData},
		"CNAME":                  {record(dnswire.TypeCNAME, "\x01b\xc0\x0c"), nil},
		"CNAME of none":          {record(dnswire.TypeCNAME, ""), dnswire.ErrRData},
		"CNAME with more":        {record(dnswire.TypeCNAME, "\xc0\x0cx"), dnswire.ErrRData},
		"CNAME beyond its rdata": {append(record(dnswire.TypeCNAME, "\x01b"), 0), dnswire.ErrRData},
		"CNAME to itself":        {record(dnswire.TypeCNAME, "\xc0\x1f"), dnswire.ErrBadPointer},
		"NS forwards":            {record(dnswire.TypeNS, "\xc0\x21\x00"), dnswire.ErrBadPointer},
		"MX":                     {record(dnswire.TypeMX, "\x00\x0a\xc0\x0c"), nil},
		"MX without name":        {record(dnswire.TypeMX, "\x00\x0a"), dnswire.ErrRData},
		"MX of one":              {record(dnswire.TypeMX, "\x00"), dnswire.ErrRData},
		"SRV":                    {record(dnswire.TypeSRV, "\x00\x01\x00\x02\x00\x03\x01b\x00"), nil},
		"SOA":                    {record(dnswire.TypeSOA, "\xc0\x0c\x01r\xc0\x0c"+soaTail), nil},
		"SOA too short":          {record(dnswire.TypeSOA, "\xc0\x0c\x01r\xc0\x0c"+soaTail[1:]), dnswire.ErrRData},
		"SOA of one name":        {record(dnswire.TypeSOA, "\xc0\x0c"), dnswire.ErrRData},
		"TXT":                    {record(dnswire.TypeTXT, "\x01a\x00\x02bc"), nil},
		"TXT of none":            {record(dnswire.TypeTXT, ""), dnswire.ErrRData},
		"TXT beyond":             {record(dnswire.TypeTXT, "\x01a\x03bc"), dnswire.ErrRData},
		"unknown type":           {record(dnswire.TypeMultipath, "\xc0\xff"), nil},
		"OPT in the answer":      {record(dnswire.TypeOPT, ""), dnswire.ErrRData},
		"two OPTs":               {dnswire.AddOPT(dnswire.AddOPT(raw(1, 0, aQuestion), dnswire.OPT{}), dnswire.OPT{}), dnswire.ErrRData},
		"count without a record": {record(dnswire.TypeA, "1234")[:len(raw(1, 0, aQuestion))], dnswire.ErrNameTruncated},
	} {
		if err := dnswire.Validate(tt.msg); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v\n%x", what, err, tt.want, tt.msg)
		}
	}
}

func TestNegativeTTL(t *testing.T) {
	for _, tt := range []struct{ ttl, minimum, want uint32 }{
		{900, 30, 30}, {30, 900, 30}, {60, 0, 0}, {60, 1 << 31, 0}, {1 << 31, 60, 0},
	} {
		tail := binary.BigEndian.AppendUint32(bytes.Repeat([]byte{1}, 16), tt.minimum)
		msg := dnswire.AddRR(raw(1, 0, aQuestion), dnswire.SectionAuthority, nil, dnswire.TypeSOA,
			dnswire.ClassINET, tt.ttl, append([]byte("\x00\x00"), tail...))
		rrs, err := records(msg)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := dnswire.NegativeTTL(msg, rrs[0]); got != tt.want || !ok {
			t.Errorf("ttl %d, minimum %d: %d, %v", tt.ttl, tt.minimum, got, ok)
		}
	}
	msg := record(dnswire.TypeSOA, "\x00\x00")
	rrs, _ := records(msg)
	if _, ok := dnswire.NegativeTTL(msg, rrs[0]); ok {
		t.Error("short SOA accepted")
	}
}
