//go:build unix

package mpdnsd

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// socketFile opens a socket as a service manager does, and returns its file.
func socketFile(t *testing.T, network, address string) *os.File {
	t.Helper()
	var s interface{ File() (*os.File, error) }
	if strings.HasPrefix(network, "udp") || network == "unixgram" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s = c.(interface{ File() (*os.File, error) })
	} else {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s = l.(interface{ File() (*os.File, error) })
	}
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// addressOf is the address of a socket's file.
func addressOf(t *testing.T, f *os.File) string {
	t.Helper()
	one := asDNS(f)
	if one == nil {
		t.Fatalf("%s is no socket for questions", f.Name())
	}
	one.close()
	return one.addr.String()
}

// pairOf opens both sockets of a free port.
func pairOf(t *testing.T, host string) (udp, tcp *os.File) {
	t.Helper()
	for range 16 {
		udp = socketFile(t, "udp", net.JoinHostPort(host, "0"))
		l, err := net.Listen("tcp", addressOf(t, udp))
		if err != nil {
			_ = udp.Close() // of a port that TCP has not
			continue
		}
		defer l.Close()
		if tcp, err = l.(*net.TCPListener).File(); err != nil {
			t.Fatal(err)
		}
		return udp, tcp
	}
	t.Fatal("no port that is free for both")
	return nil, nil
}

func TestDNSSockets(t *testing.T) {
	dir := t.TempDir()
	udp1, tcp1 := pairOf(t, "127.0.0.1")
	udp2, tcp2 := pairOf(t, "127.0.0.1")
	loneUDP, _ := pairOf(t, "127.0.0.1")
	_, loneTCP := pairOf(t, "127.0.0.1")
	twice, twiceTCP := pairOf(t, "127.0.0.1")
	again, err := syscall.Dup(int(twice.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	regular, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	unixSocket, unixgram := socketFile(t, "unix", filepath.Join(dir, "a")), socketFile(t, "unixgram", filepath.Join(dir, "b"))
	for _, tt := range []struct {
		name    string
		files   []*os.File
		dns     int
		others  int
		wantErr string
	}{
		{name: "none"},
		{name: "others only", files: []*os.File{unixSocket, unixgram, regular}, others: 3},
		{name: "two addresses", files: []*os.File{udp1, tcp2, unixSocket, udp2, tcp1}, dns: 2, others: 1},
		{name: "no TCP", files: []*os.File{loneUDP}, wantErr: "ListenStream=127.0.0.1:"},
		{name: "no UDP", files: []*os.File{loneTCP}, wantErr: "ListenDatagram=127.0.0.1:"},
		{name: "twice", files: []*os.File{twice, twiceTCP, os.NewFile(uintptr(again), "again")}, wantErr: `socket "again": a second one for 127.0.0.1:`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dns, others, err := dnsSockets(tt.files)
			if len(dns) != tt.dns || len(others) != tt.others || (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%d sockets, %d others, %v", len(dns), len(others), err)
			}
			for _, one := range dns {
				if one.udp == nil || one.tcp == nil || !one.addr.IsValid() {
					t.Errorf("%+v", one)
				}
			}
			closeAll(dns)
		})
	}
}

// TestDNSActivation: a daemon that is handed sockets answers there, and not at the
// addresses configured; so too after a reload.
func TestDNSActivation(t *testing.T) {
	udp, tcp := pairOf(t, "127.0.0.1")
	addr := addressOf(t, udp)
	d := &plainDaemon{t: t, log: newLogBuffer()}
	d.cmd = exec.Command("sh", "-c", `export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=dns:dns; exec mpdnsd --listen 127.0.0.1:1 --upstream 127.0.0.1:9`)
	d.cmd.ExtraFiles, d.cmd.Stderr = []*os.File{tcp, udp}, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer d.end()
	_, _ = udp.Close(), tcp.Close() // the daemon has its own
	d.logs(`msg=listening address=` + addr + ` transports=udp,tcp from="service manager"`)
	d.logs("msg=ready")
	for _, network := range []string{"udp", "tcp"} {
		if got, err := ask(network, addr, "localhost", "A"); err != nil || got != "NOERROR; localhost. 86400 IN A 127.0.0.1" {
			t.Errorf("%s: %q, %v", network, got, err)
		}
	}
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.logs("msg=\"reloaded; the cache is kept")
	if got, err := ask("udp", addr, "localhost", "A"); err != nil || got != "NOERROR; localhost. 86400 IN A 127.0.0.1" {
		t.Errorf("after a reload: %q, %v", got, err)
	}
	if text, _ := d.log.get(); strings.Contains(text, "127.0.0.1:1 ") {
		t.Errorf("the configured address was opened:\n%s", text)
	}
}

// plainDaemon is a daemon of its own process, outside of a lab.
type plainDaemon struct {
	t   *testing.T
	cmd *exec.Cmd
	log *logBuffer
}

func (d *plainDaemon) logs(pattern string) {
	d.t.Helper()
	if _, err := d.log.wait(pattern); err != nil {
		d.t.Fatal(err)
	}
}

// end ends the daemon in order.
func (d *plainDaemon) end() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already, which Wait tells
	if err := d.cmd.Wait(); err != nil {
		log, _ := d.log.get()
		d.t.Errorf("the daemon ended with %v:\n%s", err, log)
	}
}
