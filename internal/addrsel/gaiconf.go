package addrsel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds on a gai.conf file. One that an administrator wrote has a few dozen
// lines.
const (
	maxGaiConfOctets = 64 << 10 // what follows is not read
	maxGaiConfErrors = 16       // the rest are left out of the error
)

// ParseGaiConf reads a policy in the format of gai.conf(5): lines of "label",
// "precedence" and "scopev4", each with a prefix and a value. As the C library
// does, the first line of a kind replaces the whole default table of that kind,
// and "::/0" is then added with its default value if it is not given; tables
// without a line keep their defaults, which are those of RFC 6724, not the
// older ones of the C library. "reload" is accepted and means nothing here.
//
// Lines that make no sense are left out and named in the error, by line number.
// The Policy returned is usable in any case; after an error it holds what could
// be read.
func ParseGaiConf(r io.Reader) (Policy, error) {
	var g gaiConf
	text, err := io.ReadAll(io.LimitReader(r, maxGaiConfOctets+1))
	if len(text) > maxGaiConfOctets {
		text = text[:bytes.LastIndexByte(text[:maxGaiConfOctets], '\n')+1]
		err = fmt.Errorf("longer than %d octets: the rest is not read", maxGaiConfOctets)
	}
	line := 0
	for l := range bytes.Lines(text) {
		line++
		g.add(line, g.parseLine(string(l)))
	}
	g.add(line+1, err)
	return g.policy(), errors.Join(g.errs...)
}

// gaiConf collects what the lines of a gai.conf file say.
type gaiConf struct {
	labels, precedences, scopes4 []tableEntry
	errs                         []error
}

func (g *gaiConf) add(line int, err error) {
	if err != nil && len(g.errs) < maxGaiConfErrors {
		g.errs = append(g.errs, fmt.Errorf("gai.conf line %d: %w", line, err))
	}
}

func (g *gaiConf) policy() Policy {
	var p Policy
	if g.labels != nil {
		p.labels = newTable(g.labels, defaultLabel)
	}
	if g.precedences != nil {
		p.precedences = newTable(g.precedences, defaultPrecedence)
	}
	if g.scopes4 != nil {
		p.scopes4 = newTable(g.scopes4, int(ScopeGlobal))
	}
	return p.orDefault()
}

func (g *gaiConf) parseLine(s string) error {
	s, _, _ = strings.Cut(s, "#")
	f := strings.Fields(s)
	if len(f) == 0 || f[0] == "reload" {
		return nil
	}
	var to *[]tableEntry
	parse := parsePrefix
	switch f[0] {
	case "label":
		to = &g.labels
	case "precedence":
		to = &g.precedences
	case "scopev4":
		to, parse = &g.scopes4, parsePrefix4
	default:
		return fmt.Errorf("unknown keyword %q", f[0])
	}
	if len(f) < 3 {
		return fmt.Errorf("%s needs a prefix and a value", f[0])
	}
	prefix, err := parse(f[1])
	if err != nil {
		return err
	}
	value, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil || value > math.MaxInt32 {
		return fmt.Errorf("%s value %q is not a number from 0 to %d", f[0], f[2], math.MaxInt32)
	}
	*to = append(*to, tableEntry{prefix, int(value)})
	return nil
}

// parsePrefix reads an IPv6 prefix.
func parsePrefix(s string) (netip.Prefix, error) {
	a, bits, err := splitPrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !a.Is6() {
		return netip.Prefix{}, fmt.Errorf("%q is not an IPv6 prefix", s)
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

// mappedBits is the length of ::ffff:0:0/96, the prefix of mapped addresses.
const mappedBits = 96

// parsePrefix4 reads an IPv4 prefix, written as such or as the IPv4-mapped IPv6
// prefix that gai.conf(5) shows, and returns it as the latter.
func parsePrefix4(s string) (netip.Prefix, error) {
	a, bits, err := splitPrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a.Is4() {
		a, bits = netip.AddrFrom16(a.As16()), mappedBits+bits
	}
	if !a.Is4In6() || bits < mappedBits {
		return netip.Prefix{}, fmt.Errorf("%q is not an IPv4 prefix", s)
	}
	return netip.PrefixFrom(a, bits).Masked(), nil
}

// splitPrefix reads an address and a prefix length, which is that of a single
// address if there is none.
func splitPrefix(s string) (netip.Addr, int, error) {
	addr, length, hasLength := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, 0, fmt.Errorf("%q is not a prefix", s)
	}
	if !hasLength {
		return a, a.BitLen(), nil
	}
	n, err := strconv.ParseUint(length, 10, 8)
	if err != nil || int(n) > a.BitLen() {
		return netip.Addr{}, 0, fmt.Errorf("prefix length of %q is not a number from 0 to %d", s, a.BitLen())
	}
	return a, int(n), nil
}
