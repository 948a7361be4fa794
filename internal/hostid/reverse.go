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
	names := make(map[netip.Addr][]Reverse)
	for _, r := range v.Reverse[:min(len(v.Reverse), MaxAddrs*maxReverse)] {
		r.Addr, r.Name = r.Addr.Unmap(), fold(r.Name)
		if len(names[r.Addr]) < maxReverse && r.Name != "" && !generic(r.Name, r.Addr) {
			names[r.Addr] = append(names[r.Addr], r)
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

// compareNames says what the names of two addresses are to each other; nothing
// where one has none.
func compareNames(a, b []Reverse) (Kind, string, bool) {
	best, detail := OtherReverse, ""
	for _, x := range a {
		for _, y := range b {
			k := compareName(x, y)
			if detail == "" || k < best {
				best, detail = k, x.Name
				if x.Name != y.Name {
					detail += ", " + y.Name
				}
			}
			if k == Siblings && best == OtherReverse {
				best, detail = k, x.Name+", "+y.Name
			}
		}
	}
	return best, detail, detail != ""
}

// compareName compares two names. Those that differ in a mark of the family
// ("web1-v4", "web1-v6") are the same, not confirmed.
func compareName(x, y Reverse) Kind {
	switch {
	case x.Name == y.Name && x.Confirmed && y.Confirmed:
		return SameReverseConfirmed
	case x.Name == y.Name, withoutFamily(x.Name) == withoutFamily(y.Name):
		return SameReverse
	case numbersOut(withoutFamily(x.Name)) == numbersOut(withoutFamily(y.Name)):
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

// numbersOut leaves out the digits.
func numbersOut(name string) string {
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
