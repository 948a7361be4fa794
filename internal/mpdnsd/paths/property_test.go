package paths

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// model is the kernel's side: what it was asked for, held against what it takes.
type model struct {
	t        *rapid.T
	s        *state
	settings settingsInput
	kernel   bool // the connection belongs to the kernel's own path manager
	claims   int
	alive    bool
	initial  bool
	flows    []modelFlow
	ids      map[uint8]netip.Addr
	port     uint16
}

type modelFlow struct {
	local, remote netip.AddrPort
	joining       bool
}

var (
	localAddrs  = []string{c1, c2, c3, "fd00:2::2"}
	remoteAddrs = []string{s1, s2, s3, "fd00:12::2"}
)

// do gives an input to step and answers its actions, refusing some.
func (m *model) do(in any) {
	todo := m.s.step(in)
	for n := 0; len(todo) > 0; n++ {
		if n > 1000 {
			m.t.Fatal("no end of actions")
		}
		a := todo[0]
		todo = todo[1:]
		if err := m.command(a); err != nil {
			todo = append(todo, m.s.step(refusedInput{a, err})...)
		}
	}
}

// command is what the kernel says to a command, and what must never be asked.
func (m *model) command(a action) error {
	c := m.s.conns[a.token]
	switch {
	case c == nil || c.kernel:
		return nil // not carried out by the service either
	case m.claims > 0:
		m.t.Fatalf("%s for a claimed connection", words(a))
	case m.kernel:
		return ofKernel
	}
	switch a.op {
	case opCreate:
		return m.create(a.flow)
	case opDestroy:
		if !slices.Contains(m.flows, modelFlow{a.flow.Local, a.flow.Remote, false}) && !(m.initial && a.flow.Local == at(c1, 4000)) {
			m.t.Fatalf("%s: no such subflow in %v", words(a), m.flows)
		}
	case opAnnounce:
		return m.claimID(a.id, a.addr.Addr())
	case opRemove:
		delete(m.ids, a.id)
	}
	return nil
}

func (m *model) create(f mptcp.Subflow) error {
	if _, err := f.Normalize(); err != nil {
		m.t.Fatalf("create %+v: %v", f, err)
	}
	if len(m.flows) >= m.settings.limits.Subflows {
		m.t.Fatalf("create %+v beyond the limit", f)
	}
	if f.Local.IsValid() && f.Local.Addr().Is4() != f.Remote.Addr().Is4() {
		m.t.Fatalf("create %+v of two families", f)
	}
	for _, old := range m.flows {
		if f.Local.IsValid() && old.local.Addr() == f.Local.Addr() && old.remote == f.Remote {
			m.t.Fatalf("create %+v twice", f)
		}
	}
	switch rapid.IntRange(0, 9).Draw(m.t, "refusal") {
	case 0:
		return notYet
	case 1:
		return errnoInUse
	}
	if f.Local.IsValid() {
		if err := m.claimID(f.LocalID, f.Local.Addr()); err != nil {
			return err
		}
	}
	m.flows = append(m.flows, modelFlow{f.Local, f.Remote, true})
	return nil
}

// claimID keeps the rule that an id and an address belong to each other.
func (m *model) claimID(id uint8, a netip.Addr) error {
	for known, addr := range m.ids {
		if (known == id) != (addr == a) {
			return errnoInUse
		}
	}
	m.ids[id] = a
	return nil
}

// settle ends a join, one way or the other.
func (m *model) settle() {
	i := rapid.IntRange(0, len(m.flows)-1).Draw(m.t, "subflow")
	f := m.flows[i]
	typ := mptcp.SubflowClosed
	if f.joining && rapid.Bool().Draw(m.t, "joined") {
		typ = mptcp.SubflowEstablished
	}
	if f.joining {
		from := f.local.Addr()
		if !from.IsValid() {
			from = netip.MustParseAddr(c1)
		}
		m.port++
		f.local, f.joining = netip.AddrPortFrom(from, m.port), false
	}
	m.flows[i] = f
	if typ == mptcp.SubflowClosed {
		m.flows = slices.Delete(m.flows, i, i+1)
	}
	m.do(eventInput{Type: typ, Token: token, Local: f.local, Remote: f.remote})
}

func (m *model) establish() {
	if !m.alive {
		m.alive, m.initial = true, true
	}
	flags := uint16(0)
	if rapid.IntRange(0, 4).Draw(m.t, "denied") == 0 {
		flags = mptcp.FlagDenyJoinInitial
	}
	m.do(event(mptcp.Established, flags))
}

// check compares what the service believes with what is.
func (m *model) check() {
	c := m.s.conns[token]
	if (c != nil) != m.alive {
		m.t.Fatalf("connection known: %v, alive: %v", c != nil, m.alive)
	}
	if c == nil || c.kernel {
		return
	}
	count := func(list []modelFlow) map[string]int {
		n := map[string]int{}
		for _, f := range list {
			n[fmt.Sprint(f)]++
		}
		return n
	}
	var known []modelFlow
	for _, f := range c.flows {
		known = append(known, modelFlow{f.local, f.remote, f.joining})
	}
	if a, b := count(known), count(m.flows); fmt.Sprint(a) != fmt.Sprint(b) {
		m.t.Fatalf("subflows known %v, are %v", a, b)
	}
}

func (m *model) configure() {
	m.settings = set(rapid.IntRange(0, 4).Draw(m.t, "subflows"), rapid.IntRange(0, 3).Draw(m.t, "accepted"))
	// The kernel has no two endpoints with one address.
	for id, addr := range rapid.Permutation(localAddrs).Draw(m.t, "addresses")[:rapid.IntRange(0, 3).Draw(m.t, "endpoints")] {
		flags := mptcp.EndpointFlags(rapid.SampledFrom([]int{1, 2, 3, 6, 10, 32, 34}).Draw(m.t, "flags"))
		m.settings.endpoints = append(m.settings.endpoints, ep(uint8(id+1), flags, addr))
	}
	m.do(m.settings)
}

// TestStepKeepsTheRules lets anything happen to a connection, in any order.
func TestStepKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, s: newState(), ids: map[uint8]netip.Addr{}, port: 5000, kernel: rapid.IntRange(0, 9).Draw(t, "kernel") == 0}
		m.configure()
		if rapid.IntRange(0, 4).Draw(t, "established") > 0 {
			m.establish()
		}
		t.Repeat(map[string]func(*rapid.T){
			"":          func(*rapid.T) { m.check() },
			"configure": func(*rapid.T) { m.configure() },
			"establish": func(*rapid.T) { m.establish() },
			"closed": func(t *rapid.T) {
				if m.alive && rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					m.alive, m.flows = false, nil
					clear(m.ids)
					m.do(event(mptcp.Closed, 0))
				}
			},
			"announced": func(t *rapid.T) {
				id := uint8(rapid.IntRange(0, 4).Draw(t, "id"))
				m.do(eventInput{Type: mptcp.Announced, Token: token, RemoteID: id, Remote: at(rapid.SampledFrom(remoteAddrs).Draw(t, "announced"), 80)})
			},
			"removed": func(t *rapid.T) {
				m.do(eventInput{Type: mptcp.Removed, Token: token, RemoteID: uint8(rapid.IntRange(0, 4).Draw(t, "id"))})
			},
			"settle": func(*rapid.T) {
				if len(m.flows) > 0 {
					m.settle()
				}
			},
			"claim":   func(*rapid.T) { m.claims++; m.do(claimInput(token)) },
			"release": func(*rapid.T) { m.claims = max(m.claims-1, 0); m.do(releaseInput(token)) },
		})
	})
}
