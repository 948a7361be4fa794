package resolver_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/resolver"
)

// TestNotAsked: what is answered here, and that no server hears of it.
func TestNotAsked(t *testing.T) {
	r, s := over(t, dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN A 198.51.100.1"}}))
	tests := []struct {
		name  string
		want  []string
		proto string
	}{
		{"192.0.2.7", []string{"192.0.2.7"}, "literal"},
		{"127.0.0.1", []string{"127.0.0.1"}, "literal"},
		{"2001:db8::7", []string{"2001:db8::7"}, "literal"},
		{"fe80::1%lo", []string{"fe80::1%lo"}, "literal"},
		{"fe80::1", []string{"fe80::1"}, "literal"},
		{"::ffff:192.0.2.7", []string{"192.0.2.7"}, "literal"},
		{"localhost", []string{"127.0.0.1", "::1"}, "special"},
		{"LOCALHOST.", []string{"127.0.0.1", "::1"}, "special"},
		{"app.localhost", []string{"127.0.0.1", "::1"}, "special"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			a, err := r.Lookup(t.Context(), tc.name)
			if err != nil {
				t.Fatal(err)
			}
			if !same(set(a), tc.want) || a.Families[0].Proto != tc.proto || len(a.Dropped) != 0 {
				t.Errorf("got %v by %s, dropped %v; want %v by %s", set(a), a.Families[0].Proto, a.Dropped, tc.want, tc.proto)
			}
			if !a.Expires.IsZero() || a.TTL(time.Now()) != resolver.Forever {
				t.Errorf("expires %v", a.Expires)
			}
		})
	}
	for _, name := range []string{"invalid", "x.invalid.", "x.onion"} {
		_, err := r.Lookup(t.Context(), name)
		var e *resolver.Error
		if !errors.Is(err, resolver.ErrNoSuchName) || !errors.Is(err, resolver.ErrNotFound) || !errors.As(err, &e) || e.Hint == "" {
			t.Errorf("%s: got %v, want no such name, with a hint", name, err)
		}
	}
	if n := len(s.Queries()); n != 0 {
		t.Errorf("%d queries were sent: %+v", n, s.Queries())
	}
}

func TestBadNames(t *testing.T) {
	r, s := over(t, dual())
	tests := map[string]string{
		"":                              "empty",
		"www..example":                  "empty label",
		".www.example":                  "empty label",
		strings.Repeat("a", 64) + ".nl": "63 octets",
		strings.Repeat("abcdefg.", 32) + "example": "255 octets",
		"two words.example":                        "octet 0x20",
		"tab\t.example":                            "octet 0x09",
		"nul\x00.example":                          "octet 0x00",
		`back\slash.example`:                       "character",
		"https://www.example":                      "character",
		"www.example:443":                          "character ':'",
		"[2001:db8::1]":                            "character '['",
		"user@example":                             "character '@'",
		"192.168.1.256":                            "IPv4 address",
		"1.2.3":                                    "IPv4 address",
		"\u00e4\xff.example":                       "UTF-8",
		"-\u00e4.example":                          "internationalized",
		strings.Repeat("\u00fc", 80) + ".example":  "63 octets",
	}
	for name, want := range tests {
		_, err := r.Lookup(t.Context(), name)
		var e *resolver.Error
		if !errors.Is(err, resolver.ErrBadName) || !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want a bad name and %q", name, err, want)
			continue
		}
		if e.Temporary() || e.Timeout() || errors.Is(err, resolver.ErrNotFound) {
			t.Errorf("%q: %v is temporary or not found", name, err)
		}
	}
	if n := len(s.Queries()); n != 0 {
		t.Errorf("%d queries were sent: %+v", n, s.Queries())
	}
	_, err := r.Lookup(t.Context(), "[2001:db8::1]")
	if e := new(resolver.Error); !errors.As(err, &e) || !strings.Contains(e.Hint, "2001:db8::1") {
		t.Errorf("address in brackets: %v without a hint", err)
	}
}

