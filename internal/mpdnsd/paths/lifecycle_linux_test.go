package paths

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// do runs f in the namespace of a host and wants no error.
func (r *rig) do(h *testlab.Host, f func() error) {
	r.t.Helper()
	if err := h.Do(f); err != nil {
		r.t.Fatal(err)
	}
}

// selected is the path manager that the client's namespace is set to.
func selected(t *testing.T) string {
	t.Helper()
	name, err := linuxKernel{}.PathManager()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestChangedEndpoints removes and adds endpoints of either end while a
// connection lives, with the kernel's own path manager and with the service.
func TestChangedEndpoints(t *testing.T) {
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			labtest.Run(t, func(t *testing.T) {
				r := newRig(t)
				r.configure(r.client, side{subflows: 8, accepted: 8, endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}})
				r.configure(r.server, side{subflows: 8})
				if m.client {
					r.serve(r.client)
				}
				if m.server {
					r.serve(r.server)
				}
				r.echo()
				c := r.dial("10.1.1.2")
				c.echo(1)
				r.walkChanges(c)
			})
		})
	}
}

// walkChanges changes one endpoint after the other.
func (r *rig) walkChanges(c *client) {
	const first, third = "10.0.1.2>10.1.1.2", "10.0.3.2>10.1.1.2"
	joins := []string{"10.0.2.2>10.1.1.2"}
	c.await(joins, []string{first, joins[0]})
	r.do(r.client, func() error { return mptcp.RemoveEndpoint(1) })
	c.await(joins, []string{first})
	// An id of its own: the peer may be told late that id 1 is gone.
	next := endpoint(subflow|backup, "10.0.3.2")
	next.ID = 9
	r.do(r.client, func() error { return mptcp.AddEndpoint(next) })
	joins = append(joins, third)
	c.await(joins, []string{first, third + " backup"})
	r.do(r.server, func() error { return mptcp.AddEndpoint(endpoint(signal, "10.1.3.2")) })
	joins = append(joins, "10.0.1.2>10.1.3.2")
	c.await(joins, []string{first, third + " backup", "10.0.1.2>10.1.3.2"})
	r.do(r.server, func() error {
		all, err := mptcp.Endpoints()
		if err == nil {
			for _, e := range all {
				if e.Flags.Has(signal) {
					err = mptcp.RemoveEndpoint(e.ID)
				}
			}
		}
		return err
	})
	c.await(joins, []string{first, third + " backup"})
}

const (
	loadConnections = 20
	loadChunk       = 32 << 10 // octets
	loadTurns       = 4        // times that the services start and stop
)

// TestStartedAndStoppedUnderLoad: no connection is lost and no octet changed
// while both ends' services come and go.
func TestStartedAndStoppedUnderLoad(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		r := newRig(t)
		r.configure(r.client, side{subflows: 4, accepted: 4, endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}})
		r.configure(r.server, side{subflows: 4, endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.3.2")}})
		r.echo()
		stop := make(chan struct{})
		var carrying sync.WaitGroup
		carry := func(n int) (carriers []*client) {
			for range n {
				c := r.dial("10.1.1.2")
				carriers = append(carriers, c)
				carrying.Go(func() {
					if err := c.carry(stop); err != nil {
						t.Error(err)
					}
				})
			}
			return carriers
		}
		carry(loadConnections - 2*loadTurns)
		for range loadTurns {
			client, server := r.serve(r.client), r.serve(r.server)
			for _, c := range carry(2) {
				if !eventually(func() bool { return len(c.subflows()) == 3 }) {
					t.Errorf("subflows %q", c.subflows())
				}
			}
			for _, s := range []*Service{server, client} {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		close(stop)
		carrying.Wait()
	})
}

// carry sends chunks and compares the checksums of what comes back, until stop
// and once more.
func (c *client) carry(stop <-chan struct{}) error {
	random := rand.NewChaCha8([32]byte{byte(c.token)})
	sent, back := make([]byte, loadChunk), make([]byte, loadChunk)
	for last := false; ; {
		if _, err := random.Read(sent); err != nil {
			return err
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(sent)
			wrote <- err
		}()
		_, err := io.ReadFull(c, back)
		if werr := <-wrote; err != nil || werr != nil {
			return fmt.Errorf("connection %#x: read %w, write %w", c.token, err, werr)
		}
		if sha256.Sum256(sent) != sha256.Sum256(back) {
			return fmt.Errorf("connection %#x: other octets came back", c.token)
		}
		if last {
			return nil
		}
		select {
		case <-stop:
			last = true
		default:
		}
	}
}

// TestManyAtOnce: connections that begin faster than the service follows are all
// served in the end, also when events are lost.
func TestManyAtOnce(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const connections = 300
		r := newRig(t)
		r.configure(r.client, side{subflows: 4, endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2"), endpoint(subflow, "10.0.3.2")}})
		r.configure(r.server, side{subflows: 4})
		s := r.serve(r.client)
		r.serve(r.server)
		r.echo()
		var dialling sync.WaitGroup
		for range connections {
			dialling.Go(func() { r.dial("10.1.1.2").echo(1) })
		}
		dialling.Wait()
		joined := func() int {
			all, err := mptcp.Subflows()
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, f := range all {
				if !f.Initial && f.Outgoing && f.TCP.State == mptcp.StateEstablished {
					n++
				}
			}
			return n
		}
		if !eventually(func() bool { return joined() == 2*connections }) {
			t.Errorf("%d joined", joined())
		}
		t.Logf("%+v", s.Stats())
	})
}

// TestListenerAcceptsJoins: under the userspace path manager a host accepts
// joins while the service runs, though it has nothing else to do. (That it
// accepts none otherwise cannot be shown: to the kernel a subscriber in any
// namespace of the machine will do.)
func TestListenerAcceptsJoins(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		r := newRig(t)
		r.configure(r.client, side{subflows: 4, endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}})
		r.configure(r.server, side{subflows: 4})
		s := r.serve(r.server)
		r.echo()
		c := r.dial("10.1.1.2")
		c.echo(1)
		c.await([]string{"10.0.2.2>10.1.1.2"}, []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.1.2"})
		if st := s.Stats(); st.KernelManaged != 0 || st.Subflows != 1 || st.Commands != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestClaim: a claimed connection is left alone until it is released.
func TestClaim(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		r := newRig(t)
		r.configure(r.client, side{subflows: 4, accepted: 4, endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}})
		r.configure(r.server, side{subflows: 4, endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.3.2")}})
		s := r.serve(r.client)
		r.echo()
		c := r.dial("10.1.1.2")
		s.Claim(c.token)
		s.Claim(c.token)
		c.echo(1)
		c.await(nil, []string{"10.0.1.2>10.1.1.2"})
		// The owner does as it likes.
		own := mptcp.Subflow{Remote: netip.AddrPortFrom(netip.MustParseAddr("10.1.2.2"), r.port)}
		if err := s.manager.CreateSubflow(c.token, own); err != nil {
			t.Fatal(err)
		}
		joins := []string{"10.0.1.2>10.1.2.2"}
		c.await(joins, []string{"10.0.1.2>10.1.1.2", joins[0]})
		s.Release(c.token)
		c.await(joins, []string{"10.0.1.2>10.1.1.2", joins[0]})
		if st := s.Stats(); st.Claimed != 1 || st.Connections != 1 || st.Subflows != 1 || st.Commands != 0 {
			t.Errorf("%+v", st)
		}
		s.Release(c.token)
		// What the peer announced meanwhile is joined too.
		joins = append(joins, "10.0.2.2>10.1.1.2", "10.0.1.2>10.1.3.2")
		first, all := "10.0.1.2>10.1.1.2", slices.Clone(joins)
		c.await(joins, append(all, first))
	})
}

// TestReleaseAfterClose: a claim that outlives the service is not answered with
// subflows.
func TestReleaseAfterClose(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		r := newRig(t)
		r.configure(r.client, side{subflows: 4, endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}})
		r.configure(r.server, side{subflows: 4})
		pm, err := mptcp.OpenPathManager()
		if err != nil {
			t.Fatal(err)
		}
		defer pm.Close()
		s, err := Open(Config{Switch: true, Manager: pm})
		if err != nil {
			t.Fatal(err)
		}
		r.echo()
		c := r.dial("10.1.1.2")
		s.Claim(c.token)
		c.echo(1)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s.Release(c.token)
		c.await(nil, []string{"10.0.1.2>10.1.1.2"})
	})
}

