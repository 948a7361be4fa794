package sysconf

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Defaults and bounds of resolv.conf(5), those of glibc's <resolv.h> except as
// said. Values outside are brought to the nearest bound, with a warning.
const (
	DefaultNdots    = 1
	MaxNdots        = 15
	DefaultTimeout  = 5 * time.Second
	MinTimeout      = time.Second // glibc waits a second at least, too
	MaxTimeout      = 30 * time.Second
	DefaultAttempts = 2
	MinAttempts     = 1 // glibc takes 0 and then asks nobody
	MaxAttempts     = 5

	// MaxSearch bounds the search list, and with it the queries one name can
	// cause. glibc has no bound since 2.26; 32 is what Kubernetes allows.
	MaxSearch = 32
	// MaxResolvConfOctets bounds a resolv.conf file; what follows is not read.
	MaxResolvConfOctets = 256 << 10
	// MaxWarnings bounds the warnings kept about one file.
	MaxWarnings = 32

	// dnsPort is where name servers listen (RFC 1035 section 4.2).
	dnsPort = 53
)

// ResolvConf is what a resolv.conf file says. It is not changed once parsed and
// may be shared.
type ResolvConf struct {
	// Servers are the name servers in the order given, without duplicates.
	// glibc uses the first three; here all are kept. Never empty: without a
	// nameserver line they are 127.0.0.1 and ::1.
	Servers []netip.AddrPort
	// Search is the search list, without trailing dots, "." being the root.
	// Nil if the file says nothing, which is not the same as empty.
	Search []string

	Ndots    int           // dots that let a name be tried as it is first
	Timeout  time.Duration // wait for one server's answer
	Attempts int           // rounds through the servers

	Rotate              bool // spread queries over the servers
	SingleRequest       bool // ask A and AAAA one after the other
	SingleRequestReopen bool // ask A and AAAA from different sockets
	UseTCP              bool // use-vc, usevc, tcp: no UDP
	EDNS0               bool // send EDNS (RFC 6891)
	TrustAD             bool // the servers' AD bit may be believed
	NoAAAA              bool // do not ask AAAA
	NoTLDQuery          bool // do not try a name without a dot as it is
	NoReload            bool // do not look for changes of the file

	// Unknown holds directives and options that are not understood, as
	// written; for a directive the whole line.
	Unknown []string
	// Warnings says what was left out or changed and why, with line numbers.
	Warnings []string
	// Path is the file it came from, "" if it came from none.
	Path string
}

// ParseResolvConf reads resolv.conf(5) by glibc's rules: a directive starts its
// line, lines starting with # or ; are comments, the last of several domain and
// search lines counts, options add up. Two forms of other systems are understood
// too: OpenBSD's "nameserver [ADDRESS]:PORT", and the BSDs' names for use-vc.
//
// It does not fail. An error of r ends the file there, with a warning.
func ParseResolvConf(r io.Reader) *ResolvConf {
	p := resolvParser{conf: &ResolvConf{
		Ndots: DefaultNdots, Timeout: DefaultTimeout, Attempts: DefaultAttempts,
	}}
	p.warnings.file = "resolv.conf"
	text, cut, err := readBounded(r, MaxResolvConfOctets)
	for line := range strings.Lines(text) {
		p.line++
		p.parseLine(strings.TrimRight(line, "\r\n"))
	}
	p.warnEnd(cut, err, MaxResolvConfOctets)
	if len(p.conf.Servers) == 0 {
		p.conf.Servers = localServers()
	}
	p.conf.Warnings = p.list
	return p.conf
}

// localServers is what glibc asks when no server is named, with IPv6 added.
func localServers() []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort),
		netip.AddrPortFrom(netip.IPv6Loopback(), dnsPort),
	}
}

// resolvParser is the state of reading one file.
type resolvParser struct {
	warnings
	conf *ResolvConf
}

func (p *resolvParser) parseLine(line string) {
	if line == "" || line[0] == '#' || line[0] == ';' {
		return
	}
	f := strings.Fields(line)
	if len(f) == 0 {
		return
	}
	if line[0] == ' ' || line[0] == '\t' {
		p.warn("%s does not start its line: ignored, as the C library does", f[0])
		return
	}
	args := uncommented(f[1:])
	switch f[0] {
	case "nameserver":
		p.nameserver(args)
	case "domain":
		p.search("domain", args[:min(1, len(args))])
	case "search":
		p.search("search", args)
	case "options":
		for _, o := range args {
			p.option(o)
		}
	default:
		p.conf.Unknown = append(p.conf.Unknown, line)
	}
}