// TestNamesAsked: what a name becomes in the packet.
func TestNamesAsked(t *testing.T) {
	tests := map[string]string{
		"www.example":                          "www.example.",
		"WWW.Example.":                         "www.example.",
		"b\u00fccher.example":                  "xn--bcher-kva.example.",
		"B\u00dcCHER.example":                  "xn--bcher-kva.example.",
		"\u4f8b\u3048\u3002\u30c6\u30b9\u30c8": "xn--r8jz45g.xn--zckzah.",
		"_sip._tcp.example":                    "_sip._tcp.example.",
		"host.test":                            "host.test.",
		"nas.home.arpa":                        "nas.home.arpa.",
		"printer.local":                        "printer.local.",
	}
	for name, want := range tests {
		r, s := over(t, dnstest.Always(dnstest.Action{Answer: []string{"@ 60 IN A 192.0.2.1"}}))
		if _, err := r.Lookup(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := s.Queries()[0].Name; got != want {
			t.Errorf("%s: asked for %s, want %s", name, got, want)
		}
	}
}

// asked are the names a server was asked for, without repetition.
func asked(s *dnstest.Server) []string {
	var names []string
	for _, q := range s.Queries() {
		names = append(names, q.Name)
	}
	return slices.Compact(names)
}

func TestSearchList(t *testing.T) {
	const search = one + "search a.example b.example\n"
	script := dnstest.Zone(
		"host.b.example. 60 IN A 192.0.2.1",
		"x.y. 60 IN A 192.0.2.2",
		"deep.host.a.example. 60 IN A 192.0.2.3",
		"text.a.example. 60 IN TXT nothing",
		"text.b.example. 60 IN A 192.0.2.4",
	)
	tests := map[string]struct {
		conf, name string
		noSearch   bool
		asked      []string
		found      bool
	}{
		"second domain":         {search, "host", false, []string{"host.a.example.", "host.b.example."}, true},
		"enough dots":           {search, "x.y", false, []string{"x.y."}, true},
		"enough dots, searched": {search, "deep.host", false, []string{"deep.host.", "deep.host.a.example."}, true},
		"ndots":                 {search + "options ndots:2\n", "deep.host", false, []string{"deep.host.a.example."}, true},
		"trailing dot":          {search, "host.", false, []string{"host."}, false},
		"not there":             {search, "none", false, []string{"none.a.example.", "none.b.example.", "none."}, false},
		"goes on after no data": {search, "text", false, []string{"text.a.example.", "text.b.example."}, true},
		"NoSearch":              {search, "host", true, []string{"host."}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, n := virtual(t, tc.conf, onServer(script))
			r.NoSearch = tc.noSearch
			a, err := r.Lookup(t.Context(), tc.name)
			if got := asked(n.Server(serverAddr)); !slices.Equal(got, tc.asked) {
				t.Errorf("asked for %q, want %q", got, tc.asked)
			}
			if tc.found != (err == nil) {
				t.Errorf("found %v, want %v: %v", err == nil, tc.found, err)
			}
			if err != nil && !errors.Is(err, resolver.ErrNotFound) {
				t.Errorf("got %v, want not found", err)
			}
			if last := tc.asked[len(tc.asked)-1]; err == nil && a.Canonical != last {
				t.Errorf("canonical name %s, want %s", a.Canonical, last)
			}
		})
	}
}

// TestSearchAfterFailure: a server failure for one name does not become "not
// found" because the others do not exist, and a dead server ends the search.
func TestSearchAfterFailure(t *testing.T) {
	tests := map[string]struct {
		action dnstest.Action
		want   error
		asked  int
	}{
		"SERVFAIL": {dnstest.Action{RCode: 2}, resolver.ErrServerFailure, 3},
		"silence":  {dnstest.Action{Drop: true}, resolver.ErrTimeout, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script := dnstest.Overlay(dnstest.Always(dnstest.NXDomain()),
					func(q dnstest.Query) bool { return q.Name == "host.a.example." }, dnstest.Always(tc.action))
				r, n := virtual(t, one+"search a.example b.example\n", onServer(script))
				_, err := r.Lookup(t.Context(), "host")
				var e *resolver.Error
				if !errors.Is(err, tc.want) || errors.Is(err, resolver.ErrNotFound) || !errors.As(err, &e) || !e.Temporary() {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				distinct := map[string]bool{}
				for _, q := range n.Server(serverAddr).Queries() {
					distinct[q.Name] = true
				}
				if len(distinct) != tc.asked {
					t.Errorf("asked for %v, want %d names", distinct, tc.asked)
				}
			})
		})
	}
}

func TestHostsFile(t *testing.T) {
	s := dnstest.Start(t, dual())
	r := config(t, "", "192.0.2.9 box.example box\n10.0.0.9 box.example\n2001:db8::9 box.example\nfe80::9%lo link.example\n127.0.1.1 www.example\n")
	r.Servers = []string{s.Addr()}
	tests := map[string][]string{
		"box":          {"192.0.2.9"},
		"BOX.example.": {"192.0.2.9", "10.0.0.9", "2001:db8::9"},
		"link.example": {"fe80::9%lo"},
		"www.example":  {"127.0.1.1"},
	}
	for name, want := range tests {
		a, err := r.Lookup(t.Context(), name)
		if err != nil || !same(set(a), want) || a.Families[0].Proto != "hosts" || len(a.Dropped) != 0 {
			t.Errorf("%s: got %+v, %v; want %v from the hosts file, none dropped", name, a, err, want)
		}
	}
	if n := len(s.Queries()); n != 0 {
		t.Errorf("%d queries were sent", n)
	}
}

