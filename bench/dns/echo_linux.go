package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"

	"github.com/af-multipath/mpresolve/internal/dnswire"
	"github.com/af-multipath/mpresolve/internal/udpbatch"
)

//go:embed echo/echo.c
var cSource []byte

// serveChild is this program as a server, until ctx ends.
func serveChild(ctx context.Context, kind, address string) error {
	if kind == echoArg {
		return serve(ctx, address, echo)
	}
	return serve(ctx, address, newAuthority().answer)
}

// echo sends back what comes, with the QR flag set.
func echo(dst, packet []byte) []byte {
	if len(packet) < dnswire.HeaderLen {
		return nil
	}
	dst = append(dst, packet...)
	dst[2] |= 0x80
	return dst
}

// serve answers datagrams with one loop.
func serve(ctx context.Context, address string, answer func(dst, packet []byte) []byte) error {
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
	err = conns[0].Serve(func(dst, packet []byte, _ udpbatch.Peer) []byte { return answer(dst, packet) })
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
