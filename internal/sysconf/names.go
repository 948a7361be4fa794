package sysconf

import (
	"errors"
	"slices"
	"strings"
)

// Limits of RFC 1035 section 2.3.4, in octets of the wire form.
const (
	maxLabelOctets = 63
	maxNameOctets  = 255
)

var (
	errEmptyLabel = errors.New("empty label")
	errLongLabel  = errors.New("label longer than 63 octets")
	errLongName   = errors.New("name longer than 255 octets")
	errEscape     = errors.New("broken escape")
)

// Names returns the absolute names to ask for name, in the order to try them,
// each with its trailing dot, none twice. A name with a trailing dot is only
// itself. One with at least Ndots dots is tried as it is and then in each domain
// of the search list; one with fewer the other way round. The search list is
// taken as given: the parents of its domains are never tried, as RFC 1535 asks.
// Names that would be too long are left out; one that is too long or malformed
// by itself gives an empty list.
//
// The caller stops at the first name that exists: whether NODATA ends the search
// is the caller's business. There are at most [MaxSearch] + 1 names.
func (c *ResolvConf) Names(name string) []string {
	labels, rooted, err := scanName(name)
	if err != nil {
		return nil
	}
	if rooted {
		return []string{name}
	}
	asIs := name + "."
	if c.NoTLDQuery && labels == 1 {
		asIs = ""
	}
	names := make([]string, 0, len(c.Search)+1)
	add := func(n string) {
		if n != "" && !slices.ContainsFunc(names, func(have string) bool { return strings.EqualFold(have, n) }) {
			names = append(names, n)
		}
	}
	if labels-1 >= c.Ndots {
		add(asIs)
	}
	for _, domain := range c.Search[:min(len(c.Search), MaxSearch)] {
		if domain == "." {
			add(asIs)
		} else if n := name + "." + domain; checkName(n) == nil {
			add(n + ".")
		}
	}
	add(asIs)
	return names
}

// checkName reports why s, in presentation form, is no domain name.
func checkName(s string) error {
	_, _, err := scanName(s)
	return err
}

// scanName goes through a name in presentation form (RFC 1035 section 5.1, with
// its escapes) and returns its number of labels and whether it ends in a dot.
func scanName(s string) (labels int, rooted bool, err error) {
	if s == "." {
		return 0, true, nil
	}
	wire, label := 1, 0 // the root's octet; octets of the current label
	for i := 0; i < len(s); {
		n := 1
		switch s[i] {
		case '.':
			if label == 0 {
				return 0, false, errEmptyLabel
			}
			labels, label = labels+1, -1 // the dot itself is counted below
			wire++                       // the label's length octet
		case '\\':
			if n = escapeLen(s[i:]); n == 0 {
				return 0, false, errEscape
			}
			wire++
		default:
			wire++
		}
		if label++; label > maxLabelOctets {
			return 0, false, errLongLabel
		}
		i += n
	}
	rooted = label == 0
	if !rooted {
		labels, wire = labels+1, wire+1
	}
	switch {
	case s == "":
		return 0, false, errEmptyLabel
	case wire > maxNameOctets:
		return 0, false, errLongName
	}
	return labels, rooted, nil
}

// escapeLen is the length of the escape \X or \DDD that s begins with, 0 if it
// is broken.
func escapeLen(s string) int {
	switch {
	case len(s) < 2:
		return 0
	case !isDigit(s[1]):
		return 2
	case len(s) < 4 || !isDigit(s[2]) || !isDigit(s[3]) || s[1:4] > "255":
		return 0
	default:
		return 4
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