// TestGaiConf: the administrator's policy table orders the record.
func TestGaiConf(t *testing.T) {
	r, dir := new(resolver.Resolver), t.TempDir()
	resolver.UseFiles(r, "", file(t, dir, "hosts", "::1 box\n127.0.0.1 box\n"), file(t, dir, "gai.conf", "precedence ::ffff:0:0/96 100\n"))
	a, err := r.Lookup(t.Context(), "box")
	if err != nil || a.Record.Len() != 2 || !a.Record.At(0).Addr().Is4() {
		t.Errorf("got %v, %v; want IPv4 first", set(a), err)
	}
}

func TestNoHosts(t *testing.T) {
	s := dnstest.Start(t, dual())
	r := config(t, "", "127.0.1.1 www.example\n")
	r.Servers, r.NoHosts = []string{s.Addr()}, true
	if a, err := r.Lookup(t.Context(), "www.example"); err != nil || !same(set(a), wwwBoth) {
		t.Errorf("got %v, %v", set(a), err)
	}
}

// TestFilesAreReadAgain: changed files take effect after the check interval.
func TestFilesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r, n := virtual(t, "", map[string]dnstest.Script{
			serverAddr: dual(), otherAddr: dnstest.Zone("www.example. 60 IN A 198.51.100.9"),
		})
		resolv, hosts := file(t, dir, "resolv.conf", one), file(t, dir, "hosts", "192.0.2.9 box\n")
		resolver.UseFiles(r, resolv, hosts, "")
		if a, err := r.Lookup(t.Context(), "box"); err != nil || !same(set(a), []string{"192.0.2.9"}) {
			t.Fatalf("before: %v, %v", set(a), err)
		}
		if a, err := r.Lookup(t.Context(), "four.example"); err != nil || !same(set(a), []string{"192.0.2.4"}) {
			t.Fatalf("before: %v, %v", set(a), err)
		}
		file(t, dir, "hosts", "192.0.2.99 box # moved\n")
		file(t, dir, "resolv.conf", strings.Replace(one, "53", "54", 1))
		replace(t, filepath.Join(dir, "hosts"))
		replace(t, filepath.Join(dir, "resolv.conf"))
		time.Sleep(time.Minute)
		if a, err := r.Lookup(t.Context(), "box"); err != nil || !same(set(a), []string{"192.0.2.99"}) {
			t.Errorf("after: %v, %v", set(a), err)
		}
		if a, err := r.Lookup(t.Context(), "www.example"); err != nil || !same(set(a), []string{"198.51.100.9"}) {
			t.Errorf("after: %v, %v", set(a), err)
		}
		if len(n.Server(serverAddr).Queries()) != 2 {
			t.Errorf("the old server was asked %+v", n.Server(serverAddr).Queries())
		}
	})
}

// replace gives a file another inode, as editors do: its times may be the same
// within the file system's grain.
func replace(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestBadServer(t *testing.T) {
	for _, server := range []string{"dns.example", "192.0.2.53:port", "192.0.2.53:70000", ""} {
		r := config(t, "", "")
		r.Servers = []string{server}
		if _, err := r.Lookup(t.Context(), "www.example"); !errors.Is(err, resolver.ErrBadServer) {
			t.Errorf("%q: got %v, want a bad server", server, err)
		}
	}
}

func TestServerForms(t *testing.T) {
	for _, server := range []string{"192.0.2.53", "192.0.2.53:53"} {
		r, n := virtual(t, "", onServer(dual()))
		r.Servers = []string{server}
		if _, err := r.Lookup(t.Context(), "www.example"); err != nil || len(n.Server(serverAddr).Queries()) != 2 {
			t.Errorf("%q: %v", server, err)
		}
	}
	for _, server := range []string{"2001:db8::53", "[2001:db8::53]", "[2001:db8::53]:53"} {
		r, _ := virtual(t, "", map[string]dnstest.Script{"[2001:db8::53]:53": dual()})
		r.Servers = []string{server}
		if _, err := r.Lookup(t.Context(), "www.example"); err != nil {
			t.Errorf("%q: %v", server, err)
		}
	}
}
