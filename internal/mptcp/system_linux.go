package mptcp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where the settings and counters of the calling thread's network namespace are.
const (
	sysctlDir   = "/proc/sys/net/mptcp/"
	netstatPath = "/proc/thread-self/net/netstat"
	netNSPath   = "/proc/thread-self/ns/net"
)

// The old name of the path manager setting has numbers (Linux 5.19 to 6.14).
const pmType = "pm_type"

// ReadSystem reads the settings. Without MPTCP in the kernel the error is
// [ErrUnsupported]; what cannot be read otherwise stays the zero value.
func ReadSystem() (System, error) {
	s := System{Kernel: kernelRelease(), NetAdmin: HaveNetAdmin()}
	enabled, err := readSysctl("enabled")
	if err != nil {
		return s, fmt.Errorf("mptcp: read settings: %w: %w", err, ErrUnsupported)
	}
	s.Enabled = enabled == "1"
	s.PathManager = readPathManager()
	s.PathManagers = strings.Fields(readSetting("available_path_managers"))
	s.Scheduler = readSetting("scheduler")
	s.AllowJoinInitialAddrPort = readNumber("allow_join_initial_addr_port") == 1
	s.Checksum = readNumber("checksum_enabled") == 1
	s.CloseTimeout = time.Duration(readNumber("close_timeout")) * time.Second
	s.SYNRetransBeforeFallback = readNumber("syn_retrans_before_tcp_fallback")
	s.BlackholeTimeout = time.Duration(readNumber("blackhole_timeout")) * time.Second
	if mib, err := ReadMIB(); err == nil {
		s.Blackholed = s.BlackholeTimeout > 0 && (mib[MIBBlackhole] > 0 || mib[MIBSYNTXDisabled] > 0)
	}
	if limits, err := readLimits(); err == nil {
		s.Limits = limits
	}
	return s, nil
}

// ReadMIB reads the MPTCP counters of the network namespace (MPTcpExt of
// /proc/net/netstat) by the kernel's names.
func ReadMIB() (map[string]uint64, error) {
	f, err := os.Open(netstatPath)
	if err != nil {
		return nil, fmt.Errorf("mptcp: read counters: %w", err)
	}
	defer f.Close()
	return parseMIB(f)
}

// SetPathManager selects the path manager of the sockets that are made from now
// on in the network namespace: KernelPathManager or UserspacePathManager. It
// needs the right to write net.mptcp settings, and the error is
// [ErrUnsupported] where the kernel has no such path manager.
func SetPathManager(name string) error {
	err := writeSysctl("path_manager", name)
	number, known := map[string]string{KernelPathManager: "0", UserspacePathManager: "1"}[name]
	if _, missing := readSysctl("path_manager"); missing != nil && known {
		err = writeSysctl(pmType, number)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("mptcp: select path manager %q: %w: %w", name, err, ErrUnsupported)
	}
	return fmt.Errorf("mptcp: select path manager %q: %w", name, err)
}

// ResetBlackhole turns MPTCP on again for new connections after a blackhole
// (any write to net.mptcp.blackhole_timeout does), without changing the
// timeout.
func ResetBlackhole() error {
	const name = "blackhole_timeout"
	value, err := readSysctl(name)
	if err == nil {
		err = writeSysctl(name, value)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mptcp: reset blackhole state: %w: %w", err, ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("mptcp: reset blackhole state: %w", err)
	}
	return nil
}

// HaveNetAdmin reports whether the calling thread has CAP_NET_ADMIN over its
// network namespace: the capability itself, and a namespace that belongs to its
// user namespace or to one below.
func HaveNetAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0 && ownsNetNS()
}

// ownsNetNS reports whether the network namespace belongs to the calling
// thread's user namespace or to one below: of others the kernel does not tell
// the owner (EPERM).
func ownsNetNS() bool {
	f, err := os.Open(netNSPath)
	if err != nil {
		return false
	}
	defer f.Close()
	owner, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return !errors.Is(err, unix.EPERM) // a kernel without namespaces has one owner
	}
	return unix.Close(owner) == nil
}

// readPathManager knows both names of the setting. Kernels with neither have
// their own path manager only.
func readPathManager() string {
	if name := readSetting("path_manager"); name != "" {
		return name
	}
	if readNumber(pmType) == 1 {
		return UserspacePathManager
	}
	return KernelPathManager
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func readSysctl(name string) (string, error) {
	b, err := os.ReadFile(sysctlDir + name)
	return strings.TrimSpace(string(b)), err
}

// readSetting returns "" for a setting that this kernel does not have.
func readSetting(name string) string {
	value, err := readSysctl(name)
	if err != nil {
		return ""
	}
	return value
}

// readNumber returns 0 for a setting that this kernel does not have.
func readNumber(name string) int {
	n, err := strconv.Atoi(readSetting(name))
	if err != nil {
		return 0
	}
	return n
}

// writeSysctl never creates a file: the settings are the kernel's.
func writeSysctl(name, value string) error {
	f, err := os.OpenFile(sysctlDir+name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
