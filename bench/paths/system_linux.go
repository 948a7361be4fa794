package main

import (
	"os/exec"
	"syscall"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// startChild starts a command, which unless it is privileged has not the right
// to use the path manager (CAP_NET_ADMIN).
func startChild(cmd *exec.Cmd, privileged bool) error {
	if privileged {
		return cmd.Start()
	}
	return testlab.WithoutNetAdmin(cmd.Start)
}

// maxFiles is how many descriptors a process may have. Go programs raise their
// limit to the hard one when they start.
func maxFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return spareFiles
	}
	return int(min(l.Max, 1<<30))
}

// cpuTime is what this process and the children that have ended used.
func cpuTime() (total time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}
