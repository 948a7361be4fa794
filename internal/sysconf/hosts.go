package sysconf

import (
	"io"
	"net/netip"
	"slices"
	"strings"
)

// MaxHostsOctets bounds a hosts file; what follows is not read. Block lists of
// half a million names fit.
const MaxHostsOctets = 16 << 20

// Bounds on what one key holds, so that no file takes quadratic time. Names past
// the second are found by Lookup but not by LookupAddr: a block list gives one
// address to half a million of them.
const (
	maxAddrsPerName = 256
	maxNamesPerAddr = 256
)

// Hosts is what a hosts file says. It is not changed once parsed and may be
// shared; the nil *Hosts is an empty one.
type Hosts struct {
	addrs    map[string][]netip.Addr // by name: lower case, no trailing dot
	names    map[netip.Addr][]string // by address: as written, no trailing dot
	warnings []string
}

// ParseHosts reads hosts(5): lines of an address and its names, the first being
// the canonical one; # begins a comment anywhere. Addresses may have a zone;
// IPv4-mapped ones are taken as IPv4. Lines that make no sense are left out, with
// a warning. It does not fail; an error of r ends the file there, with a warning.
func ParseHosts(r io.Reader) *Hosts {
	h := &Hosts{addrs: map[string][]netip.Addr{}, names: map[netip.Addr][]string{}}
	w := warnings{file: "hosts"}
	text, cut, err := readBounded(r, MaxHostsOctets)
	text = strings.TrimPrefix(text, "\ufeff") // as Windows editors begin a file
	for line := range strings.Lines(text) {
		w.line++
		h.parseLine(&w, line)
	}
	w.warnEnd(cut, err, MaxHostsOctets)
	h.warnings = w.list
	return h
}

// Lookup returns the addresses of name in the order of the file, without
// duplicates, nil if it has none. Case and a trailing dot do not matter.
func (h *Hosts) Lookup(name string) []netip.Addr {
	if h == nil {
		return nil
	}
	return slices.Clone(h.addrs[hostKey(name)])
}

// LookupAddr returns the names of a, the canonical one of the first line first,
// as they are written in the file but for a trailing dot; nil if there is none.
// An IPv4-mapped address is its IPv4 address; a zone has to match.
func (h *Hosts) LookupAddr(a netip.Addr) []string {
	if h == nil {
		return nil
	}
	return slices.Clone(h.names[a.Unmap()])
}

// Len returns the number of different names.
func (h *Hosts) Len() int {
	if h == nil {
		return 0
	}
	return len(h.addrs)
}

// Warnings returns what was left out of the file and why, with line numbers.
func (h *Hosts) Warnings() []string {
	if h == nil {
		return nil
	}
	return slices.Clone(h.warnings)
}

func (h *Hosts) parseLine(w *warnings, line string) {
	line, _, _ = strings.Cut(line, "#")
	first := true
	var a netip.Addr
	named := false
	for field := range strings.FieldsSeq(line) {
		if first {
			var err error
			if a, err = netip.ParseAddr(field); err != nil {
				w.warn("%q is not an IP address: line ignored", field)
				return
			}
			a, first = a.Unmap(), false
			continue
		}
		named = true
		if !isHostName(field) {
			w.warn("%q is not a host name: ignored", field)
			continue
		}
		h.add(w, a, strings.TrimSuffix(field, "."))
	}
	if !first && !named {
		w.warn("%s has no name: line ignored", a)
	}
}

// isHostName reports whether a field can be looked up. hosts(5) has no escapes.
func isHostName(s string) bool {
	return checkName(s) == nil && s != "." && !strings.Contains(s, `\`)
}

// add notes that name has the address a. A pair seen before is in both maps
// already, but for bounds reached.
func (h *Hosts) add(w *warnings, a netip.Addr, name string) {
	key := hostKey(name)
	have := h.addrs[key]
	switch {
	case slices.Contains(have, a):
		return
	case len(have) == maxAddrsPerName:
		w.warn("%s has more than %d addresses: %s ignored", name, maxAddrsPerName, a)
		return
	}
	h.addrs[key] = append(have, a)
	if names := h.names[a]; len(names) < maxNamesPerAddr {
		h.names[a] = append(names, name)
	}
}

// hostKey is name in lower case (ASCII only, RFC 4343), without a trailing dot.
func hostKey(name string) string {
	name = strings.TrimSuffix(name, ".")
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			return lowerASCII(name)
		}
	}
	return name
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
