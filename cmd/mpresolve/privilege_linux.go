package main

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// runWithoutNetAdmin runs a command that cannot have CAP_NET_ADMIN.
func runWithoutNetAdmin(cmd *exec.Cmd) error {
	done := make(chan error)
	go func() {
		// The bounding set is a thread's, and what it starts has no more. The
		// thread ends with the goroutine, as it stays locked.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0); err != nil {
			done <- fmt.Errorf("dropping CAP_NET_ADMIN: %w", err)
			return
		}
		done <- cmd.Run()
	}()
	return <-done
}
