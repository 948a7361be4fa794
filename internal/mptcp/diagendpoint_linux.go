package mptcp

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
)

// The commands about endpoints.
const (
	cmdAddEndpoint    = 1
	cmdRemoveEndpoint = 2
	cmdGetEndpoint    = 3

	opReadEndpoints  = "read endpoints"
	opAddEndpoint    = "add endpoint"
	opRemoveEndpoint = "remove endpoint"
)

// Endpoints lists the endpoints of the kernel's own path manager in the calling
// thread's network namespace, by ID. It needs no privilege.
func Endpoints() ([]Endpoint, error) {
	replies, err := executeOnce(opReadEndpoints, cmdGetEndpoint, netlink.NewAttributeEncoder(), netlink.Dump)
	if err != nil {
		return nil, err
	}
	all := make([]Endpoint, 0, len(replies))
	for _, r := range replies {
		e, err := parseEndpoint(r.Data)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Endpoint) int { return int(a.ID) - int(b.ID) })
	return all, nil
}

// ReadLimits reads the limits of the kernel's own path manager in the calling
// thread's network namespace, which needs no privilege.
func ReadLimits() (Limits, error) { return readLimits() }

// AddEndpoint adds an endpoint, as "ip mptcp endpoint add" does. It needs
// CAP_NET_ADMIN; a refusal is an [*OpError].
func AddEndpoint(e Endpoint) error {
	request := netlink.NewAttributeEncoder()
	request.Nested(attrAddr, func(n *netlink.AttributeEncoder) error {
		encodeAddr(n, netip.AddrPortFrom(e.Addr.Addr().Unmap(), e.Addr.Port()))
		n.Uint32(addrFlags, uint32(e.Flags))
		if e.ID != 0 {
			n.Uint8(addrID, e.ID)
		}
		if e.IfIndex != 0 {
			n.Int32(addrIfIndex, int32(e.IfIndex))
		}
		return nil
	})
	_, err := executeOnce(opAddEndpoint, cmdAddEndpoint, request, netlink.Acknowledge)
	return err
}

// RemoveEndpoint removes the endpoint with the given id, as "ip mptcp endpoint
// delete" does, with the same needs and errors as [AddEndpoint].
func RemoveEndpoint(id uint8) error {
	request := netlink.NewAttributeEncoder()
	request.Nested(attrAddr, func(n *netlink.AttributeEncoder) error {
		n.Uint8(addrID, id)
		return nil
	})
	_, err := executeOnce(opRemoveEndpoint, cmdRemoveEndpoint, request, netlink.Acknowledge)
	return err
}

// parseEndpoint decodes one answer to the get address command.
func parseEndpoint(attrs []byte) (Endpoint, error) {
	d, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return Endpoint{}, fmt.Errorf("mptcp: decode endpoint: %w", err)
	}
	var e Endpoint
	for d.Next() {
		if d.Type() == attrAddr {
			d.Nested(e.attributes)
		}
	}
	if err := d.Err(); err != nil {
		return Endpoint{}, fmt.Errorf("mptcp: decode endpoint: %w", err)
	}
	if !e.Addr.IsValid() {
		return Endpoint{}, fmt.Errorf("mptcp: decode endpoint %d: no address", e.ID)
	}
	return e, nil
}

// attributes decodes what is nested in attrAddr.
func (e *Endpoint) attributes(d *netlink.AttributeDecoder) error {
	var addr netip.Addr
	var port uint16
	for d.Next() {
		switch d.Type() {
		case addrID:
			e.ID = d.Uint8()
		case addrIPv4, addrIPv6:
			v4 := d.Type() == addrIPv4
			d.Do(func(b []byte) error {
				a, ok := netip.AddrFromSlice(b)
				if !ok || a.Is4() != v4 {
					return fmt.Errorf("address attribute of %d octets", len(b))
				}
				addr = a.Unmap()
				return nil
			})
		case addrPort:
			port = d.Uint16()
		case addrFlags:
			e.Flags = EndpointFlags(d.Uint32())
		case addrIfIndex:
			e.IfIndex = int(d.Int32())
		}
	}
	if addr.IsValid() {
		e.Addr = netip.AddrPortFrom(addr, port)
	}
	return d.Err()
}
