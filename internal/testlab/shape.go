package testlab

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// Bounds of the queues.
const (
	queueTime   = 100 * time.Millisecond // of waiting before a limited rate
	queueFrames = 20                     // full frames that always have room there
	maxInFlight = 1 << 14                // frames under way in one direction of a link
	seedStream  = 0x6d70746370           // second word of the random seeds
)

// shaper is one direction of a link: a serialiser of some rate behind a
// bounded queue, then loss, then a fixed delay. It has no clock: times are
// durations since the lab began.
type shaper struct {
	delay time.Duration
	loss  float64
	rate  int64 // bit/s, 0 unlimited

	idle     time.Duration // when the serialiser will have sent everything
	last     time.Duration // when the last admitted frame arrives
	inFlight int           // frames admitted and not yet arrived
	random   *rand.Rand
}

func newShaper(spec LinkSpec, seed, stream uint64) *shaper {
	return &shaper{
		delay: spec.Delay, loss: spec.Loss, rate: spec.Rate,
		random: rand.New(rand.NewPCG(seed, seedStream+stream)),
	}
}

// admit returns when a frame of size octets that enters now will arrive, never
// before its predecessor. ok is false when the queue is full or the frame is
// lost on the way.
func (s *shaper) admit(now time.Duration, size int) (due time.Duration, ok bool) {
	due = now
	if s.rate > 0 {
		room := max(queueTime, s.sendTime(queueFrames*DefaultMTU))
		start := max(now, s.idle)
		if start-now > room {
			return 0, false
		}
		s.idle = start + s.sendTime(size)
		due = s.idle
	}
	if s.inFlight >= maxInFlight || s.loss > 0 && s.random.Float64() < s.loss {
		return 0, false
	}
	due = max(due+s.delay, s.last)
	s.last = due
	return due, true
}

func (s *shaper) sendTime(octets int) time.Duration {
	return time.Duration(int64(octets) * 8 * int64(time.Second) / s.rate)
}

// direction is one way across a link, guarded by the router's lock.
type direction struct {
	*shaper
	link     *Link
	toRouter bool
	octets   uint64
	count    uint64
}

// eventQueue orders frames by the time at which they arrive, and equal times
// by the order in which they were put in.
type eventQueue struct {
	frames eventHeap
	serial uint64
}

func (q *eventQueue) push(f *frame) {
	f.serial = q.serial
	q.serial++
	heap.Push(&q.frames, f)
}

// next returns when the first frame is due.
func (q *eventQueue) next() (time.Duration, bool) {
	if len(q.frames) == 0 {
		return 0, false
	}
	return q.frames[0].due, true
}

// pop removes and returns the first frame if it is due.
func (q *eventQueue) pop(now time.Duration) *frame {
	if len(q.frames) == 0 || q.frames[0].due > now {
		return nil
	}
	return heap.Pop(&q.frames).(*frame)
}

// eventHeap implements heap.Interface.
type eventHeap []*frame

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].serial < h[j].serial
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(*frame)) }
func (h *eventHeap) Pop() any {
	old := *h
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return f
}

// frame is one Ethernet frame on its way through the router.
type frame struct {
	octets [etherHeader + MaxMTU]byte
	n      int

	due    time.Duration
	serial uint64
	on     *direction // the direction that it is under way on
}

func (f *frame) bytes() []byte { return f.octets[:f.n] }
