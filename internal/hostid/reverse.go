package hostid

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxReverse is how many PTR records of one address are looked at.
const maxReverse = 8

// reverse compares the PTR names of each two addresses.
func (v *observer) reverse() {
	names := make(map[netip.Addr][]hostName)
	for _, r := range v.Reverse[:min(len(v.Reverse), MaxAddrs*maxReverse)] {
		a, n := r.Addr.Unmap(), newHostName(r)
		if len(names[a]) < maxReverse && n.name != "" && !generic(n.name, a) {
			names[a] = append(names[a], n)
		}
	}
	for i, a := range v.addrs {
		for _, b := range v.addrs[:i] {
			if k, detail, ok := compareNames(names[b.Addr], names[a.Addr]); ok {
				v.add(k, []netip.Addr{b.Addr}, []netip.Addr{a.Addr}, detail)
			}
		}
	}
}

// hostName is a PTR name as it is compared.
type hostName struct {
	name      string
	bare      string // without marks of the family
	letters   string // without digits either
	confirmed bool
}

func newHostName(r Reverse) hostName {
	n := hostName{name: fold(r.Name), confirmed: r.Confirmed}
	n.bare = withoutFamily(n.name)
	n.letters = withoutDigits(n.bare)
	return n
}

// compareNames says what the names of two addresses are to each other, by the two
// that are closest; nothing where one address has none.
func compareNames(a, b []hostName) (Kind, string, bool) {
	var best Kind
	detail := ""
	for _, x := range a {
		for _, y := range b {
			if k := compareName(x, y); detail == "" || closeness(k) > closeness(best) {
				best, detail = k, x.name
				if x.name != y.name {
					detail += ", " + y.name
				}
			}
		}
	}
	return best, detail, detail != ""
}

// closeness orders what two names can be to each other.
func closeness(k Kind) int {
	return slices.Index([]Kind{OtherReverse, Siblings, SameReverse, SameReverseConfirmed}, k)
}

// compareName compares two names. Those that differ in a mark of the family
// ("web1-v4", "web1-v6") are the same, not confirmed.
func compareName(x, y hostName) Kind {
	switch {
	case x.name == y.name && x.confirmed && y.confirmed:
		return SameReverseConfirmed
	case x.bare == y.bare:
		return SameReverse
	case x.letters == y.letters:
		return Siblings
	}
	return OtherReverse
}

// withoutFamily leaves out the labels and parts of labels that tell the family.
func withoutFamily(name string) string {
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '-' })
	parts = slices.DeleteFunc(parts, func(p string) bool {
		switch p {
		case "v4", "v6", "ip4", "ip6", "ipv4", "ipv6":
			return true
		}
		return false
	})
	return strings.Join(parts, ".")
}

// withoutDigits leaves out the digits.
func withoutDigits(name string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, name)
}

// generic tells whether a PTR name is made from the address, as providers do for
// addresses that nobody named: it says nothing of the host.
func generic(name string, addr netip.Addr) bool {
	digits := strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == ':' {
			return -1
		}
		return r
	}, name)
	if addr.Is4() {
		o := addr.As4()
		return inOrder(name, o) || inOrder(name, [4]byte{o[3], o[2], o[1], o[0]}) || strings.Contains(digits, fmt.Sprintf("%x", o))
	}
	hex := strings.ReplaceAll(addr.WithZone("").StringExpanded(), ":", "")
	return strings.Contains(digits, hex) || strings.Contains(digits, hex[16:]) || strings.Contains(digits, backwards(hex))
}

// inOrder tells whether the four octets stand in the name in this order, each as
// a number of its own.
func inOrder(name string, o [4]byte) bool {
	numbers := strings.FieldsFunc(name, func(r rune) bool { return r < '0' || r > '9' })
	for i := 0; i+4 <= len(numbers); i++ {
		match := true
		for k, octet := range o {
			match = match && strings.TrimLeft(numbers[i+k], "0") == strings.TrimLeft(fmt.Sprint(octet), "0")
		}
		if match {
			return true
		}
	}
	return false
}

func backwards(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}
