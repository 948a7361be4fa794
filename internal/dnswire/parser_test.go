package dnswire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/miekg/dns"
)

func TestParserWalksEverySection(t *testing.T) {
	msg := bigReply(t)
	p := dnswire.NewParser(msg)
	if q, ok := p.Question(); !ok || q != ask(t, "www.example.com", dnswire.TypeA) {
		t.Fatalf("question %v", q)
	}
	var got []string
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		owner, _, err := dnswire.ExpandName(msg, rr.NameOff)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rr.Section.String()+" "+owner.String()+" "+rr.Type.String())
	}
	want := "answer www.example.com. CNAME, answer web.example.net. A, answer web.example.net. A, " +
		"answer web.example.net. TXT, answer web.example.net. MX, answer _s._tcp.example.net. SRV, " +
		"authority example.net. SOA, authority example.net. NS, additional ns.example.net. AAAA, additional . OPT"
	if s := strings.Join(got, ", "); s != want || p.Err() != nil || p.Offset() != len(msg) {
		t.Errorf("%v, offset %d of %d:\n%s\nwant\n%s", p.Err(), p.Offset(), len(msg), s, want)
	}
	if _, ok := p.Next(); ok || p.Err() != nil {
		t.Error("goes on after the end")
	}
}

// raw makes a response with the given counts of answers and a body after the header.
func raw(questions, answers byte, body string) []byte {
	return append([]byte{0x12, 0x34, 0x81, 0x80, 0, questions, 0, answers, 0, 0, 0, 0}, body...)
}

const (
	aQuestion = "\x01a\x00\x00\x01\x00\x01"
	aRecord   = "\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
)

func TestParserRefuses(t *testing.T) {
	for what, tt := range map[string]struct {
		msg  []byte
		want error
	}{
		"empty":                  {nil, dnswire.ErrTooShort},
		"two questions":          {raw(2, 0, aQuestion+aQuestion), dnswire.ErrQuestions},
		"question cut":           {raw(1, 0, aQuestion[:6]), dnswire.ErrQuestion},
		"question compressed":    {raw(1, 0, "\xc0\x0c\x00\x01\x00\x01"), dnswire.ErrQuestion},
		"trailing octet":         {raw(1, 0, aQuestion+"\x00"), dnswire.ErrTrailing},
		"count that lies":        {raw(1, 2, aQuestion+"\xc0\x0c"+aRecord), dnswire.ErrNameTruncated},
		"record cut in header":   {raw(1, 1, aQuestion+"\xc0\x0c"+aRecord[:9]), dnswire.ErrRecord},
		"record cut in rdata":    {raw(1, 1, aQuestion+"\xc0\x0c"+aRecord[:13]), dnswire.ErrRecord},
		"pointer cut":            {raw(1, 1, aQuestion+"\xc0"), dnswire.ErrNameTruncated},
		"pointer to itself":      {raw(1, 1, aQuestion+"\xc0\x13"+aRecord), dnswire.ErrBadPointer},
		"pointer into own name":  {raw(1, 1, aQuestion+"\x01b\xc0\x13"+aRecord), dnswire.ErrBadPointer},
		"pointer forwards":       {raw(1, 1, aQuestion+"\xc0\x20"+aRecord), dnswire.ErrBadPointer},
		"pointer into header":    {raw(1, 1, aQuestion+"\xc0\x0b"+aRecord), dnswire.ErrBadPointer},
		"label of type 01":       {raw(1, 1, aQuestion+"\x41a\x00"+aRecord), dnswire.ErrBadLabel},
		"label beyond the end":   {raw(1, 1, aQuestion+"\x3fa"), dnswire.ErrNameTruncated},
		"name of 256 octets":     {raw(1, 1, aQuestion+strings.Repeat("\x3f"+label63, 4)+"\x00"+aRecord), dnswire.ErrNameTooLong},
		"name without its end":   {raw(1, 1, aQuestion+"\x01a"), dnswire.ErrNameTruncated},
		"nothing for the answer": {raw(0, 1, ""), dnswire.ErrNameTruncated},
	} {
		if _, err := records(tt.msg); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", what, err, tt.want)
		}
		if err := dnswire.Validate(tt.msg); !errors.Is(err, tt.want) {
			t.Errorf("%s: Validate: %v; want %v", what, err, tt.want)
		}
	}
}

