package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/af-multipath/mpresolve/internal/dnswire"
)

// plan is what a name calls for: results at hand, or names to ask for.
type plan struct {
	asked  string
	engine *engine
	ready  []FamilyResult // no server is asked; or, where this is nil,
	name   dnswire.Name   // what to ask for, unless there are
	search []dnswire.Name // the names to try in order, until one has addresses
}

// names are those to be tried in order; room has place for one.
func (p *plan) names(room []dnswire.Name) []dnswire.Name {
	if p.search != nil {
		return p.search
	}
	return append(room, p.name)
}

// plan decides what to do with a name; its errors are *Error.
func (r *Resolver) plan(name string) (plan, error) {
	now := time.Now()
	e, err := r.prepare(now)
	if err != nil {
		return plan{}, settingsError(name, err)
	}
	p := plan{asked: name, engine: e}
	if addr, ok := literal(name); ok {
		p.ready = byFamily(name, protoLiteral, []netip.Addr{addr.Unmap()})
		return p, nil
	}
	ascii, wire, err := checkName(name)
	if err != nil {
		return plan{}, badName(name, err)
	}
	if special, err := specialUse(name, wire); special != nil || err != nil {
		p.ready = special
		return p, err
	}
	if addrs := r.hosts(now).Lookup(ascii); len(addrs) > 0 {
		p.ready = byFamily(ascii, protoHosts, addrs)
		return p, nil
	}
	p.name, p.search = wire, r.searched(e, ascii)
	return p, nil
}

// literal reads an IP address. Most names are seen to be none at once: no
// top-level domain ends in a digit.
func literal(name string) (netip.Addr, bool) {
	if name == "" || strings.IndexByte(name, ':') < 0 && (name[len(name)-1] < '0' || name[len(name)-1] > '9') {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(name)
	return addr, err == nil
}

// searched are the name as it is and with the search list's domains; nil without
// a list, or where the name is one whatever the list.
func (r *Resolver) searched(e *engine, ascii string) []dnswire.Name {
	if r.NoSearch || len(e.conf.Search) == 0 {
		return nil
	}
	var names []dnswire.Name
	for _, text := range e.conf.Names(ascii) {
		if n, err := dnswire.ParseName(text); err == nil {
			names = append(names, n)
		}
	}
	return names
}

// checkName returns the name in ASCII and in wire form, or what is wrong
// with it.
func checkName(name string) (string, dnswire.Name, error) {
	if name == "" {
		return "", "", errors.New("it is empty")
	}
	if len(name) > maxNameText {
		return "", "", dnswire.ErrNameTooLong
	}
	if !utf8.ValidString(name) {
		return "", "", errors.New("it is not UTF-8")
	}
	ascii := name
	if !isASCII(name) {
		var err error
		if ascii, err = idna.Lookup.ToASCII(name); err != nil {
			return "", "", fmt.Errorf("not an internationalized domain name: %w", err)
		}
	}
	if err := checkOctets(ascii); err != nil {
		return "", "", err
	}
	wire, err := dnswire.ParseName(ascii)
	if err != nil {
		return "", "", nameError{err, ascii}
	}
	return ascii, wire, nil
}

// nameError is dnswire's error on a name, which is said already.
type nameError struct {
	error
	name string
}

func (e nameError) Error() string {
	return strings.TrimPrefix(e.error.Error(), fmt.Sprintf("name %.300q: ", e.name))
}

func (e nameError) Unwrap() error { return e.error }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// checkOctets refuses what no host name has, and what was meant as an address.
func checkOctets(name string) error {
	numeric := strings.Contains(name, ".")
	for i := range len(name) {
		c := name[i]
		switch {
		case c <= ' ' || c == 0x7f:
			return fmt.Errorf("octet %#02x at position %d", c, i+1)
		case strings.IndexByte(`\/:@[]"<>%`, c) >= 0:
			return fmt.Errorf("character %q at position %d", c, i+1)
		case c != '.' && (c < '0' || c > '9'):
			numeric = false
		}
	}
	if numeric && name != "." {
		return errors.New("it looks like an IPv4 address and is none")
	}
	return nil
}

// specialUse answers the names that no server is to be asked for: those of RFC
// 6761 and RFC 7686. Nil without an error: an ordinary name.
func specialUse(name string, wire dnswire.Name) ([]FamilyResult, error) {
	switch lastLabel(wire) {
	case "localhost":
		loopback := []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}
		return byFamily(name, protoSpecial, loopback), nil
	case "invalid":
		return nil, &Error{Op: opLookup, Name: name, Kind: ErrNoSuchName, Hint: "names below invalid never exist (RFC 6761)"}
	case "onion":
		return nil, &Error{Op: opLookup, Name: name, Kind: ErrNoSuchName, Hint: "onion names are not in the DNS; use Tor (RFC 7686)"}
	}
	return nil, nil
}

func lastLabel(n dnswire.Name) string {
	last := ""
	for l := range n.Labels() {
		last = l
	}
	return last
}

// byFamily makes results of addresses that no server gave.
func byFamily(name, proto string, addrs []netip.Addr) []FamilyResult {
	var v6, v4 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	var out []FamilyResult
	if v6 != nil {
		out = append(out, FamilyResult{Type: "AAAA", Name: name, Addrs: v6, Proto: proto, TTL: Forever})
	}
	if v4 != nil {
		out = append(out, FamilyResult{Type: "A", Name: name, Addrs: v4, Proto: proto, TTL: Forever})
	}
	return out
}

const opLookup = "lookup"

// maxNameText is the longest text that can be a name, in octets: four of UTF-8,
// or of an escape, for each on the wire. IDNA's work grows with the square of
// the length.
const maxNameText = 4 * dnswire.MaxNameLen

func badName(name string, err error) *Error {
	e := &Error{Op: opLookup, Name: name, Kind: ErrBadName, Err: err}
	if inner := strings.Trim(name, "[]"); inner != name {
		if _, err := netip.ParseAddr(inner); err == nil {
			e.Hint = "write the address without brackets: " + inner
		}
	}
	return e
}

func settingsError(name string, err error) *Error {
	if errors.Is(err, ErrClosed) {
		return &Error{Op: opLookup, Name: name, Kind: ErrClosed}
	}
	kind := ErrBadServer
	if errors.Is(err, ErrBadPrefix) {
		kind = ErrBadPrefix
	}
	return &Error{Op: opLookup, Name: name, Kind: kind, Err: err}
}
