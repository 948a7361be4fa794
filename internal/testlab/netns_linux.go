package testlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNS is the network namespace of the thread that opens it. The entries
// of /proc/self are those of the main thread.
const threadNS = "/proc/thread-self/ns/net"

// namespace is a network namespace kept alive by a file; without one it is the
// namespace of the process.
type namespace struct {
	file *os.File
	home *os.File // the process's own namespace, to return to
}

// newNamespace makes a network namespace and leaves it again.
func newNamespace(home *os.File) (*namespace, error) {
	ns := &namespace{home: home}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		f, err := os.Open(threadNS)
		if err != nil {
			return fmt.Errorf("open the new network namespace: %w", err)
		}
		ns.file = f
		return setns(home)
	})
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// do runs fn on a thread inside the namespace.
func (ns *namespace) do(fn func() error) error {
	if ns.file == nil {
		return fn()
	}
	return onThread(func() error { return ns.visit(fn) })
}

// visit runs fn inside the namespace on the calling thread, which the caller
// has to itself.
func (ns *namespace) visit(fn func() error) error {
	if ns.file == nil {
		return fn()
	}
	if err := setns(ns.file); err != nil {
		return err
	}
	err := fn()
	if back := setns(ns.home); back != nil {
		return errors.Join(err, back)
	}
	return err
}

// close lets the namespace go; the kernel removes it with its last socket and
// process.
func (ns *namespace) close() error {
	if ns.file == nil {
		return nil
	}
	return ns.file.Close()
}

func setns(f *os.File) error {
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}

// onThread runs fn on a thread that no other goroutine uses meanwhile, and
// never on the main thread: that one's namespaces are what /proc/self shows,
// and other goroutines read it. A thread that fn left in another namespace is
// ended.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go lockedThread(fn, done)
	return <-done
}

func lockedThread(fn func() error, done chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// Holding the main thread forces the inner goroutine onto another.
		done <- onThread(fn)
		runtime.UnlockOSThread()
		return
	}
	before, err := os.Readlink(threadNS)
	if err != nil {
		done <- fmt.Errorf("read the thread's network namespace: %w", err)
		return
	}
	err = fn()
	// A thread that is not where it began stays locked, and ends with the
	// goroutine.
	if after, readErr := os.Readlink(threadNS); readErr == nil && after == before {
		runtime.UnlockOSThread()
	}
	done <- err
}
