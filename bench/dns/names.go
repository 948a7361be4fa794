package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// The zone that the authoritative server has. It is below example. (RFC 6761),
// as peers answer test. themselves.
const (
	zoneName   = "bench.example."
	wildSuffix = ".wild." + zoneName // any name below has two A and two AAAA records
	zoneTTL    = 86400               // longer than any run, so that nothing expires in one
)

// manyNames is how many names the zone has besides the wildcard's.
const manyNames = 100_000

// kind is what a name of the zone has.
type kind uint8

const (
	address kind = iota // one A record
	alias               // a CNAME record that leads to an address
	absent              // nothing: NXDOMAIN
)

// kindOf says what the i-th name has: of ten names one is an alias, and one is
// absent.
func kindOf(i int) kind {
	switch i % 10 {
	case 8:
		return alias
	case 9:
		return absent
	}
	return address
}

func nameOf(i int) string { return fmt.Sprintf("host-%d.%s", i, zoneName) }

// targetOf is the name that the i-th name, an alias, leads to.
func targetOf(i int) int { return i - i%10 }

// addressOf is the A record of the i-th name.
func addressOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18 + byte(i>>16&1), byte(i >> 8), byte(i)})
}

// The records of the wildcard.
func wildAddresses() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
	}
}

// writeZone writes the zone file (RFC 1035 section 5).
func writeZone(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "$ORIGIN %s\n$TTL %d\n@ SOA ns hostmaster 1 3600 600 864000 %[2]d\n@ NS ns\nns A 127.0.0.1\n", zoneName, zoneTTL)
	for _, a := range wildAddresses() {
		fmt.Fprintf(b, "*.wild %s %v\n", typeOf(a), a)
	}
	for i := range manyNames {
		switch kindOf(i) {
		case address:
			fmt.Fprintf(b, "host-%d A %v\n", i, addressOf(i))
		case alias:
			fmt.Fprintf(b, "host-%d CNAME host-%d\n", i, targetOf(i))
		case absent:
		}
	}
	return b.Flush()
}

func typeOf(a netip.Addr) dnswire.Type {
	if a.Is4() {
		return dnswire.TypeA
	}
	return dnswire.TypeAAAA
}
