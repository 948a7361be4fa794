package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/testdata/hosts"
)

// FuzzReadPairs: whatever is read is a pair of an IPv4 and an IPv6 address, no longer
// than a line may be, and is read again from what it says. It stands here because
// ./... leaves testdata out.
func FuzzReadPairs(f *testing.F) {
	for _, seed := range []string{
		"name,v4,v6\nh.example,192.0.2.1,2001:db8::1\n", "\"a,b\",192.0.2.1,2001:db8::1\r\n# a\n\n",
		"192.0.2.1,2001:db8::1,non-sibling", "::ffff:192.0.2.1, 2001:db8::1, 1",
	} {
		if cases, err := hosts.ReadPairs(strings.NewReader(seed)); err != nil || len(cases) != 1 {
			f.Fatalf("seed %q: %d pairs, %v", seed, len(cases), err)
		}
		f.Add(seed)
	}
	for _, refused := range []string{"h,192.0.2.1,::ffff:192.0.2.1\n", "h,192.0.2.1,fe80::1%eth0\n", "h,192.0.2.1,2001:db8::1\nh\n"} {
		f.Add(refused)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cases, err := hosts.ReadPairs(strings.NewReader(text))
		if err != nil {
			if len(cases) > 0 || !strings.Contains(err.Error(), "line ") {
				t.Fatalf("%d pairs, %v", len(cases), err)
			}
			return
		}
		for _, c := range cases {
			again(t, c)
		}
	})
}

// again writes a pair as a list and reads it.
func again(t *testing.T, c hosts.Case) {
	t.Helper()
	addrs := c.Addrs()
	if len(addrs) != 2 || !addrs[0].Is4() || !addrs[1].Is6() || addrs[1].Is4In6() || len(c.Observation.Name) > hosts.MaxLine {
		t.Fatalf("%+v", c)
	}
	label := map[bool]string{true: "same", false: "different"}[c.Host[addrs[0]] == c.Host[addrs[1]]]
	line := fmt.Sprintf("%v,%v,%s", addrs[0], addrs[1], label)
	read, err := hosts.ReadPairs(strings.NewReader(line))
	if err != nil || len(read) != 1 || fmt.Sprint(read[0].Host) != fmt.Sprint(c.Host) {
		t.Fatalf("%s: %+v, %v", line, read, err)
	}
}
