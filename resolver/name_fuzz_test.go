package resolver

import (
	"strings"
	"testing"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// fuzzedText bounds what is fuzzed, in octets: more than any name. The fuzzer
// makes an input that it likes smaller in a number of steps that grows with the
// square of its length, and does nothing else meanwhile.
const fuzzedText = 300

// FuzzName: whatever is typed, a name that is taken is ASCII, within the limits
// of the wire, and the same when it is read again.
func FuzzName(f *testing.F) {
	seeds := map[string]bool{
		"www.example":                          true,
		"www.example.":                         true,
		"_sip._tcp.example":                    true,
		"b\u00fccher.example":                  true,
		"\u4f8b\u3048.\u30c6\u30b9\u30c8":      true,
		"xn--bcher-kva.example":                true,
		"":                                     false,
		"a..b":                                 false,
		"1.2.3.4":                              false,
		"a\\b":                                 false,
		"\xff.example":                         false,
		strings.Repeat("a", 64):                false,
		strings.Repeat("\u00fc", 1<<16):        false,
		strings.Repeat("a.", 128):              false,
		strings.Repeat("\u00fc", 64) + ".test": false,
	}
	for s, good := range seeds {
		if _, _, err := checkName(s); (err == nil) != good {
			f.Fatalf("seed %q: %v, want it taken: %v", s, err, good)
		}
		if len(s) <= fuzzedText {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > fuzzedText {
			return
		}
		ascii, wire, err := checkName(s)
		if err != nil {
			return
		}
		if !isASCII(ascii) || len(wire) > dnswire.MaxNameLen {
			t.Fatalf("%q became %q, %d octets on the wire", s, ascii, len(wire))
		}
		again, err := dnswire.ParseName(wire.String())
		if err != nil || again != wire {
			t.Fatalf("%q became %q, and that %q, %v", s, wire, again, err)
		}
		if _, twice, err := checkName(ascii); err != nil || twice != wire {
			t.Fatalf("%q became %q, and that %q, %v", s, ascii, twice, err)
		}
	})
}
