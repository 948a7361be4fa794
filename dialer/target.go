package dialer

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/af-multipath/mpresolve/mpaddr"
)

// target is what a dial was asked for.
type target struct {
	network, address string // as asked

	name       string           // to look up; "" where candidates are given
	port       uint16           // of the name
	candidates []netip.AddrPort // given: a literal address or a record
	family     family           // which addresses may be used
	want       protocol
	sets       bool   // LocalAddr and RemoteAddr are sets
	plain      string // why Multipath TCP is not wanted, as a sentence

	strict  bool        // a connection without Multipath TCP is a failure
	fast    bool        // TCP Fast Open is wanted
	success successFunc // what counts as success beyond a TCP connection; nil: nothing
	log     []Attempt   // empty, with room for the attempt on the only candidate
}

// family restricts the addresses of a dial.
type family uint8

const (
	anyFamily family = iota
	onlyIPv4
	onlyIPv6
)

// allows reports whether an address may be used.
func (f family) allows(a netip.Addr) bool {
	switch f {
	case onlyIPv4:
		return a.Unmap().Is4()
	case onlyIPv6:
		return !a.Unmap().Is4()
	}
	return true
}

// parseTarget reads the arguments of a dial.
func parseTarget(ctx context.Context, network, address string, mode Mode) (target, error) {
	t := target{network: network, address: address}
	switch network {
	case "tcp":
		if t.want = preferMPTCP; mode == MultipathOff {
			t.want, t.plain = plainTCP, "Multipath TCP is switched off by Dialer.Multipath"
		}
	case "tcp4":
		t.family, t.plain = onlyIPv4, "the network tcp4 is single-path"
	case "tcp6":
		t.family, t.plain = onlyIPv6, "the network tcp6 is single-path"
	case mpaddr.Network:
		t.want, t.sets = requireMPTCP, true
	default:
		return t, net.UnknownNetworkError(network)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return t, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return t, err
	}
	t.port = uint16(port)
	return t, t.setHost(host)
}

// setHost takes in the host: a literal address is the only candidate. No host
// and the unspecified address stand for this host, as with net.Dial.
func (t *target) setHost(host string) error {
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "" && t.family == onlyIPv6:
		addr = netip.IPv6Loopback()
	case host == "":
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case err != nil:
		t.name = strings.Clone(host)
		return nil
	}
	switch addr = addr.Unmap(); {
	case addr == netip.IPv6Unspecified():
		addr = netip.IPv6Loopback()
	case addr == netip.IPv4Unspecified():
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if !t.family.allows(addr) {
		return &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	t.setOnly(netip.AddrPortFrom(addr, t.port))
	return nil
}

// setOnly makes remote the only candidate.
func (t *target) setOnly(remote netip.AddrPort) {
	only := &struct { // one allocation for both
		candidate [1]netip.AddrPort
		attempt   [1]Attempt
	}{candidate: [1]netip.AddrPort{remote}}
	t.candidates, t.log = only.candidate[:], only.attempt[:0]
}

// key is the name under which the memory keeps the target's verdicts.
func (t target) key() string { return net.JoinHostPort(t.name, strconv.Itoa(int(t.port))) }
