// Command mpdnsd is the stub resolver daemon; see mpdnsd --help.
package main

import (
	"os"

	"github.com/af-multipath/mpresolve/internal/mpdnsd"
)

func main() { os.Exit(mpdnsd.Main(os.Args[1:], os.Stdout, os.Stderr)) }
