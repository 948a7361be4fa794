package mptcp_test

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// TestKernelConnections: both ends of a connection and its subflows are listed
// with what the sockets themselves say.
func TestKernelConnections(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		second := p.create(mptcp.Subflow{
			Local: netip.AddrPortFrom(addrC, 0), LocalID: 3, Remote: netip.AddrPortFrom(addrB, p.port), Backup: true,
		})
		all, err := mptcp.Connections()
		if err != nil {
			t.Fatal(err)
		}
		found := map[uint32]mptcp.Connection{}
		for _, c := range all {
			found[c.Info.Token] = c
		}
		client, server := found[p.token], found[info(t, p.server).Token]
		if len(all) != 2 || client.Remote != server.Local || client.Local != server.Remote {
			t.Fatalf("connections %+v", all)
		}
		if client.Remote != netip.AddrPortFrom(addrA, p.port) || client.Inode == 0 || !client.DualFamily ||
			client.State != mptcp.StateEstablished || client.UID != uint32(os.Getuid()) || !client.Info.Negotiated() {
			t.Errorf("client %+v", client)
		}
		checkSubflows(t, p, second)
	})
}

// checkSubflows compares the four ends of two subflows.
func checkSubflows(t *testing.T, p *pair, second mptcp.Subflow) {
	t.Helper()
	all, err := mptcp.Subflows()
	if err != nil || len(all) != 4 {
		t.Fatalf("subflows %+v, %v", all, err)
	}
	for _, s := range all {
		outgoing, joined := s.Token == p.token, s.Local.Addr() == addrB || s.Remote.Addr() == addrB
		if s.Outgoing != outgoing || s.Initial == joined || s.Backup != joined || s.TCP.State != mptcp.StateEstablished {
			t.Errorf("subflow %+v", s)
		}
		if joined && outgoing && (s.Local != second.Local || s.Remote != second.Remote || s.LocalID != 3 || s.RemoteID == 0) {
			t.Errorf("joined %+v, want %+v", s, second)
		}
	}
}

// TestKernelConnectionsUnprivileged lists from a thread without capabilities.
func TestKernelConnectionsUnprivileged(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		p := connect(t)
		p.establish()
		runtime.LockOSThread() // and never unlock: the thread ends with the test
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Fatal(err)
		}
		if mptcp.HaveNetAdmin() {
			t.Fatal("the capabilities are still there")
		}
		all, err := mptcp.Connections()
		if err != nil || len(all) != 2 || all[0].Info.Token == 0 || all[1].Info.Token == 0 {
			t.Errorf("connections %+v, %v", all, err)
		}
		flows, err := mptcp.Subflows()
		if err != nil || (len(flows) != 0 && len(flows) != 2) { // older kernels give none
			t.Errorf("subflows %+v, %v", flows, err)
		}
	})
}

func TestKernelEndpoints(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		setUpLoopback(t)
		if all, err := mptcp.Endpoints(); err != nil || len(all) != 0 {
			t.Fatalf("at first: %+v, %v", all, err)
		}
		want := []mptcp.Endpoint{
			{ID: 1, Addr: netip.AddrPortFrom(addrA, 0), Flags: mptcp.EndpointSubflow | mptcp.EndpointFullMesh},
			{ID: 7, Addr: netip.AddrPortFrom(addrB, 7000), Flags: mptcp.EndpointSignal},
			{ID: 9, Addr: netip.AddrPortFrom(addr6, 0), Flags: mptcp.EndpointSubflow | mptcp.EndpointBackup, IfIndex: 1},
		}
		for i, e := range want {
			if i == 0 {
				e.ID = 0 // the kernel's choice
			}
			if err := mptcp.AddEndpoint(e); err != nil {
				t.Fatalf("%+v: %v", e, err)
			}
		}
		all, err := mptcp.Endpoints()
		if err != nil || len(all) != len(want) {
			t.Fatalf("%+v, %v", all, err)
		}
		for i := range want {
			if all[i] != want[i] {
				t.Errorf("%+v, want %+v", all[i], want[i])
			}
		}
		var refused *mptcp.OpError
		if err := mptcp.RemoveEndpoint(42); !errors.As(err, &refused) {
			t.Errorf("remove an unknown one: %v", err)
		}
		if err := mptcp.RemoveEndpoint(7); err != nil {
			t.Error(err)
		}
		if all, err = mptcp.Endpoints(); err != nil || len(all) != 2 {
			t.Errorf("after removal: %+v, %v", all, err)
		}
	})
}
