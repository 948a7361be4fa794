// Mpresolve looks names up the way a multipath dialer does: A and AAAA asked at
// once and merged into one AF_MULTIPATH record, in the order in which a dial
// would try the addresses, with the reason for each place.
//
// Besides look-ups it dials (dial), decodes records (decode), says what this
// machine can do (doctor) and shows the whole in a lab of its own (demo).
// Run mpresolve --help for the flags.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
