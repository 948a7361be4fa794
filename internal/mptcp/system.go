package mptcp

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The names of the path managers every kernel since 5.19 has.
const (
	KernelPathManager    = "kernel"
	UserspacePathManager = "userspace"
)

// System is what this machine, or rather the calling thread's network
// namespace, is set to. What an older kernel does not tell is the zero value.
type System struct {
	Kernel  string // release: "6.18.44"
	Enabled bool   // net.mptcp.enabled
	// PathManager that sockets made from now on belong to.
	PathManager  string
	PathManagers []string // the ones there are (Linux 6.15)
	Scheduler    string

	// AllowJoinInitialAddrPort: peers may join the address they connected to (no C flag).
	AllowJoinInitialAddrPort bool
	Checksum                 bool
	CloseTimeout             time.Duration // how long a connection without subflows lives on
	// SYNRetransBeforeFallback is how many SYNs are retransmitted with MPTCP
	// before a plain one is (Linux 6.13).
	SYNRetransBeforeFallback int
	// BlackholeTimeout is how long MPTCP stays off for all new connections after
	// only a plain SYN got an answer; 0 turns that off (Linux 6.12).
	BlackholeTimeout time.Duration
	// Blackholed: MPTCP SYNs have been held back for that reason since the
	// namespace began. The kernel does not tell whether it is so now:
	// see [ProbeBlackhole].
	Blackholed bool

	NetAdmin bool   // the process may use the path manager
	Limits   Limits // of the kernel's own path manager
}

// Limits bound the kernel's own path manager. As a server it accepts at most
// Subflows joins; a client of the userspace path manager is not bound by them.
type Limits struct {
	Known           bool // the kernel was asked and answered
	Subflows        int
	AddAddrAccepted int
}

// The counters of MIB that the verdicts and the blackhole state rest on.
const (
	MIBSYNTXDisabled = "MPCapableSYNTXDisabled" // SYNs sent without MPTCP during a blackhole
	MIBBlackhole     = "Blackhole"              // times a blackhole was found
)

// mibPrefix begins the two lines of the MPTCP counters.
const mibPrefix = "MPTcpExt:"

// maxMIBLine bounds a line of /proc/net/netstat; the longest has about 4 KiB.
const maxMIBLine = 64 << 10

// parseMIB reads the MPTcpExt counters of /proc/net/netstat: one line of names
// and one of numbers.
func parseMIB(r io.Reader) (map[string]uint64, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMIBLine)
	var names []string
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), mibPrefix)
		switch {
		case !ok:
		case names == nil:
			names = strings.Fields(rest)
		default:
			return zipMIB(names, strings.Fields(rest))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mptcp: read counters: %w", err)
	}
	return nil, fmt.Errorf("mptcp: read counters: no %s lines: %w", mibPrefix, ErrUnsupported)
}

// zipMIB pairs the names with the numbers.
func zipMIB(names, values []string) (map[string]uint64, error) {
	if len(names) != len(values) {
		return nil, fmt.Errorf("mptcp: read counters: %d names, %d numbers", len(names), len(values))
	}
	mib := make(map[string]uint64, len(names))
	for i, name := range names {
		v, err := strconv.ParseUint(values[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("mptcp: read counter %s: %w", name, err)
		}
		mib[name] = v
	}
	return mib, nil
}
