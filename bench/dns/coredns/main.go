// Coredns is CoreDNS with the plugins that the bench needs, as the Go module
// proxy has it. It is a module of its own, so that what it needs is not needed
// by the rest.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"    // listens on an address
	_ "github.com/coredns/coredns/plugin/cache"   // keeps answers
	_ "github.com/coredns/coredns/plugin/forward" // asks another server
)

func main() { coremain.Run() }
