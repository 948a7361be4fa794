package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/af-multipath/mpresolve/dialer"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

func TestWatcher(t *testing.T) {
	start := time.Unix(1000, 0)
	path := dialer.Path{Local: netip.MustParseAddrPort("192.0.2.1:1"), Remote: netip.MustParseAddrPort("192.0.2.2:2"), State: "active"}
	w := &watcher{start: start, last: start}
	w.look(start, []dialer.Path{path})
	path.BytesSent, path.BytesReceived = 2000, 500
	view := w.look(start.Add(2*time.Second), []dialer.Path{path})
	if p := view.Paths[0]; p.SendRate != 1000 || p.ReceiveRate != 250 || view.ElapsedMS != 2000 {
		t.Errorf("rates %v and %v after %v ms, want 1000 and 250 after 2000", p.SendRate, p.ReceiveRate, view.ElapsedMS)
	}
	path.BytesSent = 100 // another subflow between the same ends
	if p := w.look(start.Add(3*time.Second), []dialer.Path{path}).Paths[0]; p.SendRate != 0 {
		t.Errorf("a counter that went back gave the rate %v", p.SendRate)
	}
	for i := range 2 * maxHistory {
		view = w.look(start.Add(time.Duration(4+i)*time.Second), []dialer.Path{path})
	}
	if n := len(view.Paths[0].history); n != maxHistory {
		t.Errorf("history of %d looks, want %d", n, maxHistory)
	}
}

func TestSparkline(t *testing.T) {
	if got := sparkline([]float64{0, 5, 10}, 10); got != "▁▅█" {
		t.Errorf("sparkline = %q", got)
	}
	if got := sparkline([]float64{0, 0}, 0); got != "▁▁" {
		t.Errorf("sparkline of nothing = %q", got)
	}
}

func TestOctets(t *testing.T) {
	for n, want := range map[float64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1 << 60: "1048576.0 TiB"} {
		if got := octets(n); got != want {
			t.Errorf("octets(%v) = %q, want %q", n, got, want)
		}
	}
}

func TestConnectionViews(t *testing.T) {
	ap := netip.MustParseAddrPort
	connections := []mptcp.Connection{
		{Info: mptcp.Info{Token: 7, SubflowsMax: 2}, Local: ap("192.0.2.9:9"), Remote: ap("192.0.2.2:80"), State: mptcp.StateEstablished, Inode: 42},
		{Info: mptcp.Info{Token: 5}, Local: ap("192.0.2.1:1"), Remote: ap("192.0.2.2:80"), State: mptcp.StateEstablished, UID: 1000},
		{Info: mptcp.Info{Token: 6, Flags: mptcp.InfoFallback}, Local: ap("192.0.2.1:2"), Remote: ap("192.0.2.2:80")},
	}
	subflows := []mptcp.SubflowState{
		{SubflowInfo: mptcp.SubflowInfo{Local: ap("192.0.2.1:3"), Remote: ap("192.0.2.3:80"), TCP: mptcp.TCPInfo{State: mptcp.StateEstablished}}, Token: 5, Backup: true},
		{SubflowInfo: mptcp.SubflowInfo{Local: ap("192.0.2.1:1"), Remote: ap("192.0.2.2:80"), TCP: mptcp.TCPInfo{State: mptcp.StateEstablished}}, Token: 5, Initial: true},
	}
	views := connectionViews(connections, subflows, map[uint32]string{42: "curl[1]"})
	var got []string
	for _, v := range views {
		got = append(got, v.Local+" "+v.Manager+" "+v.Process)
		for _, p := range v.Paths {
			got = append(got, p.Remote+" "+p.State+" "+p.Verdict)
		}
	}
	want := []string{
		"192.0.2.1:1 userspace ", "192.0.2.2:80 active first", "192.0.2.3:80 backup joined",
		"192.0.2.9:9 kernel curl[1]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
}

func TestProcesses(t *testing.T) {
	proc := t.TempDir()
	fd := filepath.Join(proc, "17", "fd")
	if err := os.MkdirAll(fd, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(proc, "17", "comm"), []byte("curl\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"0": "/dev/null", "3": "socket:[4711]", "4": "socket:[x]"} {
		if err := os.Symlink(target, filepath.Join(fd, name)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[uint32]string{4711: "curl[17]"}, processes(proc)); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
}
