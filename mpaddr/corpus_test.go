package mpaddr_test

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// record is an entry of the one corpus of octets. It is what the table tests
// go through, and every entry is a seed of the fuzz targets.
type record struct {
	name   string
	codec  mpaddr.Codec
	octets string // in the notation of octetsOf
	text   string // the set in text; "" with err nil is the empty set
	err    error  // the reason when the octets do not parse
	offset int    // where, when err is set
}

var (
	draft   = mpaddr.Codec{}
	wide    = mpaddr.Codec{Layout: mpaddr.LayoutWide}
	linux   = mpaddr.Codec{Layout: mpaddr.LayoutLinux}
	darwin  = mpaddr.Codec{INET6: mpaddr.FamilyINET6Darwin}
	freebsd = mpaddr.Codec{Layout: mpaddr.LayoutWide, INET6: mpaddr.FamilyINET6FreeBSD}
)

// Addresses that the corpus puts together.
const (
	v4    = "10 02 01bb c0000201 0000000000000000"                                           // 192.0.2.1:443
	v4b   = "10 02 01bb c0000202 0000000000000000"                                           // 192.0.2.2:443
	v6    = "1c 0a 01bb 00000000 20010db8000000000000000000000001 00000000"                  // [2001:db8::1]:443
	v4in6 = "1c 0a 01bb 00000000 00000000000000000000ffffc0000201 00000000"                  // [::ffff:192.0.2.1]:443
	full6 = "1c 0a 0050 12345678 fe800000000000000000000000000001 00000003"                  // every field of an IPv6 address
	l4    = " n16:2 01bb c0000201 0000000000000000"                                          // v4, linux layout
	l6    = " n16:10 01bb 00000000 20010db8000000000000000000000001 00000000"                // v6, linux layout
	lfull = " n16:10 0050 12345678 fe800000000000000000000000000001 n32:3"                   // full6, linux layout
	lmap  = " n16:10 01bb 00000000 00000000000000000000ffffc0000201 00000000"                // v4in6, linux layout
	ten4  = "10 02 0000 0a000001 0000000000000000 10 02 0000 0a000002 00000000"              // for records cut short
	mapsc = "1c 0a 01bb 00000000 00000000000000000000ffffc0000201 00000007"                  // v4in6 with a scope id
	flow6 = "1c 0a 01bb 0000000a 20010db8000000000000000000000001 00000000"                  // v6 with flow information
	top6  = "1c 0a ffff ffffffff ffffffffffffffffffffffffffffffff ffffffff"                  // every bit set
	any4  = "10 02 0000 00000000 0000000000000000"                                           // 0.0.0.0:0
	any6  = "1c 0a 0000 00000000 00000000000000000000000000000000 00000000"                  // [::]:0
	top4  = "10 02 ffff ffffffff 0000000000000000"                                           // 255.255.255.255:65535
	dar6  = "1c 1e 01bb 00000000 20010db8000000000000000000000001 00000000"                  // v6 as Darwin has it
	bsd6  = "1c 1c 01bb 00000000 20010db8000000000000000000000001 00000000"                  // v6 as FreeBSD has it
	map2  = "1c 0a 01bb 00000000 00000000000000000000ffffc0000202 00000000"                  // v4b mapped
	six   = "[2001:db8::1]:443"                                                              // v6 in text
	fullT = "[fe80::1%3]:80/flowinfo=0x12345678"                                             // full6 in text
	topT  = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535/flowinfo=0xffffffff" // top6 in text
)

