package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/resolver"
)

// demoTimeout bounds the whole demo; it usually ends within a few seconds.
const demoTimeout = 40 * time.Second

// readyLine ends what mpdnsd logs when it starts.
const readyLine = "ready"

// awaitReady reads the daemon's log until it says that it is ready; the rest of
// the log is drained so that the daemon never waits for a reader.
func (d *demoLab) awaitReady(log io.Reader) error {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		d.logs.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), readyLine) {
			d.serving.Go(func() { io.Copy(io.Discard, log) }) //nolint:errcheck // ends with the daemon
			return nil
		}
	}
	return fmt.Errorf("mpdnsd did not become ready; its log:\n%s", d.logs.String())
}

// demoInside runs the demo in the lab's namespaces.
func (a *app) demoInside(ctx context.Context, f demoFlags) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	st, err := a.style()
	if err != nil {
		return err
	}
	n := &narrator{w: a.stdout, st: st, start: time.Now()}
	lab, err := buildLab(ctx)
	defer lab.close()
	if err != nil {
		return &exitError{code: exitFailed, err: fmt.Errorf("demo: building the lab: %w", err)}
	}
	fmt.Fprint(n.w, demoMap)
	steps := []func(context.Context, *narrator) error{lab.showLookup, lab.showRecord, lab.showDial, lab.showWire, lab.showCut, lab.showBroker, lab.showPlain}
	for _, step := range steps {
		if err := step(ctx, n); err != nil {
			return &exitError{code: exitFailed, err: fmt.Errorf("demo: step %d: %w", n.step, err)}
		}
	}
	n.summary()
	if f.keep {
		cancelKeep(ctx, n)
	}
	return nil
}

// cancelKeep holds the lab up until the demo is interrupted.
func cancelKeep(ctx context.Context, n *narrator) {
	fmt.Fprintf(n.w, "\nThe lab stays up until Ctrl-C. In another terminal:\n")
	n.line("nsenter --preserve-credentials -U -n -m -t %d", os.Getpid())
	n.line("mpresolve @127.0.0.1 lb.demo.example; ip mptcp monitor")
	<-ctx.Done()
}

func (d *demoLab) showLookup(ctx context.Context, n *narrator) error {
	n.begin("lookup")
	args := []string{"@127.0.0.1", "lb.demo.example:7000"}
	n.command(append([]string{"mpresolve"}, args...)...)
	out, err := d.run(ctx, nil, args...)
	n.output(out)
	if err != nil {
		return err
	}
	n.proved("one look-up gave one record of five addresses, IPv4 and IPv6 mixed, in dial order")
	return nil
}

func (d *demoLab) showRecord(ctx context.Context, n *narrator) error {
	n.begin("record")
	r := &resolver.Resolver{Servers: []string{"127.0.0.1"}}
	records, err := r.LookupRecords(ctx, "server.demo.example", "TYPE65400")
	if err != nil {
		return err
	}
	n.command("dig", "+short", "TYPE65400", "server.demo.example", "@127.0.0.1", "|", "mpresolve", "decode", "-")
	var wire strings.Builder
	for _, rr := range records.RRs {
		n.output(rr.Data)
		fmt.Fprintln(&wire, rr.Data)
	}
	out, err := d.run(ctx, strings.NewReader(wire.String()), "decode", "-")
	n.output(out)
	if err != nil {
		return err
	}
	n.proved("mpdnsd gives the same record to any DNS client")
	return nil
}

func (d *demoLab) showDial(ctx context.Context, n *narrator) error {
	n.begin("dial")
	d.lab.ResetSYNs()
	args := []string{"dial", "--server", "127.0.0.1", "--probe", "lb.demo.example:7000"}
	n.command(append([]string{"mpresolve"}, args...)...)
	out, err := d.run(ctx, nil, args...)
	n.output(out)
	return err
}

// otherHost tells whether an address is the second host's.
func otherHost(addr netip.Addr) bool {
	return addr == netip.MustParseAddr("203.0.113.20") || addr == netip.MustParseAddr("2001:db8:3::20")
}

func (d *demoLab) showWire(ctx context.Context, n *narrator) error {
	n.begin("wire")
	joins, foreign := 0, 0
	for _, syn := range d.lab.SYNs() {
		n.line("%-9s SYN  %s > %s", syn.Kind, syn.Src, syn.Dst)
		if syn.Kind != testlab.Join {
			continue
		}
		if otherHost(syn.Dst.Addr()) {
			foreign++
		} else {
			joins++
		}
	}
	n.line("the other host's application read %d octets", d.otherOctets.Load())
	if octets := d.otherOctets.Load(); octets != 0 {
		return fmt.Errorf("%d octets of the connection reached another host", octets)
	}
	if joins < 2 || foreign < 1 {
		return fmt.Errorf("%d joins to the server and %d to the other host were seen on the wire", joins, foreign)
	}
	n.proved("%d subflows joined the first one: both links, both families, one connection", joins)
	n.proved("%s of the other host refused the join, and not one octet reached it", count(foreign, "address", "addresses"))
	return d.showHosts(ctx, n)
}

