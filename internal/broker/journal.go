package broker

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

const (
	// maxJournal bounds the connections of which the server remembers how they
	// began. Of more, any one is forgotten: its clients are told less.
	maxJournal = 16384
	// maxPeerAddrs bounds the announcements that are kept of one connection. The
	// kernel's own path manager announces at most 8 (MPTCP_PM_ADDR_MAX).
	maxPeerAddrs = 32
	// maxJoinedAddrs bounds the joined addresses that are kept of one connection.
	maxJoinedAddrs = MaxSubflows
)

// view is what the kernel's events have told of one connection.
type view struct {
	created   mptcp.Event // its Type is 0 until it was seen
	announced map[uint8]netip.AddrPort
	joined    map[netip.Addr]bool
	own       map[uint8]bool // the local ids that clients announced; the journal's
}

// note takes in an event of the connection.
func (v *view) note(e mptcp.Event) {
	switch e.Type {
	case mptcp.Created:
		*v = view{created: e}
	case mptcp.Announced:
		if v.announced == nil {
			v.announced = make(map[uint8]netip.AddrPort)
		}
		if _, known := v.announced[e.RemoteID]; known || len(v.announced) < maxPeerAddrs {
			v.announced[e.RemoteID] = e.Remote
		}
	case mptcp.Removed:
		delete(v.announced, e.RemoteID)
	case mptcp.SubflowEstablished:
		if v.joined == nil {
			v.joined = make(map[netip.Addr]bool)
		}
		if len(v.joined) < maxJoinedAddrs {
			v.joined[e.Remote.Addr()] = true
		}
	}
}

// joinedBeside returns the addresses, sorted, that were joined beside addr.
func (v *view) joinedBeside(addr netip.Addr) []netip.Addr {
	all := slices.SortedFunc(maps.Keys(v.joined), netip.Addr.Compare)
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return a == addr })
}

// clone returns a copy that shares nothing with v.
func (v *view) clone() view {
	return view{created: v.created, announced: maps.Clone(v.announced), joined: maps.Clone(v.joined)}
}

// past returns the events that tell what is still true: how the connection
// began, and the addresses that the peer has announced.
func (v *view) past(token uint32) []mptcp.Event {
	var all []mptcp.Event
	if v.created.Type == mptcp.Created {
		all = append(all, v.created)
	}
	for _, id := range slices.Sorted(maps.Keys(v.announced)) {
		all = append(all, mptcp.Event{Type: mptcp.Announced, Token: token, Remote: v.announced[id], RemoteID: id})
	}
	return all
}

// journal follows the events of all connections of the network namespace, since
// the kernel tells only once how a connection began, and that is before anybody
// can bring it to the broker.
type journal struct {
	events *mptcp.Subscription
	asked  chan chan struct{} // answered when all events before were noted
	done   chan struct{}      // closed by run

	mu    sync.Mutex // guards conns
	conns map[uint32]*view
}

func newJournal(pm mptcp.PathManager) (*journal, error) {
	events, err := pm.Subscribe(0)
	if err != nil {
		return nil, err
	}
	return &journal{
		events: events, asked: make(chan chan struct{}), done: make(chan struct{}), conns: make(map[uint32]*view),
	}, nil
}

// run is a goroutine. It ends with the subscription.
func (j *journal) run() {
	defer close(j.done)
	for {
		select {
		case e, ok := <-j.events.Events():
			if !ok {
				return
			}
			j.note(e)
		case answered := <-j.asked:
			for range len(j.events.Events()) {
				j.note(<-j.events.Events()) // nobody else reads
			}
			close(answered)
		}
	}
}

// note takes in one event.
func (j *journal) note(e mptcp.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e.Type {
	case mptcp.Closed:
		delete(j.conns, e.Token)
	case mptcp.Created, mptcp.Announced, mptcp.Removed, mptcp.SubflowEstablished:
		j.view(e.Token).note(e)
	}
}

// view returns the view of a connection, which may be new. The lock is held.
func (j *journal) view(token uint32) *view {
	v := j.conns[token]
	if v == nil {
		j.makeRoom()
		v = new(view)
		j.conns[token] = v
	}
	return v
}

// room tells whether a client may announce an address by a local id.
func (j *journal) room(token uint32, id uint8) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.view(token)
	return v.own[id] || len(v.own) < MaxAnnounced
}

// told counts an announced local id until it is withdrawn, whether the client
// stays or not.
func (j *journal) told(token uint32, id uint8) {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.view(token)
	if v.own == nil {
		v.own = make(map[uint8]bool)
	}
	v.own[id] = true
}

// withdrawn undoes told.
func (j *journal) withdrawn(token uint32, id uint8) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.view(token).own, id)
}

// makeRoom forgets a connection if there are too many. The lock is held.
func (j *journal) makeRoom() {
	if len(j.conns) < maxJournal {
		return
	}
	for token := range j.conns {
		delete(j.conns, token)
		return
	}
}

// look returns what was seen of a connection. What a subscription made before
// the call is not sent is in it.
func (j *journal) look(token uint32) view {
	answered := make(chan struct{})
	select {
	case j.asked <- answered:
		<-answered
	case <-j.done:
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if v := j.conns[token]; v != nil {
		return v.clone()
	}
	return view{}
}
