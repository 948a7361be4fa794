package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/testdata/zones"
)

// The demo's network. Names and addresses are those of demo.example.zone.
const (
	demoZone     = "demo.example"
	greetPort    = 7000
	downloadPort = 7001

	linkDelay = 5 * time.Millisecond // one way, of each link
	linkRate  = 30_000_000           // bit/s, of each link of the server
)

const demoMap = `
                                   +--------+  link 1  192.0.2.10     2001:db8:1::10  +--------+
                                   |        |-----------------------------------------| server |  two links,
 +--------+  198.18.1.2            |        |  link 2  198.51.100.10  2001:db8:2::10  |        |  Multipath TCP
 | client |------------------------| router |-----------------------------------------+--------+
 +--------+  2001:db8:a::2         |        |          203.0.113.20   2001:db8:3::20  +--------+
  mpdnsd on 127.0.0.1              |        |-----------------------------------------| other  |  Multipath TCP
                                   |        |          203.0.113.30   2001:db8:3::30  +--------+
                                   |        |-----------------------------------------| plain  |  TCP only
                                   |        |          192.0.2.53     2001:db8:1::53  +--------+
                                   |        |-----------------------------------------| dns    |  authoritative
                                   +--------+                                         +--------+
 server.demo.example is server. lb.demo.example is load-balanced: server and other behind one name.
`

// demoLab is the running lab: hosts, servers, daemons. It is built and used by
// one goroutine; the servers' goroutines end with close.
type demoLab struct {
	lab     *testlab.Lab
	self    string
	dir     string
	links   [2]*testlab.Link // of the server
	daemons []*exec.Cmd
	logs    bytes.Buffer

	listeners []net.Listener
	serving   sync.WaitGroup
	ending    chan struct{} // closed by close: the connections go with the lab
	// otherOctets counts what the other host's application read, otherConns
	// how many connections it accepted.
	otherOctets, otherConns atomic.Int64
}

func newDemoLab() *demoLab { return &demoLab{ending: make(chan struct{})} }

// buildLab makes the hosts and starts what runs on them. On an error the
// caller still calls close.
func buildLab(ctx context.Context) (*demoLab, error) {
	d := newDemoLab()
	var err error
	if d.self, err = os.Executable(); err != nil {
		return d, err
	}
	if d.dir, err = writeZones(); err != nil {
		return d, err
	}
	if d.lab, err = testlab.New(testlab.Options{Seed: 1}); err != nil {
		return d, err
	}
	if _, err := d.lab.AddClientLink(link("c0", "198.18.1.2/24", "2001:db8:a::2/64")); err != nil {
		return d, err
	}
	if err := d.buildHosts(); err != nil {
		return d, err
	}
	return d, d.startDNS(ctx)
}

func link(name string, addrs ...string) testlab.LinkSpec {
	spec := testlab.LinkSpec{Name: name, Delay: linkDelay}
	for _, a := range addrs {
		spec.Addrs = append(spec.Addrs, netip.MustParsePrefix(a))
	}
	return spec
}

// limited gives a link the demo's rate.
func limited(spec testlab.LinkSpec) testlab.LinkSpec {
	spec.Rate = linkRate
	return spec
}

// buildHosts adds the far side: the dual-homed server, the second host of the
// same name, the host without MPTCP.
func (d *demoLab) buildHosts() error {
	server, err := d.lab.AddHost("server",
		limited(link("s1", "192.0.2.10/24", "2001:db8:1::10/64")),
		limited(link("s2", "198.51.100.10/24", "2001:db8:2::10/64")))
	if err != nil {
		return err
	}
	d.links = [2]*testlab.Link(server.Links())
	if err := server.Do(func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: 8, AddAddrAccepted: 0}) }); err != nil {
		return err
	}
	other, err := d.lab.AddHost("other", link("o0", "203.0.113.20/24", "2001:db8:3::20/64"))
	if err != nil {
		return err
	}
	plain, err := d.lab.AddHost("plain", link("p0", "203.0.113.30/24", "2001:db8:3::30/64"))
	if err != nil {
		return err
	}
	return errors.Join(
		d.serve(server, greetPort, true, greet("server")),
		d.serve(server, downloadPort, true, sendDownload),
		d.serve(other, greetPort, true, d.countOther),
		d.serve(plain, greetPort, false, greet("plain")),
	)
}

// serve accepts on every address of the host and runs handle on each connection.
func (d *demoLab) serve(host *testlab.Host, port uint16, multipath bool, handle func(net.Conn)) error {
	var config net.ListenConfig
	config.SetMultipathTCP(multipath)
	var listener net.Listener
	err := host.Do(func() (err error) {
		listener, err = config.Listen(context.Background(), "tcp", fmt.Sprintf("[::]:%d", port))
		return err
	})
	if err != nil {
		return err
	}
	d.listeners = append(d.listeners, listener)
	d.serving.Go(func() { d.accept(listener, handle) })
	return nil
}

