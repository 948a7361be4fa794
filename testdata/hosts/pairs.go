package hosts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// ReadPairs reads a public list of pairs as a corpus: lines "name,v4,v6", each a
// pair that is one host, or "v4,v6,label", where the label is same, sibling, 1 or
// true for one host and different, non-sibling, 0 or false for two. A first line
// without addresses is a heading. Errors name the line.
func ReadPairs(r io.Reader) ([]Case, error) {
	records := csv.NewReader(r)
	records.FieldsPerRecord, records.TrimLeadingSpace, records.Comment = 3, true, '#'
	var out []Case
	for n := 0; ; n++ {
		fields, err := records.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("pairs: %w", err)
		}
		c, err := pair(fields)
		switch {
		case err == nil:
			out = append(out, c)
		case n > 0:
			line, _ := records.FieldPos(0)
			return nil, fmt.Errorf("pairs, line %d: %w", line, err)
		}
	}
}

// pair makes the case of one line.
func pair(fields []string) (Case, error) {
	name, label := fields[0], "same"
	if _, err := netip.ParseAddr(name); err == nil {
		name, label = "", strings.ToLower(fields[2])
	} else {
		fields = fields[1:]
	}
	four, err := netip.ParseAddr(fields[0])
	if err != nil || !four.Unmap().Is4() {
		return Case{}, fmt.Errorf("%q is no IPv4 address", fields[0])
	}
	six, err := netip.ParseAddr(fields[1])
	if err != nil || !six.Is6() {
		return Case{}, fmt.Errorf("%q is no IPv6 address", fields[1])
	}
	other := 0
	switch label {
	case "same", "sibling", "1", "true":
	case "different", "non-sibling", "0", "false":
		other = 1
	default:
		return Case{}, fmt.Errorf("unknown label %q (same, different)", label)
	}
	four = four.Unmap()
	o := hostid.Observation{Name: name, Server: "pairs", Addrs: []hostid.Address{{Addr: four}, {Addr: six}}}
	return Case{"pair", o, map[netip.Addr]int{four: 0, six: other}}, nil
}
