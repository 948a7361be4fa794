package mpaddr_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/af-multipath/mpresolve/mpaddr"
)

func Example() {
	// What a resolver gives for one name, as one address.
	host := mpaddr.FromAddrs(443,
		netip.MustParseAddr("2001:db8::1"),
		netip.MustParseAddr("192.0.2.1"),
	)
	fmt.Println(host.Network(), host)

	record, err := host.MarshalBinary()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%x\n", record)
	// Output:
	// multipath [2001:db8::1]:443,192.0.2.1:443
	// 2f27021c0a01bb0000000020010db800000000000000000000000100000000100201bbc00002010000000000000000
}

func ExampleAddr_Diff() {
	inUse := mpaddr.MustParse("192.0.2.1:443,192.0.2.2:443")
	next := mpaddr.MustParse("[::ffff:192.0.2.2]:443,[2001:db8::1]:443")
	added, removed := inUse.Diff(next)
	fmt.Println("added:", added)
	fmt.Println("removed:", removed)
	// Output:
	// added: [2001:db8::1]:443
	// removed: 192.0.2.1:443
}

func ExampleAddr_All() {
	for i, e := range mpaddr.MustParse("192.0.2.1:443,[fe80::1%2]:443").All() {
		fmt.Println(i, e.Addr(), e.Port())
	}
	// Output:
	// 0 192.0.2.1 443
	// 1 fe80::1%2 443
}

func ExampleAddr_Unmap() {
	a := mpaddr.MustParse("[::ffff:192.0.2.1]:443")
	b := mpaddr.MustParse("192.0.2.1:443")
	fmt.Println(a.Equal(b), a.SameSet(b), a.Unmap().Equal(b))
	// Output: false true true
}

func ExampleAddr_MarshalJSON() {
	b, err := json.Marshal(map[string]mpaddr.Addr{
		"addresses": mpaddr.MustParse("192.0.2.1:443,[2001:db8::1]:443"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(b))
	// Output: {"addresses":["192.0.2.1:443","[2001:db8::1]:443"]}
}

func ExampleCodec_Parse() {
	record := []byte{0x13, 39, 1, 16, 2, 0x01, 0xbb, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	fmt.Println(mpaddr.Codec{}.Parse(record))

	record[3] = 28
	_, err := mpaddr.Codec{}.Parse(record)
	var syntax *mpaddr.SyntaxError
	if errors.As(err, &syntax) {
		fmt.Println(syntax.Offset, syntax.Detail)
	}
	// Output:
	// 192.0.2.1:443 <nil>
	// 3 length of address 1 is 28, AF_INET has 16
}

// The octets of one platform become those of another.
func ExampleCodec_darwin() {
	a := mpaddr.MustParse("[2001:db8::1]:443")
	b, err := mpaddr.Codec{INET6: mpaddr.FamilyINET6Darwin}.Append(nil, a)
	fmt.Printf("%x %v\n", b, err)
	// Output: 1f27011c1e01bb0000000020010db800000000000000000000000100000000 <nil>
}

func ExampleCodec_Fields() {
	record, _ := mpaddr.MustParse("192.0.2.1:443").MarshalBinary()
	record[2] = 2 // one address more than there is
	fields, err := mpaddr.Codec{}.Fields(record)
	for _, f := range fields {
		fmt.Printf("%02d  %-16x  %d %-7s %s\n", f.Offset, record[f.Offset:f.Offset+f.Len], f.Address, f.Name, f.Value)
	}
	fmt.Println(err)
	// Output:
	// 00  13                0 length  19
	// 01  27                0 family  39 (AF_MULTIPATH)
	// 02  02                0 count   2
	// 03  10                1 length  16
	// 04  02                1 family  2 (AF_INET)
	// 05  01bb              1 port    443
	// 07  c0000201          1 address 192.0.2.1
	// 11  0000000000000000  1 zero    0000000000000000
	// parse AF_MULTIPATH record (draft layout): offset 19: wrong count: count is 2, the record ends after 1
}
