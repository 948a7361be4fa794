package testlab

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// starter starts commands from one thread that lives as long as the lab. The
// kernel sends a command its death signal when the thread ends that started it,
// not the process (prctl(2), PR_SET_PDEATHSIG), and Go ends threads whenever a
// goroutine ends that is locked to one.
type starter struct {
	work  chan func()
	ended chan struct{} // closed when the thread is given up
	err   error         // why it was never had; read after ended
}

func newStarter() *starter {
	s := &starter{work: make(chan func()), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		s.err = onThread(func() error {
			for do := range s.work {
				do()
			}
			return nil
		})
	}()
	return s
}

// start starts cmd in ns. The kernel kills it when the process ends.
func (s *starter) start(ns *namespace, cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	done := make(chan error, 1)
	select {
	case s.work <- func() { done <- ns.visit(cmd.Start) }:
		return <-done
	case <-s.ended:
		return s.err
	}
}

// close gives the thread up; nothing may be started any more.
func (s *starter) close() {
	close(s.work)
	<-s.ended
}

// WithoutNetAdmin calls start on a thread that cannot have CAP_NET_ADMIN, and
// ends that thread: the commands that start executes cannot have it either,
// whoever runs them (capabilities(7), the bounding set).
func WithoutNetAdmin(start func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock, so that the thread ends here
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0); err != nil {
			done <- fmt.Errorf("drop CAP_NET_ADMIN: %w", err)
			return
		}
		done <- start()
	}()
	return <-done
}