var goodRecords = []record{
	// The vectors of the project's checklist for the draft.
	{name: "one IPv4", octets: "13 27 01" + v4, text: "192.0.2.1:443"},
	{name: "IPv4 and IPv6", octets: "2f 27 02" + v4 + v6, text: "192.0.2.1:443," + six},
	{name: "empty", octets: "03 27 00", text: ""},

	// Order is kept, fields are lossless.
	{name: "IPv6 first", octets: "2f 27 02" + v6 + v4, text: six + ",192.0.2.1:443"},
	{name: "every field", octets: "1f 27 01" + full6, text: fullT},
	{name: "every bit", octets: "2f 27 02" + top6 + top4, text: topT + ",255.255.255.255:65535"},
	{name: "wildcards", octets: "2f 27 02" + any4 + any6, text: "0.0.0.0:0,[::]:0"},
	{name: "mapped stays IPv6", octets: "1f 27 01" + v4in6, text: "[::ffff:192.0.2.1]:443"},
	{name: "mapped with scope", octets: "1f 27 01" + mapsc, text: "[::ffff:192.0.2.1%7]:443"},
	{name: "mapped beside another", octets: "2f 27 02" + v4 + map2, text: "192.0.2.1:443,[::ffff:192.0.2.2]:443"},

	// The length field of the draft layout at its limits.
	{name: "15 IPv4", octets: "f3 27 0f" + many4(15), text: many4Text(15)},
	{name: "9 IPv6", octets: "ff 27 09" + many6(9), text: many6Text(9)},

	// The wide layout, and sets that only it holds.
	{name: "wide one IPv4", codec: wide, octets: "0014 27 01" + v4, text: "192.0.2.1:443"},
	{name: "wide IPv4 and IPv6", codec: wide, octets: "0030 27 02" + v4 + v6, text: "192.0.2.1:443," + six},
	{name: "wide empty", codec: wide, octets: "0004 27 00", text: ""},
	{name: "wide every field", codec: wide, octets: "0020 27 01" + full6, text: fullT},
	{name: "wide 16 IPv4", codec: wide, octets: "0104 27 10" + many4(16), text: many4Text(16)},
	{name: "wide 10 IPv6", codec: wide, octets: "011c 27 0a" + many6(10), text: many6Text(10)},
	{name: "wide 255 IPv6", codec: wide, octets: "1be8 27 ff" + many6(255), text: many6Text(255)},

	// The linux layout: native byte order where Linux has it.
	{name: "linux one IPv4", codec: linux, octets: "n16:39 n16:1" + l4, text: "192.0.2.1:443"},
	{name: "linux IPv4 and IPv6", codec: linux, octets: "n16:39 n16:2" + l4 + l6, text: "192.0.2.1:443," + six},
	{name: "linux empty", codec: linux, octets: "n16:39 n16:0", text: ""},
	{name: "linux every field", codec: linux, octets: "n16:39 n16:1" + lfull, text: fullT},
	{name: "linux mapped", codec: linux, octets: "n16:39 n16:1" + lmap, text: "[::ffff:192.0.2.1]:443"},

	// Native family numbers.
	{name: "darwin", codec: darwin, octets: "2f 27 02" + v4 + dar6, text: "192.0.2.1:443," + six},
	{name: "freebsd wide", codec: freebsd, octets: "0030 27 02" + v4 + bsd6, text: "192.0.2.1:443," + six},
}

