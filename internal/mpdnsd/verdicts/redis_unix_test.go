//go:build unix

package verdicts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/af-multipath/mpresolve/internal/hostid"
)

// waitTime bounds what a test waits for.
const waitTime = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// redisServer is Debian's redis-server, or valkey-server, on a unix socket.
type redisServer struct {
	t       *testing.T
	program string
	dir     string
	args    []string
	cmd     *exec.Cmd
}

// redis starts a server. Where none is installed the test is skipped, unless
// MPRESOLVE_LAB=required says that nothing may be.
func redis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	r := &redisServer{t: t, dir: t.TempDir(), args: args}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil && r.program == "" {
			r.program = path
		}
	}
	switch {
	case r.program != "":
	case os.Getenv("MPRESOLVE_LAB") == "required":
		t.Fatal("no redis-server: apt-get install redis-server")
	default:
		t.Skip("no redis-server: apt-get install redis-server")
	}
	r.start()
	t.Cleanup(func() {
		if r.cmd != nil {
			r.stop()
		}
	})
	return r
}

func (r *redisServer) url() string { return "unix://" + filepath.Join(r.dir, "s") }

// start starts the server and waits until it answers.
func (r *redisServer) start() {
	r.t.Helper()
	args := append([]string{"--port", "0", "--unixsocket", "s", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", r.dir}, r.args...)
	r.cmd = exec.Command(r.program, args...)
	r.cmd.Dir = r.dir
	out := new(strings.Builder)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the server's socket", func() bool {
		c, err := net.Dial("unix", filepath.Join(r.dir, "s"))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

func (r *redisServer) stop() {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Error(err)
	}
	_ = r.cmd.Wait() // however it ends, it has
	r.cmd = nil
}

// client is another program at the same server.
func (r *redisServer) client() rueidis.Client {
	r.t.Helper()
	o, err := option(r.url())
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := rueidis.NewClient(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// eventually waits until something holds that no event tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(waitTime)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s: not within %v", what, waitTime)
		}
	}
}

// logged is a log that may be read while it is written.
type logged struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), s)
}

// machine is one machine's daemon, as far as verdicts go.
func machine(t *testing.T, url string) (*Store, *logged) {
	t.Helper()
	log := new(logged)
	s, err := Open(Config{Redis: url, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, log
}

// connected waits until a machine has the server.
func connected(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, "the connection", func() bool { return s.shared.current.Load() != nil })
}

// TestShared: what one machine has proven the other knows, with its own expiry; what
// is not sure or not for sharing is not told.
func TestShared(t *testing.T) {
	server := redis(t)
	one, _ := machine(t, server.url())
	other, _ := machine(t, server.url())
	connected(t, one)
	connected(t, other)
	begun := time.Now()
	fourth := netip.MustParseAddr("2001:db8::3")
	one.Prove(name, at(first), second, hostid.Joined, begun.Add(-time.Hour))
	one.Prove(name, at(first), third, hostid.OtherHost, begun)
	one.Prove(name, at(second), third, hostid.Refused, begun)
	one.Prove(name, at(first), fourth, hostid.Announced, begun)
	addrs := []netip.Addr{first, second, third, fourth}
	eventually(t, "what was proven", func() bool {
		other.Recall(t.Context(), name, addrs)
		return knows(other, first, fourth) // published last
	})
	if !knows(other, second, first) || knows(other, first, third) || knows(other, second, third) {
		t.Errorf("the other machine knows %+v", other.Memory().Remembered("", time.Now(), 9))
	}
	e := other.Memory().Evidence(name, []netip.Addr{first, second}, time.Now())
	if left := time.Until(e[0].Expires); left > hostid.JoinedLifetime-time.Hour || left < hostid.JoinedLifetime-time.Hour-waitTime {
		t.Errorf("believed for %v", left)
	}
	if len(other.Memory().Evidence("else.example.", addrs, time.Now())) > 0 {
		t.Error("known under another name")
	}
	k, _ := key(name, first, second)
	c := server.client()
	ttl, err := c.Do(t.Context(), c.B().Pttl().Key(k).Build()).AsInt64()
	if left := time.Duration(ttl) * time.Millisecond; err != nil || left > hostid.JoinedLifetime-time.Hour || left < hostid.JoinedLifetime-time.Hour-waitTime {
		t.Errorf("kept for %v, %v", left, err)
	}
}

// TestSharedLess: an announcement does not take the place of a join.
func TestSharedLess(t *testing.T) {
	server := redis(t)
	one, log := machine(t, server.url())
	connected(t, one)
	one.Prove(name, at(first), second, hostid.Joined, time.Now())
	one.Prove(name, at(first), second, hostid.Announced, time.Now())
	one.Prove(name, at(first), third, hostid.Announced, time.Now())
	c := server.client()
	get := func(x, y netip.Addr) string {
		k, _ := key(name, x, y)
		v, err := c.Do(t.Context(), c.B().Get().Key(k).Build()).ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			t.Fatal(err)
		}
		return v
	}
	eventually(t, "the announcement", func() bool { return strings.HasPrefix(get(first, third), "announced ") })
	if v := get(first, second); !strings.HasPrefix(v, "joined ") {
		t.Errorf("kept is %q", v)
	}
	if n := log.count("refused") + log.count("away"); n != 0 {
		t.Errorf("log: %v", &log.all)
	}
}

