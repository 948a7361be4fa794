package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/af-multipath/mpresolve/resolver"
)

func Example() {
	var r resolver.Resolver // the system's configuration
	defer func() { _ = r.Close() }()
	answer, err := r.Lookup(context.Background(), "localhost")
	if err != nil {
		fmt.Println(err)
		return
	}
	record := answer.Record.WithPort(443)
	fmt.Println(record.Len(), record.Contains(record.At(0)))
	// Output: 2 true
}

// The kinds of failure are told apart with errors.Is.
func ExampleResolver_Lookup_notFound() {
	var r resolver.Resolver
	defer func() { _ = r.Close() }()
	_, err := r.Lookup(context.Background(), "www.invalid")
	switch {
	case errors.Is(err, resolver.ErrNotFound):
		fmt.Println("not found:", err)
	case errors.Is(err, resolver.ErrBadName):
		fmt.Println("not a name:", err)
	}
	// Output: not found: www.invalid: no such name
}

// Stream gives each family as it comes, for those who begin to connect before
// all is known.
func ExampleResolver_Stream() {
	var r resolver.Resolver
	defer func() { _ = r.Close() }()
	for family, err := range r.Stream(context.Background(), "192.0.2.1") {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(family.Type, family.Addrs)
	}
	// Output: A [192.0.2.1]
}

// Merge is a pure function: what it knows of this host is in its arguments.
func ExampleMerge() {
	families := []resolver.FamilyResult{
		{Type: "AAAA", Name: "www.example.", TTL: time.Minute, Addrs: []netip.Addr{netip.MustParseAddr("::1")}},
		{Type: "A", Name: "www.example.", TTL: time.Hour, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
	}
	answer := resolver.Merge("www.example", 443, families, resolver.MergeOptions{Now: time.Now()})
	fmt.Println(answer.Record)
	for _, d := range answer.Dropped {
		fmt.Println(d.Addr, d.Why)
	}
	// Output:
	// 192.0.2.1:443
	// ::1 loopback address
}
