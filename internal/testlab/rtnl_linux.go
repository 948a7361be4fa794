package testlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of the kernel's interface that golang.org/x/sys/unix lacks.
const (
	vethInfoPeer = 1 // VETH_INFO_PEER, linux/veth.h
	frActToTable = 1 // FR_ACT_TO_TBL, linux/fib_rules.h
	fraSrc       = 2 // FRA_SRC
	fraPriority  = 6 // FRA_PRIORITY
	fraTable     = 15
)

// hostMAC is the address of every host's end of every link. With ARP off, a
// host sends frames to its own link-layer address, so that equal addresses
// make them right for the receiver as they are.
var hostMAC = [6]byte{2, 0, 0, 0, 0, 1}

// rtnl sends route netlink requests in the namespace that it was made in.
type rtnl struct{ conn *netlink.Conn }

func dialRTNL() (*rtnl, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open route netlink: %w", err)
	}
	// Extended acknowledgements only make messages better.
	_ = c.SetOption(netlink.ExtendedAcknowledge, true)
	return &rtnl{conn: c}, nil
}

// request sends one request of a fixed header and attributes, and waits for
// its acknowledgement.
func (r *rtnl) request(what string, typ uint16, flags netlink.HeaderFlags, header []byte, attrs func(*netlink.AttributeEncoder)) error {
	_, err := r.execute(what, typ, flags|netlink.Acknowledge, header, attrs)
	return err
}

func (r *rtnl) execute(what string, typ uint16, flags netlink.HeaderFlags, header []byte, attrs func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	if attrs != nil {
		attrs(ae)
	}
	b, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	replies, err := r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: flags | netlink.Request},
		Data:   append(header, b...),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return replies, nil
}

// linkHeader is struct ifinfomsg.
func linkHeader(index int, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// addVeth makes a pair: name here, peer in the namespace of the file peerNS.
func (r *rtnl) addVeth(name, peer string, peerNS, mtu int) error {
	return r.request("make link "+peer, unix.RTM_NEWLINK, netlink.Create|netlink.Excl, linkHeader(0, 0, 0), func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Uint32(unix.IFLA_MTU, uint32(mtu))
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, "veth")
			info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
				data.Do(vethInfoPeer, func() ([]byte, error) { return vethPeer(peer, peerNS, mtu) })
				return nil
			})
			return nil
		})
	})
}

func vethPeer(name string, ns, mtu int) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, name)
	ae.Uint32(unix.IFLA_MTU, uint32(mtu))
	ae.Uint32(unix.IFLA_NET_NS_FD, uint32(ns))
	ae.Bytes(unix.IFLA_ADDRESS, hostMAC[:])
	b, err := ae.Encode()
	return append(linkHeader(0, 0, 0), b...), err
}

func (r *rtnl) deleteLink(index int) error {
	return r.request("delete link", unix.RTM_DELLINK, 0, linkHeader(index, 0, 0), nil)
}

// setUp brings a link up, without ARP and neighbour discovery.
func (r *rtnl) setUp(index int) error {
	const flags = unix.IFF_UP | unix.IFF_NOARP
	return r.request("bring link up", unix.RTM_NEWLINK, 0, linkHeader(index, flags, flags), nil)
}

func (r *rtnl) setDown(index int) error {
	return r.request("take link down", unix.RTM_NEWLINK, 0, linkHeader(index, 0, unix.IFF_UP), nil)
}

// awaitTime bounds the wait for what the kernel does from its work queues;
// awaitPoll is the interval of asking.
const (
	awaitTime = 5 * time.Second
	awaitPoll = time.Millisecond
)

// await asks until a condition holds.
func await(what string, holds func() (bool, error)) error {
	poll := time.NewTicker(awaitPoll)
	defer poll.Stop()
	for began := time.Now(); ; <-poll.C {
		ok, err := holds()
		if err != nil || ok {
			return err
		}
		if time.Since(began) > awaitTime {
			return fmt.Errorf("wait for %s: %w", what, os.ErrDeadlineExceeded)
		}
	}
}

// awaitCarrier waits until a link has the state that its other end's going up
// or down gives it. Until then the kernel drops what is sent.
func (r *rtnl) awaitCarrier(index int, up bool) error {
	return await(fmt.Sprintf("the carrier of link %d", index), func() (bool, error) {
		isUp, err := r.carrier(index)
		return isUp == up, err
	})
}

