package testlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// outsideEnv holds, in a process started by Reexec, the network namespace of
// the process that started it.
const outsideEnv = "MPRESOLVE_LAB_OUTSIDE"

// Reexec starts cmd as the first process of new user, mount and network
// namespaces, in which it is root; the network has no interface but loopback.
// When even root may not make a user namespace, the others are made without.
// An error that wraps ErrUnavailable says that this machine refuses.
//
// The caller waits for cmd as after [exec.Cmd.Start]. The kernel kills the
// process when the thread that called Reexec ends: callers that lock threads
// must stay on one until they have waited.
func Reexec(cmd *exec.Cmd) error {
	users, err := namespaceUsers()
	if err != nil {
		return err
	}
	outside, err := os.Readlink(threadNS)
	if err != nil {
		return fmt.Errorf("%w: read the network namespace: %w", ErrUnavailable, err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	setNamespaces(cmd.SysProcAttr, users)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.Env = append(cmd.Environ(), outsideEnv+"="+outside)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s in new namespaces: %w", cmd.Path, err)
	}
	return nil
}

// otherUser is a user besides root in the namespaces that root makes.
const otherUser = 1

// OtherUser returns, inside, the id of a user who is not root, for commands that are
// to be another user's; 0 where there is none: only root can make user namespaces of
// more than one (user_namespaces(7)).
func OtherUser() (uint32, error) {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 0, fmt.Errorf("read the users: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		var first, outside, n uint64
		if _, err := fmt.Sscan(line, &first, &outside, &n); err != nil {
			return 0, fmt.Errorf("read the users: %q: %w", line, err)
		}
		if first <= otherUser && otherUser < first+n {
			return otherUser, nil
		}
	}
	return 0, nil
}

// Inside reports whether the process was started by Reexec and is in a network
// namespace of its own.
func Inside() bool {
	outside := os.Getenv(outsideEnv)
	if outside == "" {
		return false
	}
	here, err := os.Readlink(threadNS)
	return err == nil && here != outside
}

// Available returns nil when Reexec can make namespaces and, called inside,
// when the kernel has what a lab needs. Errors wrap ErrUnavailable.
func Available() error {
	if err := checkMPTCP(); err != nil {
		return err
	}
	if !Inside() {
		_, err := namespaceUsers()
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: no packet socket (some systems take all rights from user namespaces of ordinary users): %w", ErrUnavailable, err)
	}
	return unix.Close(fd)
}

func checkMPTCP() error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("%w: no IPv6 in this kernel: %w", ErrUnavailable, err)
	}
	if err != nil {
		return fmt.Errorf("%w: no MPTCP in this kernel: %w", ErrUnavailable, err)
	}
	return unix.Close(fd)
}

// namespaceUsers finds out whether namespaces can be made, and of how many users the
// user namespace can be; 0 is none such.
func namespaceUsers() (users int, err error) {
	root := os.Geteuid() == 0
	if root && tryNamespaces(2) == nil {
		return 2, nil
	}
	if err = tryNamespaces(1); err == nil {
		return 1, nil
	}
	if root && tryNamespaces(0) == nil {
		return 0, nil
	}
	return 0, fmt.Errorf("%w: cannot make a user and network namespace (see user.max_user_namespaces): %w", ErrUnavailable, err)
}

// tryNamespaces starts nothing: the namespaces are made before the program is
// looked for, so that its absence shows that they could be made.
func tryNamespaces(users int) error {
	attr := &syscall.SysProcAttr{}
	setNamespaces(attr, users)
	const absent = "/proc/self/absent"
	p, err := os.StartProcess(absent, []string{absent}, &os.ProcAttr{Sys: attr})
	if err == nil {
		_, err = p.Wait()
		return err
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func setNamespaces(attr *syscall.SysProcAttr, users int) {
	attr.Cloneflags |= unix.CLONE_NEWNET
	if users == 0 {
		return
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER | unix.CLONE_NEWNS
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	if users > 1 {
		attr.UidMappings = append(attr.UidMappings, syscall.SysProcIDMap{ContainerID: otherUser, HostID: otherUser, Size: 1})
	}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	attr.GidMappingsEnableSetgroups = false
}
