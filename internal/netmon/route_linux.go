package netmon

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// defaultRoute is one default route.
type defaultRoute struct {
	family  Family
	metric  uint32 // NoMetric outside the main table
	indices []int  // of the interfaces it leaves through
}

// parseRoute decodes struct rtmsg and its attributes. It is ok for default
// routes that carry packets.
//
// A nexthop's flags for being dead or without a carrier are not looked at: the
// kernel takes them back without a word, and the link's own state tells.
func parseRoute(b []byte) (r defaultRoute, ok bool, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, false, errShort
	}
	r.family, ok = routeFamily(b[0])
	prefix, kind, flags := b[1], b[7], binary.NativeEndian.Uint32(b[8:])
	if !ok || prefix != 0 || kind != unix.RTN_UNICAST || flags&unix.RTM_F_CLONED != 0 {
		return r, false, nil
	}
	table := uint32(b[4])
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofRtMsg:])
	if err != nil {
		return r, false, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_TABLE: // the whole number; the header has eight bits
			table = ad.Uint32()
		case unix.RTA_PRIORITY:
			r.metric = ad.Uint32()
		case unix.RTA_OIF:
			r.indices = append(r.indices, int(ad.Int32()))
		case unix.RTA_MULTIPATH:
			ad.Do(r.decodeNexthops)
		}
	}
	if table != unix.RT_TABLE_MAIN {
		r.metric = NoMetric
	}
	return r, true, ad.Err()
}

func routeFamily(number byte) (Family, bool) {
	switch number {
	case unix.AF_INET:
		return IPv4, true
	case unix.AF_INET6:
		return IPv6, true
	}
	return 0, false
}

// nexthopAlign is RTNH_ALIGNTO (linux/rtnetlink.h).
const nexthopAlign = 4

// decodeNexthops decodes the array of struct rtnexthop in RTA_MULTIPATH: its
// length in two octets, flags, weight, and the interface's index in four; then
// attributes.
func (r *defaultRoute) decodeNexthops(b []byte) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofRtNexthop {
			return errShort
		}
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return fmt.Errorf("nexthop of %d octets in %d", length, len(b))
		}
		r.indices = append(r.indices, int(int32(binary.NativeEndian.Uint32(b[4:]))))
		aligned := (length + nexthopAlign - 1) &^ (nexthopAlign - 1)
		b = b[min(aligned, len(b)):]
	}
	return nil
}
