package sysconf

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// CheckInterval is the least time between two looks at a file. A change is
// noticed by the first call after it.
const CheckInterval = 5 * time.Second

// MaxGaiConfOctets bounds a gai.conf file; of what follows one octet is read, so
// that who parses it can tell.
const MaxGaiConfOctets = 64 << 10

// System is the configuration of this machine, read again when its files change.
// It has no goroutine: each method is given the time, and looks at its file if
// the last look was CheckInterval ago or more. While one caller looks, the others
// go on with what was known; only the very first read makes them wait.
//
// A file that vanishes, cannot be read or is no text keeps the last good contents
// in effect, and Warnings says so. Only gai.conf may go
// without a word: not having one is the usual case. Methods may be called
// concurrently. Systems are made by [Default] and [NewSystem].
type System struct {
	resolv file[*ResolvConf]
	hosts  file[*Hosts]
	gai    file[[]byte]
}

// Default returns a System that reads the files of this operating system:
// /etc/resolv.conf, /etc/hosts and /etc/gai.conf; on Windows
// drivers\etc\hosts under the system directory, the name servers and suffixes of
// the network adapters in the place of resolv.conf, and no gai.conf. The variables
// LOCALDOMAIN and RES_OPTIONS of the environment amend resolv.conf, as its manual
// page says. No file is read yet.
func Default() *System {
	paths := defaultPaths()
	s := NewSystem(paths.resolv, paths.hosts, paths.gai)
	s.resolv.parse = parseResolvFile(paths.resolv, environment{
		localDomain: os.Getenv("LOCALDOMAIN"), resOptions: os.Getenv("RES_OPTIONS"),
	})
	if paths.resolv == "" {
		s.resolv.generate = adapterConf
	}
	return s
}

// NewSystem returns a System that reads the given files; an empty path means
// that there is no such file. Nothing is read yet.
func NewSystem(resolvPath, hostsPath, gaiPath string) *System {
	return &System{
		resolv: file[*ResolvConf]{path: resolvPath, limit: MaxResolvConfOctets, parse: parseResolvFile(resolvPath, environment{}), tell: (*ResolvConf).told},
		hosts:  file[*Hosts]{path: hostsPath, limit: MaxHostsOctets, parse: parseHostsFile, tell: (*Hosts).told},
		gai:    file[[]byte]{path: gaiPath, limit: MaxGaiConfOctets, parse: parseGaiFile, optional: true},
	}
}

// systemPaths are the places of the files, "" for those that do not exist on
// this operating system.
type systemPaths struct{ resolv, hosts, gai string }

// Resolv returns what resolv.conf says as of now, never nil. If it could never
// be read, the servers are 127.0.0.1 and ::1, as in the C library. Where the file
// gives no search list, Search is the domain of the host's own name, if that has
// one. After "options no-reload" the file is not looked at again.
//
// The pointer stays the same until what the file says, or what is wrong with it,
// changes, so that callers may keep what they have made of it by pointer.
func (s *System) Resolv(now time.Time) *ResolvConf { return s.resolv.get(now).value }

// Hosts returns what the hosts file says as of now, never nil, its pointer as
// that of Resolv.
func (s *System) Hosts(now time.Time) *Hosts { return s.hosts.get(now).value }

// GaiConf returns the octets of gai.conf as of now, for package addrsel to parse;
// nil if there is no such file. They must not be changed.
func (s *System) GaiConf(now time.Time) []byte { return s.gai.get(now).value }

// Warnings returns all that is wrong with the files as of now, for people.
func (s *System) Warnings(now time.Time) []string {
	w := slices.Clone(s.Resolv(now).Warnings)
	w = append(w, s.Hosts(now).Warnings()...)
	if p := s.gai.get(now).problem; p != "" {
		w = append(w, p)
	}
	return w
}

// told returns a copy of c that warns of problem.
func (c *ResolvConf) told(problem string) *ResolvConf {
	told := *c
	told.Warnings = append(slices.Clone(c.Warnings), problem)
	return &told
}

// told returns a copy of h that warns of problem.
func (h *Hosts) told(problem string) *Hosts {
	told := *h
	told.warnings = append(slices.Clone(h.warnings), problem)
	return &told
}

// parseResolvFile returns a parser that notes path and lets env amend what the
// file says. "no-reload" pins the file.
func parseResolvFile(path string, env environment) func([]byte) (*ResolvConf, bool) {
	return func(b []byte) (*ResolvConf, bool) {
		c := ParseResolvConf(bytes.NewReader(b))
		env.amend(c)
		withHostSearch(c)
		if b != nil {
			c.Path = path
		}
		return c, c.NoReload
	}
}

func parseHostsFile(b []byte) (*Hosts, bool) { return ParseHosts(bytes.NewReader(b)), false }

func parseGaiFile(b []byte) ([]byte, bool) { return b, false }

// environment is the variables that resolv.conf(5) names; "" is unset.
type environment struct{ localDomain, resOptions string }

// amend replaces the search list of c by LOCALDOMAIN and adds RES_OPTIONS to its
// options.
func (e environment) amend(c *ResolvConf) {
	p := resolvParser{conf: c, warnings: warnings{file: "environment", list: c.Warnings}}
	if domains := strings.Fields(e.localDomain); len(domains) > 0 {
		p.search("LOCALDOMAIN", domains)
	}
	for o := range strings.FieldsSeq(e.resOptions) {
		p.option(o)
	}
	c.Warnings = p.list
}

// withHostSearch gives c the search list that resolv.conf(5) describes for a
// file without one: what follows the first dot of the host's name.
func withHostSearch(c *ResolvConf) {
	if c.Search != nil {
		return
	}
	host, err := os.Hostname()
	if err != nil {
		c.Warnings = append(c.Warnings, fmt.Sprintf("resolv.conf: no search list, and the host's name is not known: %v", err))
		return
	}
	c.Search = hostSearch(host)
}

// hostSearch is the search list that a host's name implies, nil if none.
func hostSearch(host string) []string {
	_, domain, _ := strings.Cut(host, ".")
	_, rooted, err := scanName(domain)
	if err != nil || domain == "." {
		return nil
	}
	if rooted {
		domain = domain[:len(domain)-1]
	}
	return []string{domain}
}
