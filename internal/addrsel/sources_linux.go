package addrsel

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	ifInet6Path = "/proc/net/if_inet6"
	sysClassNet = "/sys/class/net/"

	maxIfInet6Octets = 1 << 20 // some twenty thousand addresses
)

// Address flags of <linux/if_addr.h>, as far as if_inet6 shows them.
const (
	ifaTemporary   = 0x01
	ifaHomeAddress = 0x10
	ifaDeprecated  = 0x20
)

// Hardware types of <linux/if_arp.h> for tunnels that carry IPv6 in IPv4.
const (
	arphrdTunnel = 768 // IPIP
	arphrdSIT    = 776 // 6in4, 6to4, 6rd, ISATAP
)

// sourceOf returns the address that the kernel would send from to reach dest. It
// uses a socket that Go's poller does not know of, since nothing is waited for.
func (f *Finder) sourceOf(dest netip.AddrPort) netip.Addr {
	if dest.Addr().Zone() != "" {
		return dialSource(dest)
	}
	room, _ := f.rooms.Get().(*sockaddrRoom)
	if room == nil {
		room = new(sockaddrRoom)
	}
	defer f.rooms.Put(room)
	family, to := room.sockaddr(dest)
	fd, err := syscall.Socket(family, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Connect(fd, to); err != nil {
		return netip.Addr{}
	}
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.Addr{}
	}
	switch a := local.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *syscall.SockaddrInet6:
		if a.ZoneId != 0 {
			return dialSource(dest) // which knows the zone's name
		}
		return netip.AddrFrom16(a.Addr).Unmap()
	}
	return netip.Addr{}
}

// sockaddrRoom is room for a socket address, which is in use during a system call.
type sockaddrRoom struct {
	four syscall.SockaddrInet4
	six  syscall.SockaddrInet6
}

func (r *sockaddrRoom) sockaddr(dest netip.AddrPort) (family int, to syscall.Sockaddr) {
	if a := dest.Addr(); a.Is4() {
		r.four = syscall.SockaddrInet4{Port: int(dest.Port()), Addr: a.As4()}
		return syscall.AF_INET, &r.four
	}
	r.six = syscall.SockaddrInet6{Port: int(dest.Port()), Addr: dest.Addr().As16()}
	return syscall.AF_INET6, &r.six
}

// localAddrs returns what is known of this host's addresses, keyed by address,
// with a zone if it is link-local. A missing if_inet6 means that there is no
// IPv6.
func localAddrs() map[netip.Addr]Source {
	out := localPrefixes()
	f, err := os.Open(ifInet6Path)
	if err != nil {
		return out
	}
	defer f.Close()
	if out == nil {
		out = make(map[netip.Addr]Source)
	}
	tunnels := make(map[string]bool)
	for _, l := range parseIfInet6(io.LimitReader(f, maxIfInet6Octets)) {
		tunnel, known := tunnels[l.name]
		if !known {
			tunnel = isTunnel(l.name)
			tunnels[l.name] = tunnel
		}
		l.source.Tunnel = tunnel
		out[l.source.Addr] = l.source
	}
	return out
}

// ifInet6Line is a line of if_inet6: an address and its interface's name.
type ifInet6Line struct {
	source Source
	name   string
}

// parseIfInet6 reads the kernel's list of IPv6 addresses: 32 hexadecimal digits
// of address, then interface index, prefix length, scope and flags in
// hexadecimal, and the interface's name. Lines of another form are left out.
func parseIfInet6(r io.Reader) []ifInet6Line {
	var out []ifInet6Line
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) != 6 {
			continue
		}
		addr, ok := parseHexAddr(f[0])
		index, err1 := strconv.ParseUint(f[1], 16, 31)
		prefix, err2 := strconv.ParseUint(f[2], 16, 8)
		flags, err3 := strconv.ParseUint(f[4], 16, 32)
		if !ok || err1 != nil || err2 != nil || err3 != nil || prefix > 128 {
			continue
		}
		if addr.IsLinkLocalUnicast() {
			addr = addr.WithZone(f[5])
		}
		out = append(out, ifInet6Line{name: f[5], source: Source{
			Addr:       addr,
			Prefix:     int(prefix),
			Interface:  int(index),
			Temporary:  flags&ifaTemporary != 0,
			Home:       flags&ifaHomeAddress != 0,
			Deprecated: flags&ifaDeprecated != 0,
		}})
	}
	return out
}

// parseHexAddr reads an IPv6 address written as 32 hexadecimal digits.
func parseHexAddr(s string) (netip.Addr, bool) {
	var b [16]byte
	if len(s) != 2*len(b) {
		return netip.Addr{}, false
	}
	for i := range b {
		octet, err := strconv.ParseUint(s[2*i:2*i+2], 16, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(octet)
	}
	return netip.AddrFrom16(b), true
}

// isTunnel reports whether the interface carries IPv6 in IPv4.
func isTunnel(name string) bool {
	hardware, err := os.ReadFile(sysClassNet + name + "/type")
	return err == nil && isTunnelType(string(hardware))
}

func isTunnelType(hardware string) bool {
	n, err := strconv.Atoi(strings.TrimSpace(hardware))
	return err == nil && (n == arphrdSIT || n == arphrdTunnel)
}
