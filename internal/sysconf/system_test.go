package sysconf

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// files is a System over files in a folder of its own, with a clock.
type files struct {
	t   *testing.T
	dir string
	sys *System
	now time.Time
}

func newFiles(t *testing.T) *files {
	dir := t.TempDir()
	return &files{t: t, dir: dir, now: time.Now(), sys: NewSystem(
		filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts"), filepath.Join(dir, "gai.conf"))}
}

func (f *files) path(name string) string { return filepath.Join(f.dir, name) }

// write replaces a file's contents in place.
func (f *files) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// age makes the file look as if it had been written d ago.
func (f *files) age(name string, d time.Duration) {
	f.t.Helper()
	if err := os.Chtimes(f.path(name), time.Time{}, f.now.Add(-d)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *files) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *files) later() { f.now = f.now.Add(CheckInterval) }

// server checks the first server and that there is a warning with each of words.
func (f *files) server(want string, words ...string) *ResolvConf {
	f.t.Helper()
	c := f.sys.Resolv(f.now)
	if got := c.Servers[0].Addr().String(); got != want {
		f.t.Errorf("server %s, want %s", got, want)
	}
	if len(c.Warnings) != min(len(words), 1) {
		f.t.Errorf("warnings %q, want one with %q", c.Warnings, words)
		return c
	}
	for _, w := range words {
		if !strings.Contains(c.Warnings[0], w) {
			f.t.Errorf("warning %q does not say %q", c.Warnings[0], w)
		}
	}
	return c
}

func TestSystemRereads(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.age("resolv.conf", time.Hour)
	first := f.server("192.0.2.1")
	if first.Path != f.path("resolv.conf") {
		t.Errorf("path %q", first.Path)
	}

	f.write("resolv.conf", "nameserver 192.0.2.22\n")
	f.now = f.now.Add(CheckInterval - 1)
	if f.server("192.0.2.1") != first {
		t.Error("looked at the file before the interval was over")
	}
	f.now = f.now.Add(1)
	second := f.server("192.0.2.22")

	f.age("resolv.conf", time.Hour) // a new time, the same words
	for range 3 {
		f.later()
		if f.server("192.0.2.22") != second {
			t.Error("another value for the same words")
		}
	}
}

// Replaced by rename, with the size and the time of the old one.
func TestSystemSeesAnotherInode(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.age("resolv.conf", time.Hour)
	f.write("next", "nameserver 192.0.2.2\n")
	f.age("next", time.Hour)
	f.server("192.0.2.1")
	if err := os.Rename(f.path("next"), f.path("resolv.conf")); err != nil {
		t.Fatal(err)
	}
	f.later()
	f.server("192.0.2.2")
}

// Written twice within a tick of the file system's clock, in one size.
func TestSystemRacyWrite(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.age("resolv.conf", 0)
	first := f.server("192.0.2.1")
	f.write("resolv.conf", "nameserver 192.0.2.2\n")
	if err := os.Chtimes(f.path("resolv.conf"), time.Time{}, f.now); err != nil {
		t.Fatal(err)
	}
	f.later()
	if f.server("192.0.2.2") == first {
		t.Error("the second write was not seen")
	}
	settled := f.sys.Resolv(f.now)
	f.later()
	if f.server("192.0.2.2") != settled {
		t.Error("parsed again without a change")
	}
}

func TestSystemKeepsTheLastGoodOne(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.server("192.0.2.1")

	f.remove("resolv.conf")
	f.later()
	gone := f.server("192.0.2.1", "resolv.conf", "going on with what it said before")
	f.later()
	if f.server("192.0.2.1", "going on") != gone {
		t.Error("another value for the same trouble")
	}

	if err := os.Mkdir(f.path("resolv.conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.later()
	f.server("192.0.2.1", "not a regular file")
	f.remove("resolv.conf")

	f.write("resolv.conf", "nameserver 192.0.2.2\x00\n")
	f.later()
	f.server("192.0.2.1", "not a text file")

	f.write("resolv.conf", "nameserver 192.0.2.3\n")
	f.later()
	f.server("192.0.2.3")

	f.write("resolv.conf", "nameserver 192.0.2.4\n"+strings.Repeat("#", MaxResolvConfOctets))
	f.later()
	f.server("192.0.2.4", "longer than 262144 octets")
}

func TestSystemWithoutFiles(t *testing.T) {
	f := newFiles(t)
	c := f.server("127.0.0.1", "resolv.conf", "going on without it")
	if c.Path != "" {
		t.Errorf("path %q", c.Path)
	}
	h := f.sys.Hosts(f.now)
	if h.Len() != 0 || len(h.Warnings()) != 1 {
		t.Errorf("%d hosts, warnings %q", h.Len(), h.Warnings())
	}
	if g := f.sys.GaiConf(f.now); g != nil {
		t.Errorf("gai.conf %q", g)
	}
	if w := f.sys.Warnings(f.now); len(w) != 2 {
		t.Errorf("warnings %q", w)
	}

	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.write("hosts", "192.0.2.1 a\n")
	f.later()
	f.server("192.0.2.1")
	if h := f.sys.Hosts(f.now); h.Len() != 1 || h.Warnings() != nil {
		t.Errorf("%d hosts, warnings %q", h.Len(), h.Warnings())
	}

	none := NewSystem("", "", "")
	if w := none.Warnings(f.now); len(w) != 0 || none.Hosts(f.now) == nil || len(none.Resolv(f.now).Servers) != 2 {
		t.Errorf("a System without files warns %q", w)
	}
}

func TestSystemHostsVanish(t *testing.T) {
	f := newFiles(t)
	f.write("hosts", "192.0.2.1 a\nx\n")
	if h := f.sys.Hosts(f.now); h.Len() != 1 || len(h.Warnings()) != 1 {
		t.Errorf("%d hosts, warnings %q", h.Len(), h.Warnings())
	}
	f.remove("hosts")
	f.later()
	h := f.sys.Hosts(f.now)
	if w := h.Warnings(); h.Lookup("a") == nil || len(w) != 2 || !strings.Contains(w[1], "said before") {
		t.Errorf("a is %v, warnings %q", h.Lookup("a"), w)
	}
}

// Without gai.conf all is as it should be, also when it goes.
func TestSystemGaiConf(t *testing.T) {
	f := newFiles(t)
	f.write("gai.conf", "label ::/0 1\n")
	if got := string(f.sys.GaiConf(f.now)); got != "label ::/0 1\n" {
		t.Errorf("gai.conf %q", got)
	}
	f.remove("gai.conf")
	f.later()
	if got := f.sys.GaiConf(f.now); got != nil {
		t.Errorf("gai.conf %q", got)
	}
	f.write("gai.conf", "\x00")
	f.later()
	if w := f.sys.Warnings(f.now); !strings.Contains(w[len(w)-1], "gai.conf: not a text file: going on without it") {
		t.Errorf("warnings %q", w)
	}
}

func TestSystemNoReload(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\noptions no-reload\n")
	f.server("192.0.2.1")
	f.write("resolv.conf", "nameserver 192.0.2.2\n")
	f.later()
	f.server("192.0.2.1")
}

func TestSystemClockGoesBack(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.server("192.0.2.1")
	f.write("resolv.conf", "nameserver 192.0.2.22\n")
	f.now = f.now.Add(-time.Hour)
	f.server("192.0.2.22")
}

// Many callers while the file changes: each sees a whole file, never an older one
// than before, and the race detector sees nothing.
func TestSystemConcurrently(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	const callers, steps = 8, 50
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			now, last := f.now, netip.Addr{}
			for range steps {
				now = now.Add(CheckInterval)
				a := f.sys.Resolv(now).Servers[0].Addr()
				if a.Less(last) {
					t.Errorf("%s after %s", a, last)
				}
				last = a
			}
		})
	}
	for i := byte(2); i < 20; i++ {
		a := netip.AddrFrom4([4]byte{192, 0, 2, i})
		f.write("next", "nameserver "+a.String()+"\n")
		if err := os.Rename(f.path("next"), f.path("resolv.conf")); err != nil && runtime.GOOS != "windows" {
			t.Error(err)
		}
	}
	wg.Wait()
}

// Between looks, asking costs nothing.
func TestSystemAllocs(t *testing.T) {
	f := newFiles(t)
	f.write("resolv.conf", "nameserver 192.0.2.1\n")
	f.write("hosts", "192.0.2.1 a\n")
	f.sys.Warnings(f.now)
	if n := testing.AllocsPerRun(100, func() { f.sys.Resolv(f.now); f.sys.Hosts(f.now); f.sys.GaiConf(f.now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHostSearch(t *testing.T) {
	for host, want := range map[string][]string{
		"h1.example.com": {"example.com"}, "h1.example.com.": {"example.com"},
		"h1": nil, "h1.": nil, "": nil, "h1.a..b": nil,
	} {
		if got := hostSearch(host); !slices.Equal(got, want) {
			t.Errorf("hostSearch(%q) = %q, want %q", host, got, want)
		}
	}
	// A file that says something about the list is left alone.
	c := ParseResolvConf(strings.NewReader("search .\n"))
	if withHostSearch(c); !slices.Equal(c.Search, []string{"."}) {
		t.Errorf("search %q", c.Search)
	}
}

func TestEnvironmentAmends(t *testing.T) {
	c := ParseResolvConf(strings.NewReader("search a.example\noptions ndots:2 rotate\n"))
	environment{localDomain: " b.example c..example ", resOptions: "ndots:3 attempts:9"}.amend(c)
	if !slices.Equal(c.Search, []string{"b.example"}) || c.Ndots != 3 || c.Attempts != MaxAttempts || !c.Rotate {
		t.Errorf("%+v", c)
	}
	want := []string{
		`environment: LOCALDOMAIN domain "c..example": empty label: ignored`,
		`environment: option "attempts:9" is outside 1 to 5: taken as 5`,
	}
	if !slices.Equal(c.Warnings, want) {
		t.Errorf("warnings %q, want %q", c.Warnings, want)
	}
	before := *c
	if (environment{}).amend(c); !slices.Equal(c.Search, before.Search) || c.Ndots != before.Ndots {
		t.Errorf("an empty environment changed %+v to %+v", before, *c)
	}
}

// The files of this machine, whatever they hold, are read without trouble.
func TestDefault(t *testing.T) {
	t.Setenv("LOCALDOMAIN", "env.example")
	s, now := Default(), time.Now()
	if got := s.Resolv(now).Search; !slices.Equal(got, []string{"env.example"}) {
		t.Errorf("search list %q, want LOCALDOMAIN's", got)
	}
	if len(s.Resolv(now).Servers) == 0 || s.Hosts(now) == nil {
		t.Error("no servers or no hosts")
	}
	s.GaiConf(now)
}

// What Windows says of its adapters becomes a resolv.conf.
func TestAppendAdapterConf(t *testing.T) {
	got := string(appendAdapterConf(nil,
		[]string{"192.0.2.53", "fec0:0:0:ffff::1", "fe80::1%7", "192.0.2.53", "x"},
		[]string{"corp.example", "", "Corp.Example.", "a..b", "lab.example"}))
	want := "nameserver 192.0.2.53\nnameserver fe80::1%7\nsearch corp.example lab.example\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A System fed by the operating system in place of a file.
func TestSystemGenerated(t *testing.T) {
	now := time.Now()
	text, failure := "nameserver 192.0.2.1\n", error(nil)
	s := NewSystem("", "", "")
	s.resolv.generate = func() ([]byte, error) { return []byte(text), failure }
	first := s.Resolv(now)
	if first.Servers[0].Addr().String() != "192.0.2.1" {
		t.Errorf("servers %v", first.Servers)
	}
	now = now.Add(CheckInterval)
	if s.Resolv(now) != first {
		t.Error("parsed again without a change")
	}
	failure, now = os.ErrPermission, now.Add(CheckInterval)
	c := s.Resolv(now)
	if c.Servers[0] != first.Servers[0] || !slices.Equal(c.Warnings, []string{"network adapters: permission denied: going on with what it said before"}) {
		t.Errorf("servers %v, warnings %q", c.Servers, c.Warnings)
	}
	text, failure, now = "nameserver 192.0.2.2\n", nil, now.Add(CheckInterval)
	if c := s.Resolv(now); c.Servers[0].Addr().String() != "192.0.2.2" || len(c.Warnings) != 0 {
		t.Errorf("servers %v, warnings %q", c.Servers, c.Warnings)
	}
}

func BenchmarkSystemResolv(b *testing.B) {
	path := filepath.Join(b.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	s, now := NewSystem(path, "", ""), time.Now()
	b.Run("between looks", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Resolv(now)
		}
	})
	b.Run("looking", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			now = now.Add(CheckInterval)
			s.Resolv(now)
		}
	})
}
