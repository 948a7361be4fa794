package hosts

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// The bounds of a list of pairs.
const (
	// MaxLine is the longest line, in octets, without its end: a name takes 253, and
	// the addresses 61.
	MaxLine = 1024
	// MaxPairs is how many pairs a list may have.
	MaxPairs = 1_000_000
)

// ReadPairs reads a public list of pairs as a corpus: lines "name,v4,v6", each a
// pair that is one host, or "v4,v6,label", where the label is same, sibling, 1 or
// true for one host and different, non-sibling, 0 or false for two. A first line
// without addresses is a heading; empty lines and those that begin with # are passed
// over. A line is at most MaxLine octets, a list at most MaxPairs pairs; quoted fields
// do not go beyond their line. Errors name the line, counted from 1.
func ReadPairs(r io.Reader) ([]Case, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxLine+len("\r\n"))
	var out []Case
	first, n := true, 0
	for lines.Scan() {
		n++
		if len(lines.Bytes()) > MaxLine {
			return nil, tooLong(n)
		}
		text := strings.TrimPrefix(strings.TrimSpace(lines.Text()), "\ufeff")
		if text == "" || text[0] == '#' {
			continue
		}
		c, err := line(text)
		heading := first && errors.Is(err, errNoAddress)
		first = false
		switch {
		case err == nil && len(out) == MaxPairs:
			return nil, fmt.Errorf("pairs, line %d: more than %d pairs", n, MaxPairs)
		case err == nil:
			out = append(out, c)
		case !heading:
			return nil, fmt.Errorf("pairs, line %d: %w", n, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, tooLong(n + 1)
	} else if err != nil {
		return nil, fmt.Errorf("pairs, after line %d: %w", n, err)
	}
	return out, nil
}

func tooLong(n int) error {
	return fmt.Errorf("pairs, line %d: longer than %d octets", n, MaxLine)
}

// errNoAddress is matched by the error of a line that has no address at all, as a
// heading has none.
var errNoAddress = errors.New("no address")

// line reads one line.
func line(text string) (Case, error) {
	record := csv.NewReader(strings.NewReader(text))
	record.TrimLeadingSpace, record.FieldsPerRecord = true, -1
	fields, err := record.Read()
	if err != nil {
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			err = bad.Err // its own line is always 1
		}
		return Case{}, err
	}
	if len(fields) != 3 {
		return Case{}, fmt.Errorf("%d fields, want name,v4,v6 or v4,v6,label", len(fields))
	}
	for i, f := range fields {
		fields[i] = strings.TrimSpace(f)
	}
	if !slices.ContainsFunc(fields, isAddr) {
		return Case{}, fmt.Errorf("%w in %q", errNoAddress, text)
	}
	return pair(fields)
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// pair makes the case of one line.
func pair(fields []string) (Case, error) {
	name, label := fields[0], "same"
	if isAddr(name) {
		name, label = "", strings.ToLower(fields[2])
	} else {
		fields = fields[1:]
	}
	four, err := netip.ParseAddr(fields[0])
	if err != nil || !four.Unmap().Is4() {
		return Case{}, fmt.Errorf("%q is no IPv4 address", fields[0])
	}
	six, err := netip.ParseAddr(fields[1])
	if err != nil || !six.Is6() || six.Is4In6() || six.Zone() != "" {
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