// TestFetch: without waiting, the next question knows.
func TestFetch(t *testing.T) {
	server := redis(t)
	one, _ := machine(t, server.url())
	other, _ := machine(t, server.url())
	connected(t, one)
	connected(t, other)
	one.Prove(name, at(first), second, hostid.LimitReached, time.Now())
	eventually(t, "the fetched", func() bool {
		other.Fetch(name, []netip.Addr{first, second})
		return knows(other, first, second)
	})
}

// TestHostileValues: what another has written is passed over where it is not a claim,
// however long and of whatever kind it is, and the rest is read.
func TestHostileValues(t *testing.T) {
	server := redis(t)
	c := server.client()
	set := func(x, y netip.Addr, command func(key string) rueidis.Completed) {
		k, _ := key(name, x, y)
		if err := c.Do(t.Context(), command(k)).Error(); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat(claim{hostid.Joined, time.Now()}.value(), 1<<20)
	set(first, second, func(k string) rueidis.Completed { return c.B().Set().Key(k).Value(long).Build() })
	set(first, third, func(k string) rueidis.Completed { return c.B().Lpush().Key(k).Element("joined").Build() })
	set(second, third, func(k string) rueidis.Completed {
		return c.B().Set().Key(k).Value(claim{hostid.Joined, time.Now().Add(time.Hour)}.value()).Build()
	})
	good := netip.MustParseAddr("192.0.2.9")
	set(first, good, func(k string) rueidis.Completed {
		return c.B().Set().Key(k).Value(claim{hostid.Joined, time.Now()}.value()).Build()
	})
	s, log := machine(t, server.url())
	connected(t, s)
	s.Recall(t.Context(), name, []netip.Addr{first, second, third, good})
	if all := s.Memory().Remembered("", time.Now(), 9); len(all) != 1 || !knows(s, first, good) {
		t.Errorf("believed: %+v", all)
	}
	if n := log.count("passed over"); n != 2 || log.count("away") != 0 {
		t.Errorf("%d values passed over: %v", n, &log.all)
	}
}

// TestAway: without the server everything goes on, and nothing waits; when it is
// there again, it has what was proven meanwhile, up to a bound.
func TestAway(t *testing.T) {
	server := redis(t)
	one, log := machine(t, server.url())
	connected(t, one)
	server.stop()
	eventually(t, "the end", func() bool { return one.shared.current.Load() == nil })
	for range 2 * maxWaiting { // more than are kept
		one.Prove(name, at(first), second, hostid.Joined, time.Now())
	}
	if !knows(one, first, second) {
		t.Error("not remembered")
	}
	begun := time.Now()
	one.Recall(t.Context(), name, []netip.Addr{first, third})
	one.Fetch(name, []netip.Addr{first, third})
	if took := time.Since(begun); took > RecallTimeout {
		t.Errorf("waited %v for a server that is away", took)
	}
	server.start()
	connected(t, one)
	other, _ := machine(t, server.url())
	connected(t, other)
	eventually(t, "what was proven meanwhile", func() bool {
		other.Recall(t.Context(), name, []netip.Addr{first, second})
		return knows(other, first, second)
	})
	if log.count("away") != 1 || log.count("connected") != 2 {
		t.Errorf("log: %v", &log.all)
	}
}

// TestNeverThere: a daemon without its server starts, works and ends.
func TestNeverThere(t *testing.T) {
	s, log := machine(t, "unix://"+filepath.Join(t.TempDir(), "none"))
	s.Prove(name, at(first), second, hostid.Joined, time.Now())
	s.Recall(t.Context(), name, []netip.Addr{first, third})
	eventually(t, "the log", func() bool { return log.count("away; going on without it") == 1 })
	if !knows(s, first, second) {
		t.Error("not remembered")
	}
}

// TestSilent: a server that accepts, and a server that stops answering, hold a
// question up for no longer than they may, and the next not at all.
func TestSilent(t *testing.T) {
	server := redis(t)
	s, _ := machine(t, server.url())
	connected(t, s)
	if err := server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.cmd.Process.Signal(syscall.SIGCONT) }()
	begun := time.Now()
	s.Recall(t.Context(), name, []netip.Addr{first, second})
	if took := time.Since(begun); took < RecallTimeout || took > RecallTimeout+requestTimeout {
		t.Errorf("waited %v", took)
	}
	eventually(t, "that it counts as away", func() bool { return s.shared.current.Load() == nil })
}