// TestRestore: the namespace is what Restore says after the service, whatever a
// crash left.
func TestRestore(t *testing.T) {
	const kernel, userspace = mptcp.KernelPathManager, mptcp.UserspacePathManager
	for _, test := range []struct {
		name          string
		before        string
		config        Config
		during, after string
	}{
		{"switched", kernel, Config{Switch: true}, userspace, kernel},
		{"left by a crash", userspace, Config{Switch: true}, userspace, kernel},
		{"configured", kernel, Config{Switch: true, Restore: userspace}, userspace, userspace},
		{"not switched", kernel, Config{}, kernel, kernel},
		{"not switched, userspace", userspace, Config{}, userspace, userspace},
	} {
		t.Run(test.name, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				if err := mptcp.SetPathManager(test.before); err != nil {
					t.Fatal(err)
				}
				s, err := Open(test.config)
				if err != nil {
					t.Fatal(err)
				}
				if got := selected(t); got != test.during {
					t.Errorf("during: %s, want %s", got, test.during)
				}
				for range 2 {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
				<-s.Done()
				if got := selected(t); got != test.after {
					t.Errorf("after: %s, want %s", got, test.after)
				}
			})
		})
	}
}

// TestOlderConnections: what is there when the service starts. A connection of
// the kernel's path manager stays with it, one of the userspace path manager is
// served, and one that was served before is not served twice.
func TestOlderConnections(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		r := newRig(t)
		r.configure(r.client, side{subflows: 4})
		r.configure(r.server, side{subflows: 4})
		r.echo()
		ofKernel := r.dial("10.1.1.2")
		ofKernel.echo(1)
		r.do(r.client, func() error { return mptcp.SetPathManager(mptcp.UserspacePathManager) })
		ofUserspace := r.dial("10.1.1.2")
		ofUserspace.echo(1)
		silent := r.dial("10.1.1.2") // not established: no data yet
		r.do(r.client, func() error { return mptcp.AddEndpoint(endpoint(subflow, "10.0.2.2")) })
		joins, both := []string{"10.0.2.2>10.1.1.2"}, []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.1.2"}
		ofKernel.await(joins, both)
		ofUserspace.await(joins, []string{"10.0.1.2>10.1.1.2"})
		for range 2 {
			s := r.serve(r.client)
			ofUserspace.await(joins, both)
			ofKernel.await(joins, both)
			silent.echo(1)
			silent.await(joins, both)
			if st := s.Stats(); st.Connections != 3 || st.KernelManaged != 1 || st.Subflows < 2 {
				t.Errorf("%+v", st)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := len(r.lab.SYNs()); n != 6 { // three to connect, three to join
			t.Errorf("%d SYNs: %v", n, r.lab.SYNs())
		}
	})
}
