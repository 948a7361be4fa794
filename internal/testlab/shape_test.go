package testlab

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestShaperDelay(t *testing.T) {
	s := newShaper(LinkSpec{Delay: 10 * time.Millisecond}, 0, 0)
	for _, now := range []time.Duration{0, time.Microsecond, time.Second} {
		if due, ok := s.admit(now, 1500); !ok || due != now+10*time.Millisecond {
			t.Errorf("frame at %v is due at %v, %v", now, due, ok)
		}
	}
}

func TestShaperRate(t *testing.T) {
	// 1500 octets take 1 ms at 12 Mbit/s; 100 ms of queue hold 100 of them.
	s := newShaper(LinkSpec{Rate: 12e6}, 0, 0)
	admitted := 0
	for range 200 {
		due, ok := s.admit(0, 1500)
		if !ok {
			continue
		}
		admitted++
		if want := time.Duration(admitted) * time.Millisecond; due != want {
			t.Fatalf("frame %d is due at %v, want %v", admitted, due, want)
		}
	}
	if admitted != 101 {
		t.Errorf("%d frames admitted, want 100 waiting and 1 being sent", admitted)
	}
	if due, ok := s.admit(time.Second, 1500); !ok || due != time.Second+time.Millisecond {
		t.Errorf("frame on the idle link is due at %v, %v", due, ok)
	}
}

func TestShaperSlowRateHoldsFrames(t *testing.T) {
	s := newShaper(LinkSpec{Rate: 64_000}, 0, 0)
	for i := range queueFrames {
		if _, ok := s.admit(0, 1500); !ok {
			t.Fatalf("frame %d of %d is dropped", i+1, queueFrames)
		}
	}
}

func TestShaperBoundsFramesInFlight(t *testing.T) {
	s := newShaper(LinkSpec{Delay: time.Hour}, 0, 0)
	s.inFlight = maxInFlight
	if _, ok := s.admit(0, 60); ok {
		t.Error("a frame beyond the bound is admitted")
	}
}

func TestShaperLoss(t *testing.T) {
	pattern := func(seed, stream uint64) []bool {
		s := newShaper(LinkSpec{Loss: 0.2}, seed, stream)
		kept := make([]bool, 10_000)
		for i := range kept {
			_, kept[i] = s.admit(0, 100)
		}
		return kept
	}
	a := pattern(1, 1)
	if !slices.Equal(a, pattern(1, 1)) {
		t.Error("equal seeds lose different frames")
	}
	if slices.Equal(a, pattern(1, 2)) || slices.Equal(a, pattern(2, 1)) {
		t.Error("different seeds or directions lose the same frames")
	}
	lost := 0
	for _, kept := range a {
		if !kept {
			lost++
		}
	}
	if lost < 1800 || lost > 2200 {
		t.Errorf("lost %d of 10000 frames at 20%%", lost)
	}
}

// TestShaperKeepsOrder changes a link's settings at random: no frame overtakes.
func TestShaperKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newShaper(LinkSpec{}, 0, 0)
		var q eventQueue
		now, sent := time.Duration(0), uint64(0)
		for range rapid.IntRange(1, 50).Draw(t, "frames") {
			now += time.Duration(rapid.IntRange(0, 1000).Draw(t, "gap"))
			s.delay = time.Duration(rapid.IntRange(0, 2000).Draw(t, "delay"))
			s.rate = rapid.SampledFrom([]int64{0, 1e6, 1e9}).Draw(t, "rate")
			due, ok := s.admit(now, 60)
			if !ok {
				continue
			}
			if due < now {
				t.Fatalf("due at %v, before %v", due, now)
			}
			q.push(&frame{due: due, n: int(sent)})
			sent++
		}
		for i := range int(sent) {
			due, ok := q.next()
			f := q.pop(due)
			if !ok || f == nil || f.n != i {
				t.Fatalf("frame %d comes out as %+v", i, f)
			}
		}
	})
}

func TestEventQueue(t *testing.T) {
	var q eventQueue
	if _, ok := q.next(); ok || q.pop(time.Hour) != nil {
		t.Fatal("the empty queue has a frame")
	}
	for i, due := range []time.Duration{3, 1, 2, 1} {
		q.push(&frame{due: due, n: i})
	}
	var order []int
	for f := q.pop(2); f != nil; f = q.pop(2) {
		order = append(order, f.n)
	}
	if want := []int{1, 3, 2}; !slices.Equal(order, want) {
		t.Errorf("frames due at 2 come as %v, want %v", order, want)
	}
	if due, ok := q.next(); !ok || due != 3 {
		t.Errorf("next is due at %v, %v", due, ok)
	}
}
