package testlab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// printer is a command that prints what a process sees of its network.
func printer(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), printEnv+"=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

func TestReexec(t *testing.T) {
	labtest.Need(t)
	cmd, out := printer(t)
	if err := testlab.Reexec(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("child: %v", err)
	}
	if got, want := out.String(), "inside: true uid: 0\ninterface: lo\n"; got != want {
		t.Errorf("child prints %q, want %q", got, want)
	}
}

// TestReexecWithoutUserNamespace is root where nobody may make a user namespace.
func TestReexecWithoutUserNamespace(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		user, err := os.Readlink("/proc/self/ns/user")
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("MPRESOLVE_LAB_OUTSIDE", "")
		cmd, out := printer(t)
		if err := testlab.Reexec(cmd); err != nil {
			t.Fatal(err)
		}
		child, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
		if waitErr := cmd.Wait(); waitErr != nil {
			t.Errorf("child: %v", waitErr)
		}
		if err == nil && child != user {
			t.Errorf("child in %s, parent in %s", child, user)
		}
		if got, want := out.String(), "inside: true uid: 0\ninterface: lo\n"; got != want {
			t.Errorf("child prints %q, want %q", got, want)
		}
	})
}

func TestNewOutside(t *testing.T) {
	if testlab.Inside() {
		t.Fatal("the test begins inside a lab")
	}
	if lab, err := testlab.New(testlab.Options{}); !errors.Is(err, testlab.ErrUnavailable) {
		t.Errorf("got %v, %v; want ErrUnavailable", lab, err)
	}
}

// TestInsideNeedsAnotherNamespace sets the variable that says where the
// process came from, and stays where it is.
func TestInsideNeedsAnotherNamespace(t *testing.T) {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("MPRESOLVE_LAB_OUTSIDE", here)
	if testlab.Inside() {
		t.Error("the machine's own namespace is taken for a lab")
	}
}

func TestStart(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		_, server := twoLinks(t)
		cmd, out := printer(t)
		if err := server.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("child: %v", err)
		}
		for _, name := range []string{"lo", "first", "second"} {
			if !strings.Contains(out.String(), "interface: "+name+"\n") {
				t.Errorf("no interface %s in\n%s", name, out)
			}
		}
		absent := exec.CommandContext(t.Context(), "/proc/self/absent")
		if err := server.Start(absent); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent program: %v", err)
		}
	})
}

// TestStartOutlivesThreads ends every thread that could have started the
// command: the kernel sends the death signal when the thread ends that did, and
// Go ends threads at other times than its own process's end.
func TestStartOutlivesThreads(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		_, server := twoLinks(t)
		cmd, _ := printer(t)
		cmd.Env = append(cmd.Env, waitEnv+"=1")
		hold, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(cmd); err != nil {
			t.Fatal(err)
		}
		endThreads()
		if err := hold.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the command ended with %v", err)
		}
	})
}

// endThreads has goroutines take all idle threads and end with them.
func endThreads() {
	const threads = 64
	var locked, ended sync.WaitGroup
	locked.Add(threads)
	for range threads {
		ended.Go(func() {
			runtime.LockOSThread() // and never unlock
			locked.Done()
			locked.Wait()
		})
	}
	ended.Wait()
}

// TestDo enters hosts from many goroutines at once. The main thread, whose
// namespace /proc/self shows, stays in the client's.
func TestDo(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := twoLinks(t)
		client, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		var running sync.WaitGroup
		for range 50 {
			running.Go(func() {
				err := server.Do(func() error {
					thread, err := os.Readlink("/proc/thread-self/ns/net")
					process, err2 := os.Readlink("/proc/self/ns/net")
					if thread == client || process != client || err != nil || err2 != nil {
						return fmt.Errorf("thread in %s, process in %s, client is %s", thread, process, client)
					}
					return boom
				})
				if !errors.Is(err, boom) {
					t.Error(err)
				}
				here, err := os.Readlink("/proc/thread-self/ns/net")
				if here != client || err != nil {
					t.Errorf("back in %s, %v", here, err)
				}
			})
		}
		running.Wait()
		if err := lab.Client().Do(func() error { return boom }); !errors.Is(err, boom) {
			t.Errorf("on the client: %v", err)
		}
	})
}

