package mpdnsd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/dnstest"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// realProgram is a program that looks a name up in its own way.
type realProgram struct {
	name  string
	needs string // the program to be installed; empty: none
	// ci has the test fail where the program is missing and nothing may be: those
	// that .ci/run installs. The others are reported.
	ci bool
	// args is the command line; NAME, PORT and FILE are replaced by the name, the
	// web server's port and what prepare has made.
	args    []string
	prepare func(t *testing.T) (file string)
	// want is text that the output has, each at least once.
	want []string
}

const (
	realName = "www.example.net" // an alias of a name with both families
	real4    = "192.0.2.10"
	real6    = "2001:db8::10"
	realPage = "this page came from the name"
)

// realPrograms is who asks. The MULTIPATH record is asked for by its number.
var realPrograms = []realProgram{
	{"dig", "dig", true, []string{"dig", "+short", "+tries=1", "NAME", "A", "NAME", "AAAA"}, nil, []string{real4, real6, "host.example.net."}},
	{"dig over tcp, with DNSSEC and a cookie", "dig", true, []string{"dig", "+tcp", "+dnssec", "+cookie", "+tries=1", "NAME", "AAAA"}, nil, []string{"status: NOERROR", real6}},
	{"dig for MULTIPATH", "dig", true, []string{"dig", "+short", "+tries=1", "NAME", "TYPE65400"}, nil, []string{"C000020A", "20010DB8"}},
	{"kdig", "kdig", true, []string{"kdig", "+short", "+retry=0", "NAME", "A", "NAME", "AAAA"}, nil, []string{real4, real6}},
	{"drill", "drill", true, []string{"drill", "NAME", "AAAA"}, nil, []string{"rcode: NOERROR", real6}},
	{"drill over tcp", "drill", true, []string{"drill", "-t", "NAME", "A"}, nil, []string{"rcode: NOERROR", real4}},
	{"delv", "delv", true, []string{"delv", "-i", "NAME", "A"}, nil, []string{real4}},
	{"glibc's getaddrinfo", "getent", true, []string{"getent", "ahosts", "NAME"}, nil, []string{real4, real6}},
	{"musl's getaddrinfo", "musl-gcc", true, []string{"FILE", "NAME"}, buildMusl, []string{real4, real6}},
	{"Go's own resolver", "", true, []string{"goresolve", "NAME"}, nil, []string{real4, real6}},
	{"curl", "curl", false, []string{"curl", "-sS", "--max-time", "10", "http://site.lab.example:PORT/"}, nil, []string{realPage}},
	{"Node's dns.lookup", "node", false, []string{"node", "-e", `require("dns").lookup("NAME",{all:true},(e,a)=>console.log(e,a))`}, nil, []string{real4, real6}},
	{"Node's dns.resolve", "node", false, []string{"node", "-e", `const d=require("dns").promises;Promise.all([d.resolve4("NAME"),d.resolve6("NAME"),d.resolveMx("example.net"),d.resolveTxt("example.net")]).then(a=>console.log(JSON.stringify(a)))`}, nil, []string{real4, real6, `"exchange":"mx.example.net"`, `"some text"`}},
	{"Chromium", "chromium", false, []string{"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=FILE", "--dump-dom", "http://site.lab.example:PORT/"}, temporary, []string{realPage}},
	{"Chromium's headless shell", "chromium-headless-shell", false, []string{"chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--user-data-dir=FILE", "--dump-dom", "http://site.lab.example:PORT/"}, temporary, []string{realPage}},
}

func temporary(t *testing.T) string { return t.TempDir() }

// TestRealPrograms has the programs of this machine look names up where the
// system's only resolver is the daemon.
func TestRealPrograms(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		w := &world{t: t, lab: labtest.New(t, testlab.Options{})} // which brings the loopback link up
		pointSystemAt(t, "127.0.0.1")
		up := dnstest.Start(t, dnstest.Zone(
			realName+". 60 IN CNAME host.example.net.", "host.example.net. 60 IN A "+real4, "host.example.net. 60 IN AAAA "+real6,
			"example.net. 60 IN MX 10 mx.example.net.", `example.net. 60 IN TXT "some text"`,
		))
		zone := filepath.Join(t.TempDir(), "lab.example.zone")
		if err := os.WriteFile(zone, []byte("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a\nsite 60 A 127.0.0.1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, realPage) }))
		defer web.Close()
		d := w.start(exec.Command("mpdnsd", "--listen", "127.0.0.1:53", "--upstream", up.Addr(), "--zone", zone))
		for _, p := range realPrograms {
			t.Run(p.name, func(t *testing.T) { p.run(t, web.Listener.Addr().(*net.TCPAddr).Port) })
		}
		d.stop()
	})
}

// run runs the program and looks for what it should have found.
func (p realProgram) run(t *testing.T, port int) {
	if p.needs != "" {
		if _, err := exec.LookPath(p.needs); err != nil {
			if p.ci && os.Getenv(labtest.RequiredEnv) == "required" {
				t.Fatal(err)
			}
			t.Logf("not run: %v", err)
			return
		}
	}
	file := ""
	if p.prepare != nil {
		file = p.prepare(t)
	}
	words := strings.NewReplacer("NAME", realName, "PORT", fmt.Sprint(port), "FILE", file)
	args := slices.Clone(p.args)
	for i, a := range args {
		args[i] = words.Replace(a)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*waitTime)
	defer cancel()
	begun := time.Now()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	for _, want := range p.want {
		if !strings.Contains(strings.ToLower(string(out)), strings.ToLower(want)) {
			t.Errorf("%q: no %q in\n%s", args, want, out)
		}
	}
	t.Logf("%v", time.Since(begun).Round(time.Millisecond))
}

// pointSystemAt makes a server the only one of the system's resolver, in this
// mount namespace.
func pointSystemAt(t *testing.T, server string) {
	t.Helper()
	for file, text := range map[string]string{
		"/etc/resolv.conf":   "nameserver " + server + "\n",
		"/etc/nsswitch.conf": "hosts: files dns\n",
	} {
		own := filepath.Join(t.TempDir(), filepath.Base(file))
		if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		target, err := filepath.EvalSymlinks(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(own, target, "", unix.MS_BIND, ""); err != nil {
			t.Fatalf("mount over %s: %v", target, err)
		}
	}
}

// muslSource is a program that prints the addresses of its argument.
const muslSource = `#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int argc, char **argv) {
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *a;
	char text[INET6_ADDRSTRLEN];
	int e = argc > 1 ? getaddrinfo(argv[1], 0, &hints, &a) : EAI_NONAME;
	if (e) { puts(gai_strerror(e)); return 1; }
	for (; a; a = a->ai_next)
		puts(inet_ntop(a->ai_family, a->ai_family == AF_INET
			? (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr
			: (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr, text, sizeof text));
}
`

func buildMusl(t *testing.T) string {
	t.Helper()
	source := filepath.Join(t.TempDir(), "look.c")
	program := strings.TrimSuffix(source, ".c")
	if err := os.WriteFile(source, []byte(muslSource), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("musl-gcc", "-static", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("musl-gcc: %v\n%s", err, out)
	}
	return program
}

// goResolveMain prints the addresses of its argument as Go's own resolver finds
// them.
func goResolveMain() {
	r := net.Resolver{PreferGo: true}
	addrs, err := r.LookupHost(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(addrs, "\n"))
}
