package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/mpaddr"
)

// The network: a client and a server of two links each. Every link delays by
// linkDelay in each direction, so a round trip is four of them.
const (
	linkDelay = 5 * time.Millisecond
	roundTrip = 4 * linkDelay
	pathRate  = 50_000_000 // bit/s, where a path is limited
)

// The server's services.
const (
	sinkPort   = 7000 // reads and counts
	sourcePort = 7001 // writes for as long as it is read
	echoPort   = 7002 // writes what it reads
)

// acceptedJoins is how many further subflows the server takes.
const acceptedJoins = 8

// addresses are the lab's.
type addresses struct{ v4, v6 netip.Addr }

func addressesOf(l *testlab.Link) addresses {
	list := l.Addrs()
	return addresses{list[0], list[1]}
}

// bench is the lab with what runs in it. It is used by one goroutine; the
// services have goroutines of their own, which end with close.
type bench struct {
	settings
	self string // this program
	dir  string // for sockets
	lab  *testlab.Lab

	clientLinks, serverLinks [2]*testlab.Link
	client, server           [2]addresses // of these links
	names                    *nameServer
	sunk                     meter // what the sinks read
	notes                    []string

	listeners []net.Listener
	serving   sync.WaitGroup
	mu        sync.Mutex // guards accepted
	accepted  map[net.Conn]struct{}
}

// newBench makes the lab and starts the services.
func newBench(s settings) (b *bench, err error) {
	b = &bench{settings: s, accepted: make(map[net.Conn]struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.self, err = os.Executable(); err != nil {
		return b, err
	}
	if b.dir, err = os.MkdirTemp("", "paths-"); err != nil {
		return b, err
	}
	if b.lab, err = testlab.New(testlab.Options{Seed: 1}); err != nil {
		return b, err
	}
	if err = mptcp.SetPathManager(mptcp.UserspacePathManager); err != nil {
		return b, err
	}
	if err = b.addClient(); err != nil {
		return b, err
	}
	if err = b.addServer(); err != nil {
		return b, err
	}
	b.names, err = serveNames(map[string][]netip.Addr{
		oneName:   {b.server[0].v6},
		dualName:  {b.server[0].v6, b.server[0].v4},
		aliasName: {b.server[0].v6, b.server[0].v4},
	})
	return b, err
}

func link(addrs ...string) testlab.LinkSpec {
	spec := testlab.LinkSpec{Delay: linkDelay}
	for _, a := range addrs {
		spec.Addrs = append(spec.Addrs, netip.MustParsePrefix(a))
	}
	return spec
}

func (b *bench) addClient() error {
	for i, spec := range []testlab.LinkSpec{
		link("198.18.1.2/24", "2001:db8:a::2/64"),
		link("198.18.2.2/24", "2001:db8:b::2/64"),
	} {
		l, err := b.lab.AddClientLink(spec)
		if err != nil {
			return err
		}
		b.clientLinks[i], b.client[i] = l, addressesOf(l)
	}
	return nil
}

func (b *bench) addServer() error {
	server, err := b.lab.AddHost("server",
		link("192.0.2.10/24", "2001:db8:1::10/64"),
		link("198.51.100.10/24", "2001:db8:2::10/64"))
	if err != nil {
		return err
	}
	for i, l := range server.Links() {
		b.serverLinks[i], b.server[i] = l, addressesOf(l)
	}
	if err := server.Do(func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: acceptedJoins}) }); err != nil {
		return err
	}
	return errors.Join(
		b.serve(server, sinkPort, func(c net.Conn) { _, _ = io.Copy(&b.sunk, c) }),
		b.serve(server, sourcePort, func(c net.Conn) { _, _ = io.Copy(c, zeros{}) }),
		b.serve(server, echoPort, func(c net.Conn) { _, _ = io.Copy(c, c) }))
}

// serve runs handle on each connection to a port of the server. It returns
// when the connection ends, which is no error.
func (b *bench) serve(h *testlab.Host, port int, handle func(net.Conn)) error {
	l, err := h.Listen("tcp", fmt.Sprintf("[::]:%d", port))
	if err != nil {
		return err
	}
	b.listeners = append(b.listeners, l)
	b.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.track(c, true)
			b.serving.Go(func() {
				handle(c)
				b.track(c, false)
				c.Close()
			})
		}
	})
	return nil
}

// track notes that a connection is open, or no more.
func (b *bench) track(c net.Conn, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if open {
		b.accepted[c] = struct{}{}
	} else {
		delete(b.accepted, c)
	}
}

// close takes the lab apart and waits for what ran in it.
func (b *bench) close() error {
	for _, l := range b.listeners {
		l.Close()
	}
	b.mu.Lock()
	for c := range b.accepted {
		c.Close() // its client may be beyond a cut link
	}
	b.mu.Unlock()
	b.serving.Wait()
	var errs []error
	if b.names != nil {
		errs = append(errs, b.names.close())
	}
	if b.lab != nil {
		errs = append(errs, b.lab.Close())
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// note adds a line below the table.
func (b *bench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// takeNotes returns the lines since the last call.
func (b *bench) takeNotes() []string {
	notes := b.notes
	b.notes = nil
	return notes
}

// record is the server's four addresses with a port: the first link's first.
func (b *bench) record(port uint16) mpaddr.Addr {
	return mpaddr.FromAddrs(port, b.server[0].v6, b.server[1].v6, b.server[0].v4, b.server[1].v4)
}

// child prepares this program to run as a child in the client; startChild
// starts it.
func (b *bench) child(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.self, append([]string{childArg}, args...)...)
	cmd.WaitDelay = stopDelay
	cmd.Stderr = os.Stderr
	return cmd
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// pause waits for a time of the measurement.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
