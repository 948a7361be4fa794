package mpdnsd

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/af-multipath/mpresolve/internal/testlab"
	"github.com/af-multipath/mpresolve/internal/testlab/labtest"
)

// BenchmarkStart is the time from executing the daemon to its first forwarded
// answer, and the memory that it has resident then. The program is built without
// cgo.
func BenchmarkStart(b *testing.B) {
	program, up := built(b), answerer(b)
	var resident int64
	for b.Loop() {
		cmd, err := started(program, up)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		resident += residentOctets(b, cmd.Process.Pid)
		kill(cmd)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/start")
	b.ReportMetric(float64(resident)/float64(b.N)/(1<<20), "MiB-resident")
	b.ReportMetric(0, "ns/op")
}

// TestStartWithFewPorts: no start fails for the port of anybody's socket, however
// few there are.
func TestStartWithFewPorts(t *testing.T) {
	const starts = 30
	labtest.Run(t, func(t *testing.T) {
		labtest.New(t, testlab.Options{}) // with loopback up
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40015"), 0o600); err != nil {
			t.Fatal(err)
		}
		program, up := built(t), answerer(t)
		for range starts {
			cmd, err := started(program, up)
			if err != nil {
				t.Fatal(err)
			}
			kill(cmd)
		}
	})
}

// started executes the daemon and returns after its first forwarded answer. The
// daemon takes a free port and says which. It is not asked before that: a socket
// connected to a port that nobody has may get this port as its own, and then what
// it sends comes back to it, and nobody else can have the port.
func started(program, up string) (cmd *exec.Cmd, err error) {
	cmd = exec.Command(program, "--listen", "127.0.0.1:0", "--upstream", up)
	log := newLogBuffer()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m, err := log.wait(listening)
	if err == nil {
		err = askOne(m[1])
	}
	if err != nil {
		kill(cmd)
		text, _ := log.get()
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return cmd, nil
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
}

// askOne asks for one name.
func askOne(addr string) error {
	c := dns.Client{Timeout: waitTime}
	r, _, err := c.Exchange(new(dns.Msg).SetQuestion("www.example.", dns.TypeA), addr)
	if err == nil && len(r.Answer) != 1 {
		err = fmt.Errorf("answer %v", r.MsgHdr)
	}
	return err
}

// residentOctets is the memory of a process that is resident.
func residentOctets(tb testing.TB, pid int) int64 {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		tb.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
