package resolver

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// replyWith is a reply to www.example. of this type with one record of raw
// rdata.
func replyWith(typ dnswire.Type, rdata []byte) []byte {
	q := dnswire.Question{Name: name("www.example"), Type: typ, Class: dnswire.ClassINET}
	m := dnswire.AppendQuery(nil, 0, q, dnswire.QueryOptions{RD: true})
	dnswire.PatchFlags(m, 0, dnswire.FlagQR)
	return dnswire.AddRR(m, dnswire.SectionAnswer, nil, typ, dnswire.ClassINET, 60, rdata)
}

func name(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func octets(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBadServiceRecords: what is malformed, or demands what is not understood,
// is not used (RFC 9460 sections 2.2 and 8).
func TestBadServiceRecords(t *testing.T) {
	tests := map[string]struct {
		rdata string
		want  error
	}{
		"empty":                            {"", errServiceShort},
		"no target":                        {"0001", errServiceShort},
		"target cut off":                   {"0001 03 77", dnswire.ErrNameTruncated},
		"parameter cut off":                {"0001 00 0001 00", errServiceShort},
		"value cut off":                    {"0001 00 0001 0005 02", errServiceShort},
		"out of order":                     {"0001 00 0003 0002 01bb 0002 0000", errServiceOrder},
		"twice":                            {"0001 00 0002 0000 0002 0000", errServiceOrder},
		"port of three octets":             {"0001 00 0003 0003 01bb00", errServiceValue},
		"empty IPv4 hint":                  {"0001 00 0004 0000", errServiceValue},
		"IPv6 hint of four octets":         {"0001 00 0006 0004 20010db8", errServiceValue},
		"alpn beyond its end":              {"0001 00 0001 0002 0568", errServiceValue},
		"alpn of no octets":                {"0001 00 0001 0001 00", errServiceValue},
		"odd list of mandatory keys":       {"0001 00 0000 0001 00", errServiceValue},
		"mandatory and not understood":     {"0001 00 0000 0002 029a 029a 0002 ffff", errServiceKey},
		"mandatory is mandatory":           {"0001 00 0000 0002 0000", errServiceKey},
		"mandatory and understood":         {"0001 00 0000 0002 0003 0003 0002 01bb", nil},
		"not understood and not mandatory": {"0001 00 029a 0002 ffff", nil},
	}
	for n, tc := range tests {
		t.Run(n, func(t *testing.T) {
			msg := replyWith(dnswire.TypeHTTPS, octets(t, tc.rdata))
			f, err := read(msg, name("www.example"), dnswire.TypeHTTPS, MaxAliases, nil)
			if !errors.Is(err, tc.want) || (tc.want == nil) != (len(f.services) == 1) {
				t.Errorf("got %+v, %v; want %v", f.services, err, tc.want)
			}
		})
	}
}

// TestBadAddressRecords: rdata of the wrong length is not an address.
func TestBadAddressRecords(t *testing.T) {
	for typ, size := range map[dnswire.Type]int{dnswire.TypeA: 16, dnswire.TypeAAAA: 4} {
		f, err := read(replyWith(typ, make([]byte, size)), name("www.example"), typ, MaxAliases, nil)
		if err == nil || len(f.addrs) != 0 {
			t.Errorf("%v with %d octets: got %v, %v", typ, size, f.addrs, err)
		}
	}
}

// FuzzRead: whatever a server sends, reading it ends, stays within its bounds,
// and finds what an independent decoder finds.
func FuzzRead(f *testing.F) {
	seeds := [][]string{
		{"www.example. 60 IN A 192.0.2.1", "www.example. 30 IN A 192.0.2.2"},
		{"www.example. 60 IN CNAME b.example.", "b.example. 60 IN A 192.0.2.1"},
		{"b.example. 60 IN CNAME c.example.", "www.example. 60 IN CNAME b.example.", "c.example. 60 IN A 192.0.2.1"},
		{"www.example. 60 IN CNAME www.example."},
		{"www.example. 60 IN HTTPS 1 . alpn=h2 port=1"},
		{},
	}
	for _, rrs := range seeds {
		m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
		m.Response, m.Compress = true, true
		for _, s := range rrs {
			rr, err := dns.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		if _, err := read(b, name("www.example"), dnswire.TypeA, MaxAliases, nil); err != nil && !errors.Is(err, ErrAliasLoop) {
			f.Fatalf("seed %q: %v", rrs, err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, typ := range []dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeHTTPS} {
			found, err := read(msg, name("www.example"), typ, MaxAliases, nil)
			if len(found.aliases) > MaxAliases {
				t.Fatalf("%d aliases", len(found.aliases))
			}
			for _, a := range found.addrs {
				if a.Is4() != (typ == dnswire.TypeA) {
					t.Fatalf("%v among the %v records", a, typ)
				}
			}
			if err == nil && typ == dnswire.TypeA && len(found.aliases) == 0 {
				checkAgainstLibrary(t, msg, found)
			}
		}
	})
}

// checkAgainstLibrary compares the A records of www.example with those that
// miekg/dns finds, where it can read the message.
func checkAgainstLibrary(t *testing.T, msg []byte, found findings) {
	t.Helper()
	var m dns.Msg
	if m.Unpack(msg) != nil {
		return
	}
	var want []string
	for _, rr := range m.Answer {
		a, ok := rr.(*dns.A)
		if ok && a.Hdr.Class == dns.ClassINET && strings.EqualFold(a.Hdr.Name, "www.example.") && a.A != nil {
			want = append(want, a.A.String())
		}
	}
	var got []string
	for _, a := range found.addrs {
		got = append(got, a.String())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("found %v, the library finds %v", got, want)
	}
}