// showHosts has joins tell the hosts apart, for a process without privilege.
func (d *demoLab) showHosts(ctx context.Context, n *narrator) error {
	args := []string{"@127.0.0.1", "--probe", "--broker", d.socket(), "lb.demo.example:7000"}
	n.command(append([]string{"mpresolve"}, args...)...)
	withoutNetAdmin := func(cmd *exec.Cmd) error { return testlab.WithoutNetAdmin(cmd.Run) }
	out, err := d.runBy(ctx, withoutNetAdmin, nil, args...)
	if err != nil {
		n.output(out)
		return err
	}
	hosts := 0
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "  host ") {
			n.output(line)
			hosts++
		}
	}
	n.proved("the five addresses are %s, proven by joins, which mpdnsd made for a program without privilege", count(hosts, "host", "hosts"))
	if hosts != 2 {
		return fmt.Errorf("%d hosts were told apart, there are 2", hosts)
	}
	return nil
}

// Sizes of the transfer with the cut.
const (
	downloadOctets = 6 << 20
	cutAfterOctets = 2 << 20
)

// transferTimeout bounds the transfer; without the cut it takes about a second.
const transferTimeout = 15 * time.Second

func (d *demoLab) showCut(ctx context.Context, n *narrator) error {
	n.begin("cut")
	dial := dialer.Dialer{Resolver: &resolver.Resolver{Servers: []string{"127.0.0.1"}}}
	nc, err := dial.DialContext(ctx, "tcp", fmt.Sprintf("server.demo.example:%d", downloadPort))
	if err != nil {
		return err
	}
	defer nc.Close()
	conn, ok := nc.(*dialer.Conn)
	if !ok {
		return fmt.Errorf("the dialer gave a %T", nc)
	}
	if err := conn.SetDeadline(time.Now().Add(transferTimeout)); err != nil {
		return err
	}
	if err := binary.Write(conn, binary.BigEndian, uint64(downloadOctets)); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, conn, cutAfterOctets); err != nil {
		return err
	}
	n.line("after %d MiB, over %s:", cutAfterOctets>>20, count(len(conn.Paths()), "path", "paths"))
	writeTraffic(n, conn)
	cut := d.linkOf(conn)
	d.links[cut].Cut()
	n.line("link %d of the server, the first subflow's, is cut: packets vanish without a word", cut+1)
	stall, err := copyTimed(sum, conn, downloadOctets-cutAfterOctets)
	if err != nil {
		return err
	}
	n.line("after %d MiB, with a longest pause of %d ms (what was lost on the cut link was sent again):", downloadOctets>>20, stall.Milliseconds())
	writeTraffic(n, conn)
	d.links[cut].Heal()
	if !bytes.Equal(sum.Sum(nil), downloadSum(downloadOctets)) {
		return fmt.Errorf("the data is not what was sent")
	}
	n.line("SHA-256 of what came matches what was sent")
	n.proved("%d MiB arrived unharmed although one of the server's two links was cut on the way (longest pause %d ms)",
		downloadOctets>>20, stall.Milliseconds())
	return nil
}

// linkOf returns the server's link that carries the first subflow.
func (d *demoLab) linkOf(conn *dialer.Conn) int {
	remote, _ := netip.ParseAddrPort(conn.TCPConn.RemoteAddr().String())
	if slices.Contains(d.links[1].Addrs(), remote.Addr().Unmap()) {
		return 1
	}
	return 0
}

// writeTraffic prints what each path received.
func writeTraffic(n *narrator, conn *dialer.Conn) {
	for _, p := range conn.Paths() {
		n.line("  %-15s %-23s %-8s received %4d KiB", p.Local.Addr(), p.Remote, p.State, p.BytesReceived>>10)
	}
}

// copyTimed reads n octets and returns the longest time that passed without any.
func copyTimed(w io.Writer, r io.Reader, n int64) (longest time.Duration, err error) {
	buffer := make([]byte, 64<<10)
	last := time.Now()
	for n > 0 {
		got, err := r.Read(buffer[:min(n, int64(len(buffer)))])
		now := time.Now()
		longest, last = max(longest, now.Sub(last)), now
		w.Write(buffer[:got]) //nolint:errcheck // a hash does not fail
		n -= int64(got)
		if err != nil && n > 0 {
			return longest, err
		}
	}
	return longest, nil
}

func (d *demoLab) showBroker(ctx context.Context, n *narrator) error {
	n.begin("broker")
	args := []string{"dial", "--server", "127.0.0.1", "--broker", d.socket(), "server.demo.example:7000"}
	n.line("in a process that cannot have CAP_NET_ADMIN:")
	n.command(append([]string{"mpresolve"}, args...)...)
	withoutNetAdmin := func(cmd *exec.Cmd) error { return testlab.WithoutNetAdmin(cmd.Run) }
	out, err := d.runBy(ctx, withoutNetAdmin, nil, args...)
	n.output(out)
	if err != nil {
		return err
	}
	n.proved("a program without privilege gets its paths from mpdnsd, to which it hands its connection")
	return nil
}

func (d *demoLab) showPlain(ctx context.Context, n *narrator) error {
	n.begin("plain")
	args := []string{"dial", "--server", "127.0.0.1", "plain.demo.example:7000"}
	n.command(append([]string{"mpresolve"}, args...)...)
	out, err := d.run(ctx, nil, args...)
	n.output(out)
	if err != nil {
		return err
	}
	n.proved("where the peer has no Multipath TCP the connection is plain TCP, and the reason is said")
	return nil
}
