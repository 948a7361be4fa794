package mptcp

import (
	"sync"
	"sync/atomic"
)

// SubscriptionBuffer is the number of events that a [Subscription] holds for a
// slow reader. A connection with eight subflows makes about 20 events.
const SubscriptionBuffer = 256

// Subscription delivers the events of one connection or of all.
//
// It never blocks the others: with one place left in the channel an EventsLost
// takes that place and the event is dropped, and with none left the event is
// dropped alone. So the events before a gap are complete and in order, and an
// EventsLost stands where the gap begins. The kernel dropping events (its socket
// buffer was full) is told in the same way. After a gap, [FullInfo] tells the
// present state.
type Subscription struct {
	hub     *Hub
	token   uint32
	events  chan Event
	dropped atomic.Uint64
}

// Events returns the channel. It is closed by Close and by the end of the path
// manager.
func (s *Subscription) Events() <-chan Event { return s.events }

// Dropped returns the number of gaps and dropped events so far; zero means that
// every event was delivered.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the delivery and closes the channel; what is in the channel can
// still be read. It may be called more than once.
func (s *Subscription) Close() { s.hub.remove(s) }

// deliver hands over e by the drop rule. The hub's lock is held, so there is
// one sender at a time and the free places can only grow meanwhile.
func (s *Subscription) deliver(e Event) {
	switch free := cap(s.events) - len(s.events); {
	case free > 1:
		s.events <- e
		if e.Type == EventsLost {
			s.dropped.Add(1)
		}
	case free == 1:
		s.events <- Event{Type: EventsLost}
		s.dropped.Add(1)
	default:
		s.dropped.Add(1)
	}
}

// Hub hands each event to the subscriptions it concerns. It is what the path
// managers of this package and of mptcptest deliver through. The zero value is
// ready for use; its methods are safe for concurrent use.
type Hub struct {
	mu   sync.Mutex // guards the fields below, and sending to and closing of the channels
	subs map[*Subscription]struct{}
	err  error // why no more events will come
}

// Subscribe adds a subscription to the events of token, or of all for token 0;
// past are delivered first, by the same rule. After Shutdown it returns
// Shutdown's error.
func (h *Hub) Subscribe(token uint32, past ...Event) (*Subscription, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return nil, h.err
	}
	if h.subs == nil {
		h.subs = make(map[*Subscription]struct{})
	}
	s := &Subscription{hub: h, token: token, events: make(chan Event, SubscriptionBuffer)}
	for _, e := range past {
		s.deliver(e)
	}
	h.subs[s] = struct{}{}
	return s, nil
}

// Publish delivers e to the subscriptions of its token, without ever blocking.
// An EventsLost goes to all of them.
func (h *Hub) Publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.token == 0 || s.token == e.Token || e.Type == EventsLost {
			s.deliver(e)
		}
	}
}

// Shutdown closes all subscriptions; later ones fail with err. Only the first
// call counts.
func (h *Hub) Shutdown(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return
	}
	h.err = err
	for s := range h.subs {
		close(s.events)
	}
	h.subs = nil
}

// remove closes s unless it is closed already.
func (h *Hub) remove(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.subs[s]; ok {
		delete(h.subs, s)
		close(s.events)
	}
}