var badRecords = []record{
	// Truncated.
	{name: "nothing", octets: "", err: mpaddr.ErrTruncated, offset: 0},
	{name: "length only", octets: "13", err: mpaddr.ErrTruncated, offset: 1},
	{name: "no count", octets: "13 27", err: mpaddr.ErrTruncated, offset: 2},
	{name: "no address", octets: "13 27 01", err: mpaddr.ErrTruncated, offset: 3},
	{name: "cut in family", octets: "13 27 01 10", err: mpaddr.ErrTruncated, offset: 4},
	{name: "cut in address", octets: "13 27 01 10 02 01bb c000", err: mpaddr.ErrTruncated, offset: 9},
	{name: "cut in zero", octets: "13 27 01 10 02 01bb c0000201 00", err: mpaddr.ErrTruncated, offset: 12},
	{name: "cut in second", octets: "23 27 02" + ten4, err: mpaddr.ErrTruncated, offset: 31},
	{name: "cut in scope_id", octets: "1f 27 01 1c 0a 01bb 00000000 20010db8000000000000000000000001 0000", err: mpaddr.ErrTruncated, offset: 29},

	// Length that disagrees with the octets.
	{name: "length zero", octets: "00 27 00", err: mpaddr.ErrLength, offset: 0},
	{name: "length below header", octets: "02 27 00", err: mpaddr.ErrLength, offset: 0},
	{name: "length too large", octets: "14 27 01" + v4, err: mpaddr.ErrTruncated, offset: 19},
	{name: "length in an address", octets: "12 27 01" + v4, err: mpaddr.ErrLength, offset: 18},
	{name: "length before the second", octets: "13 27 02" + v4 + v4b, err: mpaddr.ErrCount, offset: 19},

	// Element length that disagrees with its family.
	{name: "IPv4 with the length of IPv6", octets: "13 27 01 1c 02 01bb c0000201 0000000000000000", err: mpaddr.ErrLength, offset: 3},
	{name: "IPv6 with the length of IPv4", octets: "2f 27 02" + v4 + "10 0a 01bb 00000000 20010db8000000000000000000000001 00000000", err: mpaddr.ErrLength, offset: 19},
	{name: "element length zero", octets: "13 27 01 00 02 01bb c0000201 0000000000000000", err: mpaddr.ErrLength, offset: 3},

	// Count that disagrees with the elements.
	{name: "count too large", octets: "13 27 02" + v4, err: mpaddr.ErrCount, offset: 19},
	{name: "count too small", octets: "23 27 01" + v4 + v4b, err: mpaddr.ErrCount, offset: 19},
	{name: "count zero", octets: "13 27 00" + v4, err: mpaddr.ErrCount, offset: 3},

	// Families.
	{name: "another record family", octets: "13 02 01" + v4, err: mpaddr.ErrFamily, offset: 1},
	{name: "unknown family", octets: "13 27 01 10 01 01bb c0000201 0000000000000000", err: mpaddr.ErrFamily, offset: 4},
	{name: "darwin's IPv6", octets: "2f 27 02" + v4 + dar6, err: mpaddr.ErrFamily, offset: 20},
	{name: "portable IPv6 to darwin", codec: darwin, octets: "1f 27 01" + v6, err: mpaddr.ErrFamily, offset: 4},
	{name: "nested", octets: "06 27 01 03 27 00", err: mpaddr.ErrNested, offset: 4},
	{name: "nested after an address", octets: "16 27 02" + v4 + "03 27 00", err: mpaddr.ErrNested, offset: 20},

	// Trailing octets.
	{name: "trailing octet", octets: "13 27 01" + v4 + "00", err: mpaddr.ErrTrailing, offset: 19},
	{name: "trailing record", octets: "03 27 00 03 27 00", err: mpaddr.ErrTrailing, offset: 3},

	// What would not encode to the same octets.
	{name: "first octet of sin_zero", octets: "13 27 01 10 02 01bb c0000201 0100000000000000", err: mpaddr.ErrPadding, offset: 11},
	{name: "last octet of sin_zero", octets: "13 27 01 10 02 01bb c0000201 0000000000000080", err: mpaddr.ErrPadding, offset: 18},
	{name: "duplicate", octets: "23 27 02" + v4 + v4, err: mpaddr.ErrDuplicate, offset: 19},
	{name: "duplicate as mapped", octets: "3f 27 03" + v4 + v4b + v4in6, err: mpaddr.ErrDuplicate, offset: 35},
	{name: "duplicate of mapped", octets: "2f 27 02" + v4in6 + v4, err: mpaddr.ErrDuplicate, offset: 31},
	{name: "duplicate but for flowinfo", octets: "3b 27 02" + v6 + flow6, err: mpaddr.ErrDuplicate, offset: 31},
	{name: "duplicate in a large record", codec: wide, octets: "0154 27 15" + many4(20) + "10 02 0000 0a000003 0000000000000000", err: mpaddr.ErrDuplicate, offset: 324},

	// The other layouts.
	{name: "wide nothing", codec: wide, octets: "", err: mpaddr.ErrTruncated, offset: 0},
	{name: "wide half a length", codec: wide, octets: "00", err: mpaddr.ErrTruncated, offset: 1},
	{name: "wide header only", codec: wide, octets: "0014 27 01", err: mpaddr.ErrTruncated, offset: 4},
	{name: "wide length below header", codec: wide, octets: "0003 27 00", err: mpaddr.ErrLength, offset: 0},
	{name: "wide family", codec: wide, octets: "0004 26 00", err: mpaddr.ErrFamily, offset: 2},
	{name: "wide trailing", codec: wide, octets: "0004 27 00 00", err: mpaddr.ErrTrailing, offset: 4},
	{name: "wide count", codec: wide, octets: "0014 27 02" + v4, err: mpaddr.ErrCount, offset: 20},
	{name: "wide draft octets", codec: wide, octets: "13 27 01" + v4, err: mpaddr.ErrFamily, offset: 2},
	{name: "linux nothing", codec: linux, octets: "", err: mpaddr.ErrTruncated, offset: 0},
	{name: "linux no count", codec: linux, octets: "n16:39", err: mpaddr.ErrTruncated, offset: 2},
	{name: "linux family", codec: linux, octets: "n16:2 n16:0", err: mpaddr.ErrFamily, offset: 0},
	{name: "linux count too large", codec: linux, octets: "n16:39 n16:2" + l4, err: mpaddr.ErrCount, offset: 20},
	{name: "linux largest count", codec: linux, octets: "n16:39 n16:65535", err: mpaddr.ErrCount, offset: 4},
	{name: "linux cut", codec: linux, octets: "n16:39 n16:1 n16:2 01bb c000", err: mpaddr.ErrTruncated, offset: 10},
	{name: "linux trailing", codec: linux, octets: "n16:39 n16:1" + l4 + "00", err: mpaddr.ErrTrailing, offset: 20},
	{name: "linux element family", codec: linux, octets: "n16:39 n16:1 n16:1 01bb c0000201 0000000000000000", err: mpaddr.ErrFamily, offset: 4},
	{name: "linux nested", codec: linux, octets: "n16:39 n16:2" + l4 + " n16:39 n16:0", err: mpaddr.ErrNested, offset: 20},
	{name: "linux padding", codec: linux, octets: "n16:39 n16:1 n16:2 01bb c0000201 0000000100000000", err: mpaddr.ErrPadding, offset: 15},
}

