package testlab_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/af-multipath/mpresolve/internal/testlab"
)

// A program starts itself again in new namespaces, and makes the lab there.
func Example() {
	if !testlab.Inside() {
		cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := testlab.Reexec(cmd); err != nil {
			fmt.Println("no lab:", err)
			return
		}
		if err := cmd.Wait(); err != nil {
			fmt.Println("lab:", err)
		}
		return
	}
	if err := useTwoHosts(); err != nil {
		fmt.Println("lab:", err)
	}
}

func useTwoHosts() error {
	lab, err := testlab.New(testlab.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = lab.Close() }()
	link, err := lab.AddClientLink(testlab.LinkSpec{
		Addrs: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::2/64")},
		Delay: 5 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	server, err := lab.AddHost("server", testlab.LinkSpec{
		Addrs: []netip.Prefix{netip.MustParsePrefix("2001:db8:2::2/64")},
		Rate:  50e6,
	})
	if err != nil {
		return err
	}
	ln, err := server.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	link.Cut()
	return nil
}
