package mptcp

import (
	"net/netip"

	"github.com/mdlayher/netlink"
)

// The commands of the path manager (enum in uapi/linux/mptcp_pm.h).
const (
	cmdSetLimits      = 5
	cmdGetLimits      = 6
	cmdSetFlags       = 7
	cmdAnnounce       = 8
	cmdRemove         = 9
	cmdSubflowCreate  = 10
	cmdSubflowDestroy = 11
)

// The attributes of commands.
const (
	attrAddr            = 1
	attrAddAddrAccepted = 2
	attrSubflows        = 3
	attrToken           = 4
	attrLocalID         = 5
	attrAddrRemote      = 6
)

// The attributes nested in attrAddr and attrAddrRemote. Ports are in host byte
// order here, unlike in the events.
const (
	addrFamily  = 1
	addrID      = 2
	addrIPv4    = 3
	addrIPv6    = 4
	addrPort    = 5
	addrFlags   = 6
	addrIfIndex = 7
)

// The flags of an address.
const (
	addrFlagSignal = 1 << 0
	addrFlagBackup = 1 << 2
)

// backupFlag returns the flags of an address that s asks for.
func (s Subflow) backupFlag() uint32 {
	if s.Backup {
		return addrFlagBackup
	}
	return 0
}

// encodeSubflow is the request of the commands that name a subflow.
func encodeSubflow(token uint32, s Subflow, flags uint32) *netlink.AttributeEncoder {
	e := netlink.NewAttributeEncoder()
	e.Uint32(attrToken, token)
	e.Nested(attrAddr, func(e *netlink.AttributeEncoder) error {
		encodeAddr(e, s.Local)
		if s.LocalID != 0 {
			e.Uint8(addrID, s.LocalID)
		}
		if flags != 0 {
			e.Uint32(addrFlags, flags)
		}
		if s.IfIndex != 0 {
			e.Int32(addrIfIndex, int32(s.IfIndex))
		}
		return nil
	})
	e.Nested(attrAddrRemote, func(e *netlink.AttributeEncoder) error {
		encodeAddr(e, s.Remote)
		return nil
	})
	return e
}

// encodeAnnounce is the request of the announce command.
func encodeAnnounce(token uint32, id uint8, addr netip.AddrPort) *netlink.AttributeEncoder {
	e := netlink.NewAttributeEncoder()
	e.Uint32(attrToken, token)
	e.Nested(attrAddr, func(e *netlink.AttributeEncoder) error {
		encodeAddr(e, addr)
		e.Uint8(addrID, id)
		e.Uint32(addrFlags, addrFlagSignal)
		return nil
	})
	return e
}

// encodeRemove is the request of the remove command.
func encodeRemove(token uint32, id uint8) *netlink.AttributeEncoder {
	e := netlink.NewAttributeEncoder()
	e.Uint32(attrToken, token)
	e.Uint8(attrLocalID, id)
	return e
}

// encodeAddr writes family, address and, unless zero, port. An invalid address
// writes nothing, and the kernel answers "missing family".
func encodeAddr(e *netlink.AttributeEncoder, ap netip.AddrPort) {
	switch a := ap.Addr(); {
	case a.Is4():
		b := a.As4()
		e.Uint16(addrFamily, familyINET)
		e.Bytes(addrIPv4, b[:])
	case a.Is6():
		b := a.As16()
		e.Uint16(addrFamily, familyINET6)
		e.Bytes(addrIPv6, b[:])
	}
	if ap.Port() != 0 {
		e.Uint16(addrPort, ap.Port())
	}
}
