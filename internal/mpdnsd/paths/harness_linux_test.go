package paths

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// patience bounds every wait of the lab tests.
const patience = 10 * time.Second

// linkDelay makes a round trip of 4 ms.
const linkDelay = time.Millisecond

// stayEchoes is for how many round trips nothing more may happen.
const stayEchoes = 10

// hostKernel is the kernel of a host of the lab.
type hostKernel struct {
	host *testlab.Host
}

// in calls f in the namespace of the host.
func in[T any](h *testlab.Host, f func() (T, error)) (value T, err error) {
	err = h.Do(func() (err error) {
		value, err = f()
		return err
	})
	return value, err
}

func (k hostKernel) OpenPathManager() (mptcp.PathManager, error) {
	return in(k.host, mptcp.OpenPathManager)
}

func (k hostKernel) PathManager() (string, error) { return in(k.host, linuxKernel{}.PathManager) }

func (k hostKernel) SetPathManager(name string) error {
	return k.host.Do(func() error { return mptcp.SetPathManager(name) })
}

func (k hostKernel) Endpoints() ([]mptcp.Endpoint, error) { return in(k.host, mptcp.Endpoints) }

func (k hostKernel) Limits() (mptcp.Limits, error) { return in(k.host, mptcp.ReadLimits) }

func (k hostKernel) Connections() ([]mptcp.Connection, error) { return in(k.host, mptcp.Connections) }

func (k hostKernel) Subflows() ([]mptcp.SubflowState, error) { return in(k.host, mptcp.Subflows) }

// rig is a lab with a client and a server of three links each.
type rig struct {
	t              *testing.T
	lab            *testlab.Lab
	client, server *testlab.Host
	port           uint16
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, lab: labtest.New(t, testlab.Options{})}
	r.client = r.lab.Client()
	link := func(addrs ...string) testlab.LinkSpec {
		spec := testlab.LinkSpec{Delay: linkDelay}
		for _, a := range addrs {
			spec.Addrs = append(spec.Addrs, netip.MustParsePrefix(a))
		}
		return spec
	}
	for _, spec := range []testlab.LinkSpec{
		link("10.0.1.2/24", "fd00:1::2/64"), link("10.0.2.2/24", "fd00:2::2/64"), link("10.0.3.2/24", "fd00:3::2/64"),
	} {
		if _, err := r.lab.AddClientLink(spec); err != nil {
			t.Fatal(err)
		}
	}
	server, err := r.lab.AddHost("server",
		link("10.1.1.2/24", "fd00:11::2/64"), link("10.1.2.2/24", "fd00:12::2/64"), link("10.1.3.2/24", "fd00:13::2/64"))
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	return r
}

// with is the rig for a subtest, without what earlier ones left.
func (r *rig) with(t *testing.T) *rig {
	r.lab.ResetSYNs()
	next := *r
	next.t = t
	return &next
}

// serve opens a service that switches the host, for the length of the test.
func (r *rig) serve(h *testlab.Host) *Service {
	r.t.Helper()
	s, err := open(Config{Switch: true}, hostKernel{h})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			r.t.Errorf("close the service: %v", err)
		}
	})
	return s
}

// echo listens on all of the server's addresses and returns what comes.
func (r *rig) echo() net.Listener {
	r.t.Helper()
	ln, err := r.server.Listen("tcp", ":0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.port = ln.Addr().(*net.TCPAddr).AddrPort().Port()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	r.t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln
}

// dial connects a socket that takes subflows of both families.
func (r *rig) dial(to string) *client {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv6unspecified}, Timeout: patience}
	d.SetMultipathTCP(true)
	remote := netip.AddrPortFrom(netip.MustParseAddr(to), r.port)
	c, err := d.DialContext(context.Background(), "tcp", remote.String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := mptcp.GetInfo(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	return &client{r: r, TCPConn: c.(*net.TCPConn), token: info.Token}
}

// client is the client's end of a connection.
type client struct {
	*net.TCPConn
	r     *rig
	token uint32
}

// echo moves octets to the server and back, n times.
func (c *client) echo(n int) {
	c.r.t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		c.r.t.Fatal(err)
	}
	for range n {
		if _, err := c.Write([]byte("octets")); err != nil {
			c.r.t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
			c.r.t.Fatal(err)
		}
	}
}

// subflows lists the established subflows in words, sorted:
// "10.0.2.2>10.1.1.2 backup".
func (c *client) subflows() []string {
	c.r.t.Helper()
	all, err := mptcp.Subflows()
	if err != nil {
		c.r.t.Fatal(err)
	}
	words := []string{}
	for _, s := range all {
		if s.Token != c.token || s.TCP.State != mptcp.StateEstablished {
			continue
		}
		w := s.Local.Addr().String() + ">" + s.Remote.Addr().String()
		if s.Backup {
			w += " backup"
		}
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}

// await waits until the joins given were tried and the connection has the
// subflows of one of the lists, and sees that it stays so while data moves.
func (c *client) await(tried []string, want ...[]string) {
	c.r.t.Helper()
	slices.Sort(tried)
	settled := func() bool {
		have := c.subflows()
		return slices.ContainsFunc(want, func(w []string) bool {
			return slices.Equal(have, slices.Sorted(slices.Values(w)))
		}) && slices.Equal(c.r.joins(), tried)
	}
	if !eventually(settled) {
		c.r.t.Fatalf("subflows %q, want one of %q; joins %q, want %q", c.subflows(), want, c.r.joins(), tried)
	}
	c.echo(stayEchoes)
	if !settled() {
		c.r.t.Fatalf("after a while: subflows %q, want one of %q; joins %q, want %q", c.subflows(), want, c.r.joins(), tried)
	}
}

// joins lists the joins that reached the router, in words, sorted; each once.
func (r *rig) joins() []string {
	words := []string{}
	for _, s := range r.lab.SYNs() {
		if s.Kind == testlab.Join {
			words = append(words, s.Src.Addr().String()+">"+s.Dst.Addr().String())
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// eventually waits until ok.
func eventually(ok func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			return false
		}
	}
	return true
}
