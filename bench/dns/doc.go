// Dns measures mpdnsd against its peers, in a network namespace that it makes
// itself, on loopback only:
//
//	go run ./bench/dns
//
// The servers run on one core, the load on another. The figure is the CPU time
// of the server per answered query: other work on the machine moves it least.
// All servers take turns in one run, and ratios of one run are what counts. The
// peers are those that are installed; bench/dns/install installs them.
package main
