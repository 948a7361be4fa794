package paths

import (
	"cmp"
	"net/netip"
	"testing"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// side is what one host's kernel is told.
type side struct {
	endpoints          []mptcp.Endpoint
	subflows, accepted int // limits
	denyInitial        bool
}

func endpoint(flags mptcp.EndpointFlags, addr string) mptcp.Endpoint {
	return mptcp.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0), Flags: flags}
}

// scenarios are settings, and the subflows that the kernel's own path manager
// makes of them. The first is always there.
var scenarios = []struct {
	name           string
	to             string // "" is 10.1.1.2
	client, server side
	want           []string
	or             []string // what may be instead of want
	failed         []string // joins that are tried and come to nothing
}{
	{name: "nothing configured", client: side{subflows: 8, accepted: 8}, server: side{subflows: 8}, want: []string{"10.0.1.2>10.1.1.2"}},
	{
		name:   "subflow",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}, subflows: 2},
		server: side{subflows: 2},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.1.2"},
	},
	{
		name:   "subflow and backup",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow|backup, "10.0.2.2"), endpoint(subflow, "10.0.3.2")}, subflows: 2},
		server: side{subflows: 2},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.1.2 backup", "10.0.3.2>10.1.1.2"},
	},
	{
		name:   "limit of subflows",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2"), endpoint(subflow, "10.0.3.2")}, subflows: 1},
		server: side{subflows: 8},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.1.2"},
	},
	{
		name:   "no subflows allowed",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}},
		server: side{subflows: 8},
		want:   []string{"10.0.1.2>10.1.1.2"},
	},
	{
		name:   "endpoint of the first subflow",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow|backup, "10.0.1.2"), endpoint(subflow, "10.0.2.2")}, subflows: 2},
		server: side{subflows: 2},
		want:   []string{"10.0.1.2>10.1.1.2 backup", "10.0.2.2>10.1.1.2"},
	},
	{
		name:   "other family",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "fd00:2::2"), endpoint(subflow, "10.0.3.2")}, subflows: 2},
		server: side{subflows: 2},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.3.2>10.1.1.2"},
	},
	{
		name: "IPv6", to: "fd00:11::2",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "fd00:2::2"), endpoint(subflow, "10.0.3.2")}, subflows: 2},
		server: side{subflows: 2},
		want:   []string{"fd00:1::2>fd00:11::2", "fd00:2::2>fd00:11::2"},
	},
	{
		name:   "announced",
		client: side{subflows: 2, accepted: 1},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.2.2")}, subflows: 2},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.1.2>10.1.2.2"},
	},
	{
		name:   "announced of both families",
		client: side{subflows: 4, accepted: 4},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.2.2"), endpoint(signal, "fd00:13::2")}, subflows: 4},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.1.2>10.1.2.2", "fd00:1::2>fd00:13::2"},
	},
	{
		name:   "limit of announced",
		client: side{subflows: 4, accepted: 1},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.2.2"), endpoint(signal, "10.1.3.2")}, subflows: 4},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.1.2>10.1.2.2"},
	},
	{
		name:   "announced not accepted",
		client: side{subflows: 2},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.2.2")}, subflows: 2},
		want:   []string{"10.0.1.2>10.1.1.2"},
	},
	{
		name: "full mesh",
		client: side{endpoints: []mptcp.Endpoint{
			endpoint(subflow|fullMesh, "10.0.1.2"), endpoint(subflow|fullMesh, "10.0.2.2"),
		}, subflows: 8, accepted: 8},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.2.2")}, subflows: 8},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.1.2>10.1.2.2", "10.0.2.2>10.1.1.2", "10.0.2.2>10.1.2.2"},
	},
	{
		name:   "laminar",
		client: side{endpoints: []mptcp.Endpoint{endpoint(laminar, "10.0.2.2"), endpoint(laminar, "10.0.3.2")}, subflows: 8, accepted: 8},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.2.2"), endpoint(signal, "10.1.3.2")}, subflows: 8},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.2.2", "10.0.3.2>10.1.3.2"},
	},
	{
		name:   "limit of the server",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2"), endpoint(subflow, "10.0.3.2")}, subflows: 8},
		server: side{subflows: 1},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.1.2"},
		or:     []string{"10.0.1.2>10.1.1.2", "10.0.3.2>10.1.1.2"}, // their handshakes race
		failed: []string{"10.0.3.2>10.1.1.2"},
	},
	{
		name:   "first address denied",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}, subflows: 2},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.1.2.2")}, subflows: 2, denyInitial: true},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.2.2"},
	},
	{
		name:   "signal of the client",
		client: side{endpoints: []mptcp.Endpoint{endpoint(signal, "10.0.2.2")}, subflows: 2},
		server: side{subflows: 2, accepted: 2},
		want:   []string{"10.0.1.2>10.1.1.2"},
		failed: []string{"10.1.1.2>10.0.2.2"},
	},
	{
		name:   "signal and subflow",
		client: side{endpoints: []mptcp.Endpoint{endpoint(signal|subflow, "10.0.2.2")}, subflows: 2},
		server: side{subflows: 2},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.2.2>10.1.1.2"},
	},
	{
		name:   "backup of the server",
		client: side{endpoints: []mptcp.Endpoint{endpoint(subflow, "10.0.2.2")}, subflows: 2, accepted: 2},
		server: side{endpoints: []mptcp.Endpoint{endpoint(signal|backup, "10.1.2.2")}, subflows: 4},
		want:   []string{"10.0.1.2>10.1.1.2", "10.0.1.2>10.1.2.2 backup", "10.0.2.2>10.1.1.2"},
	},
}

// configure tells a host's kernel a side.
func (r *rig) configure(h *testlab.Host, s side) {
	r.t.Helper()
	err := h.Do(func() error {
		for _, e := range s.endpoints {
			if err := mptcp.AddEndpoint(e); err != nil {
				return err
			}
		}
		return mptcp.SetLimits(mptcp.Limits{Subflows: s.subflows, AddAddrAccepted: s.accepted})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if s.denyInitial {
		if err := h.Sysctl("net.mptcp.allow_join_initial_addr_port", "0"); err != nil {
			r.t.Fatal(err)
		}
	}
}

// managers are who manages the paths of the two hosts.
var managers = []struct {
	name           string
	client, server bool // the service; else the kernel
}{
	{"kernel", false, false},
	{"client served", true, false},
	{"server served", false, true},
	{"both served", true, true},
}

// TestLikeTheKernel makes the same connection with the kernel's own path
// manager and with the service, on either end: the same subflows come to be,
// and the same joins are tried.
func TestLikeTheKernel(t *testing.T) {
	for _, test := range scenarios {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			labtest.Run(t, func(t *testing.T) {
				r := newRig(t)
				r.configure(r.client, test.client)
				r.configure(r.server, test.server)
				for _, m := range managers {
					t.Run(m.name, func(t *testing.T) {
						r := r.with(t)
						if m.client {
							r.serve(r.client)
						}
						if m.server {
							r.serve(r.server)
						}
						r.echo()
						c := r.dial(cmp.Or(test.to, "10.1.1.2"))
						c.echo(1)
						c.await(append(joinsOf(test.want[1:]), test.failed...), test.want, test.or)
					})
				}
			})
		})
	}
}

// joinsOf takes the flags off.
func joinsOf(subflows []string) []string {
	words := []string{}
	for _, s := range subflows {
		words = append(words, s[:len(s)-len(flagOf(s))])
	}
	return words
}

func flagOf(s string) string {
	const flag = " backup"
	if len(s) > len(flag) && s[len(s)-len(flag):] == flag {
		return flag
	}
	return ""
}
