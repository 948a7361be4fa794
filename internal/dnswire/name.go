package dnswire

import (
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Name is a domain name in uncompressed wire form, its letters in lower case (RFC 4343), ending in
// the root's zero octet. It is comparable. The zero value "" is no name; the root is "\x00". Only
// ParseName, ExpandName and what is made of a checked message give one; its methods trust the form.
type Name string

// Root is the name of the root.
const Root Name = "\x00"

// Reasons for which ParseName refuses a name; its errors wrap one of them.
var (
	ErrEmptyName    = errors.New("empty name")
	ErrEmptyLabel   = errors.New("empty label")
	ErrLabelTooLong = errors.New("label longer than 63 octets")
	ErrNameTooLong  = errors.New("name longer than 255 octets")
	ErrBadEscape    = errors.New("bad escape: want \\X or \\DDD up to \\255")
)

// ParseName reads the presentation form of RFC 1035 section 5.1: labels between dots, \. and the
// like for one character, \DDD for an octet in decimal. The trailing dot is optional and every name
// is absolute. It does no IDNA: octets above 127 are taken as they are. Its errors name the label
// and wrap ErrEmptyName, ErrEmptyLabel, ErrLabelTooLong, ErrNameTooLong or ErrBadEscape.
func ParseName(s string) (Name, error) {
	switch s {
	case "":
		return "", ErrEmptyName
	case ".":
		return Root, nil
	}
	var buf [MaxNameLen]byte
	wire := buf[:0]
	for i, rest := 1, s; rest != ""; i++ {
		var err error
		if wire, rest, err = appendLabel(wire, rest); err != nil {
			return "", fmt.Errorf("name %.300q: label %d: %w", s, i, err)
		}
	}
	return Name(append(wire, 0)), nil
}

// appendLabel reads the first label of s and the dot that ends it, and returns what is left.
func appendLabel(dst []byte, s string) (wire []byte, rest string, err error) {
	at := len(dst)
	dst = append(dst, 0)
	for s != "" && s[0] != '.' {
		var c byte
		if c, s, err = cutOctet(s); err != nil {
			return dst, "", err
		}
		if len(dst)-at > MaxLabelLen {
			return dst, "", ErrLabelTooLong
		}
		dst = append(dst, lower(c))
	}
	if len(dst)-at == 1 {
		return dst, "", ErrEmptyLabel
	}
	if len(dst) >= MaxNameLen {
		return dst, "", ErrNameTooLong
	}
	dst[at] = byte(len(dst) - at - 1)
	return dst, strings.TrimPrefix(s, "."), nil
}

// cutOctet reads one octet, escaped or not, off s.
func cutOctet(s string) (c byte, rest string, err error) {
	if s[0] != '\\' {
		return s[0], s[1:], nil
	}
	if len(s) < 2 {
		return 0, "", ErrBadEscape
	}
	if !isDigit(s[1]) {
		return s[1], s[2:], nil
	}
	if len(s) < 4 || !isDigit(s[2]) || !isDigit(s[3]) {
		return 0, "", ErrBadEscape
	}
	n := int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	if n > 255 {
		return 0, "", ErrBadEscape
	}
	return byte(n), s[4:], nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// lower returns c, or its lower-case letter if it is an ASCII capital (RFC 4343).
func lower(c byte) byte {
	if c-'A' < 26 {
		return c + ('a' - 'A')
	}
	return c
}

// String returns the presentation form with its trailing dot, in lower case; what is special or
// not printable is escaped, so that ParseName gives the same name again. No name gives "".
func (n Name) String() string {
	var room [MaxNameLen]byte
	return string(n.AppendString(room[:0]))
}

// AppendString appends what String returns to dst.
func (n Name) AppendString(dst []byte) []byte {
	if n == Root {
		return append(dst, '.')
	}
	for len(n) > 1 {
		end := 1 + int(n[0])
		for i := 1; i < end; i++ {
			dst = appendOctet(dst, n[i])
		}
		dst = append(dst, '.')
		n = n[end:]
	}
	return dst
}

// appendOctet appends one octet of a label, escaped where RFC 1035 section 5.1 needs it.
func appendOctet(dst []byte, c byte) []byte {
	switch {
	case c <= ' ' || c >= 0x7f:
		return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
	case strings.IndexByte(`."\;()@$`, c) >= 0:
		return append(dst, '\\', c)
	}
	return append(dst, c)
}

// Labels yields the labels from the left, without length octets and without the root's.
func (n Name) Labels() iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(n) > 1 {
			end := 1 + int(n[0])
			if !yield(string(n[1:end])) {
				return
			}
			n = n[end:]
		}
	}
}

// NumLabels counts the labels, the root's not among them.
func (n Name) NumLabels() int {
	count := 0
	for ; len(n) > 1; n = n[1+int(n[0]):] {
		count++
	}
	return count
}

// Parent returns n without its first label; the root's parent is "", no name.
func (n Name) Parent() Name {
	if len(n) <= 1 {
		return ""
	}
	return n[1+int(n[0]):]
}

// IsSubdomainOf reports whether n is zone or below it.
func (n Name) IsSubdomainOf(zone Name) bool {
	if zone == "" {
		return false
	}
	for len(n) > len(zone) {
		n = n.Parent()
	}
	return n == zone
}
