package server

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// TestDig has dig and kdig ask for every name and type of every zone file. What
// they print is read back and compared with the zone, the MULTIPATH record and
// truncated answers, which they repeat over TCP, included.
func TestDig(t *testing.T) {
	source := zoneSource(t)
	_, l := listen(t, source, options())
	want := []dns.RR{}
	queries := []string{}
	for _, z := range source.Zones.All() {
		for name, types := range z.RRsets() {
			for typ, rrs := range types {
				queries = append(queries, name.String(), typ.String())
				if z.Answer(name, typ).Authoritative {
					want = append(want, rrs...)
				}
			}
		}
	}
	for _, name := range []string{"server.demo.example.", "lb.demo.example."} {
		queries = append(queries, name, "TYPE65400")
		want = append(want, exchange(t, l, "tcp", question(name, "TYPE65400")).Answer...)
	}
	address := []string{"@" + l.Addr().Addr().String(), "-p", strconv.Itoa(int(l.Addr().Port()))}
	for _, tool := range [][]string{
		{"dig", "+noall", "+answer", "+noidnout", "+tries=1"},
		{"dig", "+noall", "+answer", "+noidnout", "+tries=1", "+tcp"},
		{"kdig", "+noall", "+answer", "+noidn", "+retry=0"},
		{"kdig", "+noall", "+answer", "+noidn", "+retry=0", "+tcp"},
	} {
		t.Run(tool[0]+" "+tool[len(tool)-1], func(t *testing.T) {
			compare(t, runTool(t, tool[0], slices.Concat(address, tool[1:], queries)), want)
		})
	}
}

// runTool returns what a program prints. Where it is not installed, the test
// is skipped, or fails if the environment says that nothing may be skipped.
func runTool(t *testing.T, tool string, args []string) []byte {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("MPRESOLVE_LAB") == "required" {
			t.Fatal(err)
		}
		t.Skipf("%s is not installed", tool)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// compare reads records in presentation form and compares them with those
// wanted, in any order.
func compare(t *testing.T, printed []byte, want []dns.RR) {
	t.Helper()
	left := make(map[string]dns.RR)
	for _, rr := range want {
		left[octets(t, rr)] = rr
	}
	for lines := bufio.NewScanner(bytes.NewReader(printed)); lines.Scan(); {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == ';' {
			continue
		}
		got, err := dns.NewRR(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		rr, ok := left[octets(t, got)]
		if !ok || got.Header().Ttl > rr.Header().Ttl {
			t.Errorf("%s was not wanted", text)
		}
		delete(left, octets(t, got))
	}
	for _, rr := range left {
		t.Errorf("%v is missing", rr)
	}
}

// octets is a record in wire form without its TTL, for comparison.
func octets(t *testing.T, rr dns.RR) string {
	t.Helper()
	rr = dns.Copy(rr)
	rr.Header().Ttl = 0
	buf := make([]byte, dns.MaxMsgSize)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
