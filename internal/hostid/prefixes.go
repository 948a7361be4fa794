package hostid

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxPrefixes is how many entries a table may have.
const MaxPrefixes = 200_000

// Class is what a prefix announces.
type Class string

// The classes.
const (
	Anycast Class = "anycast" // one address, many machines
	CDN     Class = "cdn"     // front ends of a content network
)

// PrefixEntry is one line of a table.
type PrefixEntry struct {
	Prefix   netip.Prefix
	Class    Class
	Operator string
	Source   string // where the entry came from
	Date     string // when: YYYY-MM-DD
}

// Prefixes is a table of prefixes. It is nothing but what its file says. A nil
// table is empty.
type Prefixes struct {
	entries map[netip.Prefix]PrefixEntry
	bits    []int // the lengths that occur, the longest first
}

// ParsePrefixes reads a table. A line is
//
//	PREFIX [CLASS [OPERATOR [SOURCE [DATE]]]]
//
// with blanks between; what is missing is taken from the last line of the form
//
//	! CLASS [OPERATOR [SOURCE [DATE]]]
//
// so that a list of prefixes, as operators publish, becomes a table with one
// line put before it. "#" begins a comment; a single address is a prefix of its
// full length. Of equal prefixes the last counts. Errors name the line.
func ParsePrefixes(r io.Reader) (*Prefixes, error) {
	t := &Prefixes{entries: make(map[netip.Prefix]PrefixEntry)}
	var defaults PrefixEntry
	scanner := bufio.NewScanner(r)
	for n := 1; scanner.Scan(); n++ {
		text, _, _ := strings.Cut(scanner.Text(), "#")
		fields := strings.Fields(text)
		var err error
		switch {
		case len(fields) == 0:
		case fields[0] == "!":
			defaults, err = PrefixEntry{}.with(fields[1:])
		default:
			err = t.add(fields, defaults)
		}
		if err != nil {
			return nil, fmt.Errorf("prefix table, line %d: %w", n, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("prefix table: %w", err)
	}
	slices.Sort(t.bits)
	slices.Reverse(t.bits)
	return t, nil
}

// add takes in one line.
func (t *Prefixes) add(fields []string, e PrefixEntry) error {
	p, err := parsePrefix(fields[0])
	if err != nil {
		return err
	}
	if e, err = e.with(fields[1:]); err != nil {
		return err
	}
	if e.Class == "" {
		return fmt.Errorf("%s has no class: write anycast or cdn behind it, or \"! CLASS\" before the list", p)
	}
	if len(t.entries) >= MaxPrefixes {
		return fmt.Errorf("more than %d prefixes", MaxPrefixes)
	}
	e.Prefix = p
	t.entries[p] = e
	if !slices.Contains(t.bits, p.Bits()) {
		t.bits = append(t.bits, p.Bits())
	}
	return nil
}

// parsePrefix reads a prefix or an address.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is no prefix", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits behind its length: is %s meant?", p, p.Masked())
	}
	return p, nil
}

// with returns e with what fields say.
func (e PrefixEntry) with(fields []string) (PrefixEntry, error) {
	for i, f := range fields {
		if !utf8.ValidString(f) {
			return e, fmt.Errorf("%q is not UTF-8", f)
		}
		switch i {
		case 0:
			if e.Class = Class(f); e.Class != Anycast && e.Class != CDN {
				return e, fmt.Errorf("unknown class %q (anycast, cdn)", f)
			}
		case 1:
			e.Operator = f
		case 2:
			e.Source = f
		case 3:
			e.Date = f
		default:
			return e, fmt.Errorf("%q is one field too many", f)
		}
	}
	return e, nil
}

// Len returns the number of entries.
func (t *Prefixes) Len() int {
	if t == nil {
		return 0
	}
	return len(t.entries)
}

// All yields the entries, in no order.
func (t *Prefixes) All() iter.Seq[PrefixEntry] { return maps.Values(t.entries) }

// Lookup returns the entry with the longest prefix that has addr.
func (t *Prefixes) Lookup(addr netip.Addr) (PrefixEntry, bool) {
	if t == nil {
		return PrefixEntry{}, false
	}
	for _, bits := range t.bits {
		if p, err := addr.WithZone("").Prefix(bits); err == nil {
			if e, ok := t.entries[p]; ok {
				return e, true
			}
		}
	}
	return PrefixEntry{}, false
}
