package paths

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// The connection of the tables: from a client at c1 to a server at s1.
const (
	c1, c2, c3 = "10.0.1.2", "10.0.2.2", "10.0.3.2"
	s1, s2, s3 = "10.1.1.2", "10.1.2.2", "10.1.3.2"
	token      = 7
)

func at(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// ep is an endpoint of the tables.
func ep(id uint8, flags mptcp.EndpointFlags, addr string) mptcp.Endpoint {
	return mptcp.Endpoint{ID: id, Addr: at(addr, 0), Flags: flags}
}

func set(subflows, accepted int, endpoints ...mptcp.Endpoint) settingsInput {
	return settingsInput{limits: mptcp.Limits{Known: true, Subflows: subflows, AddAddrAccepted: accepted}, endpoints: endpoints}
}

func event(t mptcp.EventType, flags uint16) eventInput {
	return eventInput{
		Type: t, Token: token, Flags: flags, ServerSide: flags&mptcp.FlagServerSide != 0,
		Local: at(c1, 4000), Remote: at(s1, 80),
	}
}

func announce(id uint8, addr string) eventInput {
	return eventInput{Type: mptcp.Announced, Token: token, RemoteID: id, Remote: at(addr, 80)}
}

func sub(t mptcp.EventType, localID uint8, local string, port uint16, remote string) eventInput {
	return eventInput{Type: t, Token: token, LocalID: localID, Local: at(local, port), Remote: at(remote, 80)}
}

// words is an action as the tables have it.
func words(a action) string {
	end := func(ap netip.AddrPort) string {
		if !ap.IsValid() {
			return "any"
		}
		return ap.String()
	}
	w := end(a.flow.Local) + ">" + end(a.flow.Remote)
	switch a.op {
	case opCreate:
		w = fmt.Sprintf("create %s id %d", w, a.flow.LocalID)
	case opDestroy:
		return "destroy " + w
	case opSetBackup:
		return fmt.Sprintf("backup %v %s", a.flow.Backup, w)
	case opAnnounce:
		return fmt.Sprintf("announce %d %s", a.id, a.addr)
	case opRemove:
		return fmt.Sprintf("remove %d", a.id)
	}
	if a.flow.Backup {
		w += " backup"
	}
	return w
}

// turn is one input and the actions that it leads to.
type turn struct {
	in   any
	want string // the actions in words, separated by "; "
}

// refuse is an error for the create or announce of the turn before.
type refuse struct{ err error }

// The inputs of many tables.
var (
	created     = event(mptcp.Created, 0)
	established = event(mptcp.Established, 0)
	notYet      = &mptcp.OpError{Errno: syscall.ENOTCONN}
	errnoInUse  = &mptcp.OpError{Errno: syscall.EINVAL, Msg: mptcp.ExtackLocalID}
	ofKernel    = &mptcp.OpError{Errno: syscall.EINVAL, Msg: mptcp.ExtackKernelManaged}
	unknown     = &mptcp.OpError{Errno: syscall.EINVAL, Msg: mptcp.ExtackUnknownToken}
)

// The flags of endpoints, in short.
const (
	signal   = mptcp.EndpointSignal
	subflow  = mptcp.EndpointSubflow
	backup   = mptcp.EndpointBackup
	fullMesh = mptcp.EndpointFullMesh
	laminar  = mptcp.EndpointLaminar
)

// stories are what happens to a connection, and what is done about it.
var stories = []struct {
	name  string
	turns []turn
}{
	{"each endpoint has one turn", []turn{
		{set(2, 0, ep(1, subflow, c2), ep(2, subflow|backup, c3)), ""},
		{created, ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1; create 10.0.3.2:0>10.1.1.2:80 id 2 backup"},
		{sub(mptcp.SubflowEstablished, 1, c2, 5, s1), ""},
		{sub(mptcp.SubflowClosed, 1, c2, 5, s1), ""},
		{sub(mptcp.SubflowClosed, 0, c3, 6, s1), ""},
	}},
	{"a place that comes free", []turn{
		{set(1, 0, ep(1, subflow, c2), ep(2, subflow, c3)), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1"},
		{sub(mptcp.SubflowClosed, 0, c2, 5, s1), "create 10.0.3.2:0>10.1.1.2:80 id 2"},
	}},
	{"server", []turn{
		{set(2, 0, ep(1, subflow, c2), ep(2, signal, c3)), ""},
		{event(mptcp.Established, mptcp.FlagServerSide), "announce 2 10.0.3.2:0"},
		{sub(mptcp.SubflowEstablished, 0, c1, 9, s2), ""},
		{sub(mptcp.SubflowEstablished, 0, c1, 9, s3), ""},
		{sub(mptcp.SubflowEstablished, 0, c1, 10, s3), "destroy 10.0.1.2:10>10.1.3.2:80"},
	}},
	{"local id taken by the kernel", []turn{
		{set(2, 0, ep(1, signal, c2)), ""},
		{event(mptcp.Created, mptcp.FlagServerSide), ""},
		{sub(mptcp.SubflowEstablished, 1, c3, 9, s2), ""},
		{event(mptcp.Established, mptcp.FlagServerSide), "announce 2 10.0.2.2:0"},
	}},
	{"local id refused", []turn{
		{set(2, 0, ep(1, signal, c2), ep(5, subflow, c3)), ""},
		{established, "announce 1 10.0.2.2:0; create 10.0.3.2:0>10.1.1.2:80 id 5"},
		{refuse{errnoInUse}, "create 10.0.3.2:0>10.1.1.2:80 id 2"},
		{refuse{errnoInUse}, "create 10.0.3.2:0>10.1.1.2:80 id 3"},
	}},
	{"announced, up to the limit", []turn{
		{set(8, 1), ""},
		{announce(1, s2), ""}, // of a connection that is not known
		{created, ""},
		{announce(1, s2), ""},
		{established, "create any>10.1.2.2:80 id 0"},
		{announce(2, s3), ""},
		{eventInput{Type: mptcp.Removed, Token: token, RemoteID: 1}, ""},
		{sub(mptcp.SubflowClosed, 1, c1, 5, s2), ""},
		{announce(2, s3), "create any>10.1.3.2:80 id 0"},
	}},
	{"announced again, and the first address", []turn{
		{set(8, 8), ""},
		{established, ""},
		{announce(0, s2), ""},
		{announce(3, s1), ""},
		{announce(1, s2), "create any>10.1.2.2:80 id 0"},
		{announce(1, s2), ""},
		{refuse{&mptcp.OpError{Errno: syscall.EHOSTUNREACH}}, ""},
		{announce(1, s2), "create any>10.1.2.2:80 id 0"},
	}},
	{"full mesh", []turn{
		{set(3, 8, ep(1, subflow|fullMesh, c1), ep(2, subflow|fullMesh, c2)), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 2"},
		{announce(1, s2), "create 10.0.1.2:0>10.1.2.2:80 id 1; create 10.0.2.2:0>10.1.2.2:80 id 2"},
		{announce(2, s3), ""},
	}},
	{"laminar", []turn{
		{set(8, 8, ep(1, laminar, c2), ep(2, laminar|subflow, c3)), ""},
		{established, "create 10.0.3.2:0>10.1.1.2:80 id 2"},
		{announce(1, s2), "create 10.0.2.2:0>10.1.2.2:80 id 1"},
		{announce(2, s3), ""},
	}},
	{"first address denied", []turn{
		{set(2, 0, ep(1, subflow, c2)), ""},
		{event(mptcp.Created, mptcp.FlagDenyJoinInitial), ""},
		{established, ""},
		{announce(1, s2), "create 10.0.2.2:0>10.1.2.2:80 id 1"},
	}},
	{"backup of the first and of a routed subflow", []turn{
		{set(2, 2, ep(1, backup, c1)), ""},
		{established, "backup true 10.0.1.2:4000>10.1.1.2:80"},
		{announce(1, s2), "create any>10.1.2.2:80 id 0"},
		{sub(mptcp.SubflowEstablished, 0, c1, 5, s2), "backup true 10.0.1.2:5>10.1.2.2:80"},
		{sub(mptcp.SubflowEstablished, 0, c1, 5, s2), ""},
		{set(2, 2, ep(1, 0, c1)), "backup false 10.0.1.2:4000>10.1.1.2:80; backup false 10.0.1.2:5>10.1.2.2:80"},
	}},
	{"not established yet", []turn{
		{set(2, 0, ep(1, subflow, c2)), ""},
		{snapshotInput{
			connections: []mptcp.Connection{{Info: mptcp.Info{Token: token, Flags: mptcp.InfoRemoteKey}, Local: at(c1, 4000), Remote: at(s1, 80), State: 1}},
			subflows:    []mptcp.SubflowState{first},
		}, "create 10.0.2.2:0>10.1.1.2:80 id 1"},
		{refuse{notYet}, ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1"},
	}},
	{"of the kernel's path manager", []turn{
		{set(2, 0, ep(1, subflow, c2)), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1"},
		{refuse{ofKernel}, ""},
		{set(2, 0, ep(1, subflow, c2), ep(2, subflow, c3)), ""},
		{event(mptcp.Closed, 0), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1; create 10.0.3.2:0>10.1.1.2:80 id 2"},
		{refuse{unknown}, ""},
		{set(2, 0), ""},
	}},
	{"the last subflow stays", []turn{
		{set(2, 0, ep(1, subflow, c1), ep(2, subflow, c2), ep(3, signal, c3)), ""},
		{established, "announce 3 10.0.3.2:0; create 10.0.2.2:0>10.1.1.2:80 id 2"},
		{set(2, 0, ep(2, subflow, c2), ep(3, signal, c3)), ""},
		{sub(mptcp.SubflowEstablished, 2, c2, 5, s1), ""},
		{sub(mptcp.SubflowClosed, 0, c1, 4000, s1), ""},
		{set(2, 0), "remove 3"},
	}},
	{"removed and replaced", []turn{
		{set(2, 0, ep(1, subflow, c1), ep(2, subflow, c2)), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 2"},
		{sub(mptcp.SubflowEstablished, 2, c2, 5, s1), ""},
		{set(2, 0, ep(2, subflow, c3)), "remove 0; destroy 10.0.1.2:4000>10.1.1.2:80; remove 2; destroy 10.0.2.2:5>10.1.1.2:80; create 10.0.3.2:0>10.1.1.2:80 id 2"},
	}},
	{"full mesh on and off", []turn{
		{set(8, 1, ep(1, subflow, c2)), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1"},
		{announce(1, s2), "create any>10.1.2.2:80 id 0"},
		{sub(mptcp.SubflowEstablished, 1, c2, 5, s1), ""},
		{sub(mptcp.SubflowEstablished, 0, c1, 6, s2), ""},
		{set(8, 1, ep(1, subflow|fullMesh, c2)), "create 10.0.2.2:0>10.1.2.2:80 id 1"},
		{sub(mptcp.SubflowEstablished, 1, c2, 7, s2), ""},
		{set(8, 1, ep(1, subflow, c2)), "destroy 10.0.2.2:7>10.1.2.2:80"},
	}},
	{"full mesh up to the limit", []turn{
		{set(8, 8), ""},
		{established, ""},
		{announce(1, s2), "create any>10.1.2.2:80 id 0"},
		{announce(2, s3), "create any>10.1.3.2:80 id 0"},
		{set(3, 8, ep(1, subflow|fullMesh, c2)), "create 10.0.2.2:0>10.1.1.2:80 id 1"},
	}},
	{"a lower limit ends nothing of ours", []turn{
		{set(2, 0, ep(1, subflow, c2), ep(2, subflow, c3)), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1; create 10.0.3.2:0>10.1.1.2:80 id 2"},
		{set(1, 0, ep(1, subflow, c2), ep(2, subflow, c3)), ""},
		{sub(mptcp.SubflowEstablished, 1, c2, 5, s1), ""},
		{sub(mptcp.SubflowEstablished, 2, c3, 6, s1), ""},
	}},
	{"announced, withdrawn and announced again", []turn{
		{set(2, 0, ep(1, signal, c2)), ""},
		{established, "announce 1 10.0.2.2:0"},
		{set(2, 0), "remove 1"},
		{set(2, 0, ep(1, signal, c2)), "announce 1 10.0.2.2:0"},
	}},
	{"joined by another process", []turn{
		{set(1, 0, ep(1, subflow, c2)), ""},
		{created, ""},
		{sub(mptcp.SubflowEstablished, 4, c2, 5, s2), ""},
		{sub(mptcp.SubflowEstablished, 4, c2, 5, s3), ""},
		{established, ""},
		{sub(mptcp.SubflowClosed, 4, c2, 5, s3), ""},
		{sub(mptcp.SubflowClosed, 4, c2, 5, s2), "create 10.0.2.2:0>10.1.1.2:80 id 4"},
	}},
	{"claimed", []turn{
		{set(2, 1, ep(1, subflow, c2)), ""},
		{claimInput(token), ""},
		{established, ""},
		{announce(1, s2), ""},
		{sub(mptcp.SubflowEstablished, 9, c3, 5, s2), ""},
		{set(2, 1, ep(1, subflow, c2), ep(2, subflow, c3)), ""},
		{releaseInput(token), "create 10.0.2.2:0>10.1.1.2:80 id 1"},
	}},
	{"what happened during a claim", []turn{
		{set(3, 2, ep(1, signal, c2), ep(2, subflow, c3)), ""},
		{established, "announce 1 10.0.2.2:0; create 10.0.3.2:0>10.1.1.2:80 id 2"},
		{claimInput(token), ""},
		{sub(mptcp.SubflowEstablished, 2, c3, 5, s1), ""}, // begun before, the new owner's now
		{announce(1, s2), ""},
		{announce(2, s3), ""},
		{announce(1, s2), ""},
		{eventInput{Type: mptcp.Removed, Token: token, RemoteID: 2}, ""},
		{set(3, 2, ep(2, subflow, c3)), ""},
		{claimInput(token), ""},
		{releaseInput(token), ""},
		{releaseInput(token), "remove 1; create any>10.1.2.2:80 id 0"},
		{claimInput(token), ""},
		{releaseInput(token), ""},
	}},
	{"the event established was lost", []turn{
		{set(3, 1, ep(1, subflow, c2)), ""},
		{created, ""},
		{announce(1, s2), ""},
		{snapshotInput{
			connections: []mptcp.Connection{{Info: mptcp.Info{Token: token, Flags: mptcp.InfoRemoteKey}, Local: at(c1, 4000), Remote: at(s1, 80), State: 1}},
			subflows:    []mptcp.SubflowState{first},
		}, "create any>10.1.2.2:80 id 0; create 10.0.2.2:0>10.1.1.2:80 id 1"},
	}},
	{"after lost events", []turn{
		{set(3, 1, ep(1, subflow, c2), ep(2, subflow, c3)), ""},
		{established, "create 10.0.2.2:0>10.1.1.2:80 id 1; create 10.0.3.2:0>10.1.1.2:80 id 2"},
		{snapshotInput{
			connections: []mptcp.Connection{{Info: mptcp.Info{Token: token, Flags: mptcp.InfoRemoteKey}, Local: at(c1, 4000), Remote: at(s1, 80), State: 1}},
			subflows:    []mptcp.SubflowState{first, joinedState(c2, 5, 1), joinedState(c3, 6, mptcp.StateClosed)},
		}, ""},
		{set(3, 1, ep(2, subflow, c3)), "remove 1; destroy 10.0.2.2:5>10.1.1.2:80"},
		{snapshotInput{}, ""},
		{set(3, 1, ep(1, subflow, c2)), ""},
	}},
}

func TestStep(t *testing.T) {
	for _, test := range stories {
		t.Run(test.name, func(t *testing.T) {
			s := newState()
			var last []action
			for i, turn := range test.turns {
				in := turn.in
				if r, ok := in.(refuse); ok {
					in = refusedInput{last[len(last)-1], r.err}
				}
				var got []string
				for i, a := range s.step(in) {
					if i == 0 {
						last = nil
					}
					last, got = append(last, a), append(got, words(a))
				}
				if w := strings.Join(got, "; "); w != turn.want {
					t.Fatalf("turn %d, %+v:\n got %q\nwant %q", i, turn.in, w, turn.want)
				}
			}
		})
	}
}

// first is the first subflow, as a snapshot has it.
var first = mptcp.SubflowState{
	Token: token, Initial: true, Outgoing: true,
	SubflowInfo: mptcp.SubflowInfo{Local: at(c1, 4000), Remote: at(s1, 80), TCP: mptcp.TCPInfo{State: mptcp.StateEstablished}},
}

func joinedState(local string, port uint16, tcp uint8) mptcp.SubflowState {
	return mptcp.SubflowState{
		Token: token, Outgoing: true, LocalID: uint8(port - 4),
		SubflowInfo: mptcp.SubflowInfo{Local: at(local, port), Remote: at(s1, 80), TCP: mptcp.TCPInfo{State: tcp}},
	}
}

// TestLocalIDsRunOut: refusals end.
func TestLocalIDsRunOut(t *testing.T) {
	s := newState()
	s.step(set(2, 0, ep(1, subflow, c2), ep(200, signal, c3)))
	acts := s.step(event(mptcp.Established, 0))
	for n := 0; len(acts) > 0; n++ {
		if n > 4*maxRejectedIDs {
			t.Fatal("no end")
		}
		acts = append(acts[1:], s.step(refusedInput{acts[0], errnoInUse})...)
	}
	c := s.conns[token]
	if len(c.rejected) < maxRejectedIDs || len(c.flows) != 0 {
		t.Errorf("%d rejected, %d subflows", len(c.rejected), len(c.flows))
	}
	if !errors.Is(errnoInUse, mptcp.ErrLocalID) {
		t.Error("the error is not the one meant")
	}
}
