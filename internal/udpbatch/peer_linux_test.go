package udpbatch

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSockaddr: what a socket address is read as makes the same socket address again.
func TestSockaddr(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:53", "[2001:db8::1]:65535", "[fe80::1]:5353", "[::ffff:192.0.2.1]:1"} {
		want := Peer{Addr: netip.MustParseAddrPort(addr)}
		if want.Addr.Addr().IsLinkLocalUnicast() {
			want.scope = 7
		}
		var sa unix.RawSockaddrInet6
		n := want.sockaddr(&sa)
		var got Peer
		if !got.parse(&sa, nil) || got != want {
			t.Errorf("%v: %+v, want %+v", addr, got, want)
		}
		if got := binary.BigEndian.Uint16(unsafe.Slice((*byte)(unsafe.Pointer(&sa)), n)[2:]); got != want.Addr.Port() {
			t.Errorf("%v: port %d on the wire", addr, got)
		}
	}
	if (&Peer{}).parse(&unix.RawSockaddrInet6{Family: unix.AF_UNIX}, nil) {
		t.Error("a family of another kind")
	}
}

// control is a pktinfo message as the kernel gives it.
func control(addr netip.Addr, index uint32) []byte {
	b := make([]byte, controlLen)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	data := b[unix.CmsgSpace(0):]
	if addr.Is4() {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		binary.NativeEndian.PutUint32(data, index)
		copy(data[4:], addr.AsSlice()) // the address to answer from
		copy(data[8:], addr.AsSlice()) // the header's
		return b[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)]
	}
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	copy(data, addr.AsSlice())
	binary.NativeEndian.PutUint32(data[16:], index)
	return b[:unix.CmsgSpace(unix.SizeofInet6Pktinfo)]
}

// TestControl: the address asked is kept; the interface is for link-local ones only, for else the
// routing table knows better.
func TestControl(t *testing.T) {
	for addr, index := range map[string]uint32{"192.0.2.1": 0, "2001:db8::1": 0, "fe80::1": 7} {
		a := netip.MustParseAddr(addr)
		var p Peer
		p.setControl(control(a, 7))
		got := uint32(p.info4().Ifindex)
		if a.Is6() {
			got = p.info6().Ifindex
		}
		if p.Asked() != a || got != index {
			t.Errorf("%v: asked %v on interface %d, want %d", a, p.Asked(), got, index)
		}
		whole := control(a, 7)
		for n := range whole { // cut off anywhere it says nothing
			p.setControl(whole[:n])
			if p.n != 0 || p.Asked().IsValid() {
				t.Errorf("%v cut to %d octets: %d kept", a, n, p.n)
			}
		}
	}
	other := control(netip.MustParseAddr("192.0.2.1"), 7)
	(*unix.Cmsghdr)(unsafe.Pointer(&other[0])).Type = unix.IP_TTL
	var p Peer
	if p.setControl(other); p.n != 0 {
		t.Error("kept another control message")
	}
}