// TestExpandNameBounds checks the limit of 255 octets across a pointer, and that an error leaves dst alone.
func TestExpandNameBounds(t *testing.T) {
	// A name of 254 octets, and a pointer to it after one label: 256 octets when expanded.
	long := strings.Repeat("\x3f"+label63, 3) + "\x3c" + label63[:60] + "\x00"
	msg := append(make([]byte, dnswire.HeaderLen), long...)
	at := len(msg)
	msg = append(msg, "\x01x\xc0\x0c"...)
	if _, _, err := dnswire.ExpandName(msg, at); !errors.Is(err, dnswire.ErrNameTooLong) {
		t.Errorf("256 octets: %v", err)
	}
	if n, next, err := dnswire.ExpandName(msg, at+2); err != nil || string(n) != long || next != at+4 {
		t.Errorf("254 octets: %d, %d, %v", len(n), next, err)
	}
	dst, _, err := dnswire.AppendName([]byte("keep"), msg, at)
	if err == nil || string(dst) != "keep" {
		t.Errorf("after an error dst is %q", dst)
	}
	if _, _, err := dnswire.ExpandName(msg, -1); err == nil {
		t.Error("negative offset")
	}
	if _, err := dnswire.SkipName(msg, len(msg)); err == nil {
		t.Error("offset at the end")
	}
}

// pointerChain is a message of records whose owners point to one another, each owner but the first
// only a pointer to the one before.
func pointerChain(n int) []byte {
	msg := raw(1, 0, aQuestion)
	binary.BigEndian.PutUint16(msg[6:], uint16(n))
	to := dnswire.HeaderLen
	for range n {
		at := len(msg)
		msg = append(msg, 0xc0|byte(to>>8), byte(to))
		msg = append(msg, aRecord...)
		to = at
	}
	return msg
}

func TestPointerChainsAreBounded(t *testing.T) {
	if err := dnswire.Validate(pointerChain(127)); err != nil {
		t.Errorf("127 pointers: %v", err)
	}
	msg := pointerChain(1000)
	if err := dnswire.Validate(msg); !errors.Is(err, dnswire.ErrManyPointers) {
		t.Errorf("1000 pointers: %v", err)
	}
	if rrs, err := records(msg); err != nil || len(rrs) != 1000 {
		t.Errorf("the walk itself follows none: %d, %v", len(rrs), err)
	}
}

// TestWorstMessageIsQuick reads the message that makes the most work of its size: as many records as
// fit, each owner a pointer to a chain of as many pointers as are followed.
func TestWorstMessageIsQuick(t *testing.T) {
	msg := pointerChain(126)
	last := len(msg) - 2 - len(aRecord)
	owner := []byte{0xc0 | byte(last>>8), byte(last)}
	count := 126
	for len(msg)+2+len(aRecord) <= dnswire.MaxMessageLen {
		msg = append(append(msg, owner...), aRecord...)
		count++
	}
	binary.BigEndian.PutUint16(msg[6:], uint16(count))
	begin := time.Now()
	if err := dnswire.Validate(msg); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("%d records took %v", count, d)
	}
}

func TestTTLWithTopBit(t *testing.T) {
	msg := raw(1, 1, aQuestion+"\xc0\x0c"+aRecord)
	off := len(msg) - 10
	binary.BigEndian.PutUint32(msg[off:], 1<<31-1)
	if ttl, ok := dnswire.MinTTL(msg); ttl != 1<<31-1 || !ok {
		t.Errorf("greatest TTL: %d, %v", ttl, ok)
	}
	binary.BigEndian.PutUint32(msg[off:], 1<<31)
	if ttl, ok := dnswire.MinTTL(msg); ttl != 0 || !ok {
		t.Errorf("top bit set: %d, %v", ttl, ok)
	}
}

