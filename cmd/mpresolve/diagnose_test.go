package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// healthy is a machine on which everything is as it should be.
func healthy() machine {
	return machine{
		os: "linux",
		system: mptcp.System{
			Kernel: "6.18.0", Enabled: true, PathManager: mptcp.UserspacePathManager, NetAdmin: true,
			BlackholeTimeout: time.Hour, Limits: mptcp.Limits{Known: true, Subflows: 2},
		},
		rpFilter: map[string]int{}, interfaces: 2,
		source4: netip.MustParseAddr("192.0.2.2"), source6: netip.MustParseAddr("2001:db8::2"),
		resolvPath: "/etc/resolv.conf",
		servers:    []serverState{{"192.0.2.53", time.Millisecond, nil}},
	}
}

func TestDiagnose(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*machine)
		what    string // of the finding that is not ok; empty: all are
		level   string
		do      string
		summary string
	}{
		{"healthy", func(*machine) {}, "", "", "", "joins every other address"},
		{"other system", func(m *machine) { m.os = "darwin" }, "kernel", "note", "plain TCP", "uses plain TCP"},
		{"no sysctls", func(m *machine) { m.systemErr = errors.New("no net.mptcp") }, "kernel", "fix", "CONFIG_MPTCP", "uses plain TCP"},
		{"switched off", func(m *machine) { m.system.Enabled = false }, "Multipath TCP", "fix", "net.mptcp.enabled=1", "uses plain TCP"},
		{"refused", func(m *machine) { m.supported = errors.New("operation not permitted") }, "Multipath TCP", "fix", "protocol 262", "uses plain TCP"},
		{"kernel manager", func(m *machine) { m.system.PathManager = "kernel" }, "path manager", "fix", "path_manager=userspace", "announced addresses only"},
		{"no privilege", func(m *machine) { m.system.NetAdmin, m.broker = false, errors.New("no such file") }, "privilege", "fix", "setcap", "over one path"},
		{"broker instead of privilege", func(m *machine) { m.system.NetAdmin = false }, "", "", "", "joins every"},
		{"limits", func(m *machine) { m.system.Limits.Subflows = 0 }, "limits", "note", "limits set subflow", "joins every"},
		{"blackhole", func(m *machine) { m.blackholed = true }, "blackhole", "fix", "blackhole_timeout=3600", "uses plain TCP"},
		{"blackhole of the past", func(m *machine) { m.system.Blackholed = true }, "blackhole", "note", "", "joins every"},
		{"rp_filter", func(m *machine) { m.rpFilter["eth1"] = 1 }, "rp_filter", "fix", "rp_filter=2", "joins every"},
		{"no IPv6", func(m *machine) { m.source6 = netip.Addr{} }, "IPv6", "note", "", "joins every"},
		{"no IPv4", func(m *machine) { m.source4 = netip.Addr{} }, "IPv4", "note", "", "joins every"},
		{"dead server", func(m *machine) { m.servers[0].err = errors.New("i/o timeout") }, "DNS server", "fix", "/etc/resolv.conf", "joins every"},
		{"warning", func(m *machine) { m.warnings = []string{"line 3: not an address"} }, "DNS", "note", "", "joins every"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := healthy()
			tt.change(&m)
			view := diagnose(m)
			if !strings.Contains(view.Summary, tt.summary) {
				t.Errorf("summary %q does not say %q", view.Summary, tt.summary)
			}
			for _, f := range view.Findings {
				want := "ok"
				if f.What == tt.what {
					want = tt.level
				}
				if f.Level != want && f.What != "path broker" {
					t.Errorf("%s is %s, want %s (%s)", f.What, f.Level, want, f.Seen)
				}
				if f.What == tt.what && !strings.Contains(f.Do, tt.do) {
					t.Errorf("%s: do %q does not contain %q", f.What, f.Do, tt.do)
				}
			}
		})
	}
}
