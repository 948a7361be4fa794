package mpaddr_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/mpaddr"
)

func TestCodecGoodRecords(t *testing.T) {
	for _, r := range goodRecords {
		t.Run(r.name, func(t *testing.T) {
			octets := octetsOf(t, r.octets)
			a, err := r.codec.Parse(octets)
			if err != nil {
				t.Fatal(err)
			}
			if a.String() != r.text {
				t.Errorf("parsed %s, want %s", a, r.text)
			}
			if want := setOf(t, r.text); !a.Equal(want) {
				t.Errorf("parsed %v, its text parses to %v", a, want)
			}
			prefix := []byte("before")
			got, err := r.codec.Append(bytes.Clone(prefix), a)
			if err != nil {
				t.Fatal(err)
			}
			if want := append(prefix, octets...); !bytes.Equal(got, want) {
				t.Errorf("encoded\n%x, want\n%x", got, want)
			}
			if n := r.codec.Size(a); n != len(octets) {
				t.Errorf("Size is %d, want %d", n, len(octets))
			}
		})
	}
}

func TestCodecBadRecords(t *testing.T) {
	for _, r := range badRecords {
		t.Run(r.name, func(t *testing.T) {
			a, err := r.codec.Parse(octetsOf(t, r.octets))
			if !errors.Is(err, r.err) {
				t.Fatalf("got %v, %v, want %v", a, err, r.err)
			}
			var syntax *mpaddr.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("got %T, want a SyntaxError", err)
			}
			if syntax.Offset != r.offset {
				t.Errorf("offset %d, want %d: %v", syntax.Offset, r.offset, err)
			}
			if !a.IsEmpty() {
				t.Errorf("got %v with an error", a)
			}
		})
	}
}

// Every record cut anywhere is an error whose offset is within the octets.
func TestCodecEveryTruncation(t *testing.T) {
	for _, r := range goodRecords {
		octets := octetsOf(t, r.octets)
		for n := range octets {
			_, err := r.codec.Parse(octets[:n:n])
			var syntax *mpaddr.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset > n {
				t.Fatalf("%s, %d octets of %d: got %v", r.name, n, len(octets), err)
			}
		}
	}
}

func TestCodecAppendErrors(t *testing.T) {
	many := func(n int, text func(int) string) mpaddr.Addr { return setOf(t, text(n)) }
	for _, tt := range []struct {
		name  string
		codec mpaddr.Codec
		set   mpaddr.Addr
		err   error
		says  string
	}{
		{"16 IPv4", draft, many(16, many4Text), mpaddr.ErrTooLong, "16 addresses take 259 octets"},
		{"10 IPv6", draft, many(10, many6Text), mpaddr.ErrTooLong, "10 addresses take 283 octets"},
		{"wide 256 addresses", wide, numberedSet(256), mpaddr.ErrTooLong, "the count field holds 255"},
		{"linux 65536 addresses", linux, numberedSet(65536), mpaddr.ErrTooLong, "the count field holds 65535"},
		{"zone is a name", draft, setOf(t, "192.0.2.1:1,[fe80::1%eth0]:1"), mpaddr.ErrZone, `address 2, [fe80::1%eth0]:1: zone "eth0"`},
		{"zone above 32 bits", linux, setOf(t, "[fe80::1%4294967296]:1"), mpaddr.ErrZone, `zone "4294967296"`},
		{"no such layout", mpaddr.Codec{Layout: 3}, mpaddr.Addr{}, mpaddr.ErrCodec, "Layout(3)"},
		{"equal numbers", mpaddr.Codec{INET: 10}, mpaddr.Addr{}, mpaddr.ErrCodec, "10, 10, 39"},
		{"numbers above 8 bits", mpaddr.Codec{INET6: 256}, mpaddr.Addr{}, mpaddr.ErrCodec, "8 bits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst := []byte("kept")
			b, err := tt.codec.Append(dst, tt.set)
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v, want %v saying %q", err, tt.err, tt.says)
			}
			if string(b) != "kept" {
				t.Errorf("returned %q, want dst as it was", b)
			}
		})
	}
}