// awaitLocal waits until packets to an address of the host are accepted. An
// IPv6 address is there at once, its local route a moment later.
func (r *rtnl) awaitLocal(a netip.Addr) error {
	return await("address "+a.String(), func() (bool, error) { return r.isLocal(a) })
}

// carrier reports whether a link's operational state (RFC 2863) is up.
func (r *rtnl) carrier(index int) (bool, error) {
	b, err := r.query("read link", unix.RTM_GETLINK, linkHeader(index, 0, 0), nil)
	if err != nil {
		return false, err
	}
	if len(b) < unix.SizeofIfInfomsg {
		return false, errors.New("read link: reply too short")
	}
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return false, fmt.Errorf("read link: %w", err)
	}
	const operUp = 6 // IF_OPER_UP
	for ad.Next() {
		if ad.Type() == unix.IFLA_OPERSTATE {
			return ad.Uint8() == operUp, nil
		}
	}
	return false, ad.Err()
}

// isLocal reports whether the route to an address ends at this host.
func (r *rtnl) isLocal(a netip.Addr) (bool, error) {
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[1] = family(a), byte(a.BitLen())
	b, err := r.query("read route to "+a.String(), unix.RTM_GETROUTE, header, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.RTA_DST, a.AsSlice())
	})
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return len(b) >= unix.SizeofRtMsg && b[7] == unix.RTN_LOCAL, nil
}

// query sends a request that has one reply and returns what it carries.
func (r *rtnl) query(what string, typ uint16, header []byte, attrs func(*netlink.AttributeEncoder)) ([]byte, error) {
	replies, err := r.execute(what, typ, 0, header, attrs)
	if err != nil {
		return nil, err
	}
	if len(replies) != 1 {
		return nil, fmt.Errorf("%s: %d replies instead of one", what, len(replies))
	}
	return replies[0].Data, nil
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addAddr gives a link an address. It is usable at once: duplicate address
// detection (RFC 4862 section 5.4) is skipped. No route to the prefix is made.
func (r *rtnl) addAddr(index int, p netip.Prefix) error {
	header := make([]byte, unix.SizeofIfAddrmsg)
	header[0], header[1] = family(p.Addr()), byte(p.Bits())
	binary.NativeEndian.PutUint32(header[4:], uint32(index))
	return r.request("add address "+p.String(), unix.RTM_NEWADDR, netlink.Create|netlink.Replace, header, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		ae.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
		ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE)
	})
}

// addDefault adds a default route over a link, for the family of src, which
// becomes the source of unbound sockets.
func (r *rtnl) addDefault(table, index int, src netip.Addr, metric int) error {
	header := make([]byte, unix.SizeofRtMsg)
	header[0] = family(src)
	header[5] = unix.RTPROT_STATIC
	if src.Is4() {
		header[6] = unix.RT_SCOPE_LINK
	}
	header[7] = unix.RTN_UNICAST
	return r.request("add default route", unix.RTM_NEWROUTE, netlink.Create|netlink.Replace, header, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.RTA_OIF, uint32(index))
		ae.Uint32(unix.RTA_TABLE, uint32(table))
		ae.Uint32(unix.RTA_PRIORITY, uint32(metric))
		ae.Bytes(unix.RTA_PREFSRC, src.AsSlice())
	})
}

// addRule sends what comes from an address to a table; deleteRule undoes it.
func (r *rtnl) addRule(src netip.Addr, table int) error {
	return r.rule("add rule", unix.RTM_NEWRULE, netlink.Create|netlink.Excl, src, table)
}

func (r *rtnl) deleteRule(src netip.Addr, table int) error {
	return r.rule("delete rule", unix.RTM_DELRULE, 0, src, table)
}

func (r *rtnl) rule(what string, typ uint16, flags netlink.HeaderFlags, src netip.Addr, table int) error {
	header := make([]byte, 12) // struct fib_rule_hdr
	header[0], header[2] = family(src), byte(src.BitLen())
	header[7] = frActToTable
	return r.request(what+" for "+src.String(), typ, flags, header, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(fraSrc, src.AsSlice())
		ae.Uint32(fraPriority, rulePriority)
		ae.Uint32(fraTable, uint32(table))
	})
}
