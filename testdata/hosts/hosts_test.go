package hosts

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

var update = flag.Bool("update", false, "write sample.csv anew")

// sampleSize is how many pairs of the test part the checked-in sample has.
const sampleSize = 200

// sample is pairs of the test part as a list: "v4,v6,label".
func sample() []byte {
	var out bytes.Buffer
	fmt.Fprintln(&out, "v4,v6,label")
	n := 0
	for _, c := range Generate(Test, Names) {
		for i, a := range c.Addrs() {
			for _, b := range c.Addrs()[:i] {
				four, six := a, b
				if six.Is4() {
					four, six = six, four
				}
				if !four.Is4() || !six.Is6() || n == sampleSize {
					continue
				}
				n++
				label := map[bool]string{true: "same", false: "different"}[c.Host[a] == c.Host[b]]
				fmt.Fprintf(&out, "%s,%s,%s\n", four, six, label)
			}
		}
	}
	return out.Bytes()
}

// TestSample: the checked-in sample is what the generator makes, and is read as
// it was written.
func TestSample(t *testing.T) {
	want := sample()
	if *update {
		if err := os.WriteFile("sample.csv", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("sample.csv")
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("sample.csv is not what the generator makes (%v); go test ./testdata/hosts -update writes it", err)
	}
	cases, err := ReadPairs(bytes.NewReader(got))
	if err != nil || len(cases) != sampleSize {
		t.Fatalf("%d pairs, %v", len(cases), err)
	}
}

func TestGenerateIsFixed(t *testing.T) {
	one, two := Generate(Train, 300), Generate(Train, 300)
	for i := range one {
		one[i].Observation.Prefixes, two[i].Observation.Prefixes = nil, nil
	}
	if !reflect.DeepEqual(one, two) {
		t.Error("two calls differ")
	}
	kinds := map[string]bool{}
	for _, c := range Generate(Test, Names) {
		kinds[c.Kind] = true
		if len(c.Host) != len(c.Addrs()) || len(c.Host) == 0 {
			t.Fatalf("%s: %d addresses, %d labels", c.Observation.Name, len(c.Addrs()), len(c.Host))
		}
	}
	if len(kinds) != len(deployments()) {
		t.Errorf("%d of %d deployments", len(kinds), len(deployments()))
	}
}

// TestShapes: the corpus has the shapes that were measured elsewhere.
func TestShapes(t *testing.T) {
	var single, found, other, mistaken, names int
	var same float64 // of each name the share of its A and AAAA pairs that are one host
	for _, c := range Generate(Train, Names) {
		addrs := c.Addrs()
		j := hostid.Judge(addrs, c.Observation.Evidence(Now()), Now())
		pairs, those := 0, 0
		for i, a := range addrs {
			for _, b := range addrs[:i] {
				if a.Is4() == b.Is4() {
					continue
				}
				one := c.Host[a] == c.Host[b]
				count(&pairs, &those, one)
				switch {
				case c.Kind == "single":
					count(&single, &found, patterned(j.Pair(a, b)))
				case !one && (c.Kind == "pool" || c.Kind == "sites" || c.Kind == "rotating"):
					count(&other, &mistaken, patterned(j.Pair(a, b)))
				}
			}
		}
		if pairs > 0 {
			names++
			same += float64(those) / float64(pairs)
		}
	}
	share := func(a, b int) float64 { return float64(a) / float64(b) }
	t.Logf("patterns in %.3f of single hosts and %.4f of different ones; %.3f of a name's A and AAAA pairs are one host", share(found, single), share(mistaken, other), same/float64(names))
	if s := same / float64(names); s < 0.3 || s > 0.65 {
		t.Errorf("%.3f of a name's A and AAAA pairs are one host, measured elsewhere of popular names: 0.4", s)
	}
	if s := share(found, single); s < 0.20 || s > 0.35 {
		t.Errorf("patterns in %.3f of the pairs of single hosts, measured elsewhere: 0.27", s)
	}
	if s := share(mistaken, other); s > 0.02 {
		t.Errorf("patterns in %.4f of the pairs of different hosts", s)
	}
}

func count(all, those *int, is bool) {
	*all++
	if is {
		*those++
	}
}

func patterned(p hostid.Pair) bool {
	for _, e := range p.Evidence {
		switch e.Kind {
		case hostid.EmbeddedOctets, hostid.EmbeddedDecimal, hostid.EqualEnd:
			return true
		}
	}
	return false
}

func TestReadPairs(t *testing.T) {
	for text, want := range map[string]string{
		"name,v4,v6\nh.example,192.0.2.1,2001:db8::1\n":                     "h.example true",
		"192.0.2.1,2001:db8::1,same\n192.0.2.1, 2001:db8::2, Non-Sibling\n": " true  false",
		"# a comment\n192.0.2.1,2001:db8::1,0\n":                            " false",
		"h,192.0.2.1,2001:db8::1\nh,192.0.2.1,192.0.2.2\n":                  `line 2: "192.0.2.2" is no IPv6 address`,
		"h,192.0.2.1,2001:db8::1\nh,2001:db8::1,2001:db8::1\n":              `line 2: "2001:db8::1" is no IPv4 address`,
		"192.0.2.1,2001:db8::1,1\n192.0.2.1,2001:db8::1,maybe\n":            `line 2: unknown label "maybe"`,
		"192.0.2.1,2001:db8::1\n":                                           "line 1: 2 fields, want name,v4,v6 or v4,v6,label",
		"h,192.0.2.1,2001:db8::1\n\n# a\nh,192.0.2.1\n":                     "line 4: 2 fields",
		"name,v4,v6\nname,v4,v6\n":                                          `line 2: no address in "name,v4,v6"`,
		"h,192.0.2.300,2001:db8::1\n":                                       `line 1: "192.0.2.300" is no IPv4 address`,
		"h,192.0.2.1,::ffff:192.0.2.1\n":                                    `line 1: "::ffff:192.0.2.1" is no IPv6 address`,
		"h,192.0.2.1,fe80::1%eth0\n":                                        `line 1: "fe80::1%eth0" is no IPv6 address`,
		"h,192.0.2.1,2001:db8::1\n\"h,192.0.2.1,2001:db8::2\n":              `line 2: extraneous or missing "`,
		"\ufeff192.0.2.1,2001:db8::1,same\r\n192.0.2.1,2001:db8::2,FALSE":   " true  false",
		"h,192.0.2.1,2001:db8::1\n" + strings.Repeat("x", 9*MaxLine):        "line 2: longer than 1024 octets",
		strings.Repeat("x", MaxLine-21) + ",192.0.2.1,2001:db8::1\n":        "line 1: longer than 1024 octets",
		strings.Repeat("x", MaxLine-22) + ",192.0.2.1,2001:db8::1\r\n":      strings.Repeat("x", MaxLine-22) + " true",
	} {
		cases, err := ReadPairs(strings.NewReader(text))
		var got []string
		for _, c := range cases {
			addrs := c.Addrs()
			got = append(got, fmt.Sprint(c.Observation.Name, " ", c.Host[addrs[0]] == c.Host[addrs[1]]))
		}
		result := strings.Join(got, " ")
		if err != nil {
			result = err.Error()
		}
		if fails := strings.Contains(want, "line "); fails != (err != nil) || fails && !strings.Contains(result, want) || !fails && result != want {
			t.Errorf("%q: %q, %v", text, result, err)
		}
	}
}
