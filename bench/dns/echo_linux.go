package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"

	"github.com/af-multipath/mpresolve/internal/udpbatch"
)

//go:embed echo/echo.c
var cSource []byte

// serveEcho sends back what comes, with the QR flag set, until ctx ends.
func serveEcho(ctx context.Context, address string) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	conns, err := udpbatch.Listen(addr, 1)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { udpbatch.Close(conns) })
	defer stop()
	err = conns[0].Serve(func(dst, msg []byte, _ udpbatch.Peer) []byte {
		if len(msg) < 12 {
			return nil
		}
		dst = append(dst, msg...)
		dst[2] |= 0x80
		return dst
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// buildCEcho compiles the C echo.
func buildCEcho(ctx context.Context, source, binary string) error {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return errors.New("no C compiler")
	}
	if out, err := exec.CommandContext(ctx, cc, "-O2", "-o", binary, source).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