func TestSysctl(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		_, server := twoLinks(t)
		read := func() (value string, err error) {
			b, err := os.ReadFile("/proc/sys/net/mptcp/add_addr_timeout")
			return strings.TrimSpace(string(b)), err
		}
		if err := server.Sysctl("net.mptcp.add_addr_timeout", "7"); err != nil {
			t.Fatal(err)
		}
		if got, err := read(); got == "7" || err != nil {
			t.Errorf("the client has %s, %v", got, err)
		}
		err := server.Do(func() error {
			if got, err := read(); got != "7" || err != nil {
				return fmt.Errorf("the server has %s, %w", got, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := server.Sysctl("net.absent", "1"); err == nil {
			t.Error("an absent parameter is set")
		}
	})
}

func TestDialFromHost(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab, server := twoLinks(t)
		echo(t, listen(t, lab.Client()))
		c, err := server.DialContext(t.Context(), &net.Dialer{Timeout: patience}, "tcp", "[fd00:2::2]:7000")
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		_ = c.Close()
		if _, err := server.DialContext(t.Context(), &net.Dialer{Timeout: patience}, "tcp", "[fd00:11::2]:1"); err == nil {
			t.Error("connected to a closed port")
		}
		if _, err := server.Listen("tcp", "[fd00:1::2]:7000"); err == nil {
			t.Error("listening on another host's address")
		}
		if _, err := server.ListenPacket("udp", "[fd00:1::2]:7000"); err == nil {
			t.Error("listening on another host's address")
		}
	})
}

func TestBadLinks(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		lab := labtest.New(t, testlab.Options{})
		good := testlab.LinkSpec{Name: "good", Addrs: prefixes("10.0.1.2/24")}
		if _, err := lab.AddClientLink(good); err != nil {
			t.Fatal(err)
		}
		for name, spec := range map[string]testlab.LinkSpec{
			"same name":    {Name: "good"},
			"same address": {Name: "other", Addrs: prefixes("10.0.1.2/32")},
			"bad loss":     {Loss: 2},
		} {
			if _, err := lab.AddClientLink(spec); err == nil {
				t.Errorf("%s: accepted", name)
			}
			if _, err := lab.AddHost("host", good, spec); err == nil {
				t.Errorf("%s: accepted for a host", name)
			}
		}
		ifaces, err := net.Interfaces()
		if err != nil || len(ifaces) != 2 {
			t.Errorf("interfaces left: %v, %v", ifaces, err)
		}
	})
}

// openFiles counts the process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestClose makes and closes labs in the same client: no descriptor, interface
// or rule is left. TestMain looks for goroutines.
func TestClose(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		before := 0
		for range 3 {
			useLab(t)
			ifaces, err := net.Interfaces()
			if err != nil || len(ifaces) != 1 {
				t.Errorf("interfaces left: %v, %v", ifaces, err)
			}
			// The first lab starts the poller, which has descriptors.
			if n := openFiles(t); before == 0 {
				before = n
			} else if n != before {
				t.Errorf("%d descriptors, %d before", n, before)
			}
		}
	})
}

// useLab makes a lab, moves data, closes the lab and tries to go on.
func useLab(t *testing.T) {
	t.Helper()
	lab, err := testlab.New(testlab.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	link, err := lab.AddClientLink(testlab.LinkSpec{Addrs: prefixes("10.0.1.2/24", "fd00:1::2/64"), Delay: linkDelay})
	if err != nil {
		t.Fatal(err)
	}
	server, err := lab.AddHost("server", testlab.LinkSpec{Addrs: prefixes("fd00:11::2/64")})
	if err != nil {
		t.Fatal(err)
	}
	if lab.Client().Name() != "client" || server.Name() != "server" || link.Index() == 0 {
		t.Errorf("names %q, %q; index %d", lab.Client().Name(), server.Name(), link.Index())
	}
	ln := listen(t, server)
	received := make(chan int64, 1)
	go func() { received <- drain(ln) }()
	c, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", "[fd00:11::2]:7000")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write(make([]byte, 1<<20))
	_ = c.Close()
	if n := <-received; n != 1<<20 {
		t.Errorf("received %d octets", n)
	}
	for range 2 {
		if err := lab.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := lab.AddClientLink(testlab.LinkSpec{}); err == nil {
		t.Error("a closed lab takes a link")
	}
	if _, err := lab.AddHost("late", testlab.LinkSpec{}); err == nil {
		t.Error("a closed lab takes a host")
	}
}
