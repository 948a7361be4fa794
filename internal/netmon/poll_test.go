package netmon

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPoller: a change is known within the interval, and a state that cannot
// be read is passed over.
func TestPoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		read := func() (State, error) {
			switch time.Since(begin) / PollInterval {
			case 1:
				return State{}, nil
			case 2:
				return State{}, errors.New("try again")
			}
			return stateOf("192.0.2.1"), nil
		}
		m := start(newPoller(PollInterval, read), State{})
		sub := m.Subscribe()
		receive(t, sub, State{})
		receive(t, sub, stateOf("192.0.2.1"))
		if took := time.Since(begin); took != 3*PollInterval {
			t.Errorf("after %v", took)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		closed(t, sub)
	})
}

// TestReadInterfaces holds what is read on every system against the promises
// of State.
func TestReadInterfaces(t *testing.T) {
	s, err := readInterfaces()
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, s)
}

func TestMarkDefault(t *testing.T) {
	source, ok := sourceTowards("127.0.0.1:9")
	if !ok {
		t.Fatal("no route to this host")
	}
	as := []Address{at(1, source.String()), at(1, "192.0.2.2"), at(1, "2001:db8::1"), at(2, "192.0.2.3")}
	for i := range as {
		as[i].DefaultRoute = false
	}
	if !markDefault(as, "127.0.0.1:9") {
		t.Error("not found")
	}
	for i, want := range []bool{true, true, false, false} {
		if as[i].DefaultRoute != want {
			t.Errorf("%v has a default route: %v", as[i].Addr, as[i].DefaultRoute)
		}
	}
	if markDefault(as[1:], "127.0.0.1:9") || markDefault(as, "not an address") {
		t.Error("found where there is none")
	}
}
