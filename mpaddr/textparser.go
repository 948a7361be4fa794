package mpaddr

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// textParser reads an endpoint from its beginning to its end. After the first
// error its methods do nothing that counts.
type textParser struct {
	what string // names the input in errors
	rest string // what has not been read
	off  int    // the offset of rest in the input
	err  *SyntaxError
}

// endpoint reads everything: address, port, flow information.
func (p *textParser) endpoint() Endpoint {
	var ip netip.Addr
	if strings.HasPrefix(p.rest, "[") {
		ip = p.bracketed()
	} else {
		ip = p.ipv4()
	}
	port := p.port()
	flowAt := p.off
	flow, given := p.flowinfo()
	if given && !ip.Is6() {
		p.fail(flowAt, "an IPv4 address has no flowinfo")
	}
	if p.err != nil {
		return Endpoint{}
	}
	return EndpointFrom(netip.AddrPortFrom(ip, port)).WithFlowinfo(flow)
}

// ipv4 reads an address up to the port's colon.
func (p *textParser) ipv4() netip.Addr {
	text, rest, found := strings.Cut(p.rest, ":")
	switch {
	case p.rest == "":
		p.fail(p.off, "address is missing")
	case strings.Contains(rest, ":"):
		p.fail(p.off, "an IPv6 address with a port is written [address]:port")
	case !found:
		p.fail(p.off+len(p.rest), ":port is missing")
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		p.fail(p.off, "%q is no IPv4 address", text)
	}
	p.skip(len(text))
	return ip
}

// bracketed reads an IPv6 address with its zone and the brackets around it.
func (p *textParser) bracketed() netip.Addr {
	end := strings.IndexByte(p.rest, ']')
	if end < 0 {
		p.fail(p.off+len(p.rest), "] is missing")
		return netip.Addr{}
	}
	p.skip(len("["))
	text, zone, zoned := strings.Cut(p.rest[:end-1], "%")
	ip, err := netip.ParseAddr(text)
	if err != nil || !ip.Is6() {
		p.fail(p.off, "%q is no IPv6 address", text)
	}
	p.skip(len(text))
	if zoned {
		p.skip(len("%"))
		ip = ip.WithZone(p.zone(len(zone)))
	}
	p.skip(len("]"))
	return ip
}

// zone reads a zone of n octets, percent-decoding it.
func (p *textParser) zone(n int) string {
	if n == 0 {
		p.fail(p.off, "zone is empty")
	}
	text := p.rest[:n]
	zone := make([]byte, 0, n)
	for i := 0; i < n; i++ {
		if text[i] != '%' {
			zone = append(zone, text[i])
			continue
		}
		octet, err := hex.DecodeString(text[i+1 : min(i+3, n)])
		if err != nil || len(octet) != 1 {
			p.fail(p.off+i, "%% in a zone is followed by two hexadecimal digits")
			break
		}
		zone = append(zone, octet[0])
		i += 2
	}
	p.skip(n)
	return string(zone)
}

// port reads a colon and the port up to the flow information or the end.
func (p *textParser) port() uint16 {
	if !strings.HasPrefix(p.rest, ":") {
		p.fail(p.off, ":port is missing")
		return 0
	}
	p.skip(len(":"))
	text, _, _ := strings.Cut(p.rest, "/")
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		p.fail(p.off, "%q is no port from 0 to 65535", text)
	}
	p.skip(len(text))
	return uint16(port)
}

// flowinfo reads the flow information, if there is any, to the end.
func (p *textParser) flowinfo() (v uint32, given bool) {
	if p.rest == "" {
		return 0, false
	}
	if !strings.HasPrefix(p.rest, flowinfoTag) {
		p.fail(p.off, "after the port only %s0x… may follow", flowinfoTag)
		return 0, false
	}
	p.skip(len(flowinfoTag))
	digits, prefixed := strings.CutPrefix(p.rest, "0x")
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || !prefixed {
		p.fail(p.off, "%q is no flowinfo, 0x and up to eight hexadecimal digits", p.rest)
	}
	p.skip(len(p.rest))
	return uint32(n), true
}

// skip goes past n octets.
func (p *textParser) skip(n int) {
	p.rest = p.rest[n:]
	p.off += n
}

// fail makes the first error that stays.
func (p *textParser) fail(at int, format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{What: p.what, Offset: at, Detail: fmt.Sprintf(format, args...), Err: ErrText}
	}
}