func TestParserAllocatesNothing(t *testing.T) {
	msg := bigReply(t)
	buf := make([]byte, 0, dnswire.MaxNameLen)
	wantNoAllocs(t, "Parser", func() {
		p := dnswire.NewParser(msg)
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			if _, _, err := dnswire.AppendName(buf, msg, rr.NameOff); err != nil {
				t.Fatal(err)
			}
		}
	})
	wantNoAllocs(t, "Validate", func() {
		if err := dnswire.Validate(msg); err != nil {
			t.Fatal(err)
		}
	})
	wantNoAllocs(t, "patches", func() {
		dnswire.PatchID(msg, 7)
		dnswire.MinTTL(msg)
		dnswire.FullRCode(msg)
		if err := dnswire.PatchTTLs(msg, 0); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzParser compares with the reference implementation: what both accept has the same records; what
// Validate accepts, of types whose rdata it checks, the reference accepts; and the patches keep a
// message as well formed as it was.
func FuzzParser(f *testing.F) {
	seeds := [][]byte{
		bigReply(f), pack(f, dns.RcodeNameError, "--", "example.com. 60 IN SOA a. b. 1 2 3 4 5"),
		pack(f, dns.RcodeSuccess, "www.Example.com. 60 IN HTTPS 1 . alpn=h2"), pointerChain(3),
		raw(1, 1, aQuestion+"\xc0\x0c"+aRecord),
	}
	for _, s := range seeds {
		if err := dnswire.Validate(s); err != nil {
			f.Fatalf("seed %x: %v", s, err)
		}
		f.Add(s)
	}
	f.Add(raw(1, 1, aQuestion+"\xc0\x13"+aRecord))
	f.Fuzz(func(t *testing.T, msg []byte) {
		rrs, err := records(msg)
		for _, rr := range rrs {
			if len(rr.Data(msg)) != rr.DataLen {
				t.Fatalf("record %+v", rr)
			}
		}
		m := new(dns.Msg)
		refErr := m.Unpack(msg)
		valid := dnswire.Validate(msg) == nil
		if valid && err != nil {
			t.Fatalf("Validate accepts what the parser refuses: %v", err)
		}
		if valid && refErr != nil && onlyKnown(rrs) {
			t.Fatalf("reference refuses: %v", refErr)
		}
		if valid && refErr == nil {
			compareRecords(t, msg, rrs, m)
			checkPatches(t, msg)
		}
	})
}

// onlyKnown reports whether Validate checks the rdata of all records in full.
func onlyKnown(rrs []dnswire.RR) bool {
	for _, rr := range rrs {
		switch rr.Type {
		case dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeNS, dnswire.TypeCNAME, dnswire.TypePTR,
			dnswire.TypeMX, dnswire.TypeSRV, dnswire.TypeSOA, dnswire.TypeTXT, dnswire.TypeDNAME:
		default:
			return false
		}
	}
	return true
}

func compareRecords(t *testing.T, msg []byte, rrs []dnswire.RR, m *dns.Msg) {
	want := append(append(append([]dns.RR{}, m.Answer...), m.Ns...), m.Extra...)
	if len(rrs) != len(want) {
		t.Fatalf("%d records; want %d", len(rrs), len(want))
	}
	for i, rr := range rrs {
		h := want[i].Header()
		owner, _, err := dnswire.ExpandName(msg, rr.NameOff)
		if err != nil || owner != name(t, h.Name) {
			t.Fatalf("record %d: owner %v, %v; want %v", i, owner, err, h.Name)
		}
		ttl := h.Ttl
		if ttl > 1<<31-1 && rr.Type != dnswire.TypeOPT {
			ttl = 0
		}
		if uint16(rr.Type) != h.Rrtype || uint16(rr.Class) != h.Class || rr.TTL != ttl || rr.DataLen != int(h.Rdlength) {
			t.Fatalf("record %d: %+v; want %v", i, rr, h)
		}
	}
}

// checkPatches checks that ageing and truncation leave a valid message.
func checkPatches(t *testing.T, msg []byte) {
	before, hasTTL := dnswire.MinTTL(msg)
	aged := bytes.Clone(msg)
	if err := dnswire.PatchTTLs(aged, 10); err != nil {
		t.Fatal(err)
	}
	after, _ := dnswire.MinTTL(aged)
	if hasTTL && after != before-min(10, before) || dnswire.Validate(aged) != nil {
		t.Fatalf("ttl %d after %d", after, before)
	}
	_, opt, hadOPT := dnswire.FindOPT(msg)
	cut := dnswire.Truncate(aged, dnswire.MinUDPSize)
	_, cutOPT, hasOPT := dnswire.FindOPT(cut)
	if len(cut) > dnswire.MinUDPSize || dnswire.Validate(cut) != nil || hadOPT != hasOPT || opt.UDPSize != cutOPT.UDPSize {
		t.Fatalf("truncated to %x", cut)
	}
}
