package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopDelay is how long a process may take to end when it is told to.
const stopDelay = 3 * time.Second

// starter starts processes on cores of their own. The kernel kills them when
// the thread that started them ends, so it has one for as long as it lives.
type starter struct {
	requests chan startRequest
	done     chan struct{}
}

type startRequest struct {
	cmd    *exec.Cmd
	cores  []int
	result chan error
}

func newStarter() *starter {
	s := &starter{make(chan startRequest), make(chan struct{})}
	go s.run()
	return s
}

func (s *starter) run() {
	defer close(s.done)
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	for r := range s.requests {
		r.result <- errors.Join(pin(0, r.cores), r.cmd.Start())
	}
}

func (s *starter) start(cmd *exec.Cmd, cores []int) error {
	r := startRequest{cmd, cores, make(chan error)}
	s.requests <- r
	return <-r.result
}

func (s *starter) close() {
	close(s.requests)
	<-s.done
}

// maxCores is how many a unix.CPUSet has room for.
const maxCores = 1024

// pin binds a thread, 0 for the caller's, to cores.
func pin(tid int, cores []int) error {
	var set unix.CPUSet
	for _, c := range cores {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("bind thread %d to cores %v: %w", tid, cores, err)
	}
	return nil
}

// cores returns those that this process may use.
func usableCores() (list []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	for c := range maxCores {
		if set.IsSet(c) {
			list = append(list, c)
		}
	}
	return list, nil
}

// process is a server that runs.
type process struct {
	cmd    *exec.Cmd
	output *bytes.Buffer
	ended  chan struct{} // closed when it has, and err is set
	err    error
	began  time.Time
}

// startProcess starts a command on cores.
func startProcess(s *starter, cores []int, dir string, env []string, argv []string) (*process, error) {
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), output: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = stopDelay
	p.began = time.Now()
	if err := s.start(p.cmd, cores); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(stopDelay, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	<-p.ended
}

// cpu is the time that all threads of the process, and of its children, have
// run (the first number of schedstat, in nanoseconds).
func (p *process) cpu() (time.Duration, error) { return threadsCPU(p.cmd.Process.Pid) }

func threadsCPU(pid int) (total time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task + "/schedstat")
		if err != nil {
			return 0, err
		}
		ran, err := parseSchedstat(string(text))
		if err != nil {
			return 0, err
		}
		total += ran
		children, _ := os.ReadFile(task + "/children") // absent in kernels without it
		for word := range strings.FieldsSeq(string(children)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return 0, err
			}
			ran, err := threadsCPU(child)
			if err != nil {
				return 0, err
			}
			total += ran
		}
	}
	return total, nil
}

// parseSchedstat reads the time run (Documentation/scheduler/sched-stats.rst).
func parseSchedstat(text string) (time.Duration, error) {
	first, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("schedstat %q: %w", text, err)
	}
	return time.Duration(n), nil
}

// rss is the resident memory in octets.
func (p *process) rss() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm %q", text)
	}
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err
}

// pinSelf binds all threads of this process; later ones inherit it.
func pinSelf(cores []int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := pin(tid, cores); err != nil {
			return err
		}
	}
	return nil
}
