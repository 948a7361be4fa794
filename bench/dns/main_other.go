//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "dns: this bench needs Linux: network namespaces, recvmmsg, /proc")
	os.Exit(1) //nolint:forbidigo // this is main
}