// uncommented cuts args at the first that begins a comment.
func uncommented(args []string) []string {
	for i, a := range args {
		if a[0] == '#' || a[0] == ';' {
			return args[:i]
		}
	}
	return args
}

func (p *resolvParser) nameserver(args []string) {
	if len(args) == 0 {
		p.warn("nameserver without an address: ignored")
		return
	}
	s, _, _ := strings.Cut(args[0], "#")
	s, _, _ = strings.Cut(s, ";")
	server, err := parseServer(s)
	if err != nil {
		p.warn("nameserver %q is not an IP address: ignored", args[0])
		return
	}
	for _, have := range p.conf.Servers {
		if have == server {
			p.warn("nameserver %s is given twice", args[0])
			return
		}
	}
	p.conf.Servers = append(p.conf.Servers, server)
}

// parseServer reads an address, or [ADDRESS]:PORT.
func parseServer(s string) (netip.AddrPort, error) {
	if strings.HasPrefix(s, "[") {
		host, port, ok := strings.Cut(s[1:], "]:")
		a, err := netip.ParseAddr(host)
		n, err2 := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil || err2 != nil || n == 0 {
			return netip.AddrPort{}, fmt.Errorf("parse server %q: not [ADDRESS]:PORT", s)
		}
		return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("parse server %q: %w", s, err)
	}
	return netip.AddrPortFrom(a.Unmap(), dnsPort), nil
}

// search replaces the search list. "search ." leaves only the root.
func (p *resolvParser) search(directive string, domains []string) {
	if len(domains) == 0 {
		p.warn("%s without a domain: ignored", directive)
		return
	}
	list := []string{}
	for _, d := range domains {
		_, rooted, err := scanName(d)
		if err != nil {
			p.warn("%s domain %q: %v: ignored", directive, d, err)
			continue
		}
		if rooted && d != "." {
			d = d[:len(d)-1]
		}
		if len(list) == MaxSearch {
			p.warn("%s has more than %d domains: the rest are ignored", directive, MaxSearch)
			break
		}
		list = append(list, d)
	}
	p.conf.Search = list
}

func (p *resolvParser) option(o string) {
	c := p.conf
	name, value, hasValue := strings.Cut(o, ":")
	if hasValue {
		p.numericOption(o, name, value)
		return
	}
	switch name {
	case "rotate":
		c.Rotate = true
	case "single-request":
		c.SingleRequest = true
	case "single-request-reopen":
		c.SingleRequestReopen = true
	case "use-vc", "usevc", "tcp":
		c.UseTCP = true
	case "edns0":
		c.EDNS0 = true
	case "trust-ad":
		c.TrustAD = true
	case "no-aaaa":
		c.NoAAAA = true
	case "no-tld-query":
		c.NoTLDQuery = true
	case "no-reload":
		c.NoReload = true
	case "ndots", "timeout", "attempts":
		p.warn("option %s needs a number, as in %s:2: ignored", name, name)
	default:
		c.Unknown = append(c.Unknown, o)
	}
}

func (p *resolvParser) numericOption(o, name, value string) {
	c := p.conf
	switch name {
	case "ndots":
		c.Ndots = p.number(o, value, c.Ndots, 0, MaxNdots)
	case "timeout":
		seconds := p.number(o, value, int(c.Timeout/time.Second), int(MinTimeout/time.Second), int(MaxTimeout/time.Second))
		c.Timeout = time.Duration(seconds) * time.Second
	case "attempts":
		c.Attempts = p.number(o, value, c.Attempts, MinAttempts, MaxAttempts)
	default:
		c.Unknown = append(c.Unknown, o)
	}
}

// number reads value, an integer brought into lo..hi; what is not one leaves old.
func (p *resolvParser) number(option, value string, old, lo, hi int) int {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		p.warn("option %q: %q is not a number: ignored", option, value)
		return old
	}
	in := min(max(int(n), lo), hi)
	if in != int(n) {
		p.warn("option %q is outside %d to %d: taken as %d", option, lo, hi, in)
	}
	return in
}
