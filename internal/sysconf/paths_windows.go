package sysconf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/windows"
)

func defaultPaths() systemPaths {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return systemPaths{}
	}
	return systemPaths{hosts: filepath.Join(dir, "drivers", "etc", "hosts")}
}

const (
	firstAdaptersOctets = 15 << 10 // what the documentation of the call recommends
	maxAdaptersOctets   = 1 << 20
	adapterFlags        = windows.GAA_FLAG_SKIP_UNICAST | windows.GAA_FLAG_SKIP_ANYCAST |
		windows.GAA_FLAG_SKIP_MULTICAST | windows.GAA_FLAG_SKIP_FRIENDLY_NAME
)

var errNoAdapterServers = errors.New("none that is up names a DNS server")

// adapterConf writes the name servers and DNS suffixes of the adapters that are
// up as a resolv.conf file, in the order in which Windows lists the adapters.
func adapterConf() ([]byte, error) {
	buf, err := adapters()
	if err != nil {
		return nil, fmt.Errorf("list network adapters: %w", err)
	}
	var servers, search []string
	for a := (*windows.IpAdapterAddresses)(unsafe.Pointer(unsafe.SliceData(buf))); a != nil; a = a.Next {
		if a.OperStatus != windows.IfOperStatusUp {
			continue
		}
		for s := a.FirstDnsServerAddress; s != nil; s = s.Next {
			if ip, ok := netip.AddrFromSlice(s.Address.IP()); ok {
				servers = append(servers, adapterServer(ip, a.Ipv6IfIndex))
			}
		}
		search = append(search, windows.UTF16PtrToString(a.DnsSuffix))
	}
	conf := appendAdapterConf(nil, servers, search)
	if !bytes.Contains(conf, []byte("nameserver")) {
		return nil, errNoAdapterServers
	}
	return conf, nil
}

// adapterServer is ip as text, with the interface as its zone if it needs one.
func adapterServer(ip netip.Addr, index uint32) string {
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(strconv.FormatUint(uint64(index), 10))
	}
	return ip.String()
}

// adapters calls GetAdaptersAddresses with as large a buffer as it asks for.
func adapters() ([]uint64, error) {
	size := uint32(firstAdaptersOctets)
	for size <= maxAdaptersOctets {
		buf := make([]uint64, (size+7)/8) // aligned for the structures in it
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(unsafe.SliceData(buf)))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, adapterFlags, 0, first, &size)
		if err == nil {
			return buf, nil
		}
		if !errors.Is(err, windows.ERROR_BUFFER_OVERFLOW) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: more than %d octets of adapters", windows.ERROR_BUFFER_OVERFLOW, maxAdaptersOctets)
}
