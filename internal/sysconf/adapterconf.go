package sysconf

import (
	"net/netip"
	"strings"
)

// appendAdapterConf appends the lines of resolv.conf that say what the network
// adapters of Windows say. Servers of fec0:0:0:ffff::/64 are left out: Windows
// lists them for every adapter without a server, and nobody is there.
func appendAdapterConf(dst []byte, servers, search []string) []byte {
	seen := make(map[string]bool)
	for _, s := range servers {
		if a, err := netip.ParseAddr(s); err != nil || placeholderServers().Contains(a) || seen[s] {
			continue
		}
		seen[s] = true
		dst = append(dst, "nameserver "+s+"\n"...)
	}
	var domains []string
	for _, d := range search {
		if key := hostKey(d); key != "" && checkName(d) == nil && !seen[key] {
			seen[key] = true
			domains = append(domains, d)
		}
	}
	if len(domains) > 0 {
		dst = append(dst, "search "+strings.Join(domains, " ")+"\n"...)
	}
	return dst
}

func placeholderServers() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0xc0, 6: 0xff, 7: 0xff}), 64)
}