// TestPassword: the right one from the URL; of a wrong one nothing is in the log.
func TestPassword(t *testing.T) {
	server := redis(t, "--requirepass", "sesame", "--port", "0")
	wrong, log := machine(t, strings.Replace(server.url(), "unix://", "unix://:open@", 1))
	eventually(t, "the log", func() bool { return log.count("away") == 1 })
	if wrong.shared.current.Load() != nil || log.count("open") > 0 {
		t.Errorf("log: %v", &log.all)
	}
	right, _ := machine(t, strings.Replace(server.url(), "unix://", "unix://:sesame@", 1))
	connected(t, right)
}

// aclLine is the user that docs/mpdnsd.md has operators make.
var aclLine = regexp.MustCompile("`ACL SETUSER (mpdnsd on >PASSWORD [^`]+)`")

// TestDocumentedUser: the user of docs/mpdnsd.md may do all that the daemon does, and
// nothing to other keys.
func TestDocumentedUser(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/mpdnsd.md")
	if err != nil {
		t.Fatal(err)
	}
	m := aclLine.FindSubmatch(doc)
	if m == nil {
		t.Fatalf("docs/mpdnsd.md has no %v", aclLine)
	}
	server := redis(t, append([]string{"--user"}, strings.Fields(string(m[1]))...)...)
	url := strings.Replace(server.url(), "unix://", "unix://mpdnsd:PASSWORD@", 1)
	one, log := machine(t, url)
	other, _ := machine(t, url)
	connected(t, one)
	connected(t, other)
	one.Prove(name, at(first), second, hostid.Joined, time.Now())
	one.Prove(name, at(first), third, hostid.Announced, time.Now())
	eventually(t, "what was proven", func() bool {
		other.Recall(t.Context(), name, []netip.Addr{first, second, third})
		return knows(other, first, second) && knows(other, first, third)
	})
	client := *one.shared.current.Load()
	if err := client.Do(t.Context(), client.B().Ping().Build()).Error(); err != nil {
		t.Error(err)
	}
	for _, c := range []rueidis.Completed{client.B().Set().Key("else").Value("x").Build(), client.B().Flushall().Build()} {
		if err := client.Do(t.Context(), c).Error(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%v", err)
		}
	}
	if n := log.count("refused") + log.count("away"); n != 0 {
		t.Errorf("log: %v", &log.all)
	}
}

// TestTLS: over rediss:// a server is spoken to that has a certificate of its name,
// and no other.
func TestTLS(t *testing.T) {
	cert, roots := certificate(t)
	server := redis(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	relay(t, l, filepath.Join(server.dir, "s"))
	o, err := option("rediss://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if o.TLSConfig == nil || o.TLSConfig.InsecureSkipVerify {
		t.Fatalf("TLS: %+v", o.TLSConfig)
	}
	log := new(logged)
	stranger := openShared(o, hostid.NewMemory(0), slog.New(slog.NewTextHandler(log, nil)))
	defer stranger.close()
	eventually(t, "the refusal", func() bool { return log.count("certificate") > 0 })
	o.TLSConfig = o.TLSConfig.Clone()
	o.TLSConfig.RootCAs = roots
	s := openShared(o, hostid.NewMemory(0), slog.New(slog.DiscardHandler))
	defer s.close()
	eventually(t, "the connection", func() bool { return s.current.Load() != nil })
}

// relay carries what comes to l to a unix socket and back, until the test ends.
func relay(t *testing.T, l net.Listener, socket string) {
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				defer stop()
				to, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				running.Go(func() {
					_, _ = io.Copy(to, c) // either end may go
					_ = to.Close()
				})
				_, _ = io.Copy(c, to)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		running.Wait()
	})
}

// certificate makes one for 127.0.0.1, which signs itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) {
		t.Fatal(errors.New("no root"))
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, roots
}
