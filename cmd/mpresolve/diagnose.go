package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/af-multipath/mpresolve/internal/broker"
	"github.com/af-multipath/mpresolve/internal/mptcp"
)

// strictRPFilter is net.ipv4.conf.*.rp_filter for strict reverse path filtering
// (RFC 3704 section 2.2).
const strictRPFilter = 1

// readRPFilter returns the interfaces below dir that filter strictly, and how
// many interfaces there are apart from loopback. The kernel uses the larger of
// the interface's value and that of "all".
func readRPFilter(dir string) (strict map[string]int, interfaces int) {
	strict = map[string]int{}
	all := readInt(filepath.Join(dir, "all", "rp_filter"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return strict, 0
	}
	for _, e := range entries {
		if name := e.Name(); name != "all" && name != "default" && name != "lo" {
			interfaces++
			if value := max(all, readInt(filepath.Join(dir, name, "rp_filter"))); value == strictRPFilter {
				strict[name] = value
			}
		}
	}
	return strict, interfaces
}

// readInt reads a small number from a file; 0 where there is none.
func readInt(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return n
}

// diagnose turns what was seen into findings and one sentence on what a dial
// will do.
func diagnose(m machine) doctorView {
	var view doctorView
	add := func(level, what, seen, do string) {
		view.Findings = append(view.Findings, finding{level, what, seen, do})
	}
	diagnoseKernel(m, add)
	if m.supported == nil && m.systemErr == nil {
		diagnosePaths(m, add)
	}
	diagnoseFamilies(m, add)
	diagnoseServers(m, add)
	view.Summary = summarize(m)
	return view
}

type addFinding func(level, what, seen, do string)

func diagnoseKernel(m machine, add addFinding) {
	switch {
	case m.os != "linux":
		add("note", "kernel", m.os+": Multipath TCP is available on Linux only", "connections are plain TCP; everything else works")
		return
	case m.systemErr != nil:
		add("fix", "kernel", m.systemErr.Error(), "Linux 5.6 or later with CONFIG_MPTCP is needed")
		return
	}
	add("ok", "kernel", "Linux "+m.system.Kernel, "")
	switch {
	case !m.system.Enabled:
		add("fix", "Multipath TCP", "switched off (net.mptcp.enabled = 0)", "sysctl -w net.mptcp.enabled=1")
	case m.supported != nil:
		add("fix", "Multipath TCP", m.supported.Error(), "a kernel with CONFIG_MPTCP, or a sandbox that allows protocol 262, is needed")
	default:
		add("ok", "Multipath TCP", "enabled", "")
	}
}

func diagnosePaths(m machine, add addFinding) {
	s := m.system
	diagnoseManager(m, add)
	if s.Limits.Known {
		add(atLeastOne(s.Limits.Subflows), "limits", fmt.Sprintf("%d subflows accepted, %d announced addresses joined", s.Limits.Subflows, s.Limits.AddAddrAccepted), limitsHint(s.Limits))
	}
	diagnoseBlackhole(m, add)
	if len(m.rpFilter) > 0 && m.interfaces > 1 {
		names := slices.Sorted(maps.Keys(m.rpFilter))
		add("fix", "rp_filter", "strict on "+strings.Join(names, ", ")+": replies on a second interface can be dropped", "sysctl -w net.ipv4.conf.all.rp_filter=2")
	} else {
		add("ok", "rp_filter", "does not stand in the way of several interfaces", "")
	}
}

// diagnoseBlackhole tells whether Multipath TCP is held back now, because a
// network swallowed it, or was earlier.
func diagnoseBlackhole(m machine, add addFinding) {
	timeout := int(m.system.BlackholeTimeout.Seconds())
	switch {
	case m.blackholed:
		add("fix", "blackhole", fmt.Sprintf("a network dropped Multipath TCP, so new connections are plain TCP for up to %d s", timeout),
			fmt.Sprintf("sysctl -w net.mptcp.blackhole_timeout=%d ends that at once", timeout))
	case m.system.Blackholed:
		add("note", "blackhole", "a network dropped Multipath TCP earlier; it is not held back now", "")
	default:
		add("ok", "blackhole", "no network was seen to drop Multipath TCP", "")
	}
}

func atLeastOne(n int) string {
	if n > 0 {
		return "ok"
	}
	return "note"
}

func limitsHint(l mptcp.Limits) string {
	if l.Subflows > 0 {
		return ""
	}
	return "ip mptcp limits set subflow 8 lets peers join connections that this machine serves"
}

// diagnoseManager says who will add the subflows.
func diagnoseManager(m machine, add addFinding) {
	s := m.system
	userspace := s.PathManager == mptcp.UserspacePathManager
	if userspace {
		add("ok", "path manager", "userspace: addresses from DNS can be joined", "")
	} else {
		add("fix", "path manager", s.PathManager+": only addresses that the peer announces can be joined", "sysctl -w net.mptcp.path_manager=userspace")
	}
	brokerSeen := "answers at " + broker.DefaultPath
	if m.broker != nil {
		brokerSeen = "none: " + shortError(m.broker).Error() + " at " + broker.DefaultPath
	}
	switch {
	case s.NetAdmin:
		add("ok", "privilege", "CAP_NET_ADMIN: this process may add subflows", "")
		add("ok", "path broker", brokerSeen+" (not needed)", "")
	case m.broker == nil:
		add("ok", "privilege", "no CAP_NET_ADMIN, but a path broker adds subflows", "")
		add("ok", "path broker", brokerSeen, "")
	case userspace:
		add("fix", "privilege", "no CAP_NET_ADMIN: this process may not add subflows", `setcap cap_net_admin+ep "$(command -v mpresolve)", or run mpdnsd with its path broker`)
		add("note", "path broker", brokerSeen, "")
	default:
		add("note", "privilege", "no CAP_NET_ADMIN: this process may not add subflows", "")
		add("note", "path broker", brokerSeen, "")
	}
}

func diagnoseFamilies(m machine, add addFinding) {
	if m.source4.IsValid() {
		add("ok", "IPv4", "packets to the Internet leave from "+m.source4.String(), "")
	} else {
		add("note", "IPv4", "no route to the Internet", "")
	}
	if m.source6.IsValid() {
		add("ok", "IPv6", "packets to the Internet leave from "+m.source6.String(), "")
	} else {
		add("note", "IPv6", "no route to the Internet", "")
	}
}

func diagnoseServers(m machine, add addFinding) {
	for _, w := range m.warnings {
		add("note", "DNS", w, "")
	}
	for _, s := range m.servers {
		if s.err == nil {
			add("ok", "DNS server", fmt.Sprintf("%s answered in %.1f ms", s.server, milliseconds(s.elapsed)), "")
			continue
		}
		add("fix", "DNS server", fmt.Sprintf("%s: %v", s.server, shortError(s.err)), "correct or remove it in "+m.resolvPath)
	}
}

// shortError is the innermost message of an error, which is what differs
// between servers.
func shortError(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// summarize says in one sentence what a dial from here does today.
func summarize(m machine) string {
	const dial = "Today a dial from this machine, by this user, "
	switch {
	case m.os != "linux" || m.systemErr != nil || m.supported != nil || !m.system.Enabled, m.blackholed:
		return dial + "uses plain TCP to the best address of a name."
	case m.system.PathManager != mptcp.UserspacePathManager:
		return dial + "uses Multipath TCP; further subflows are up to the kernel's path manager, which joins announced addresses only."
	case !m.system.NetAdmin && m.broker != nil:
		return dial + "uses Multipath TCP over one path: joining the other addresses takes CAP_NET_ADMIN or mpdnsd's path broker."
	}
	return dial + "uses Multipath TCP and joins every other address of the name that is the same host."
}