// phrase is an entry of the one corpus of text.
type phrase struct {
	text   string
	want   string // the text form of the set; ignored when bad
	bad    bool
	offset int // where, when bad
}

var phrases = []phrase{
	{text: "", want: ""},
	{text: " \t\n", want: ""},
	{text: "192.0.2.1:443", want: "192.0.2.1:443"},
	{text: "192.0.2.1:443,[2001:db8::1]:443", want: "192.0.2.1:443,[2001:db8::1]:443"},
	{text: " 192.0.2.1:443 ,\n\t[2001:db8::1]:443 ", want: "192.0.2.1:443,[2001:db8::1]:443"},
	{text: "[2001:DB8:0:0::1]:00443", want: "[2001:db8::1]:443"},
	{text: "0.0.0.0:0,[::]:0", want: "0.0.0.0:0,[::]:0"},

	// One target twice is taken once, and the first one stays.
	{text: "192.0.2.1:443,192.0.2.1:443", want: "192.0.2.1:443"},
	{text: "[::ffff:192.0.2.1]:443,192.0.2.1:443", want: "[::ffff:192.0.2.1]:443"},
	{text: "[2001:db8::1]:443,[2001:db8::1]:443/flowinfo=0x1", want: "[2001:db8::1]:443"},
	{text: "192.0.2.1:443,192.0.2.1:80", want: "192.0.2.1:443,192.0.2.1:80"},

	// Zones: numbers have one form, names keep theirs.
	{text: "[fe80::1%3]:80", want: "[fe80::1%3]:80"},
	{text: "[fe80::1%003]:80", want: "[fe80::1%3]:80"},
	{text: "[fe80::1%0]:80", want: "[fe80::1]:80"},
	{text: "[fe80::1%000]:80,[fe80::1]:80", want: "[fe80::1]:80"},
	{text: "[fe80::1%4294967295]:80", want: "[fe80::1%4294967295]:80"},
	{text: "[fe80::1%4294967296]:80", want: "[fe80::1%4294967296]:80"}, // no scope id, so a name
	{text: "[fe80::1%99999999999999999999999]:80", want: "[fe80::1%99999999999999999999999]:80"},
	{text: "[fe80::1%eth0]:80", want: "[fe80::1%eth0]:80"},
	{text: "[fe80::1%eth0]:80,[fe80::1%eth1]:80,[fe80::1]:80", want: "[fe80::1%eth0]:80,[fe80::1%eth1]:80,[fe80::1]:80"},
	{text: "[fe80::1%Ethernet 2]:80", want: "[fe80::1%Ethernet%202]:80"},
	{text: "[fe80::1%a%2cb%5D%25%00]:80", want: "[fe80::1%a%2Cb%5D%25%00]:80"},
	{text: "[fe80::1%br-lan.1_x~]:80", want: "[fe80::1%br-lan.1_x~]:80"},
	{text: "[fe80::1%\xff\xe4]:80", want: "[fe80::1%%FF%E4]:80"},
	{text: "[fe80::1%%33]:80", want: "[fe80::1%3]:80"},
	{text: "[::ffff:192.0.2.1%eth0]:80", want: "[::ffff:192.0.2.1%eth0]:80"},
	{text: "[::ffff:192.0.2.1%eth0]:80,192.0.2.1:80", want: "[::ffff:192.0.2.1%eth0]:80"},

	// Flow information.
	{text: "[2001:db8::1]:443/flowinfo=0x12345", want: "[2001:db8::1]:443/flowinfo=0x12345"},
	{text: "[2001:db8::1]:443/flowinfo=0xFFFFFFFF", want: "[2001:db8::1]:443/flowinfo=0xffffffff"},
	{text: "[2001:db8::1]:443/flowinfo=0x0", want: "[2001:db8::1]:443"},
	{text: "[fe80::1%eth0]:443/flowinfo=0x1,192.0.2.1:443", want: "[fe80::1%eth0]:443/flowinfo=0x1,192.0.2.1:443"},

	{text: ",", bad: true, offset: 0},
	{text: "192.0.2.1:443,", bad: true, offset: 14},
	{text: "192.0.2.1:443, ,[::1]:1", bad: true, offset: 15},
	{text: "192.0.2.1", bad: true, offset: 9},
	{text: "192.0.2.1:", bad: true, offset: 10},
	{text: "192.0.2.1:x", bad: true, offset: 10},
	{text: "192.0.2.1:+1", bad: true, offset: 10},
	{text: "192.0.2.1:65536", bad: true, offset: 10},
	{text: "192.0.2:443", bad: true, offset: 0},
	{text: "192.0.2.1%eth0:443", bad: true, offset: 0},
	{text: "host.example:443", bad: true, offset: 0},
	{text: "2001:db8::1", bad: true, offset: 0},
	{text: "192.0.2.1:443,2001:db8::1", bad: true, offset: 14},
	{text: "192.0.2.1:443, host:80", bad: true, offset: 15},
	{text: "[192.0.2.1]:443", bad: true, offset: 1},
	{text: "[2001:db8::1]", bad: true, offset: 13},
	{text: "[2001:db8::1]443", bad: true, offset: 13},
	{text: "[2001:db8::1", bad: true, offset: 12},
	{text: "[]:443", bad: true, offset: 1},
	{text: "[2001:db8::g]:443", bad: true, offset: 1},
	{text: "[fe80::1%]:443", bad: true, offset: 9},
	{text: "[fe80::1%a%2]:443", bad: true, offset: 10},
	{text: "[fe80::1%a%zz]:443", bad: true, offset: 10},
	{text: "[fe80::1%a%]:443", bad: true, offset: 10},
	{text: "192.0.2.1:443/flowinfo=0x1", bad: true, offset: 13},
	{text: "[2001:db8::1]:443/flowinfo=", bad: true, offset: 27},
	{text: "[2001:db8::1]:443/flowinfo=1", bad: true, offset: 27},
	{text: "[2001:db8::1]:443/flowinfo=0x", bad: true, offset: 27},
	{text: "[2001:db8::1]:443/flowinfo=0x1_0", bad: true, offset: 27},
	{text: "[2001:db8::1]:443/flowinfo=0x100000000", bad: true, offset: 27},
	{text: "[2001:db8::1]:443/flow=0x1", bad: true, offset: 17},
}

