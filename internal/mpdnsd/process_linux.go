package mpdnsd

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/af-multipath/mpresolve/internal/mpdnsd/config"
)

// monotonic is the system's monotonic clock.
func monotonic() (time.Duration, bool) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano()), err == nil
}

// files returns how many descriptors are open, -1 if unknown, and how many may
// be.
func files() (open int, most uint64) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return -1, 0
	}
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1, limit.Cur
	}
	return len(all) - 1, limit.Cur // one is the folder's
}

// limitFiles raises RLIMIT_NOFILE to what the configuration can need. Go itself
// has raised the soft limit to the hard one already; more takes CAP_SYS_RESOURCE.
func (d *daemon) limitFiles(c *config.Config) {
	need := fileNeed(c, runtime.GOMAXPROCS(0))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= need {
		return
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: need, Max: max(need, limit.Max)}); err != nil {
		d.log.Warn(fmt.Sprintf("fewer file descriptors than the settings can need: LimitNOFILE=%d in the systemd unit, or lower server.outstanding, server.tcp_connections or paths.clients", need),
			"limit", limit.Cur, "need", need, "error", err)
	}
}

// kept is the capabilities that the daemon goes on with: to bind ports below 1024
// when a reload adds an address, and to command the path manager while the broker
// is on.
func kept(c *config.Config) (mask uint64) {
	mask = 1 << unix.CAP_NET_BIND_SERVICE
	if c.Paths.Enabled {
		mask |= 1 << unix.CAP_NET_ADMIN
	}
	return mask
}

// dropPrivileges gives up, for good and on all threads, every capability but
// those kept, and that any program it might execute could gain new ones. The
// sockets are open by then.
//
// A capability is a thread's, not a process's, and Go moves goroutines between
// threads: so each call is made by all of them. The runtime does that in a program
// without cgo (syscall.AllThreadsSyscall). With cgo there may be threads that it
// does not know; there psx finds them in /proc and interrupts each with a signal.
func (d *daemon) dropPrivileges(set *setup) {
	if !d.confined {
		return
	}
	if err := dropAllBut(kept(&set.config)); err != nil {
		d.log.Warn("privileges are kept", "error", err)
		return
	}
	d.log.Info("privileges", "capabilities", capabilityNames(kept(&set.config)&permitted()), "no_new_privs", true)
}

// findThreads fails where psx could not find all threads, for which it would kill
// the process.
func findThreads() error {
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); e != syscall.ENOTSUP {
		return nil // no cgo: the runtime knows them
	}
	if _, err := os.ReadDir("/proc/self/task"); err != nil {
		return fmt.Errorf("finding the threads of a program built with cgo (CGO_ENABLED=0 builds one that needs no /proc): %w", err)
	}
	return nil
}

// dropAllBut keeps, of the capabilities that the process has, those of mask. The
// bounding set is left: it limits what executing a file may give, and without new
// privileges that is nothing that the process does not have (cap_bprm_creds_from_file
// in security/commoncap.c).
func dropAllBut(mask uint64) error {
	if err := findThreads(); err != nil {
		return err
	}
	if _, _, e := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return e
	}
	have, err := capget()
	if err != nil {
		return err
	}
	_, _, e := psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("clear the ambient capabilities: %w", e)
	}
	head := capHeader()
	var want [2]unix.CapUserData
	for i := range want {
		want[i].Permitted = have[i].Permitted & uint32(mask>>(32*i))
		want[i].Effective = want[i].Permitted
	}
	_, _, e = psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&want[0])), 0)
	if e != 0 {
		return fmt.Errorf("capset: %w", e)
	}
	return nil
}

func capHeader() unix.CapUserHeader {
	return unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// capget is the capabilities of the calling thread.
func capget() (have [2]unix.CapUserData, err error) {
	head := capHeader()
	if err = unix.Capget(&head, &have[0]); err != nil {
		err = fmt.Errorf("capget: %w", err)
	}
	return have, err
}

// permitted is the permitted capabilities of the calling thread as a mask.
func permitted() uint64 {
	have, err := capget()
	if err != nil {
		return 0
	}
	return uint64(have[0].Permitted) | uint64(have[1].Permitted)<<32
}

// capabilityNames lists those that kept may have.
func capabilityNames(mask uint64) string {
	var names []string
	for bit, name := range map[uint]string{unix.CAP_NET_BIND_SERVICE: "net_bind_service", unix.CAP_NET_ADMIN: "net_admin"} {
		if mask&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	if len(names) == 2 {
		return "net_bind_service,net_admin"
	}
	return strings.Join(names, ",")
}
