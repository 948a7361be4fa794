package dialer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// TestKernelJoins: what the kernel's own path manager joins, because the peer
// announced it, shows in the paths and in the report.
func TestKernelJoins(t *testing.T) {
	inLab(t, func(t *testing.T, w *world) {
		if err := mptcp.SetPathManager(mptcp.KernelPathManager); err != nil {
			t.Fatal(err)
		}
		if err := acceptAnnounced(2); err != nil {
			t.Fatal(err)
		}
		announce(t, w, server2v6)
		serve(t, w.server, false)
		var d Dialer
		c := connect(t, &d, record(server1v6, server2v6, server2v4))
		joined(t, c)
		until(t, "the kernel's join", func() bool { return c.RemoteAddrs().Len() == 2 })
		r := c.Report()
		if v := verdicts(r); v[server2v6] != Joined || v[server2v4] != NotTried || r.Manager != managerKernel {
			t.Errorf("verdicts %v, manager %q", v, r.Manager)
		}
		for _, p := range c.Paths() {
			if p.State != StateActive {
				t.Errorf("path %+v", p)
			}
		}
	})
}

// announce makes the server offer one of its addresses to every client.
func announce(t *testing.T, w *world, addr netip.Addr) {
	t.Helper()
	pm := unlimit(t, w.server)
	events, err := pm.Subscribe(0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		events.Close()
		<-done
	})
	go func() {
		defer close(done)
		for e := range events.Events() {
			if e.Type == mptcp.Established {
				if err := pm.Announce(e.Token, 1, netip.AddrPortFrom(addr, 0)); err != nil {
					t.Error(err)
				}
			}
		}
	}()
}

// Of linux/genetlink.h and linux/mptcp_pm.h.
const (
	ctrlGetFamily     = 3
	ctrlAttrFamilyID  = 1
	ctrlAttrName      = 2
	pmSetLimits       = 5
	pmAttrRcvAddAddrs = 2
	pmAttrSubflows    = 3
)

// acceptAnnounced lets the kernel's own path manager of this namespace join up
// to n announced addresses; its default is none.
func acceptAnnounced(n uint32) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	reply, err := genericRequest(fd, unix.GENL_ID_CTRL, ctrlGetFamily, attr(ctrlAttrName, []byte("mptcp_pm\x00")))
	if err != nil {
		return err
	}
	family, err := familyID(reply)
	if err != nil {
		return err
	}
	number := binary.NativeEndian.AppendUint32(nil, n)
	_, err = genericRequest(fd, family, pmSetLimits, append(attr(pmAttrRcvAddAddrs, number), attr(pmAttrSubflows, number)...))
	return err
}

// attr is one netlink attribute, padded.
func attr(typ uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// genericRequest sends one generic netlink command and returns the first reply.
func genericRequest(fd int, family uint16, command byte, attrs []byte) ([]byte, error) {
	ne := binary.NativeEndian
	b := ne.AppendUint32(nil, uint32(20+len(attrs)))
	b = ne.AppendUint16(b, family)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = append(b, make([]byte, 8)...) // sequence number and port
	b = append(b, command, 1, 0, 0)
	if err := unix.Sendto(fd, append(b, attrs...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	reply := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil || n < 20 {
		return nil, fmt.Errorf("netlink reply of %d octets: %w", n, err)
	}
	if ne.Uint16(reply[4:]) == unix.NLMSG_ERROR {
		if errno := int32(ne.Uint32(reply[16:])); errno != 0 {
			return nil, os.NewSyscallError("netlink", unix.Errno(-errno))
		}
		return nil, nil
	}
	// The acknowledgement comes in a datagram of its own.
	if _, _, err := unix.Recvfrom(fd, make([]byte, os.Getpagesize()), 0); err != nil {
		return nil, os.NewSyscallError("recvfrom", err)
	}
	return reply[20:n], nil
}

// familyID finds the number of a generic netlink family in its description.
func familyID(attrs []byte) (uint16, error) {
	ne := binary.NativeEndian
	for len(attrs) >= 6 {
		size, typ := int(ne.Uint16(attrs)), ne.Uint16(attrs[2:])
		if typ == ctrlAttrFamilyID {
			return ne.Uint16(attrs[4:]), nil
		}
		attrs = attrs[min(max((size+3)&^3, 4), len(attrs)):]
	}
	return 0, fmt.Errorf("no family number in %x", attrs)
}