// octetsOf returns the octets of s: hexadecimal digits with spaces anywhere
// between octets, and n16:N or n32:N for a number in the machine's byte order.
func octetsOf(t testing.TB, s string) []byte {
	t.Helper()
	b := []byte{}
	for _, word := range strings.Fields(s) {
		if digits, ok := strings.CutPrefix(word, "n16:"); ok {
			b = binary.NativeEndian.AppendUint16(b, uint16(numberOf(t, digits, 16)))
			continue
		}
		if digits, ok := strings.CutPrefix(word, "n32:"); ok {
			b = binary.NativeEndian.AppendUint32(b, uint32(numberOf(t, digits, 32)))
			continue
		}
		octets, err := hex.DecodeString(word)
		if err != nil {
			t.Fatalf("corpus: %q: %v", word, err)
		}
		b = append(b, octets...)
	}
	return b
}

func numberOf(t testing.TB, digits string, bits int) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(digits, 10, bits)
	if err != nil {
		t.Fatalf("corpus: %v", err)
	}
	return n
}

// many4 and many6 are n addresses, 10.0.0.1 or fd00::1 and on, port 0.
func many4(n int) string { return numbered(n, " 10 02 0000 0a0000", " 0000000000000000") }

func many6(n int) string {
	return numbered(n, " 1c 0a 0000 00000000 fd0000000000000000000000000000", " 00000000")
}

func numbered(n int, before, after string) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		b.WriteString(before + hex.EncodeToString([]byte{byte(i)}) + after)
	}
	return b.String()
}

func many4Text(n int) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = "10.0.0." + strconv.Itoa(i+1) + ":0"
	}
	return strings.Join(texts, ",")
}

func many6Text(n int) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = "[fd00::" + strconv.FormatInt(int64(i+1), 16) + "]:0"
	}
	return strings.Join(texts, ",")
}

// records returns the corpus of one layout, good and bad.
func records(l mpaddr.Layout) []record {
	all := slices.Concat(goodRecords, badRecords)
	return slices.DeleteFunc(all, func(r record) bool { return r.codec.Layout != l })
}

// setOf parses text that the test knows to be right.
func setOf(t testing.TB, text string) mpaddr.Addr {
	t.Helper()
	a, err := mpaddr.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