func TestCodecUnusable(t *testing.T) {
	c := mpaddr.Codec{Layout: 3}
	if _, err := c.Parse([]byte{3, 39, 0}); !errors.Is(err, mpaddr.ErrCodec) {
		t.Errorf("Parse: got %v, want %v", err, mpaddr.ErrCodec)
	}
	if _, err := c.Fields([]byte{3, 39, 0}); !errors.Is(err, mpaddr.ErrCodec) {
		t.Errorf("Fields: got %v, want %v", err, mpaddr.ErrCodec)
	}
	if _, ok := c.Detect([]byte{3, 39, 0}); ok {
		t.Error("Detect says yes")
	}
}

// The linux layout takes family numbers of 16 bits, and the largest record.
func TestCodecLinuxLimits(t *testing.T) {
	c := mpaddr.Codec{Layout: mpaddr.LayoutLinux, INET6: 300}
	want := setOf(t, "192.0.2.1:443,"+six)
	b, err := c.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Parse(b); err != nil || !got.Equal(want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	want = numberedSet(65535)
	b, err = linux.Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := linux.Parse(b); err != nil || !got.Equal(want) {
		t.Errorf("65535 addresses: %d come back, %v", got.Len(), err)
	}
}

// numberedSet returns the IPv4 addresses from 10.0.0.0 on, at port 1.
func numberedSet(n int) mpaddr.Addr {
	ips := make([]netip.Addr, n)
	for i := range ips {
		ips[i] = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	return mpaddr.FromAddrs(1, ips...)
}

func TestCodecDetect(t *testing.T) {
	for _, r := range goodRecords {
		start := r.codec
		start.Layout = mpaddr.LayoutDraft
		got, ok := start.Detect(octetsOf(t, r.octets))
		if !ok || got != r.codec {
			t.Errorf("%s: got %v, %v, want %v", r.name, got, ok, r.codec)
		}
	}
	for _, s := range []string{"", "27", "27 03", "13 02 01", "00 00 00 00", "10 02 01bb c0000201 0000000000000000"} {
		if got, ok := draft.Detect(octetsOf(t, s)); ok {
			t.Errorf("%q: got %v, want none", s, got.Layout)
		}
	}
}

func TestLayoutNames(t *testing.T) {
	for _, l := range []mpaddr.Layout{mpaddr.LayoutDraft, mpaddr.LayoutWide, mpaddr.LayoutLinux} {
		if got, err := mpaddr.ParseLayout(l.String()); err != nil || got != l {
			t.Errorf("%v: got %v, %v", l, got, err)
		}
	}
	if _, err := mpaddr.ParseLayout("bsd"); !errors.Is(err, mpaddr.ErrCodec) {
		t.Errorf("bsd: got %v, want %v", err, mpaddr.ErrCodec)
	}
}

func TestSyntaxErrorText(t *testing.T) {
	_, err := draft.Parse(octetsOf(t, "2f 27 02"+v4+"10 0a 01bb 00000000 20010db8000000000000000000000001 00000000"))
	want := "parse AF_MULTIPATH record (draft layout): offset 19: wrong length: length of address 2 is 16, AF_INET6 has 28"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFields(t *testing.T) {
	octets := octetsOf(t, "2f 27 02"+v4+full6)
	fields, err := draft.Fields(octets)
	if err != nil {
		t.Fatal(err)
	}
	want := []mpaddr.Field{
		{Offset: 0, Len: 1, Address: 0, Name: "length", Value: "47"},
		{Offset: 1, Len: 1, Address: 0, Name: "family", Value: "39 (AF_MULTIPATH)"},
		{Offset: 2, Len: 1, Address: 0, Name: "count", Value: "2"},
		{Offset: 3, Len: 1, Address: 1, Name: "length", Value: "16"},
		{Offset: 4, Len: 1, Address: 1, Name: "family", Value: "2 (AF_INET)"},
		{Offset: 5, Len: 2, Address: 1, Name: "port", Value: "443"},
		{Offset: 7, Len: 4, Address: 1, Name: "address", Value: "192.0.2.1"},
		{Offset: 11, Len: 8, Address: 1, Name: "zero", Value: "0000000000000000"},
		{Offset: 19, Len: 1, Address: 2, Name: "length", Value: "28"},
		{Offset: 20, Len: 1, Address: 2, Name: "family", Value: "10 (AF_INET6)"},
		{Offset: 21, Len: 2, Address: 2, Name: "port", Value: "80"},
		{Offset: 23, Len: 4, Address: 2, Name: "flowinfo", Value: "0x12345678"},
		{Offset: 27, Len: 16, Address: 2, Name: "address", Value: "fe80::1"},
		{Offset: 43, Len: 4, Address: 2, Name: "scope_id", Value: "3"},
	}
	if len(fields) != len(want) {
		t.Fatalf("got %d fields, want %d: %v", len(fields), len(want), fields)
	}
	for i, f := range fields {
		if f != want[i] {
			t.Errorf("field %d: got %+v, want %+v", i, f, want[i])
		}
	}
}

// Fields of a record that parses cover it without gap; of one that does not,
// they go up to the error at least.
func TestFieldsCoverRecords(t *testing.T) {
	for _, r := range append(goodRecords[:len(goodRecords):len(goodRecords)], badRecords...) {
		octets := octetsOf(t, r.octets)
		fields, err := r.codec.Fields(octets)
		if !errors.Is(err, r.err) {
			t.Fatalf("%s: got %v, want %v", r.name, err, r.err)
		}
		end := 0
		for _, f := range fields {
			if f.Offset != end || f.Len < 1 || f.Value == "" {
				t.Fatalf("%s: field %+v after offset %d", r.name, f, end)
			}
			end += f.Len
		}
		if r.err == nil && end != len(octets) {
			t.Errorf("%s: fields end at %d of %d", r.name, end, len(octets))
		}
		if r.err != nil && !errors.Is(r.err, mpaddr.ErrTruncated) && !errors.Is(r.err, mpaddr.ErrLength) && end < r.offset {
			t.Errorf("%s: fields end at %d, before the error at %d", r.name, end, r.offset)
		}
	}
}

func TestFieldsLinuxAndUnknownFamily(t *testing.T) {
	fields, err := linux.Fields(octetsOf(t, "n16:39 n16:2"+lfull+" n16:16 0000"))
	if !errors.Is(err, mpaddr.ErrFamily) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, f := range fields {
		got = append(got, f.Name+"="+f.Value)
	}
	want := "family=39 (AF_MULTIPATH) count=2 family=10 (AF_INET6) port=80 flowinfo=0x12345678 address=fe80::1 scope_id=3 family=16 (unknown)"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got\n%s, want\n%s", s, want)
	}
}

func TestBinaryMarshalling(t *testing.T) {
	a := setOf(t, "192.0.2.1:443,"+six)
	b, err := a.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if want := octetsOf(t, "2f 27 02"+v4+v6); !bytes.Equal(b, want) {
		t.Errorf("got %s, want %s", hex.EncodeToString(b), hex.EncodeToString(want))
	}
	var back mpaddr.Addr
	if err := back.UnmarshalBinary(b); err != nil || !back.Equal(a) {
		t.Errorf("got %v, %v, want %v", back, err, a)
	}
	clear(b) // the set keeps nothing of the octets
	if !back.Equal(a) {
		t.Errorf("set changed with the octets it came from: %v", back)
	}
	if err := back.UnmarshalBinary([]byte{3, 39}); err == nil || !back.Equal(a) {
		t.Errorf("after error %v: %v, want it as it was", err, back)
	}
}
