package mpaddr

import (
	"encoding"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

var (
	_ encoding.TextAppender      = Addr{}
	_ encoding.TextMarshaler     = Addr{}
	_ encoding.TextUnmarshaler   = (*Addr)(nil)
	_ encoding.BinaryAppender    = Addr{}
	_ encoding.BinaryMarshaler   = Addr{}
	_ encoding.BinaryUnmarshaler = (*Addr)(nil)
	_ json.Marshaler             = Addr{}
	_ json.Unmarshaler           = (*Addr)(nil)
	_ encoding.TextAppender      = Endpoint{}
	_ encoding.TextMarshaler     = Endpoint{}
	_ encoding.TextUnmarshaler   = (*Endpoint)(nil)
)

const (
	separator   = ','
	flowinfoTag = "/flowinfo="
	zoneSafe    = "-._~" // with letters and digits: unreserved, RFC 6874 section 2
)

// String returns the text form of the set, "" for the empty one. [Parse] takes
// it back.
func (a Addr) String() string {
	b, _ := a.AppendText(nil) // has no error to return
	return string(b)
}

// AppendText appends the text form to b. It allocates nothing when b has room.
// The error is always nil.
func (a Addr) AppendText(b []byte) ([]byte, error) {
	for i, e := range a.endpoints() {
		if i > 0 {
			b = append(b, separator)
		}
		b = e.appendTo(b)
	}
	return b, nil
}

// MarshalText returns the text form. The error is always nil.
func (a Addr) MarshalText() ([]byte, error) { return a.AppendText(nil) }

// UnmarshalText sets a to the set of which text is the text form, as [Parse].
func (a *Addr) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// MarshalJSON returns an array with the text form of each endpoint. The error
// is always nil.
func (a Addr) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, e := range a.endpoints() {
		if i > 0 {
			b = append(b, ',')
		}
		// The text form has no octet that JSON would escape.
		b = append(b, '"')
		b = e.appendTo(b)
		b = append(b, '"')
	}
	return append(b, ']'), nil
}

// UnmarshalJSON sets a to the set of the endpoints in an array, as [New]; the
// text of each is parsed as [ParseEndpoint] does. Null changes nothing.
func (a *Addr) UnmarshalJSON(b []byte) error {
	var texts []string
	if err := json.Unmarshal(b, &texts); err != nil {
		return fmt.Errorf("parse address set: %w", err)
	}
	if texts == nil {
		return nil
	}
	x := index{eps: make([]Endpoint, 0, len(texts))}
	for i, text := range texts {
		e, err := ParseEndpoint(text)
		if err != nil {
			return fmt.Errorf("parse address set: address %d, %q: %w", i+1, text, err)
		}
		x.add(e)
	}
	*a = own(x.eps)
	return nil
}

// AppendBinary appends the record in the draft layout with portable numbers,
// see [Codec.Append].
func (a Addr) AppendBinary(b []byte) ([]byte, error) { return Codec{}.Append(b, a) }

// MarshalBinary returns what [Addr.AppendBinary] appends.
func (a Addr) MarshalBinary() ([]byte, error) { return a.AppendBinary(nil) }

// UnmarshalBinary sets a to the set of the record b, see [Codec.Parse].
func (a *Addr) UnmarshalBinary(b []byte) error {
	v, err := Codec{}.Parse(b)
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// String returns the text form of e, or "invalid Endpoint" for the zero
// Endpoint.
func (e Endpoint) String() string {
	if !e.IsValid() {
		return "invalid Endpoint"
	}
	return string(e.appendTo(nil))
}

// AppendText appends the text form to b, nothing for the zero Endpoint. It
// allocates nothing when b has room. The error is always nil.
func (e Endpoint) AppendText(b []byte) ([]byte, error) { return e.appendTo(b), nil }

// MarshalText returns what [Endpoint.AppendText] appends.
func (e Endpoint) MarshalText() ([]byte, error) { return e.AppendText([]byte{}) }

// UnmarshalText sets e as [ParseEndpoint] does; empty text is the zero
// Endpoint.
func (e *Endpoint) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*e = Endpoint{}
		return nil
	}
	v, err := ParseEndpoint(string(text))
	if err != nil {
		return err
	}
	*e = v
	return nil
}

// appendTo appends the text form.
func (e Endpoint) appendTo(b []byte) []byte {
	zone := e.Zone()
	if zone == "" {
		b = e.ap.AppendTo(b)
	} else {
		b = append(b, '[')
		b = e.Addr().WithZone("").AppendTo(b)
		b = append(b, '%')
		b = appendZone(b, zone)
		b = append(b, "]:"...)
		b = strconv.AppendUint(b, uint64(e.Port()), 10)
	}
	if e.flow != 0 {
		b = append(b, flowinfoTag...)
		b = append(b, "0x"...)
		b = strconv.AppendUint(b, uint64(e.flow), 16)
	}
	return b
}

// appendZone appends zone with all but unreserved octets percent-encoded.
func appendZone(b []byte, zone string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(zone) {
		c := zone[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if letter || c >= '0' && c <= '9' || strings.IndexByte(zoneSafe, c) >= 0 {
			b = append(b, c)
			continue
		}
		b = append(b, '%', digits[c>>4], digits[c&0xf])
	}
	return b
}

// Parse returns the set that s is the text form of. White space around the
// endpoints is allowed; a target that stands twice is taken once. White space
// alone is the empty set. The error is a [*SyntaxError] with the offset in s.
func Parse(s string) (Addr, error) {
	if strings.TrimSpace(s) == "" {
		return Addr{}, nil
	}
	var x index
	for off, more := 0, true; more; {
		var part string
		part, _, more = strings.Cut(s[off:], string(separator))
		e, err := parseEndpoint("address set", part, off)
		if err != nil {
			return Addr{}, err
		}
		x.add(e)
		off += len(part) + len(string(separator))
	}
	return own(x.eps), nil
}

// MustParse is [Parse] for text that is known to be right, as in tests and
// examples. It panics when it is not.
func MustParse(s string) Addr {
	a, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// ParseEndpoint returns the endpoint that s is the text form of, white space
// around it allowed. The error is a [*SyntaxError] with the offset in s.
func ParseEndpoint(s string) (Endpoint, error) { return parseEndpoint("endpoint", s, 0) }

// parseEndpoint parses s, which stands at offset base in the input of which
// the error is to speak.
func parseEndpoint(what, s string, base int) (Endpoint, error) {
	trimmed := strings.TrimLeft(s, " \t\r\n")
	p := textParser{what: what, off: base + len(s) - len(trimmed), rest: strings.TrimRight(trimmed, " \t\r\n")}
	e := p.endpoint()
	if p.err != nil {
		return Endpoint{}, p.err
	}
	return e, nil
}
