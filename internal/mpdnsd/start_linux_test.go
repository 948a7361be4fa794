package mpdnsd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkStart is the time from executing the daemon to its first forwarded
// answer, and the memory that it has resident then. The program is built without
// cgo.
func BenchmarkStart(b *testing.B) {
	program := built(b)
	up := answerer(b)
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := free.LocalAddr().String()
	_ = free.Close() // so that the daemon can have the port
	query := packed(b)
	var resident int64
	for b.Loop() {
		cmd := exec.Command(program, "--listen", addr, "--upstream", up)
		log := newLogBuffer()
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		if err := awaitAnswer(addr, query); err != nil {
			text, _ := log.get()
			b.Fatalf("%v\n%s", err, text)
		}
		b.StopTimer()
		resident += residentOctets(b, cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/start")
	b.ReportMetric(float64(resident)/float64(b.N)/(1<<20), "MiB-resident")
	b.ReportMetric(0, "ns/op")
}

func packed(b *testing.B) []byte {
	q, err := new(dns.Msg).SetQuestion("www.example.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	return q
}

// awaitAnswer asks until there is an answer. While nobody listens the system says
// so at once.
func awaitAnswer(addr string, query []byte) error {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitTime))
	reply := make([]byte, 512)
	for {
		_, err := c.Write(query)
		n := 0
		if err == nil {
			n, err = c.Read(reply)
		}
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			continue // nobody listens
		case err != nil:
			return err
		}
		var m dns.Msg
		if err := m.Unpack(reply[:n]); err != nil {
			return err
		}
		if len(m.Answer) != 1 {
			return fmt.Errorf("answer %v", m.MsgHdr)
		}
		return nil
	}
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
