package upstream

import (
	"sync"
	"sync/atomic"
)

// Mux waits for the replies to many questions at once (see [Beginner]), with one
// goroutine for each of its loops. Servers made with one in their Options keep
// ports open in it. It is safe for use by several goroutines.
type Mux struct {
	loops []*muxLoop
	turn  atomic.Uint32
	batch atomic.Pointer[func()]
	wg    sync.WaitGroup // loops, and what run started
}

// OnBatch has f called each time that Done functions were called, after as many
// as were ready together: what they left to be sent can be sent at once. f must
// not wait.
func (m *Mux) OnBatch(f func()) { m.batch.Store(&f) }

func (m *Mux) endBatch() {
	if f := m.batch.Load(); f != nil {
		(*f)()
	}
}

// run has a goroutine do what takes time, at the end of which a Done is called.
func (m *Mux) run(f func()) {
	m.wg.Go(func() {
		defer m.endBatch()
		f()
	})
}
