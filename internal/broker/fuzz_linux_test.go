package broker

import (
	"testing"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// FuzzSession: an attached client that sends anything, with any number of
// descriptors, gets a reply if it is a request with one, and otherwise its end;
// no descriptor stays open.
func FuzzSession(f *testing.F) {
	seeds := 0
	for _, test := range messages {
		for descriptors := range uint8(3) {
			f.Add(octets(f, test.octets), descriptors)
			seeds++
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	const longest = 4 << 10 // octets that surely fit into a unix socket
	fake, b := serveFakes(f, Config{Memory: new(shelf)})
	raw := fake.connect(f, token)
	b.attach(raw).Close() // what the runtime opens once is open now
	f.Fuzz(func(t *testing.T, octets []byte, descriptors uint8) {
		if len(octets) > longest {
			t.Skip("too long for a unix socket")
		}
		before := openFDs(t)
		c := dialRaw(t, b)
		c.hello(raw)
		n := int(descriptors % 8)
		c.write(octets, raw, n)
		m, err := c.read()
		for _, isEvent := m.(event); isEvent && err == nil; _, isEvent = m.(event) {
			m, err = c.read()
		}
		sent, parseErr := parse(octets)
		if r, ok := sent.(request); ok && parseErr == nil && n == 1 {
			if got, ok := m.(reply); err != nil || !ok || got.ID != r.ID {
				t.Errorf("request %+v is answered with %+v, %v", r, m, err)
			}
		} else if _, ok := m.(end); err == nil && !ok {
			t.Errorf("%x with %d descriptors is answered with %+v", octets, n, m)
		}
		c.conn.Close()
		noMoreFDs(t, before)
	})
}

// FuzzView: whatever events come, a view stays within its bounds, and its past
// makes the same view again.
func FuzzView(f *testing.F) {
	seeds := [][]byte{
		{1, 0, 6, 3, 6, 4, 7, 3, 10, 9}, // created, announced twice, one withdrawn, joined
		{6, 1, 1, 0, 6, 2},
	}
	for _, b := range seeds {
		var v view
		if feed(&v, b); len(v.announced) == 0 || v.created.Type == 0 {
			f.Fatalf("seed %x does nothing", b)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v, again view
		feed(&v, b)
		if len(v.announced) > maxPeerAddrs || len(v.joined) > maxJoinedAddrs {
			t.Errorf("%d announced, %d joined", len(v.announced), len(v.joined))
		}
		for _, e := range v.past(token) {
			again.note(e)
		}
		if again.created != v.created || len(again.announced) != len(v.announced) {
			t.Errorf("%+v became %+v", v, again)
		}
		for id, a := range v.announced {
			if again.announced[id] != a {
				t.Errorf("%+v became %+v", v, again)
			}
		}
	})
}

// feed gives a view an event for each two octets: its type and an id.
func feed(v *view, b []byte) {
	for ; len(b) > 1; b = b[2:] {
		v.note(mptcp.Event{Type: mptcp.EventType(b[0]), Token: token, RemoteID: b[1], Remote: other, Flags: uint16(b[1])})
	}
}