// accept runs until the listener is closed.
func (d *demoLab) accept(listener net.Listener, handle func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		handled := make(chan struct{})
		d.serving.Go(func() {
			defer close(handled)
			handle(conn)
		})
		d.serving.Go(func() {
			select {
			case <-handled:
			case <-d.ending: // the peer's last segments may never come
			}
			conn.Close()
		})
	}
}

// greet says which host this is, then reads until the peer closes.
func greet(name string) func(net.Conn) {
	return func(conn net.Conn) {
		fmt.Fprintf(conn, "this is %s\n", name)
		io.Copy(io.Discard, conn) //nolint:errcheck // ends with the connection
	}
}

// countOther is the other host's application: it counts what reaches it.
func (d *demoLab) countOther(conn net.Conn) {
	d.otherConns.Add(1)
	n, _ := io.Copy(io.Discard, conn)
	d.otherOctets.Add(n)
}

// downloadSeed seeds the octets of the download, so that both ends can compute
// the checksum.
const downloadSeed = 1

// sendDownload reads a length of eight octets and sends that many.
func sendDownload(conn net.Conn) {
	var length [8]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	io.Copy(conn, downloadData(int64(binary.BigEndian.Uint64(length[:])))) //nolint:errcheck // the client checks the sum
}

func downloadData(n int64) io.Reader {
	var seed [32]byte
	seed[0] = downloadSeed
	return io.LimitReader(rand.NewChaCha8(seed), n)
}

func downloadSum(n int64) []byte {
	sum := sha256.New()
	io.Copy(sum, downloadData(n)) //nolint:errcheck // neither side can fail
	return sum.Sum(nil)
}

// writeZones puts the embedded zone files where a daemon can read them.
func writeZones() (string, error) {
	dir, err := os.MkdirTemp("", "mpresolve-demo-")
	if err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, zones.FS)
}

// socket is where the client's daemon has its path broker.
func (d *demoLab) socket() string { return filepath.Join(d.dir, "paths.sock") }

// startDNS starts two daemons: the authoritative server on a host of its own,
// and the caching forwarder on the client in front of it, which also selects
// the userspace path manager.
func (d *demoLab) startDNS(ctx context.Context) error {
	host, err := d.lab.AddHost("dns", link("d0", "192.0.2.53/24", "2001:db8:1::53/64"))
	if err != nil {
		return err
	}
	authoritative := []string{"--listen", "192.0.2.53:53", "--allow", "198.18.1.0/24", "--upstream", "203.0.113.254", "--zone", demoZone + "=" + d.dir + "/demo.example.zone"}
	if err := d.startDaemon(ctx, host.Start, authoritative); err != nil {
		return err
	}
	forwarder := []string{"--listen", "127.0.0.1:53", "--upstream", "192.0.2.53", "--paths-socket", d.socket(), "--paths-manager", "userspace"}
	return d.startDaemon(ctx, (*exec.Cmd).Start, forwarder)
}

// startDaemon starts one mpdnsd and waits until it says that it is ready.
func (d *demoLab) startDaemon(ctx context.Context, start func(*exec.Cmd) error, args []string) error {
	cmd := selfCommand(ctx, d.self, append([]string{"mpdnsd"}, args...)...)
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := start(cmd); err != nil {
		return fmt.Errorf("starting mpdnsd: %w", err)
	}
	d.daemons = append(d.daemons, cmd)
	return d.awaitReady(log)
}

// run executes one mpresolve command on the client and returns what it printed.
func (d *demoLab) run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return d.runBy(ctx, (*exec.Cmd).Run, stdin, args...)
}

// runBy is run with another way of running a command.
func (d *demoLab) runBy(ctx context.Context, by func(*exec.Cmd) error, stdin io.Reader, args ...string) (string, error) {
	cmd := selfCommand(ctx, d.self, args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &out
	err := by(cmd)
	return out.String(), err
}

// close takes the lab apart and waits for everything that it started.
func (d *demoLab) close() {
	close(d.ending)
	for _, cmd := range d.daemons {
		cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
	}
	for _, cmd := range d.daemons {
		cmd.Wait() //nolint:errcheck // interrupted on purpose
	}
	for _, l := range d.listeners {
		l.Close()
	}
	if d.lab != nil {
		d.lab.Close()
	}
	d.serving.Wait()
	if d.dir != "" {
		os.RemoveAll(d.dir)
	}
}
