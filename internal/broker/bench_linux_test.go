package broker

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// BenchmarkAttachCreate is what the broker adds to one subflow: the socket, the
// hello, one request. The path manager is scripted.
func BenchmarkAttachCreate(b *testing.B) {
	f, s := serveFakes(b, Config{Limits: Limits{Subflows: MaxSubflows}})
	raw := f.connect(b, token)
	for b.Loop() {
		pm, err := Attach(context.Background(), s.path, raw)
		if err != nil {
			b.Fatal(err)
		}
		sub := subscribe(b, pm, token)
		if err := pm.CreateSubflow(token, mptcp.Subflow{Remote: other}); err != nil {
			b.Fatal(err)
		}
		flow := next(b, sub, mptcp.SubflowEstablished)
		if err := f.DestroySubflow(token, mptcp.Subflow{Local: flow.Local, Remote: flow.Remote}); err != nil {
			b.Fatal(err)
		}
		pm.Close()
	}
}

// BenchmarkCreate is one request of a client that is attached, and its event.
func BenchmarkCreate(b *testing.B) {
	f, s := serveFakes(b, Config{Limits: Limits{Requests: 1e9}})
	c := s.attach(f.connect(b, token))
	sub := subscribe(b, c, token)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.CreateSubflow(token, mptcp.Subflow{Remote: other}); err != nil {
			b.Fatal(err)
		}
		flow := next(b, sub, mptcp.SubflowEstablished)
		if err := f.DestroySubflow(token, mptcp.Subflow{Local: flow.Local, Remote: flow.Remote}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLabMany: many connections get their paths through the broker at the same
// time, and each only its own events.
func TestLabMany(t *testing.T) {
	const connections = 100
	inLab(t, Config{}, func(t *testing.T, w *world) {
		err := w.server.Do(func() error { return mptcp.SetLimits(mptcp.Limits{Subflows: 4}) })
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var clients []*Client
		var group sync.WaitGroup
		var setUp time.Duration
		for range connections {
			_, raw := connect(t, true, at(server1v4))
			begin := time.Now()
			c := w.attach(raw)
			sub := subscribe(t, c, c.token)
			setUp += time.Since(begin)
			clients = append(clients, c)
			group.Go(func() { joinAll(t, c, sub) })
		}
		group.Wait()
		for _, c := range clients {
			if info, err := mptcp.GetInfo(c.proof); err != nil || info.Subflows != 3 {
				t.Errorf("%d subflows, %v", info.Subflows, err)
			}
		}
		runtime.ReadMemStats(&after)
		t.Logf("%v for one attach; %d KiB for one connection, broker and client and the test's ends", setUp/connections,
			(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/connections/1024)
	})
}

// joinAll adds the server's other addresses to a connection.
func joinAll(t *testing.T, c *Client, sub *mptcp.Subscription) {
	for _, a := range []mptcp.Subflow{{Remote: at(server2v4)}, {Remote: at(server1v6)}, {Remote: at(server2v6)}} {
		if err := c.CreateSubflow(c.token, a); err != nil {
			t.Error(err)
			return
		}
	}
	timeout := time.After(eventTimeout)
	for joined := 0; joined < 3; {
		select {
		case e := <-sub.Events():
			switch {
			case e.Token != c.token:
				t.Errorf("%+v is another connection's event", e)
				return
			case e.Type == mptcp.SubflowEstablished:
				joined++
			}
		case <-timeout:
			t.Errorf("%d of 3 paths joined", joined)
			return
		}
	}
}
